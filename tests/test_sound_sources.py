"""Sounds in every form of source: files, folders, archives, tables, arrays, and those that are made on the spot."""

from __future__ import annotations

import base64
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from aigc_cli.data.pictures.decoding.raw import NotDecodable
from aigc_cli.data.pictures.sources.listed import open_listed
from aigc_cli.data.pictures.sources.metadata import find_labels
from aigc_cli.data.pictures.sources.piped import pack
from aigc_cli.data.sounds.choose import KEPT, USUAL_RATES, SoundLook, WantedSounds, choose, look
from aigc_cli.data.sounds.kind import SOUNDS
from aigc_cli.data.sounds.raw import Clip, RawSound
from aigc_cli.data.sounds.readers import READ, SOUND_FILES, open_readers
from aigc_cli.data.sounds.tones import NOTES, RATE, TIMBRES, Tones, TonesReader, frequency
from aigc_cli.data.sounds.windows import plan_recordings, recording_of, regions
from aigc_cli.data.sources.source import Part, open_source
from aigc_cli.data.splits import REPORT, SELECT, TRAIN
from aigc_cli.errors import RequestError


def sine(hz: float = 440.0, seconds: float = 0.3, rate: int = 8000, channels: int = 1) -> npt.NDArray[np.float32]:
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, 1).astype(np.float32)


def encoded(format: str = "WAV", subtype: str | None = None, wave: npt.NDArray[Any] | None = None, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sine() if wave is None else wave, rate, format=format, subtype=subtype)
    return file.getvalue()


def part_of(path: Path) -> Part:
    return open_source(str(path), suffixes=READ, demos=()).training()


def read(path: Path, label: str | None = None, rate: int | None = None) -> list[RawSound]:
    return [raw for reader in open_readers(part_of(path), label, rate=rate) for raw in reader.read()]


FORMS = [
    ("a.wav", "WAV", "PCM_U8", 0.01), ("b.wav", "WAV", "PCM_24", 1e-5), ("c.wav", "WAV", "DOUBLE", 1e-6),
    ("d.flac", "FLAC", "PCM_16", 1e-4), ("e.aiff", "AIFF", "PCM_16", 1e-4), ("f.ogg", "OGG", "VORBIS", 0.1),
    ("g.MP3", "MP3", "MPEG_LAYER_III", 0.1), ("h.opus", "OGG", "OPUS", 0.1), ("i.caf", "CAF", "PCM_16", 1e-4),
    ("j.w64", "W64", "PCM_16", 1e-4), ("k.au", "AU", "PCM_16", 1e-4), ("l.wav", "WAV", "ULAW", 0.05),
]  # fmt: skip


def test_files_of_every_form_are_read_as_what_was_written(tmp_path: Path) -> None:
    for name, format, subtype, _ in FORMS:
        (tmp_path / name).write_bytes(encoded(format, subtype, sine(channels=2)))
    found = read(tmp_path)
    assert [raw.name for raw in found] == [name for name, *_ in FORMS]
    for raw, (name, _, _, error) in zip(found, FORMS, strict=True):
        wave, rate = raw.wave()
        assert rate == 8000 and wave.dtype == np.float32
        assert wave.shape[1] == 2 and abs(len(wave) - 2400) < 1300, name  # MP3 and Opus pad
        middle = slice(800, 1600)
        assert np.abs(wave[middle] - sine(channels=2)[middle]).max() < error or error == 0.1, name
        assert np.sqrt(np.square(wave[middle]).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1), name


