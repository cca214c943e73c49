"""Arrays from .npy and .npz files, streamed by rows, so that an array of many gigabytes is never in memory as a whole.

Nothing is unpickled: arrays of Python objects are refused.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from aigc_cli.data.compression import check_expansion, explained, open_bytes
from aigc_cli.errors import RequestError, first_line

_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, as its header describes it."""

    path: Path
    key: str  # in an .npz; "" for an .npy
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool  # column-major order

    def __str__(self) -> str:
        return f"{self.path}, array {self.key!r}" if self.key else str(self.path)

    def chunks(self) -> Iterator[npt.NDArray[Any]]:
        """The rows in order, in chunks. Raises `RequestError` if the file is truncated."""
        if self.dtype.hasobject:
            raise RequestError(f"{self} holds pickled Python objects, which are not opened; save it as an array of numbers")
        with _opened(self.path, self.key) as file:
            _read_header(file)
            if self.fortran:  # rows are spread over the whole file
                data = self._read(file, self.shape[0])
                yield np.frombuffer(data, self.dtype).reshape(self.shape[::-1]).T
                return
            row_bytes = max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)
            rows = max(1, _CHUNK_BYTES // row_bytes)
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                yield np.frombuffer(self._read(file, count), self.dtype).reshape(count, *self.shape[1:])

    def load(self) -> npt.NDArray[Any]:
        """The whole array, for small ones."""
        return np.concatenate(list(self.chunks())) if self.shape[0] else np.empty(self.shape, self.dtype)

    def _read(self, file: BinaryIO, rows: int) -> bytearray:
        size = rows * math.prod(self.shape[1:]) * self.dtype.itemsize
        data = bytearray()
        while piece := file.read(min(size - len(data), _CHUNK_BYTES)):  # never more than there is, whatever the header says
            data += piece
        if len(data) < size:
            raise RequestError(f"{self} is truncated: it should have the shape {self.shape}")
        return data


def arrays_of(path: Path) -> list[StoredArray]:
    """The arrays in a file, without scalars. Raises `RequestError` if it is not a file of arrays."""
    keys = [""]
    if path.suffix.lower() == ".npz":
        with explained(path), _whole(path), zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            check_expansion(path, sum(member.file_size for member in archive.infolist()))
    found = []
    for key in keys:
        with _opened(path, key) as file:
            shape, fortran, dtype = _read_header(file)
        if shape:
            found.append(StoredArray(path, key, shape, dtype, fortran and len(shape) > 1))
    return found


def scalars_of(path: Path) -> dict[str, float]:
    """The single numbers in an .npz, by their names. Raises `RequestError` as `arrays_of`."""
    with explained(path), _whole(path), zipfile.ZipFile(path) as archive:
        keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    found = {}
    for key in keys:
        with _opened(path, key) as file:
            shape, _, dtype = _read_header(file)
            if math.prod(shape) == 1 and len(shape) < 2 and dtype.kind in "uif":
                found[key] = float(np.frombuffer(file.read(dtype.itemsize), dtype)[0])
    return found


@contextmanager
def _opened(path: Path, key: str) -> Iterator[BinaryIO]:
    with explained(path), _whole(path):
        if not key:
            with open_bytes(path) as file:
                yield file
            return
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as member:
            yield cast(BinaryIO, member)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, ValueError, LookupError, NotImplementedError, RuntimeError, MemoryError) as error:
        raise RequestError(f"{path} is damaged or not a file of arrays: {first_line(error)}") from error


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except (OSError, EOFError, zlib.error):
        raise
    except Exception as error:  # NumPy parses it as Python's own numbers and texts, and lets whatever that raises through
        raise ValueError(f"its header: {first_line(error)}") from error
    if any(side < 0 for side in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, fortran, dtype
