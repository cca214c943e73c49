"""Bad sounds: each is skipped with a few words that say why, and nothing is allocated by what a header promises."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from aigc_cli.data.compression import open_bytes
from aigc_cli.data.pictures.decoding.raw import NotDecodable
from aigc_cli.data.sounds import decode
from aigc_cli.data.sounds.decode import encoded
from aigc_cli.data.sounds.raw import RawSound

RATE = 8000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 1)).astype(np.float32)


def written(format: str = "WAV", subtype: str = "PCM_16", wave: np.ndarray = NOISE, rate: int = RATE) -> bytes:  # type: ignore[type-arg]
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format=format, subtype=subtype)
    return file.getvalue()


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def with_sample(value: float) -> bytes:
    wave = NOISE.copy()
    wave[1234] = value
    return written(subtype="FLOAT", wave=wave)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def scrambled(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(byte ^ 0x5A for byte in data[third : 2 * third]) + data[2 * third :]


def flac_of(n_samples: int) -> bytes:
    """A FLAC file whose header promises so many samples, up to 2^36."""
    data = written("FLAC")
    return patched(data, 21, bytes([(data[21] & 0xF0) | (n_samples >> 32 & 0xF), *struct.pack(">I", n_samples & 0xFFFFFFFF)]))


def rf64_of(n_bytes: int) -> bytes:
    data = written("RF64")
    return patched(data, data.index(b"ds64") + 16, struct.pack("<Q", n_bytes))


FAULTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "it is empty"),
    "text": (lambda: b"to be or not to be", "it is no sound file"),
    "a web page": (lambda: b"<!doctype html><html>", "it is no sound file"),
    "a picture": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(50), "it is no sound file"),
    "a picture in RIFF": (lambda: b"RIFF\x24\0\0\0WEBPVP8 " + bytes(50), "it is no sound file"),
    "MPEG-4": (lambda: b"\0\0\0\x20ftypM4A " + bytes(50), "it is an MPEG-4 file, which is not read: ffmpeg converts it"),
    "MIDI": (lambda: b"MThd\0\0\0\x06" + bytes(50), "it is a MIDI file, which is not read: ffmpeg converts it"),
    "no samples": (lambda: written(wave=NOISE[:0]), "it has no samples"),
    "1 Hz": (lambda: written(rate=1), "its rate is 1 Hz; those of 1,000 to 768,000 Hz are read"),
    "2 GHz": (lambda: patched(written(), 24, struct.pack("<I", 2_000_000_000)), "its rate is 2,000,000,000 Hz"),
    "64 channels": (lambda: written(wave=np.zeros((100, 64), np.float32)), "it has 64 channels, more than 8"),
    "0 channels": (lambda: patched(written(), 22, b"\0\0"), ""),
    "NaN": (lambda: with_sample(np.nan), "it holds samples that are no finite numbers"),
    "infinity": (lambda: with_sample(-np.inf), "it holds samples that are no finite numbers"),
    "not scaled": (lambda: with_sample(32_000.0), "its samples reach 3.2e+04, and full scale is 1"),
    "a cut .wav": (lambda: half(written()), "it is truncated"),
    "a cut .wav of 24 bits": (lambda: half(written(subtype="PCM_24")), "it is truncated"),
    "a cut .aiff": (lambda: half(written("AIFF")), "it is truncated"),
    "a cut .au": (lambda: half(written("AU")), "it is truncated"),
    "a cut .w64": (lambda: half(written("W64")), "it is truncated"),
    "a cut .caf": (lambda: half(written("CAF")), "it is damaged"),
    "a cut .flac": (lambda: half(written("FLAC")), ""),
    "a cut .ogg": (lambda: half(written("OGG", "VORBIS")), ""),
    "a cut .opus": (lambda: half(written("OGG", "OPUS")), ""),
    "a cut .mp3": (lambda: half(written("MP3", "MPEG_LAYER_III", np.tile(NOISE, (20, 1)))), "it is truncated"),
    "a scrambled .flac": (lambda: scrambled(written("FLAC")), ""),
    "a scrambled .opus": (lambda: scrambled(written("OGG", "OPUS")), ""),
    "a header alone": (lambda: written()[:20], ""),
    "an ID3 tag alone": (lambda: b"ID3\x04\0\0\0\0\0\x0a" + bytes(10), ""),
}


def read(data: bytes) -> int:
    """The number of samples."""
    return len(RawSound("bad", encoded(lambda: io.BytesIO(data))).wave()[0])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_sound_is_refused_in_a_few_words(fault: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, expected = FAULTS[fault]
    data = make()
    tracemalloc.start()
    with pytest.raises(NotDecodable) as error:
        read(data)
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    reason = str(error.value)
    assert expected in reason and reason and "\n" not in reason and len(reason) < 100 and "0x" not in reason
    assert allocated < 1 << 23
    assert capfd.readouterr() == ("", "")  # libraries of C may print by themselves


@pytest.mark.parametrize(
    "form", [("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("CAF", "ALAC_16")]
)
def test_whatever_is_damaged_nothing_else_happens(form: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    data = np.frombuffer(written(*form), np.uint8)
    for _ in range(100):
        damaged = data.copy()
        places = random.integers(0, min(len(data), int(random.choice([64, 300, len(data)]))), random.integers(1, 20))
        damaged[places] = random.choice([0, 127, 128, 255], len(places))
        with suppress(NotDecodable):
            read(damaged.tobytes())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("n_samples", [0, (1 << 36) - 1, 100_000])
def test_the_length_in_a_header_may_be_unknown_or_wrong(n_samples: int) -> None:
    tracemalloc.start()
    if n_samples == 100_000:  # longer than it is, as after a crash of a recorder
        with pytest.raises(NotDecodable, match="truncated"):
            read(flac_of(n_samples))
    else:
        assert read(flac_of(n_samples)) == len(NOISE)
    assert tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()


def test_a_wav_that_was_piped_has_no_length_and_is_read() -> None:
    data = written()
    assert read(rf64_of(1 << 43)) == len(NOISE)
    for size in (b"\xff\xff\xff\xff", b"\x00\xff\xff\x7f"):
        assert read(patched(patched(data, 4, size), 40, size)) == len(NOISE)


def test_what_unpacks_to_far_more_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MOST_UNPACKED", 1 << 20)
    path = tmp_path / "bomb.wav.gz"
    path.write_bytes(gzip.compress(bytes((1 << 20) + 1)))
    with pytest.raises(NotDecodable, match="unpacks to more than"):
        RawSound("bomb", encoded(partial(open_bytes, path))).wave()


def test_only_the_beginning_of_a_long_silence_is_read_for_a_short_clip(tmp_path: Path) -> None:
    path = tmp_path / "hour.flac"
    with soundfile.SoundFile(path, "w", 44_100, 1, "PCM_16") as file:
        for _ in range(30):
            file.write(np.zeros(44_100 * 10, np.int16))
    tracemalloc.start()
    wave, rate = RawSound("long", encoded(lambda: path.open("rb"))).wave(1.0)
    assert (len(wave), rate) == (44_100, 44_100) and tracemalloc.get_traced_memory()[1] < 1 << 23
    tracemalloc.stop()
