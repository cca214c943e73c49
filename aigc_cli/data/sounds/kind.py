"""Sounds as a kind of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from aigc_cli.data.kinds import ArrayFile, Sheet
from aigc_cli.data.pictures import output as pictures
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.media import MediaKind
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.data.sounds import output
from aigc_cli.data.sounds.arrays import splits_of
from aigc_cli.data.sounds.format import SoundFormat
from aigc_cli.data.sounds.raw import Wave
from aigc_cli.data.sounds.readers import READ, REMEDIES, SOUND_FILES, SUFFIXES
from aigc_cli.data.sounds.tones import NAME as TONES
from aigc_cli.data.sounds.tones import Tones
from aigc_cli.data.sources.folder_splits import Naming
from aigc_cli.data.sources.source import Part, Source
from aigc_cli.errors import AigcError

_MAGIC = (
    (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"\xff\xfb", ".mp3"), (b"\xff\xf3", ".mp3"),
    (b"\xff\xfa", ".mp3"),
    (b"caff", ".caf"), (b".snd", ".au"), (b"riff", ".w64"),
)  # fmt: skip


class Sounds(MediaKind):
    """A source is brought to one rate and length, as pictures; a sample is such a picture (height, width, 1) uint8, written as
    the sound that it shows in the format of its run."""

    name, one = "sounds", "sound"
    medium = SOUND_FILES
    demos = (TONES,)
    suffixes = READ
    naming: ClassVar[Mapping[str, Naming]] = dict.fromkeys(SUFFIXES, "never")  # train.wav is the sound of a train
    remedies = REMEDIES
    n_samples = 16
    rows = 8  # one after the other they last minutes
    formats = MappingProxyType({"wav": ".wav", "flac": ".flac", "ogg": ".ogg"})
    sheets = (*output.WRITTEN, *pictures.WRITTEN)
    arrays = True
    as_pictures = "aigc_cli.data.sounds.dataset"

    def __init__(self, format: SoundFormat | None = None) -> None:
        self.format = format
        self._last: tuple[Pixels, Wave] | None = None

    def of_run(self, data: Mapping[str, Any]) -> Sounds:
        return Sounds(SoundFormat.of_run(data)) if "sound" in data else self

    def holds(self, src: str, input_format: str | None = None) -> bool:
        from aigc_cli.data.sounds.holds import holds_sounds

        return holds_sounds(self, src, input_format)

    def recognise_file(self, head: bytes) -> str | None:
        if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
            return ".wav"
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return ".aiff"
        return next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), None)

    def open_demo(self, src: str) -> Source:
        location = Tones.of(src).location
        return Source(location, {"all": Part(location, "demo")})

    def demo_fingerprint(self, location: str) -> str:
        return Tones.of(location).fingerprint()

    def splits_of_arrays(self, path: Path) -> Mapping[str, list[str]]:
        return splits_of(path)

    # A sample

    def show(self, content: Pixels) -> Pixels:
        return content

    def encode(self, content: Pixels, suffix: str) -> bytes:
        return output.encode_sound(self._written(content)[0], self._format.rate, suffix)

    def player(self, content: Pixels) -> tuple[str, bytes]:
        return "audio/wav", self.encode(content, ".wav")

    def describe(self, content: Pixels) -> Mapping[str, Any]:
        gain = self._written(content)[1]
        return {"gain": round(gain, 4)} if gain < 1 else {}

    def example(self, data: Mapping[str, Any]) -> Pixels | None:
        if "sound" not in data:
            return None
        format = SoundFormat.of_run(data).picture
        return np.zeros((*format.size, format.channels), np.uint8)

    def check_written(self, content: Pixels, suffix: str, n: int, columns: int) -> None:
        if suffix in pictures.WRITTEN:
            PICTURES.check_written(content, suffix, n, columns)
        else:
            output.check_length(n * self._format.samples * self._format.channels, suffix)

    def sheet(self, contents: Sequence[Pixels], columns: int, suffix: str) -> Sheet:
        """All sounds, one after the other; or their spectrograms, as a picture."""
        if suffix in pictures.WRITTEN:
            return PICTURES.sheet(contents, columns, suffix)
        joined, gain = output.not_clipped(output.joined([self._wave(pixels) for pixels in contents], self._format.rate))
        return Sheet(output.encode_sound(joined, self._format.rate, suffix), {"gain": round(gain, 4)} if gain < 1 else {})

    def array(self, folder: Path) -> AbstractContextManager[ArrayFile]:
        return output.sound_array(folder, self._format.rate, lambda pixels: self._written(pixels)[0])

    @property
    def _format(self) -> SoundFormat:
        if self.format is None:
            raise AigcError("this run does not say the format of its sounds")
        return self.format

    def _wave(self, content: Pixels) -> Wave:
        """The sound of a picture; that of the last one is remembered."""
        from aigc_cli.data.sounds.spectrogram import waveform

        if self._last is None or self._last[0] is not content:
            self._last = content, waveform(content, self._format)
        return self._last[1]

    def _written(self, content: Pixels) -> tuple[Wave, float]:
        """The sound as it is written, and the factor that it was scaled by so that it isn't clipped."""
        return output.not_clipped(self._wave(content))


SOUNDS = Sounds()
