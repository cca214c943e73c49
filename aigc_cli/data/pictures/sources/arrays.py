"""Pictures in .npy and .npz arrays: (n, height, width), (n, height, width, channels) or (n, channels, height, width).

Values are uint8, or whole numbers from 0 to 255 or up to 65,535, booleans, or floating point in [0, 1] or [0, 255].
In an .npz the pictures are the array named images or x (x_train, test_images: of that split), the labels the one named
labels or y, and every other array with one number per picture is a factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc_cli.data.arrays import StoredArray, arrays_of
from aigc_cli.data.pictures.decoding.raw import MAX_PIXELS, RawPicture, describe_origins
from aigc_cli.data.pictures.decoding.white import FULL
from aigc_cli.data.pictures.labels import joined, label_columns
from aigc_cli.data.sources.split_names import nfc, ordered, split_of, words_of
from aigc_cli.errors import RequestError

SUFFIXES = (".npy", ".npz")

_IMAGE_WORDS = ("images", "image", "imgs", "img", "pictures", "x", "data", "arr")
_LABEL_WORDS = ("labels", "label", "y", "targets", "target", "classes", "class")
_CHANNELS = (1, 3, 4)
_ROUNDING = 1e-4  # how far outside of its range a floating-point value may lie


def splits_of(path: Path) -> dict[str, list[str]]:
    """The splits that arrays of pictures in a file are named for, such as x_train and x_test, with their names; empty if
    none are."""
    found: dict[str, list[str]] = {}
    for array in arrays_of(path):
        if len(array.shape) in (3, 4):
            found.setdefault(split_of(array.key), []).append(array.key)
    return {split: found[split] for split in ordered({*found})} if "train" in found else {}


class ArrayReader:
    """The pictures of one file of arrays; of the arrays named for `split`, if any."""

    classes: tuple[str, ...] = ()

    def __init__(self, path: Path, split: str, label: str | None, prefix: str) -> None:
        self._prefix = prefix
        stored = arrays_of(path)
        arrays = [array for array in stored if split_of(array.key) == split] or stored
        self._images = _choose_images(arrays, path)
        self._layout = _layout(self._images)
        self._scale, notes = _scale(self._images)
        self.count = self._images.shape[0]
        beside = [array for array in arrays if is_column(array, self.count)]
        asked = label_columns(label, [array.key for array in beside]) or (None,)
        chosen = [array for name in asked if (array := choose_labels(beside, name, self._images, "picture")) is not None]
        self._labels = label_names(chosen)
        numbers = [array for array in beside if array not in chosen and array.dtype.kind in "buif"]
        self.factors = tuple(array.key for array in numbers)
        self._factors = [array.load().reshape(-1) for array in numbers]
        self.origins: dict[str, str] = {"pictures": f"the array {self._images.key!r}"} if self._images.key else {}
        if self.origins:
            if chosen:
                self.origins["labels"] = " and ".join(f"the array {array.key!r}" for array in chosen)
            notes.insert(0, describe_origins(self.origins))
        self.notes = tuple(notes)

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        start = 0
        for chunk in self._images.chunks():
            rows = np.arange(-start % step, len(chunk), step)
            pixels = self._pixels(chunk[rows], start + rows)
            for row, picture in zip((start + rows).tolist(), pixels, strict=True):
                label = None if self._labels is None else self._labels[row]
                factors = tuple(values[row].item() for values in self._factors)
                yield RawPicture(f"{self._prefix}row {row}", picture, label, factors)
            start += len(chunk)

    def _pixels(self, values: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Shape (n, …) → (n, height, width, channels), uint8, uint16 or floating point. Raises RequestError for a value out of
        range."""

        def refuse_where(wrong: npt.NDArray[np.bool_], expected: str) -> None:
            if wrong.any():
                index = int(wrong.reshape(len(wrong), -1).any(axis=1).argmax())
                value = values[index][wrong[index]].flat[0]
                raise RequestError(f"{self._images}: picture {rows[index]} holds {value}; {expected}")

        if values.dtype.kind == "f":
            refuse_where(~np.isfinite(values), "pictures must be finite")
            outside = (values < -_ROUNDING) | (values > 255 + _ROUNDING)
            refuse_where(outside, "floating-point pictures must be in [0, 1] or [0, 255]: scale them, such as (x + 1) / 2")
            return self._arranged(values)
        if values.dtype.itemsize > 1 or values.dtype.kind == "i":
            refuse_where((values < 0) | (values > FULL), f"whole numbers must be from 0 to {FULL:,}")
        if self._scale is None:
            return self._arranged(values.astype(np.uint16))
        return self._arranged(values.astype(np.uint8) * np.uint8(255 // self._scale))

    def _arranged(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        match self._layout:
            case "nhw":
                return values[..., None]
            case "nchw":
                return values.transpose(0, 2, 3, 1)
            case _:
                return values


def _choose_images(arrays: Sequence[StoredArray], path: Path) -> StoredArray:
    candidates = [array for array in arrays if len(array.shape) in (3, 4) and array.dtype.kind in "buif"]
    named = [array for word in _IMAGE_WORDS for array in candidates if word in words_of(array.key)]
    chosen = named[:1] or candidates
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        keys = ", ".join(repr(array.key) for array in candidates)
        raise RequestError(f"{path}: several arrays could be the pictures ({keys}); call the right one 'images'")
    shapes = ", ".join(f"{array.key or 'it'} is {array.dtype} of {array.shape}" for array in arrays[:5]) or "it is empty"
    raise RequestError(f"{path} holds no pictures, which have the shape (n, height, width) or with channels; {shapes}")


def _layout(array: StoredArray) -> str:
    shape = array.shape
    if shape[0] == 0 or 0 in shape:
        raise RequestError(f"{array} is empty: its shape is {shape}")
    if math.prod(shape[1:]) > 4 * MAX_PIXELS:
        raise RequestError(f"{array} has the shape {shape}; one picture has more than {MAX_PIXELS:,} pixels")
    if len(shape) == 3:
        if shape[2] in _CHANNELS[1:]:
            raise RequestError(f"{array} has the shape {shape}; if it is one picture, give it a first axis: (1, …)")
        return "nhw"
    if shape[3] in _CHANNELS:
        return "nhwc"
    if shape[1] in _CHANNELS:
        return "nchw"
    raise RequestError(f"{array} has the shape {shape}, without an axis of 1, 3 or 4 channels")


def _scale(array: StoredArray) -> tuple[int | None, list[str]]:
    """The value of white, and notes about it: 255, or 1 if no value is larger. None for floats and for more than 8 bits, where
    white is chosen for all pictures of the source together."""
    if array.dtype.kind == "f":
        return None, []
    if array.dtype.kind == "b":
        return 1, []
    highest, enough = 0, 255 if array.dtype.itemsize > 1 else 1
    for chunk in array.chunks():
        highest = max(highest, int(chunk.max()))
        if highest > enough:
            break
    if highest <= 1:
        return 1, [f"{array} holds only 0 and 1: 1 is taken as white"]
    return (None if highest > 255 else 255), []


def is_column(array: StoredArray, count: int) -> bool:
    """Whether it has one value for each."""
    return array.shape in ((count,), (count, 1)) and array.dtype.kind in "buifUS"


def choose_labels(beside: Sequence[StoredArray], label: str | None, of: StoredArray, one: str) -> StoredArray | None:
    """The array with the labels; None if there is none. Raises RequestError if there is none of the name `label`."""
    if label is None:
        named = [array for word in _LABEL_WORDS for array in beside if word in words_of(array.key)]
        return next((array for array in named if array.dtype.kind != "f"), None)
    chosen = next((array for array in beside if nfc(array.key) == nfc(label) and array.dtype.kind != "f"), None)
    if chosen is None:
        keys = ", ".join(repr(array.key) for array in beside if array.dtype.kind != "f") or "none"
        raise RequestError(f"{of.path}: no array {label!r} holds a label for each {one}; {keys} could")
    return chosen


def describe_unlabelled(path: Path) -> str:
    """What a file of arrays without labels holds."""
    held = ", ".join(f"{array.key!r} ({array.dtype} of {array.shape})" for array in arrays_of(path)[:5])
    return f"it holds {held}, and labels are whole numbers or texts, one a picture"


def label_names(arrays: Sequence[StoredArray]) -> Sequence[str | None] | None:
    """The label of each, or all of them as one; None without arrays."""
    if len(arrays) < 2:
        return _texts(arrays[0]) if arrays else None
    return [joined(values) for values in zip(*map(_texts, arrays), strict=True)]


def _texts(array: StoredArray) -> list[str]:
    values = array.load().reshape(-1)
    if values.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in values.tolist()]
    return [str(value) for value in values.tolist()]
