"""Writing sounds: encoded one by one, one after the other in one file, or as an array spooled to disk."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from aigc_cli.data.pictures.output import Pixels, SpooledArray, spooled_array
from aigc_cli.data.sounds.raw import Wave
from aigc_cli.errors import RequestError

_FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
WRITTEN = tuple(_FORMATS)
"""Suffixes of formats that can be written."""
FULL_SCALE = 32_767 / 32_768
"""The largest sample of 16 bits."""
PAUSE = 0.2
"""Seconds of silence between the sounds of one file."""
_MOST_BYTES = 1 << 32  # of a .wav file


def encode_sound(wave: Wave, rate: int, suffix: str) -> bytes:
    """The content of a file with this suffix, of samples (n, channels) within ±1; .wav and .flac have 16 bits."""
    import soundfile

    format, subtype = _FORMATS[suffix]
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def not_clipped(wave: Wave) -> tuple[Wave, float]:
    """The sound, scaled down if it exceeds full scale, and the factor."""
    peak = float(np.abs(wave).max(initial=0.0))
    if peak <= FULL_SCALE:
        return wave, 1.0
    return wave * np.float32(FULL_SCALE / peak), FULL_SCALE / peak


def joined(waves: Sequence[Wave], rate: int) -> Wave:
    """Sounds (n, channels) one after the other, with pauses between them."""
    pause = np.zeros((round(PAUSE * rate), waves[0].shape[1]), np.float32)
    return np.concatenate([part for wave in waves for part in (pause, wave)][1:])


def check_length(samples: int, suffix: str) -> None:
    """Raise `RequestError` if a file with this suffix can't hold so many samples."""
    if suffix == ".wav" and 2 * samples >= _MOST_BYTES:
        raise RequestError(f"{samples:,} samples are too many for a .wav file; use .flac")


class SoundArray:
    """Sounds of one length, spooled to disk until their number is known and an .npz can be written."""

    def __init__(self, spooled: SpooledArray, rate: int, wave_of: Callable[[Pixels], Wave]) -> None:
        self._spooled, self._rate, self._wave_of = spooled, rate, wave_of

    def add(self, pixels: Pixels) -> None:
        self._spooled.add(self._wave_of(pixels))

    def save(self, file: BinaryIO, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write `sounds` (n, samples, channels) float32, their `rate`, and each of `columns` as an array (n,)."""
        self._spooled.save(file, {**columns, "rate": self._rate})


@contextmanager
def sound_array(folder: Path, rate: int, wave_of: Callable[[Pixels], Wave]) -> Iterator[SoundArray]:
    """An array to fill with the sounds of pictures. Samples are spooled to an unnamed file in this folder."""
    with spooled_array(folder, "sounds", np.dtype(np.float32)) as spooled:
        yield SoundArray(spooled, rate, wave_of)
