"""The pictures of a source in one format, decoded once and in parallel, then mapped from the cache.

An entry holds all of them in the source's order, but not their splits: these follow from hashes of the pixels, so that
one entry serves both training and evaluation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.labels import in_order, separated
from aigc_cli.data.understood import EXAMPLES, Group

Factors: TypeAlias = Mapping[str, npt.NDArray[np.int64] | npt.NDArray[np.float64]]


class Names(Sequence[str]):
    """The names of pictures, read on access from `text`, in which they end at `ends` (n + 1,)."""

    def __init__(self, text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> None:
        self._text, self._ends, self._rows = text, ends, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return self.of(self._rows[index])
        row = self._rows[index]
        return self._text[self._ends[row] : self._ends[row + 1]].tobytes().decode("utf-8", "surrogateescape")

    def of(self, rows: npt.NDArray[np.int64]) -> Names:
        """The names of other rows of the same source."""
        return Names(self._text, self._ends, rows)


@dataclass(frozen=True)
class Store:
    """All n pictures of a source that could be decoded, memory-mapped and read-only."""

    pixels: npt.NDArray[np.uint8]  # (n, height, width, channels), with --tile of regions
    hashes: npt.NDArray[np.uint64]  # (n,) of the pixels
    two_valued: npt.NDArray[np.bool_]  # (n,) every channel of every pixel is 0 or 255
    labels: npt.NDArray[np.int64]  # (n,) numbers of `classes`; -1 for none
    classes: tuple[str, ...]  # with several labels, a class for each combination of their values (`labels.joined`)
    names: Names
    factors: Factors
    format: PictureFormat
    folder: Path  # of the cache entry
    notes: tuple[str, ...]  # for the user
    unreadable: tuple[Mapping[str, str], ...]  # name and reason of the first that could not be decoded
    n_unreadable: int  # all that could not be decoded
    origins: Mapping[str, str]  # as `Reader.origins`, of all readers
    frames: int = 1  # the most pages or frames of a file, of which the first is read
    long: bool = False  # as `Wanted.long`
    cached: bool = True  # nothing had to be decoded
    label_names: tuple[str, ...] = ()  # if there are several labels
    seconds: npt.NDArray[np.float64] | None = None  # (n,) of sounds, as long as they were

    def by_label(self) -> dict[str, Store]:
        """The same pictures with each of their labels alone; the name of the only one is empty."""
        if not self.label_names:
            return {"": self}
        values = [separated(name) for name in self.classes]
        found = {}
        for place, label in enumerate(self.label_names):
            classes = in_order({value for of in values if (value := of[place]) is not None})
            numbers = {name: number for number, name in enumerate(classes)}
            of_class = np.array([*(-1 if of[place] is None else numbers[str(of[place])] for of in values), -1], np.int64)
            found[label] = replace(self, labels=of_class[self.labels], classes=tuple(classes), label_names=())
        return found

    def skipped(self, things: str = "pictures") -> tuple[Group, ...]:
        """What could not be decoded."""
        names = tuple(str(of["name"]) for of in self.unreadable[:EXAMPLES])
        return (Group(f"{things} that cannot be decoded", self.n_unreadable, names),) if names else ()


@dataclass(frozen=True)
class StoredColumns:
    """Columns stored for each of n pictures besides its pixels and its name."""

    ends: npt.NDArray[np.int64]  # (n + 1,)
    hashes: npt.NDArray[np.uint64]
    two_valued: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    factors: Factors


def save(folder: Path, columns: StoredColumns, **facts: Any) -> None:
    """Complete an entry whose `pixels.bin` and `names.bin` are written."""
    for name in ("ends", "hashes", "two_valued", "labels"):
        getattr(columns, name).tofile(folder / f"{name}.bin")
    for number, values in enumerate(columns.factors.values()):
        values.tofile(folder / f"factor-{number}.bin")
    kinds = {name: values.dtype.kind for name, values in columns.factors.items()}
    text = json.dumps({"count": len(columns.labels), "factors": kinds, **facts})
    (folder / "facts.json").write_text(text, encoding="utf-8")


def load(folder: Path) -> Store | None:
    """The content of a cache entry; None if it is damaged."""
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        format, n = PictureFormat.from_json(facts["format"]), facts["count"]
        ends = mapped(folder / "ends.bin", np.int64, n + 1)
        return Store(
            pixels=mapped(folder / "pixels.bin", np.uint8, n, *format.stored, format.channels),
            hashes=mapped(folder / "hashes.bin", np.uint64, n),
            two_valued=mapped(folder / "two_valued.bin", np.bool_, n),
            labels=mapped(folder / "labels.bin", np.int64, n),
            classes=tuple(facts["classes"]),
            names=Names(mapped(folder / "names.bin", np.uint8, int(ends[-1])), ends, np.arange(n)),
            factors={
                name: mapped(folder / f"factor-{number}.bin", np.int64 if kind == "i" else np.float64, n)
                for number, (name, kind) in enumerate(facts["factors"].items())
            },
            format=format,
            folder=folder,
            notes=tuple(facts["notes"]),
            label_names=tuple(facts.get("labels", ())),
            long=facts.get("long", False),  # which earlier versions don't know
            unreadable=tuple(facts["unreadable"]),
            origins=facts.get("origins", {}),
            frames=facts.get("frames", 1),
            n_unreadable=facts.get("n_unreadable", len(facts["unreadable"])),  # earlier versions list up to 1,000
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mapped(path: Path, dtype: Any, *shape: int) -> npt.NDArray[Any]:
    """Raises ValueError for a file of another size."""
    return np.memmap(path, dtype, mode="r").reshape(shape)
