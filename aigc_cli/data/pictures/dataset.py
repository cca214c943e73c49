"""From a source of pictures to arrays: decoded once, split by content, memory-mapped from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from aigc_cli.data import cache, sources
from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.files import SUFFIXES as PICTURE_SUFFIXES
from aigc_cli.data.pictures.format import Fit, Mode, PictureFormat, Wanted
from aigc_cli.data.pictures.source import (
    PictureRequest,
    check_input_format,
    check_label_applies,
    check_request,
    check_unchanged,
    described,
    identity,
    open_pictures,
    spool_stdin,
    take_stdin,
)
from aigc_cli.data.pictures.store import Factors, Store, load
from aigc_cli.data.sources import FileRecord, Part
from aigc_cli.data.splits import REPORT, SELECT, TRAIN, plan_with_slice, plan_with_val
from aigc_cli.errors import AigcError, RequestError

__all__ = [
    "Fit",
    "Mode",
    "PictureArrays",
    "PictureDataset",
    "PictureFormat",
    "PictureRequest",
    "check_unchanged",
    "prepare_pictures",
    "read_pictures",
    "take_stdin",
]

_VERSION = 1  # of what the cache holds; raised when the same source would be prepared differently
_SPLITS = {"train": TRAIN, "select": SELECT, "report": REPORT}

Ints: TypeAlias = "npt.NDArray[np.integer[Any]] | Sequence[int]"


@dataclass(frozen=True)
class PictureArrays:
    """Some of the pictures of a source, memory-mapped and read-only."""

    pixels: npt.NDArray[np.uint8]  # (N, height, width, channels), of the whole source
    rows: npt.NDArray[np.int64]  # (n,) the rows of it that are meant
    labels: npt.NDArray[np.int64] | None  # (n,) class numbers, -1 where there is none
    names: Sequence[str]  # (n,) a file's path in its folder, a member's name, "row 17"
    factors: Factors  # name -> (n,) values; empty where nothing is known
    notes: Sequence[str] = ()  # what there is to tell of how they were read

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Ints) -> npt.NDArray[np.uint8]:
        """The pictures with these numbers, below n: (len(index), height, width, channels), a copy."""
        return np.asarray(self.pixels[self.rows[np.asarray(index, np.int64)]])


@dataclass(frozen=True)
class PictureDataset:
    """Training and held-out pictures, and what to tell about them."""

    train: PictureArrays
    select: PictureArrays  # chooses checkpoints and stops
    report: PictureArrays  # for the figures that are reported
    format: PictureFormat
    classes: tuple[str, ...]  # empty where there are not two at least
    two_valued: bool  # every channel of every training pixel is 0 or 255
    explicit_val: bool  # `select` and `report` are both the whole of a --val or of the source's own val split
    info: dict[str, Any]  # for run.json
    notes: list[str]  # for the person
    cached: bool  # nothing had to be decoded

    def described(self, number: int) -> str:
        """The name of a training picture, and its class where it has one."""
        label = -1 if self.train.labels is None else int(self.train.labels[number])
        return self.train.names[number] + (f" ({self.classes[label]})" if 0 <= label < len(self.classes) else "")


def prepare_pictures(request: PictureRequest, *, progress: Progress) -> PictureDataset:
    """Open, decode, split and cache what the request names; a second call finds it in the cache.

    Held out is a slice chosen by a hash of each picture's pixels in the run's format, so that copies fall on the
    same side; of copies the first is kept. Raises RequestError, with nothing left in the cache, when the source
    cannot be used, and AigcError when the cache cannot be written or the source changes while it is read.
    """
    check_request(request)
    spooled = take_stdin(request)
    with sources.speaking_of_stdin(None if spooled is request else Path(spooled.data)):
        return _prepare(spooled, progress)


def _prepare(request: PictureRequest, progress: Progress) -> PictureDataset:
    source = open_pictures(request.data)
    train = source.training()
    val = sources.validation_part(request.val, source, open_pictures)
    check_label_applies([train, val] if val else [train], request.label)
    records = sources.record_files(train)
    store = open_store(train, records, Wanted(request.size, request.mode, request.fit, request.label), progress)
    classes = store.classes if len(store.classes) > 1 else ()
    notes = [f"{len(store.labels):,} pictures, {store.format.describe()}" + f", {len(classes)} classes" * bool(classes)]
    notes += [*source.notes, *store.notes]
    if val is None:
        plan = plan_with_slice(store.hashes, np.ones(len(store.hashes), np.int64), "pictures")
        if not (plan.splits >= SELECT).any():
            what = "one picture" if len(store.hashes) == 1 else f"{len(store.hashes):,} pictures, all the same"
            raise RequestError(f"{train.location} holds {what}; training needs two different ones at least")
        rows = {name: np.flatnonzero(plan.splits == split) for name, split in _SPLITS.items()}
        if not len(rows["report"]):  # a single one is held out, and cannot be halved
            rows["report"] = rows["select"]
        arrays = {name: _arrays(store, its, classes)[0] for name, its in rows.items()}
        notes += plan.notes
        described_val, cached = None, store.cached
    else:
        val_records = sources.record_files(val)
        val_store = open_store(val, val_records, Wanted.exactly(store.format, request.label), progress)
        plan = plan_with_val(store.hashes, np.ones(len(store.hashes), np.int64), val_store.hashes)
        held, unknown = _arrays(val_store, None, classes)
        arrays = {"train": _arrays(store, np.flatnonzero(plan.splits == TRAIN), classes)[0], "select": held, "report": held}
        if not len(arrays["train"]):
            raise RequestError(f"nothing is left to train on: all of {train.location} is in the validation data too")
        notes += [*val_store.notes, *plan.notes]
        if unknown:
            notes.append(f"the validation data have labels that the training data lack: {_listed(unknown)}")
        described_val, cached = described(val, val_records), store.cached and val_store.cached
    info = {
        **described(train, records),
        "val": described_val,
        "label": request.label,
        "format": store.format.to_json(),
        "classes": list(classes),
        "dropped": plan.dropped,
        "unreadable": list(store.unreadable),
        "splits": {name: {"pictures": len(of)} for name, of in arrays.items()},
    }
    return PictureDataset(
        **arrays,
        format=store.format,
        classes=classes,
        two_valued=bool(store.two_valued[arrays["train"].rows].all()),
        explicit_val=val is not None,
        info=info,
        notes=notes,
        cached=cached,
    )


def open_store(part: Part, records: Sequence[FileRecord], wanted: Wanted, progress: Progress) -> Store:
    """The pictures of a part in the format wanted; decoded now if they never were.

    Raises RequestError, with nothing left in the cache, when they cannot be used, and AigcError when the cache
    cannot be written or the source changes while it is read.
    """
    key = cache.key_of("pictures", _VERSION, identity(part, records), wanted.size, wanted.mode, wanted.fit, wanted.label)
    folder = cache.lookup(key)
    if folder is not None and (store := load(folder, cached=True)) is not None:
        return store
    cache.discard(key)
    from aigc_cli.data.pictures.build import build_entry

    build_entry(key, part, records, wanted, progress)
    sources.remember_files(part, records)
    folder = cache.lookup(key)
    store = load(folder, cached=False) if folder else None
    if store is None:
        raise AigcError(f"the cache {cache.cache_dir()} lost what was just written to it; try again")
    return store


def _arrays(store: Store, rows: npt.NDArray[np.int64] | None, classes: Sequence[str]) -> tuple[PictureArrays, list[str]]:
    """The rows of a store (None: all) with their labels as numbers of `classes`, and the labels that are none."""
    rows = np.arange(len(store.labels)) if rows is None else rows
    labels, unknown = None, []
    if classes:
        numbers = {name: number for number, name in enumerate(classes)}
        number_of = np.array([numbers.get(name, -1) for name in store.classes] + [-1], np.int64)  # -1 stays -1
        found = store.labels[rows]
        labels = number_of[found]
        unknown = [store.classes[label] for label in np.unique(found) if label >= 0 and store.classes[label] not in numbers]
        labels = None if (labels < 0).all() else labels
    factors = {name: values[rows] for name, values in store.factors.items()}
    return PictureArrays(store.pixels, rows, labels, store.names.of(rows), factors, store.notes), unknown


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")


def read_pictures(
    source: str,
    format: PictureFormat,
    *,
    classes: Sequence[str] = (),
    label: str | None = None,
    split: str | None = None,
    input_format: str | None = None,
    progress: Progress,
) -> PictureArrays:
    """The pictures of another source, or one picture, in the format of a run; cached like training data.

    Of a source with splits, `split` is read: by default test, else val, else train. Every picture counts, copies
    too. With `classes`, labels are their numbers, and one that is none of them is refused. Raises RequestError
    as `prepare_pictures` does.
    """
    check_input_format(source, input_format)
    spooled = spool_stdin(input_format) if source == "-" else None
    src = source if spooled is None else str(spooled)
    try:
        with sources.speaking_of_stdin(spooled):
            part = open_pictures(src).evaluation(split)
            check_label_applies([part], label)
            store = open_store(part, sources.record_files(part), Wanted.exactly(format, label), progress)
            arrays, unknown = _arrays(store, None, classes)
            if unknown:
                saw = f"the model never saw the labels {_listed(unknown)}; it saw {_listed(classes)}"
                raise RequestError(f"{part.location}: {saw}")
    finally:
        if spooled is not None:
            spooled.unlink(missing_ok=True)
    of_itself = spooled is not None and spooled.suffix in PICTURE_SUFFIXES
    return replace(arrays, names=["standard input"]) if of_itself else arrays
