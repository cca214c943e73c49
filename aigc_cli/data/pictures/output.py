"""Writing pictures: encoded one by one, laid out on a sheet, or as an array spooled to disk."""

from __future__ import annotations

import io
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from aigc_cli.errors import RequestError

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""One picture, (height, width, channels); channels are 1 (grey), 3 (RGB) or 4 (RGBA)."""

_FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},  # exact: keep the colour of transparent pixels
    "TIFF": {"compression": "tiff_deflate"},
}
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
GAP = 2
"""Pixels between the pictures of a sheet."""
LEGIBLE = 96
"""The longer side, in pixels, up to which pictures on a sheet for display are enlarged."""
WRITTEN = tuple(_FORMATS)
"""Suffixes of formats that can be written."""


def encode_picture(pixels: Pixels, suffix: str) -> bytes:
    """The content of a file with this suffix; lossless except for JPEG. Raises `RequestError` if the format can't hold the
    picture (see `check_format`)."""
    from PIL import Image

    height, width, channels = pixels.shape
    check_format(height, width, channels, suffix)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    image.save(buffer, _FORMATS[suffix], **_SETTINGS.get(_FORMATS[suffix], {}))
    return buffer.getvalue()


def check_format(height: int, width: int, channels: int, suffix: str) -> None:
    """Raise `RequestError` if a file with this suffix can't hold the picture: no transparency, or too large."""
    if channels == 4 and _FORMATS[suffix] == "JPEG":
        raise RequestError("JPEG has no transparency, but these pictures do; use PNG or WebP")
    longest = _LONGEST_SIDE.get(_FORMATS[suffix])
    if longest is not None and max(height, width) > longest:
        raise RequestError(
            f"a picture of {width:,}×{height:,} is too large for {suffix}, whose limit is {longest:,} pixels a side; use .png"
        )


def enlargement(height: int, width: int) -> int:
    """The integer factor to enlarge a picture of this size by on a sheet for display."""
    return max(1, LEGIBLE // max(height, width))


def sheet_size(n: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """(height, width) of a sheet of n pictures of one size."""
    return math.ceil(n / columns) * (height + GAP) - GAP, min(n, columns) * (width + GAP) - GAP


def sheet(pictures: Sequence[Pixels], columns: int, scale: int = 1) -> Pixels:
    """Pictures of one size on a sheet with `columns` columns, enlarged by `scale`. The gaps are white, or transparent for
    RGBA."""
    height, width, channels = scale * pictures[0].shape[0], scale * pictures[0].shape[1], pictures[0].shape[2]
    drawn = np.full((*sheet_size(len(pictures), columns, height, width), channels), 0 if channels == 4 else 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        drawn[top : top + height, left : left + width] = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    return drawn


class SpooledArray:
    """Examples of one shape and type, spooled to disk until their number is known and an .npz can be written."""

    def __init__(self, spool: BinaryIO, name: str, dtype: np.dtype[Any]) -> None:
        self._spool, self._name, self._dtype = spool, name, dtype
        self._shape: tuple[int, ...] = ()
        self._n = 0

    def add(self, example: npt.NDArray[Any]) -> None:
        """Add the next example, of the same shape as the first."""
        self._shape = self._shape or example.shape
        assert example.shape == self._shape and example.dtype == self._dtype
        self._spool.write(example.tobytes())
        self._n += 1

    def save(self, file: BinaryIO, columns: Mapping[str, Any]) -> None:
        """Write the examples as an array (n, …) with this object's name, and each of `columns`."""
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open(f"{self._name}.npy", "w", force_zip64=True) as member:
                header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._n, *self._shape)}
                np.lib.format.write_array_header_1_0(member, header)
                self._spool.seek(0)
                shutil.copyfileobj(self._spool, member, 1 << 20)
            for name, values in columns.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.array(values), allow_pickle=False)


@contextmanager
def spooled_array(folder: Path, name: str, dtype: np.dtype[Any]) -> Iterator[SpooledArray]:
    """An array to fill. Its examples are spooled to an unnamed file in this folder."""
    with tempfile.TemporaryFile(dir=folder) as spool:
        yield SpooledArray(spool, name, dtype)
