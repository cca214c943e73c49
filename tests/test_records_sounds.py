"""Records of texts and sounds: a sound is a field as a picture is."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import Shell
from PIL import Image
from sounding import beep, write_beeps

from aigc_cli.data.records.dataset import RecordDataset, RecordRequest, check_unchanged, prepare_records, read_records
from aigc_cli.data.records.holds import kind_of_records
from aigc_cli.data.sounds.dataset import like, settings_of, wanted
from aigc_cli.errors import RequestError

N = 20


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def quiet(what: str, done: int, total: int | None) -> None:
    pass


def prepare(data: Path | str, *fields: str) -> RecordDataset:
    assert kind_of_records(str(data), fields or None) == "sounds"
    return prepare_records(RecordRequest(str(data), fields=fields or None), wanted({}, 16), progress=quiet)


def flac(number: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, beep(number), 8000, format="FLAC")
    return file.getvalue()


def _files(folder: Path) -> Path:
    folder.mkdir()
    for number in range(N):
        (folder / f"{number}.flac").write_bytes(flac(number))
    return folder


def _table(tmp_path: Path) -> Path:
    folder = _files(tmp_path / "a")
    rows = "".join(f"{number}.flac\tcaption {number}\n" for number in range(N))
    (folder / "a.tsv").write_text("sound\tcaption\n" + rows)
    return folder / "a.tsv"


def _metadata(tmp_path: Path) -> Path:
    folder = _files(tmp_path / "a")
    rows = "".join(f"{number}.flac,caption {number}\n" for number in range(N))
    (folder / "metadata.csv").write_text("file_name,caption\n" + rows)
    return folder


def _text_files(tmp_path: Path) -> Path:
    folder = _files(tmp_path / "a")
    for number in range(N):
        (folder / f"{number}.txt").write_text(f"caption {number}\n")
    return folder


def _tar(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(N):
            for name, data in ((f"{number}.flac", flac(number)), (f"{number}.txt", f"caption {number}".encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return tmp_path / "a.tar"


def _parquet(tmp_path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sounds = [{"bytes": flac(number), "path": None} for number in range(N)]
    table = pa.table({"sound": sounds, "caption": [f"caption {number}" for number in range(N)]})
    features = {"sound": {"_type": "Audio"}, "caption": {"_type": "Value", "dtype": "string"}}
    pq.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), tmp_path / "a.parquet"
    )
    return tmp_path / "a.parquet"


@pytest.mark.parametrize("make", [_table, _metadata, _text_files, _tar, _parquet])
def test_texts_beside_sounds(make: Callable[[Path], Path], tmp_path: Path) -> None:
    source = make(tmp_path)
    data = prepare(source)
    assert [(field.name, field.kind) for field in data.fields] == [("caption", "text"), ("sound", "sounds")]
    assert data.notes[0].startswith(f"{N} records: caption (text), sound (sound, ") and "8,000 Hz" in data.notes[0]
    texts = [text for of in (data.train, data.select, data.report) for text in of.texts["caption"]]
    assert {*texts} == {f"caption {number}" for number in range(N)}
    reading = like(json.loads(json.dumps(data.info)))
    assert data.info["kind"] == "sounds" and check_unchanged(data.info, reading) == []
    assert prepare_records(RecordRequest(str(source)), wanted(settings_of(data.info), 16), progress=quiet).cached
    again = read_records(str(source), data.fields, reading, progress=quiet)
    place = [*again.texts["caption"]].index(data.train.texts["caption"][0])
    assert (again.pictures.take([place]) == data.train.pictures.take([0])).all()


def test_folders_are_words_and_sounds_alone_are_records(tmp_path: Path) -> None:
    data = prepare(write_beeps(tmp_path / "a", n=10), "sound", "class")
    assert data.info["kind"] == "text" and {*data.train.texts["class"]} == {"low", "high"}
    alone = prepare(_files(tmp_path / "b"))
    assert [field.name for field in alone.fields] == ["sound"] and len(alone.train.texts) == 0


def test_what_is_known_of_tones_is_their_caption() -> None:
    data = prepare("demo:tones?n=20", "caption", "pitch", "sound")
    for caption, pitch in zip(data.train.texts["caption"], data.train.texts["pitch"], strict=True):
        article, level, timbre, note = caption.split()
        assert article == "a" and level in ("loud", "soft") and timbre in ("struck", "plucked", "blown") and note == pitch


def test_pictures_and_sounds_in_one_table_are_chosen_from(tmp_path: Path) -> None:
    folder = _files(tmp_path / "a")
    for number in range(N):
        Image.fromarray(np.full((4, 4, 3), number * 10, np.uint8)).save(folder / f"{number}.png")
    rows = "".join(f"{number}.flac\t{number}.png\tcaption {number}\n" for number in range(N))
    (table := folder / "a.tsv").write_text("heard\tseen\tcaption\n" + rows)
    with pytest.raises(RequestError, match=r"pictures in 'seen' and sounds in 'heard', and a record has one of them"):
        kind_of_records(str(table), None)
    assert kind_of_records(str(table), ("caption", "seen")) == "pictures"
    assert kind_of_records(str(table), ("caption", "sound")) == "sounds"
    assert kind_of_records(str(table), ("caption",)) is None
    assert len(prepare(table, "caption", "heard").train) > 10


def test_long_recordings_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 8 * 8000).astype(np.float32)
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", np.roll(noise, number * 999), 8000)
    with pytest.raises(RequestError, match="long recordings, and a record has one sound"):
        prepare(folder)


def test_words_to_sounds_and_back(module_shell: Shell) -> None:
    shell = module_shell
    write_beeps(shell.cwd / "beeps", n=12)
    small = ["--data", "beeps", "--steps", "2", "--preset", "nano", "-q"]
    shell.ok("train", "transformer", *small, "--fields", "class,sound", "--run", "speaker")
    codec = next((shell.cwd / "runs" / "vae").iterdir())
    written = json.loads((shell.cwd / "runs" / "transformer" / "speaker" / "model" / "codec" / "format.json").read_text())
    assert written["kind"] == "sounds" and written["sound"]["rate"] == 8000
    said = ["sample", "transformer", "--run", "speaker", "--given", "class=low", "-n", "2", "--seed", "0", "-q"]
    shell.ok(*said, "--out", "said/")
    unknown = shell("sample", "transformer", "--run", "speaker", "--given", "class=lo", "-n", "2", "--out", "unknown/")
    assert "--given class=lo: the run learned no such class, only high, low; did you mean 'low'?" in unknown.stderr
    assert unknown.stderr.count("class=lo") == 1 and unknown.returncode == 0
    heard, rate = soundfile.read(shell.cwd / "said" / "seed-0-000000.wav")
    assert (rate, len(heard)) == (8000, written["sound"]["samples"])
    shell.ok(*said, "--out", "all.flac")
    shell.ok(*said, "--out", "sheet.png")
    found = json.loads(shell.ok("eval", "transformer", "--run", "speaker", "-n", "2", "--json", "-q"))
    assert found["nats_per_sound_sound"]["value"] > 0

    shell.ok("train", "transformer", *small, "--fields", "sound,class", "--codec", codec.name, "--run", "listener")
    heard_as = ["sample", "transformer", "--run", "listener", "--given"]
    shell.ok(*heard_as, "sound=said/seed-0-000000.wav", "--max-tokens", "80", "-q")
    failed = shell(*heard_as, "sound=beeps")
    assert failed.returncode == 2 and "name a sound, not a folder" in failed.stderr
    for options, why in (
        (["--size", "8"], "--size is not for sounds"),
        (["--codec", codec.name, "--rate", "16000"], "is for sounds of --rate 8000"),
    ):
        failed = shell("train", "transformer", *small, *options)
        assert failed.returncode == 2 and why in failed.stderr
    shell.ok(
        "train", "vae", "--codes", "--data", "demo:shapes?n=60", "--size", "8", "--steps", "1", "-q", "--run", "of-pictures"
    )
    failed = shell("train", "transformer", *small, "--codec", "of-pictures")
    assert failed.returncode == 2 and "is for pictures, and" in failed.stderr
