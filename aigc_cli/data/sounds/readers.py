"""Readers for the sounds of a source: those of pictures (files, archives, tables, the Hub), but for what is decoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from aigc_cli.data.pictures.decoding.raw import Content, Described, Medium, Reader, in_base64
from aigc_cli.data.pictures.sources import readers
from aigc_cli.data.sounds.arrays import ArrayReader, rate_of
from aigc_cli.data.sounds.decode import encoded
from aigc_cli.data.sounds.raw import SOUND_NAMES, Clip, Open, RawSound
from aigc_cli.data.sounds.tones import Tones, TonesReader
from aigc_cli.data.sources.source import Part
from aigc_cli.errors import RequestError

SUFFIXES = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64", ".rf64",
)  # fmt: skip
_FFMPEG = "ffmpeg -i FILE FILE.flac converts them"
REMEDIES = dict.fromkeys((".m4a", ".aac", ".wma", ".mp4", ".webm", ".mka", ".ape", ".wv", ".amr"), _FFMPEG)
"""By suffix, how to convert files that are not read."""
SOUND_FILES = Medium(
    "sound",
    "sounds",
    SUFFIXES,
    REMEDIES,
    SOUND_NAMES,
    "Audio",
    in_base64("audio", "UklGR|ZkxhQ|T2dnU|SUQz|Rk9ST|//[uvt]|Y2FmZ|LnNuZ"),  # RIFF, FLAC, Ogg, ID3, AIFF, MP3, CAF, AU
)
READ = SOUND_FILES.read
"""The suffixes of files that sounds are read from."""


class SoundReader(Described, Protocol):
    """The sounds of one file, or of the sound files of a folder, in order."""

    def read(self, step: int = 1) -> Iterator[RawSound]:
        """Every `step`-th sound. Raises `RequestError` if the source can't be read."""


class _Sounds:
    """What a reader finds, as sounds."""

    def __init__(self, reader: Reader, rate: int | None) -> None:
        self._reader, self._rate = reader, rate
        self.count, self.classes, self.factors = reader.count, reader.classes, reader.factors
        self.origins, self.notes = reader.origins, reader.notes

    def read(self, step: int = 1) -> Iterator[RawSound]:
        for raw in self._reader.read(step):
            yield RawSound(raw.name, self._open(raw.content), raw.label, raw.factors)

    def _open(self, content: Content) -> Open:
        if isinstance(content, np.ndarray):
            assert self._rate is not None, "arrays have a rate"
            return Clip.opener(content, self._rate)
        return encoded(content)


def open_readers(
    part: Part, label: str | None, labels: Sequence[str | None] | None = None, rate: int | None = None
) -> list[SoundReader]:
    """Readers for the sounds of a part: one for all sound files, then one for each other file. `labels` are those of the sound
    files, by default their folders; `rate` is that of arrays that don't say it.

    Raises RequestError for a source that can't be read, and for arrays without a rate.
    """
    if part.kind == "demo":
        return [TonesReader(Tones.of(part.location), label)]
    found = readers.open_readers(part, label, labels, SOUND_FILES, ArrayReader)
    return [_Sounds(reader, _rate(reader, rate)) for reader in found]


def _rate(reader: Reader, rate: int | None) -> int | None:
    if not isinstance(reader, ArrayReader):
        return None
    of_array = rate_of(reader.path) or rate
    if of_array is None:
        raise RequestError(f"{reader.path} doesn't say the rate of its sounds: give it with --rate, or in an .npz as 'rate'")
    return of_array