def test_compressed_once_more(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.wav.gz").write_bytes(gzip.compress(encoded()))
    ((wave, rate),) = [raw.wave() for raw in read(tmp_path)]
    assert rate == 8000 and np.abs(wave - sine()).max() < 1e-4


def test_folders_are_classes_in_folders_and_archives(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with tarfile.open(tmp_path / "a.tar", "w") as tar, zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name in ("cat/1.wav", "cat/2.wav", "dög/1.wav"):
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(encoded())
            tar.add(data / name, name)
            packed.write(data / name, name)
    for path in (data, tmp_path / "a.tar", tmp_path / "a.zip"):
        found = read(path)
        assert [(raw.name, raw.label) for raw in found] == [("cat/1.wav", "cat"), ("cat/2.wav", "cat"), ("dög/1.wav", "dög")]
        assert all(len(raw.wave()[0]) == 2400 for raw in found)


def test_webdataset(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(3):
            for suffix, content in ((".flac", encoded("FLAC")), (".cls", str(number % 2).encode())):
                member = tarfile.TarInfo(f"{number}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    assert [raw.label for raw in read(tmp_path / "a.tar")] == ["0", "1", "0"]


def test_parquet_with_the_audio_feature(tmp_path: Path) -> None:
    audio = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    features = {"clip": {"_type": "Audio", "sampling_rate": 16000}, "word": {"_type": "ClassLabel", "names": ["no", "yes"]}}
    schema = pa.schema({"other": pa.binary(), "clip": audio, "word": pa.int64()}).with_metadata(
        {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    )
    cells = [{"bytes": encoded("FLAC"), "path": "a.flac"}, {"bytes": encoded("MP3"), "path": None}]
    pq.write_table(pa.table([pa.array([b"x", b"y"]), pa.array(cells, audio), pa.array([1, 0])], schema), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert [raw.label for raw in found] == ["yes", "no"]
    assert [raw.wave()[1] for raw in found] == [8000, 8000]
    (reader,) = open_readers(part_of(tmp_path / "a.parquet"), None)
    assert reader.origins["sounds"] == "the column 'clip'"


def test_a_table_lists_sounds_and_no_path_leaves_its_folder(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    for number in range(3):
        (tmp_path / "wavs" / f"{number}.wav").write_bytes(encoded())
    table = tmp_path / "table.tsv"
    table.write_text("text\tclip\tmood\nhello\twavs/0.wav\tsad\nyou\twavs/1.wav\tglad\nthere\tgone.wav\tsad\n")
    source = open_listed(table, SOUND_FILES)
    assert source is not None
    part = source.training()
    assert [path.name for path in part.files] == ["0.wav", "1.wav"]
    assert source.understood.origins == {"sounds": "the column 'clip'"}
    assert any("1 sound that is not there" in note for note in source.notes)
    labels = find_labels(part, "mood", True, medium=SOUND_FILES)
    assert labels.labels == ("sad", "glad")
    table.write_text("clip\n../../etc/a.wav\n../x.wav\n")
    with pytest.raises(RequestError, match="outside of the folder"):
        open_listed(table, SOUND_FILES)
    table.write_text("text\nhello\n")
    assert open_listed(table, SOUND_FILES) is None


def test_json_lines_hold_sounds_in_base64(tmp_path: Path) -> None:
    text = base64.b64encode(encoded()).decode()
    rows = [{"audio": text, "label": "a"}, {"audio": f"data:audio/wav;base64,{text}", "label": "b"}]
    path = tmp_path / "stdin.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(pack(path, tmp_path, SOUND_FILES))
    assert [(raw.label, len(raw.wave()[0])) for raw in found] == [("a", 2400), ("b", 2400)]


@pytest.mark.parametrize("shape", ["nt", "ntc", "nct"])
def test_arrays(tmp_path: Path, shape: str) -> None:
    waves = np.stack([sine(hz, channels=2) for hz in (200, 300, 400)])
    stored = {"nt": waves[..., 0], "ntc": waves, "nct": waves.transpose(0, 2, 1)}[shape]
    whole = np.rint(stored * 32768).astype(np.int16)
    np.savez(tmp_path / "a.npz", x=whole, rate=11025, y=np.array(["a", "b", "a"]), level=np.arange(3.0))
    found = read(tmp_path / "a.npz")
    assert [raw.label for raw in found] == ["a", "b", "a"] and [raw.factors for raw in found] == [(0.0,), (1.0,), (2.0,)]
    for raw, expected in zip(found, waves, strict=True):
        wave, rate = raw.wave()
        assert rate == 11025 and np.abs(wave - (expected[:, :1] if shape == "nt" else expected)).max() < 1e-4


def test_an_array_needs_a_rate(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([sine()[:, 0]] * 2))
    with pytest.raises(RequestError, match="--rate"):
        read(tmp_path / "a.npy")
    assert [raw.wave()[1] for raw in read(tmp_path / "a.npy", rate=16000)] == [16000, 16000]


# Tones


def pitch_of(wave: npt.NDArray[np.float32]) -> float:
    """In Hz, by the first of the highest peaks of the normalised autocorrelation, interpolated by a parabola."""
    part = wave[int(0.05 * RATE) : int(0.35 * RATE), 0].astype(np.float64)
    window = np.hanning(len(part))

    def correlation(signal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.fft.irfft(np.abs(np.fft.rfft(signal, 4 * len(signal))) ** 2)[: len(signal)]

    of_lag = correlation(part * window) / np.maximum(correlation(window), 1e-3 * correlation(window)[0])
    lags = np.arange(RATE // 1100, RATE // 240)
    peaks = lags[
        (of_lag[lags] > of_lag[lags - 1]) & (of_lag[lags] >= of_lag[lags + 1]) & (of_lag[lags] > 0.9 * of_lag[lags].max())
    ]
    before, at, after = of_lag[peaks[0] - 1 : peaks[0] + 2]
    return float(RATE / (peaks[0] + 0.5 * (before - after) / (before - 2 * at + after)))


def test_tones_have_the_pitch_and_the_envelope_of_their_factors() -> None:
    reader = TonesReader(Tones(60), "pitch")
    assert reader.classes == NOTES
    for raw in reader.read():
        wave, rate = raw.wave()
        assert rate == RATE and wave.shape == (RATE, 1)
        timbre, note, loudness, attack, decay, _ = (value or 0.0 for value in raw.factors)
        assert raw.label == NOTES[int(note)]
        assert abs(1200 * np.log2(pitch_of(wave) / frequency(note))) < 20  # cents
        assert 20 * np.log10(np.abs(wave).max()) == pytest.approx(loudness, abs=0.1)
        assert np.abs(wave[0]).max() < 1e-3 and np.abs(wave[-1]).max() < 1e-3  # no clicks
        if TIMBRES[int(timbre)] == "struck":  # the first partial falls by 20 dB within `decay`
            start = attack + 0.05
            early, late = (np.abs(wave[int(at * RATE) : int(at * RATE) + 400]).max() for at in (start, start + 0.5 * decay))
            assert 20 * np.log10(early / late) == pytest.approx(10, abs=3)


def test_more_tones_begin_with_the_same_ones_and_seeds_differ() -> None:
    def waves(location: str) -> Iterator[bytes]:
        return (raw.wave()[0].tobytes() for raw in TonesReader(Tones.of(location)).read())

    few, more = list(waves("demo:tones?n=3&seed=4")), list(waves("demo:tones?n=5&seed=4"))
    assert more[:3] == few and len(set(more)) == 5
    assert [*waves("demo:tones?n=3&seed=5")] != few
    assert Tones.of("demo:tones?seed=4&n=3").location == "demo:tones?n=3&seed=4"
    assert Tones(3, 4).fingerprint() != Tones(3, 5).fingerprint()
    every = [raw.name for raw in TonesReader(Tones(7)).read(3)]
    assert every == ["row 0", "row 3", "row 6"]


def test_tones_know_their_options_and_labels() -> None:
    with pytest.raises(RequestError, match="no option 'm'"):
        Tones.of("demo:tones?m=3")
    with pytest.raises(RequestError, match="only timbre and pitch"):
        TonesReader(Tones(3), "size")
    labels = [raw.label or "" for raw in TonesReader(Tones(3), "timbre,pitch").read()]
    assert all(len(label.split("\x1f")) == 2 for label in labels)


# What is chosen


def made(wave: npt.NDArray[Any], rate: int = 44_100) -> RawSound:
    return RawSound("made", Clip.opener(wave.astype(np.float32).reshape(len(wave), -1), rate))


def noise_below(hz: float, seconds: float = 1.0, rate: int = 44_100, seed: int = 0) -> npt.NDArray[np.float64]:
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(int(seconds * rate)))
    spectrum[np.fft.rfftfreq(int(seconds * rate), 1 / rate) > hz] = 0
    wave = np.fft.irfft(spectrum)
    return 0.5 * wave / np.abs(wave).max()


@pytest.mark.parametrize(("hz", "rate"), [(3000, 8000), (7500, 16000), (15000, 32000), (22000, 44100)])
def test_the_rate_is_the_lowest_that_keeps_the_energy(hz: float, rate: int) -> None:
    seen = [look(made(noise_below(hz, seed=seed))) for seed in range(3)]
    chosen = choose(WantedSounds(), seen)
    assert chosen.rate == rate and chosen.rate in USUAL_RATES and KEPT > 0.99
    assert choose(WantedSounds(rate=22050), seen).rate == 22050


def test_sounds_of_several_rates_get_the_usual_one_where_none_keeps_all() -> None:
    seen = [look(made(noise_below(48_000, 0.5, 96_000, seed), 96_000)) for seed in range(2)]
    seen += [look(made(noise_below(22_000, 0.5, seed=seed))) for seed in range(3)]
    assert choose(WantedSounds(), seen).rate == 44_100


def test_soft_sounds_count_for_the_rate_as_loud_ones_do() -> None:
    soft_and_high = np.concatenate([noise_below(3000), 0.02 * noise_below(15000)])
    assert choose(WantedSounds(), [look(made(soft_and_high))]).rate == 32000


def test_short_sounds_are_whole_and_long_ones_become_windows() -> None:
    short = [look(made(noise_below(3000, seconds))) for seconds in (0.4, 0.5, 0.7)]
    chosen = choose(WantedSounds(), short)
    assert chosen.seconds == pytest.approx(0.7, abs=0.011) and not chosen.windows
    long = [look(made(noise_below(3000, 9.0)))]
    chosen = choose(WantedSounds(), long)
    assert chosen.windows and chosen.seconds == 2 and chosen.region == 4
    assert choose(WantedSounds(seconds=8), long).windows is False
    asked = choose(WantedSounds(seconds=0.5), long)
    assert asked.windows and asked.seconds == 0.5


def test_a_few_long_sounds_among_short_ones_are_cut_where_most_have_faded() -> None:
    def struck(seconds: float, decay: float) -> SoundLook:  # by 20 dB within `decay`
        noise = noise_below(3000, seconds)
        return look(made(noise * 10 ** (-np.arange(len(noise)) / 44_100 / decay)))

    drums = [struck(0.5 + 0.1 * number, 0.3) for number in range(19)] + [struck(9.0, 4.0)]
    chosen = choose(WantedSounds(), drums)
    assert not chosen.windows and 0.25 < chosen.seconds < 0.5
    assert "in which 90% of them have faded" in chosen.notes[-1] and "are cut" in chosen.notes[-1]


def test_stereo_is_kept_where_it_is_heard() -> None:
    left, right = noise_below(3000), noise_below(3000, seed=1)
    assert choose(WantedSounds(), [look(made(np.stack([left, right], 1)))]).channels == 2
    same = [look(made(np.stack([left, left], 1)))]
    assert choose(WantedSounds(), same).channels == 1
    assert choose(WantedSounds(channels=2), same).channels == 2


def test_silence_at_the_ends_is_trimmed_where_that_shortens_the_sounds() -> None:
    wave = noise_below(3000)
    padded = np.concatenate([np.zeros(22_050), wave, np.zeros(22_050)])
    seen = look(made(padded))
    assert seen.lead == pytest.approx(0.5, abs=0.03) and seen.tail == pytest.approx(0.5, abs=0.03)
    assert choose(WantedSounds(), [seen]).seconds == pytest.approx(1.0, abs=0.05)
    assert choose(WantedSounds(trim=False), [seen]).seconds == pytest.approx(2.0, abs=0.02)
    assert choose(WantedSounds(), [look(made(wave))]).trim is False
    with pytest.raises(RequestError, match="silent"):
        choose(WantedSounds(), [look(made(np.zeros(1000)))])


# Windows of long recordings


def test_regions_are_the_recording_cut_without_overlap(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (80_500, 1)).astype(np.float32)
    soundfile.write(tmp_path / "long.flac", wave, 8000, subtype="PCM_24")
    (raw,) = read(tmp_path)
    found = list(regions(raw, 2.0))
    assert len(found) == 5 and [recording_of(part.name) for part in found] == ["long.flac"] * 5
    joined = np.concatenate([part.wave()[0] for part in found])
    assert np.abs(joined - wave[:80_000]).max() < 1e-6


def test_regions_without_a_sound_are_left_out() -> None:
    wave = np.concatenate([np.zeros(8000), noise_below(3000, 1.0, 8000), np.zeros(8000)])
    (part,) = regions(made(wave, 8000), 1.0)
    assert part.name == "made from 1.00 s"


def test_a_recording_that_is_a_little_shorter_than_a_region_is_padded() -> None:
    (part,) = regions(made(noise_below(3000, 0.95, 8000), 8000), 1.0)
    wave, _ = part.wave()
    assert len(wave) == 8000 and not wave[7600:].any() and wave[:7600].any()
    with pytest.raises(NotDecodable, match="shorter"):
        list(regions(made(noise_below(3000, 0.5, 8000), 8000), 1.0))


def test_whole_recordings_are_held_out() -> None:
    names = [f"{recording}.wav from {place}.00 s" for recording in range(8) for place in range(10)]
    hashes = np.random.default_rng(0).integers(0, 2**63, len(names)).astype(np.uint64)
    plan = plan_recordings(hashes, names)
    by_recording = plan.splits.reshape(8, 10)
    assert (by_recording == by_recording[:, :1]).all()
    assert {*plan.splits.tolist()} == {TRAIN, SELECT, REPORT}


def test_of_a_single_recording_the_end_is_held_out() -> None:
    hashes = np.arange(100, dtype=np.uint64)
    plan = plan_recordings(hashes, [f"a from {place}.00 s" for place in range(100)])
    assert plan.splits.tolist() == [TRAIN] * 90 + [SELECT] * 5 + [REPORT] * 5


def test_every_class_keeps_a_recording_to_train_on() -> None:
    names = [f"{recording}.wav from {place}.00 s" for recording in range(6) for place in range(10)]
    hashes = np.random.default_rng(0).integers(0, 2**63, len(names)).astype(np.uint64)
    two_each = np.repeat(np.arange(3), 20)
    plan = plan_recordings(hashes, names, two_each)
    assert (plan.splits.reshape(6, 10) == plan.splits.reshape(6, 10)[:, :1]).all()
    assert {*two_each[plan.splits == TRAIN].tolist()} == {0, 1, 2}
    alone = np.repeat(np.arange(6), 10)  # a recording a class: the end of each is held out
    plan = plan_recordings(hashes, names, alone)
    assert plan.splits.reshape(6, 10).tolist() == [[TRAIN] * 8 + [SELECT, REPORT]] * 6


def test_sounds_of_the_hub_are_not_decoded_by_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from aigc_cli.data.sources import hub

    features = datasets.Features({"audio": datasets.Audio(), "label": datasets.ClassLabel(names=["a", "b"])})
    cells = [{"bytes": encoded("FLAC"), "path": None}] * 3
    table = datasets.Dataset(pa.table({"audio": cells, "label": [0, 1, 0]}, schema=features.arrow_schema))
    monkeypatch.setattr(hub, "stream", lambda location, split: table.to_iterable_dataset())
    (reader,) = open_readers(Part("hf:a/b@1", "hub", split="train"), None)
    assert [(raw.name, raw.label, raw.wave()[0].shape) for raw in reader.read()] == [
        ("row 0", "a", (2400, 1)),
        ("row 1", "b", (2400, 1)),
        ("row 2", "a", (2400, 1)),
    ]


# Sounds or pictures


def test_sources_of_suffixes_that_pictures_have_too_hold_sounds_or_not(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "sounds").mkdir()
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / "sounds" / f"{number}.wav").write_bytes(encoded())
        Image.new("L", (8, 8)).save(tmp_path / "pictures" / f"{number}.png")
    Image.new("L", (8, 8)).save(tmp_path / "sounds" / "cover.png")
    answers = {"sounds": True, "pictures": False, "gone": False, "sounds/0.wav": True, "pictures/0.png": False}
    for name, is_sound in (("sounds", True), ("pictures", False)):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar, zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as packed:
            for path in sorted((tmp_path / name).iterdir()):
                tar.add(path, path.name)
                packed.write(path, path.name)
        cells = [path.read_bytes() for path in sorted((tmp_path / name).glob("?.*"))]
        pq.write_table(pa.table({"content": cells}), tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.csv").write_text("file\n" + "".join(f"{name}/{p.name}\n" for p in (tmp_path / name).glob("?.*")))
        (tmp_path / f"{name}-shards").mkdir()
        (tmp_path / f"{name}.tar").rename(tmp_path / f"{name}-shards" / "0.tar")
        answers |= dict.fromkeys((f"{name}.zip", f"{name}.parquet", f"{name}.csv", f"{name}-shards"), is_sound)
    for name, row in (("left.csv", "../../a.wav"), ("address.csv", "http://a.b/x.wav"), ("absent.csv", "x.wav")):
        (tmp_path / name).write_text(f"file,label\n{row},a\n")  # why they can't be read is said where sounds are read
        answers[name] = True
    (tmp_path / "converted").mkdir()
    (tmp_path / "converted" / "a.m4a").write_bytes(b"")
    answers["converted"] = True
    np.savez(tmp_path / "waves.npz", x=np.zeros((3, 100)), rate=8000)
    np.save(tmp_path / "faces.npy", np.zeros((3, 28, 28), np.uint8))
    answers |= {"waves.npz": True, "faces.npy": False}
    assert {name: SOUNDS.holds(str(tmp_path / name)) for name in answers} == answers
    assert SOUNDS.holds("demo:tones?n=3") and not SOUNDS.holds("demo:shapes")


@pytest.mark.parametrize("form", ["wav", "flac", "tar", "zip", "jsonl", "png"])
def test_standard_input_holds_sounds_or_not(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    if form == "tar":
        with tarfile.open(fileobj=file, mode="w") as tar:
            member = tarfile.TarInfo("a/1.wav")
            member.size = len(encoded())
            tar.addfile(member, io.BytesIO(encoded()))
    elif form == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("a/1.wav", encoded())
    elif form == "jsonl":
        file.write(b'{"text": "hello", "clip": "' + base64.b64encode(encoded()) + b'"}\n')
    elif form == "png":
        file.write(b"\x89PNG\r\n\x1a\n" + bytes(100))
    else:
        file.write(encoded(form.upper()))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(file.getvalue()))))  # type: ignore[arg-type]
    assert SOUNDS.holds("-") is (form != "png")
    assert sys.stdin.buffer.read() == file.getvalue()
