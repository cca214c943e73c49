"""Sounds in .npy and .npz arrays: (n, samples), (n, samples, channels) or (n, channels, samples); (samples,) is one recording.

Values are floating point with full scale 1, or whole numbers of 8 to 32 bits. In an .npz the sounds are the array named sounds,
audio, wave or x (x_train, test_audio: of that split), the labels the one named labels or y, the rate the one named rate, sr or
fs, and every other array with one number per sound is a factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc_cli.data.arrays import StoredArray, arrays_of, scalars_of
from aigc_cli.data.pictures.decoding.raw import RawPicture, describe_origins
from aigc_cli.data.pictures.labels import label_columns
from aigc_cli.data.pictures.sources.arrays import choose_labels, is_column, label_names
from aigc_cli.data.sounds.raw import MOST_CHANNELS, RATES
from aigc_cli.data.sources.split_names import ordered, split_of, words_of
from aigc_cli.errors import RequestError

_SOUND_WORDS = ("sounds", "sound", "audio", "waves", "wave", "waveforms", "waveform", "wav", "x", "data", "arr")
_RATE_WORDS = ("rate", "sr", "fs", "rates", "samplerate")
_MOST_BYTES = 1 << 30  # of one sound


def splits_of(path: Path) -> dict[str, list[str]]:
    """The splits that arrays of sounds in a file are named for, such as x_train and x_test, with their names; empty if none
    are."""
    found: dict[str, list[str]] = {}
    for array in arrays_of(path):
        if _can_be_sounds(array) and len(array.shape) > 1:
            found.setdefault(split_of(array.key), []).append(array.key)
    return {split: found[split] for split in ordered({*found})} if "train" in found else {}


def rate_of(path: Path) -> int | None:
    """The rate that an .npz holds beside its sounds."""
    if path.suffix.lower() != ".npz":
        return None
    found = scalars_of(path)
    given = next((found[key] for word in _RATE_WORDS for key in found if word in words_of(key)), None)
    if given is None:
        return None
    if not np.isfinite(given) or not RATES[0] <= given <= RATES[1]:
        raise RequestError(f"{path}: its rate is {given:g} Hz; those of {RATES[0]:,} to {RATES[1]:,} Hz are read")
    return int(given)


class ArrayReader:
    """The sounds of one file of arrays; of the arrays named for `split`, if any. Their contents are float32 (samples,
    channels)."""

    classes: tuple[str, ...] = ()

    def __init__(self, path: Path, split: str, label: str | None, prefix: str) -> None:
        self.path, self._prefix = path, prefix
        stored = arrays_of(path)
        arrays = [array for array in stored if split_of(array.key) == split] or stored
        self._sounds = _choose_sounds(arrays, path)
        shape = self._sounds.shape
        self.count = shape[0] if len(shape) > 1 else 1
        self._first = len(shape) == 3 and shape[1] <= MOST_CHANNELS < shape[2]  # channels before samples
        beside = [array for array in arrays if is_column(array, self.count) and array is not self._sounds]
        asked = label_columns(label, [array.key for array in beside]) or (None,)
        chosen = [array for name in asked if (array := choose_labels(beside, name, self._sounds, "sound")) is not None]
        self._labels = label_names(chosen)
        numbers = [array for array in beside if array not in chosen and array.dtype.kind in "buif"]
        self.factors = tuple(array.key for array in numbers)
        self._factors = [array.load().reshape(-1) for array in numbers]
        self.origins: dict[str, str] = {"sounds": f"the array {self._sounds.key!r}"} if self._sounds.key else {}
        if chosen and self.origins:
            self.origins["labels"] = " and ".join(f"the array {array.key!r}" for array in chosen)
        self.notes = (describe_origins(self.origins),) if self.origins else ()

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        if len(self._sounds.shape) == 1:
            label = None if self._labels is None else self._labels[0]
            samples = np.concatenate([_full_scale(chunk) for chunk in self._sounds.chunks()])[:, None]
            yield RawPicture(f"{self._prefix}row 0", samples, label, tuple(values[0].item() for values in self._factors))
            return
        start = 0
        for chunk in self._sounds.chunks():
            for row in range(-start % step, len(chunk), step):
                label = None if self._labels is None else self._labels[start + row]
                factors = tuple(values[start + row].item() for values in self._factors)
                yield RawPicture(f"{self._prefix}row {start + row}", self._arranged(_full_scale(chunk[row])), label, factors)
            start += len(chunk)

    def _arranged(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One sound as (samples, channels)."""
        if samples.ndim == 1:
            return samples[:, None]
        return samples.T if self._first else samples


def _full_scale(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Whole numbers as floats in [-1, 1]; unsigned ones have silence in the middle, as in 8-bit .wav files."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    bits = 8 * values.dtype.itemsize
    middle = 2.0 ** (bits - 1)
    return ((values.astype(np.float64) - (middle if values.dtype.kind == "u" else 0.0)) / middle).astype(np.float32)


def _can_be_sounds(array: StoredArray) -> bool:
    """Whether it may hold sounds: samples, and few channels."""
    if array.dtype.kind not in "uif" or 0 in array.shape or (array.dtype.kind != "f" and array.dtype.itemsize > 4):
        return False
    return len(array.shape) <= 2 or (len(array.shape) == 3 and min(array.shape[1:]) <= MOST_CHANNELS)


def _choose_sounds(arrays: Sequence[StoredArray], path: Path) -> StoredArray:
    candidates = [array for array in arrays if _can_be_sounds(array)]
    several = [array for array in candidates if len(array.shape) > 1]
    candidates = several or [array for array in candidates if array.shape[0] >= RATES[0] // 10]
    named = [array for word in _SOUND_WORDS for array in candidates if word in words_of(array.key)]
    chosen = named[:1] or candidates
    if len(chosen) > 1:
        keys = ", ".join(repr(array.key) for array in candidates)
        raise RequestError(f"{path}: several arrays could be the sounds ({keys}); call the right one 'sounds'")
    if not chosen:
        shapes = ", ".join(f"{array.key or 'it'} is {array.dtype} of {array.shape}" for array in arrays[:5]) or "it is empty"
        raise RequestError(f"{path} holds no sounds, which have the shape (n, samples) or with up to 8 channels; {shapes}")
    if chosen[0].dtype.hasobject:
        raise RequestError(f"{path} holds pickled Python objects, which are not opened; save it as an array of numbers")
    of_one = int(np.prod([float(side) for side in chosen[0].shape[1:] or chosen[0].shape])) * 4
    if of_one > _MOST_BYTES:
        raise RequestError(f"{path}: one sound of the shape {chosen[0].shape} takes {of_one:,} bytes; save it as .wav or .flac")
    return chosen[0]
