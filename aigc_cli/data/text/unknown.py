"""The spelling of unknown words, stored next to the tokens."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_FILES = ("unknown_at", "unknown_ends", "unknown")


@dataclass(frozen=True)
class UnknownWords:
    """The spelling of word i is the bytes `spelled[ends[i - 1] : ends[i]]`. Memory-mapped and read-only."""

    at: npt.NDArray[np.int64]  # (n,) positions in the token array, ascending
    ends: npt.NDArray[np.int64]  # (n,)
    spelled: npt.NDArray[np.uint8]
    base: int  # the size of the vocabulary: a byte b is the id base + b

    def words(self) -> list[bytes]:
        """All words in order, in UTF-8."""
        spelled, ends = self.spelled.tobytes(), self.ends.tolist()
        return [spelled[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def spelled_out(self, tokens: list[int], start: int) -> list[int]:
        """`tokens`, from position `start` of the array, with each unknown word followed by its spelling."""
        first, last = np.searchsorted(self.at, (start, start + len(tokens))).tolist()
        ids: list[int] = []
        done = 0
        begin = int(self.ends[first - 1]) if first else 0
        for at, end in zip(self.at[first:last].tolist(), self.ends[first:last].tolist(), strict=True):
            ids += tokens[done : (done := at - start + 1)]
            ids += (self.spelled[begin:end].astype(np.int64) + self.base).tolist()
            begin = end
        return ids + tokens[done:]


class UnknownWriter:
    """Writes the files of one split; they are complete after `close`."""

    def __init__(self, folder: Path, base: int, unk_id: int) -> None:
        self._base, self._unk_id = base, unk_id
        self._buffers = (array("q"), array("q"), array("B"))
        self._n_bytes = 0
        self._files = [(folder / f"{name}.bin").open("wb") for name in _FILES]

    def add(self, ids: Sequence[int], place: int) -> list[int]:
        """Remove spellings from `ids` and store them. Returns the remaining tokens, the first at position `place`."""
        at, ends, spelled = self._buffers
        tokens: list[int] = []
        for index in ids:
            if index >= self._base:
                spelled.append(index - self._base)
                self._n_bytes += 1
                ends[-1] = self._n_bytes
            else:
                if index == self._unk_id:
                    at.append(place + len(tokens))
                    ends.append(self._n_bytes)
                tokens.append(index)
        return tokens

    def flush(self) -> None:
        for file, buffer in zip(self._files, self._buffers, strict=True):
            buffer.tofile(file)
            del buffer[:]

    def close(self) -> None:
        for file in self._files:
            file.close()


def load_unknown(folder: Path, base: int) -> UnknownWords | None:
    """Memory-map files of `UnknownWriter`; None if there are none. Raises OSError or ValueError if they are damaged."""
    if not (folder / "unknown.bin").exists():
        return None
    at, ends = (_mapped(folder / f"{name}.bin", np.int64) for name in _FILES[:2])
    spelled = _mapped(folder / f"{_FILES[2]}.bin", np.uint8)
    if len(at) != len(ends) or (len(ends) and ends[-1] != len(spelled)):
        raise ValueError(f"{folder} is damaged")
    return UnknownWords(at, ends, spelled, base)


def _mapped(path: Path, kind: type[np.generic]) -> npt.NDArray[Any]:
    """A memory-mapped file of numbers. (Empty files can't be mapped.)"""
    return np.memmap(path, kind, mode="r") if path.stat().st_size else np.empty(0, kind)
