"""An encoded sound as samples, whatever its form, a block at a time: nothing is allocated by what a header promises."""

from __future__ import annotations

import io
import os
import re
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any, BinaryIO, cast

import numpy as np

from aigc_cli.data.pictures.decoding.raw import NotDecodable
from aigc_cli.data.sounds.raw import MOST_CHANNELS, MOST_SECONDS, RATES, Open, Recording, Wave
from aigc_cli.data.transcoding import ConvertedFile
from aigc_cli.errors import first_line

MOST_UNPACKED = 1 << 28
"""Bytes of a sound that is compressed once more, as in .wav.gz."""

_BLOCK = 1 << 16  # samples of all channels together
_HIGHEST = 4.0  # 12 dB above full scale, which floating point allows
_SIZES = re.compile(r"(?:data|SSND|Data Size|Riff size|riff) +: (\d+) \(should be (\d+)\)")  # libsndfile's words
_UNKNOWN_SIZE = 0x7FFFFF00  # as programs write it that don't know the length
_TRUNCATED = "it is truncated"
_UNREAD = "File contains data in an unimplemented format"  # libsndfile's words

_MP3_SYNC = tuple(bytes([0xFF, second]) for second in range(0xE0, 0x100))
_BEGINNINGS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b"ID3", b"caff", b".snd", b"dns.", b"riff", *_MP3_SYNC)
"""Of the formats that are opened: libsndfile reads many more, some with old and little-used code."""
_OTHERS = ((b"\x1aE\xdf\xa3", "a WebM or Matroska file"), (b"MThd", "a MIDI file"), (b"0&\xb2u", "a Windows Media file"))


def encoded(content: Callable[[], BinaryIO]) -> Open:
    """How to open a sound, given what opens its file."""
    return partial(_opened, content)


@contextmanager
def _opened(content: Callable[[], BinaryIO]) -> Iterator[Recording]:
    libsndfile = _reader()
    try:
        with _on_disk(content()) as file, _silenced(_check_beginning(file)), libsndfile(file.fileno(), closefd=False) as sound:
            yield _Encoded(sound)
    except (OSError, ValueError, RuntimeError, EOFError, zlib.error) as error:  # libsndfile's are RuntimeErrors
        raise NotDecodable(_meant(error)) from error


def _meant(error: Exception) -> str:
    """What is wrong with a file. What libsndfile says of it is about its insides."""
    reason = getattr(error, "error_string", None)
    if reason is None:
        return first_line(error).rstrip(".")
    return "its encoding is not read: ffmpeg converts it" if _UNREAD in reason else "it is damaged"


@cache
def _reader() -> Any:
    """The class of soundfile that opens a sound, as a stream: by default it seeks to its place after each read, which is slow
    and fails where the length isn't known."""
    import soundfile

    class Stream(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return Stream


@contextmanager
def _silenced(mp3: bool) -> Iterator[None]:
    """Without what mpg123, inside of libsndfile, prints on standard error about damaged files: it can't be asked not to."""
    if not mp3:
        yield
        return
    with _MUTE:
        yield


class _Muted:
    """While it is entered, by any number of threads, file descriptor 2 leads nowhere."""

    def __init__(self) -> None:
        self._lock, self._entered, self._saved = threading.Lock(), 0, -1

    def __enter__(self) -> None:
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                with suppress(OSError):  # there is no standard error
                    self._saved = os.dup(2)
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, 2)
                    os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._entered -= 1
            if self._entered == 0 and self._saved >= 0:
                os.dup2(self._saved, 2)
                os.close(self._saved)
                self._saved = -1


_MUTE = _Muted()


@contextmanager
def _on_disk(file: BinaryIO) -> Iterator[BinaryIO]:
    """A file that libsndfile reads by itself: for any other it would take the lock of the interpreter every few bytes, and
    threads would wait for each other. What is in memory or compressed once more is copied to an unnamed file."""
    with file:
        if isinstance(file, io.BufferedReader) and not isinstance(file.raw, ConvertedFile):
            yield file
            return
        data = file.read(MOST_UNPACKED + 1)
    if len(data) > MOST_UNPACKED:
        raise NotDecodable(f"it unpacks to more than {MOST_UNPACKED:,} bytes")
    with tempfile.TemporaryFile(buffering=0) as copy:
        copy.write(data)
        yield cast(BinaryIO, copy)


def _check_beginning(file: BinaryIO) -> bool:
    """Whether it is an MP3 file. Raises `NotDecodable` for what isn't read."""
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    head = os.read(file.fileno(), 12)
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    if not head:
        raise NotDecodable("it is empty")
    if is_sound(head):
        return head.startswith((b"ID3", *_MP3_SYNC))
    other = next((what for start, what in _OTHERS if head.startswith(start)), None)
    if head[4:8] == b"ftyp":
        other = "an MPEG-4 file"
    raise NotDecodable(f"it is {other}, which is not read: ffmpeg converts it" if other else "it is no sound file")


def is_sound(head: bytes) -> bool:
    """Whether a file that begins with these bytes may be a sound."""
    return head.startswith(_BEGINNINGS) and head[8:12] != b"WEBP"


class _Encoded:
    """A sound that libsndfile has opened. Raises `NotDecodable` for one of an odd form, and for a truncated one."""

    def __init__(self, sound: Any) -> None:
        self._sound = sound
        self.rate, self.channels = int(sound.samplerate), int(sound.channels)
        self.seconds = max(0.0, sound.frames / max(self.rate, 1))
        if self.channels > MOST_CHANNELS:
            raise NotDecodable(f"it has {self.channels:,} channels, more than {MOST_CHANNELS}")
        if not RATES[0] <= self.rate <= RATES[1]:
            raise NotDecodable(f"its rate is {self.rate:,} Hz; those of {RATES[0]:,} to {RATES[1]:,} Hz are read")
        for said, there in _SIZES.findall(sound.extra_info):
            if int(there) < 0.99 * int(said) and int(said) < _UNKNOWN_SIZE:
                raise NotDecodable(_TRUNCATED)

    def blocks(self) -> Iterator[Wave]:
        """Raises `NotDecodable` for samples that are no numbers or far above full scale, and where the file is damaged."""
        at_once, most, n = max(1, _BLOCK // self.channels), MOST_SECONDS * self.rate, 0
        while n < most:
            block = self._sound.read(min(at_once, most - n), dtype="float32", always_2d=True)
            if not len(block):
                break
            if not np.isfinite(block).all():
                raise NotDecodable("it holds samples that are no finite numbers")
            if (peak := float(np.abs(block).max())) > _HIGHEST:
                raise NotDecodable(f"its samples reach {peak:.4g}, and full scale is 1")
            n += len(block)
            yield block
        if n == 0:
            raise NotDecodable("it has no samples")
        if n < most and n < 0.95 * self._sound.frames < _UNKNOWN_SIZE:
            raise NotDecodable(_TRUNCATED)
