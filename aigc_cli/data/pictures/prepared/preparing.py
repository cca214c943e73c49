"""From a source to arrays of pictures: opened, split by content, labelled, and described for the user and for run.json.

It is the same for every kind of data that is learned as pictures. What differs, such as how files are decoded, is a `Reading`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.kinds import Kind
from aigc_cli.data.near import Dedup
from aigc_cli.data.pictures.changes import PICTURES, Changes
from aigc_cli.data.pictures.classes import class_counts, class_notes
from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.labels import Classes, by_label, label_columns
from aigc_cli.data.pictures.prepared.near import with_near
from aigc_cli.data.pictures.prepared.store import Factors, Store
from aigc_cli.data.pictures.sources.folders import notes_on_test
from aigc_cli.data.pictures.sources.metadata import FoundLabels, find_labels
from aigc_cli.data.pictures.sources.readers import check_label_applies, label_applies, names_of, why_unlabelled
from aigc_cli.data.pictures.sources.windows import Windows
from aigc_cli.data.sources.opening import Opened, Snapshot, changes, open_evaluation
from aigc_cli.data.sources.source import Part
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.sources.standard_input import named_as_given
from aigc_cli.data.splits import REPORT, SELECT, TRAIN, SplitPlan, plan_with_slice, plan_with_val
from aigc_cli.data.understood import listed
from aigc_cli.errors import RequestError

_SPLITS = {"train": TRAIN, "select": SELECT, "report": REPORT}

Ints: TypeAlias = "npt.NDArray[np.integer[Any]] | Sequence[int]"


@dataclass(frozen=True)
class Request:
    """What the user asked for, of any kind of data."""

    data: str
    val: str | None = None
    label: str | None = None  # the columns or arrays with the labels, with commas between them
    input_format: str | None = None  # of standard input: png jpg … parquet arrow npy npz tar zip
    conditional: bool = False  # classes are learned: a source without labels is refused
    dedup: Dedup = "exact"
    classes: Classes | None = None  # those of an existing run; None: those with examples to train on
    foreign: tuple[str, ...] = ()  # options of other kinds that were given


@dataclass(frozen=True)
class PictureArrays:
    """Some of the pictures of a source, memory-mapped and read-only."""

    pixels: npt.NDArray[np.uint8]  # (N, height, width, channels), of the whole source
    rows: npt.NDArray[np.int64]  # (n,) the rows in use
    labels: npt.NDArray[np.int64] | None  # (n,) class numbers, -1 for none; of several labels (n, labels)
    names: Sequence[str]  # (n,) a file's path in its folder, a member's name, "row 17"
    factors: Factors  # name -> (n,) values; empty if none are known
    notes: Sequence[str] = ()  # on how they were read
    windows: Windows | None = None  # with --tile, where the n pictures are in the regions `pixels`
    seconds: npt.NDArray[np.float64] | None = None  # (n,) of sounds, as long as they were

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a picture."""
        height, width, channels = self.pixels.shape[1:]
        return (height, width, channels) if self.windows is None else (*self.windows.size, channels)

    def take(self, index: Ints) -> npt.NDArray[np.uint8]:
        """The pictures with these numbers, below n: (len(index), height, width, channels), a copy."""
        numbers = np.asarray(index, np.int64)
        if self.windows is not None:
            return self.windows.at(self.pixels, self.rows[numbers], numbers)
        return np.asarray(self.pixels[self.rows[numbers]])

    def take_anywhere(self, index: Ints, draw: np.random.Generator) -> npt.NDArray[np.uint8]:
        """As `take`; with --tile, windows at random offsets in the same regions."""
        if self.windows is None:
            return self.take(index)
        return self.windows.anywhere(self.pixels, self.rows[np.asarray(index, np.int64)], draw)


@dataclass(frozen=True)
class PictureDataset:
    """Training and held-out pictures, with notes about them."""

    train: PictureArrays
    select: PictureArrays  # chooses checkpoints and stops
    report: PictureArrays  # for the reported figures
    format: PictureFormat
    classes: Classes  # empty if there are fewer than two
    two_valued: bool  # every channel of every training pixel is 0 or 255
    explicit_val: bool  # `select` and `report` are both the whole of a --val or of the source's own val split
    info: dict[str, Any]  # for run.json
    notes: list[str]  # for the user
    cached: bool  # nothing had to be decoded
    spooled: Path | None = None  # the copy of standard input
    changes: Changes = PICTURES  # what augmentation may do
    heard: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]] | None = None
    """From a picture (height, width, channels) to the sound (samples, channels) that it stands for, if it does."""
    one: str = "picture"  # what an example is called
    form: Mapping[str, Any] = field(default_factory=dict)  # what examples are like, as run.json records it

    @property
    def things(self) -> str:
        """What examples are called: "pictures"."""
        return f"{self.one}s"


class AsPictures(Protocol):
    """The module of a kind whose data are learned as pictures (`Kind.as_pictures`)."""

    OPTIONS: Collection[str]
    """The names of options of `train` that only this kind has."""

    def prepare(
        self, request: Request, settings: Mapping[str, Any], longest: int, progress: Progress
    ) -> tuple[PictureDataset, Mapping[str, Any]]:
        """Open, decode, split and cache what is requested, and the options that were decided. `settings` has the options of
        `train` by name, `longest` is the longest side that the run can afford. Raises what `prepare_as_pictures` does."""

    def wanted(self, settings: Mapping[str, Any], longest: int) -> Reading:
        """How to read examples for a record, by options of `train` and the longest side that the run can afford."""

    def like(self, data: Mapping[str, Any]) -> Reading:
        """How to read examples in the format of a run with this record of its data."""

    def settings_of(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options of `train` with which examples are read in this format."""


class Reading(ABC):
    """How the sources of one kind are read as pictures, and what their examples are called."""

    kind: ClassVar[Kind]
    medium: ClassVar[Medium]
    changes: ClassVar[Changes] = PICTURES
    """What augmentation may do to an example."""

    @abstractmethod
    def open(
        self, snapshot: Snapshot, label: str | None, progress: Progress, labels: FoundLabels, like: Store | None = None
    ) -> Store:
        """All examples of a part as asked for, or in the format of the store `like`; `labels` are those of a table beside
        them."""

    def check(self, parts: Sequence[Part], label: str | None) -> None:
        """Raise `RequestError` for a request that these parts can't follow, before anything is read."""
        check_label_applies(parts, label)

    def heard(self, store: Store) -> Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]] | None:
        """What makes sounds of the examples, if they stand for sounds."""
        return None

    def label_applies(self, parts: Sequence[Part]) -> bool:
        """Whether labels may have names in this source."""
        return label_applies(parts)

    def looks_alike(self, store: Store) -> bool:
        """Whether examples look alike by their nature, so that near duplicates say nothing."""
        return False

    def plan(self, store: Store, classes: npt.NDArray[np.int64] | None) -> SplitPlan:
        """What is held out of a source without validation data; for `classes` see `plan_with_slice`."""
        return plan_with_slice(store.hashes, np.ones(len(store.hashes), np.int64), self.kind.name, classes=classes)

    def why_unlabelled(self, part: Part) -> Sequence[str]:
        """What a part holds instead of labels."""
        return why_unlabelled(part)

    def nothing_held_out(self, store: Store, location: str) -> str:
        """Why no example can be held out."""
        n, things = len(store.hashes), self.kind.name
        what = f"one {self.medium.one}" if n == 1 else f"{n:,} {things}, all the same"
        return f"{location} holds {what}; training needs at least two different ones"

    def described(self, store: Store) -> str:
        """What an example is like: "28×28 grey"."""
        return store.format.describe()

    def counted(self, store: Store) -> str:
        """The examples of a source: "5,000 pictures, 28×28 grey"."""
        return f"{len(store.labels):,} {self.kind.name}, {self.described(store)}"

    def record(self, store: Store) -> dict[str, Any]:
        """What run.json records of this kind alone."""
        return {}

    def names(self, part: Part) -> list[str]:
        """The paths of files that are one example each, in the source's folder."""
        return names_of(part, self.medium.suffixes)

    def labels(self, part: Part, label: str | None, learned: bool, classes: Classes) -> FoundLabels:
        """The labels of these files in tables beside them."""
        return find_labels(part, label, learned, classes, self.medium)


def prepare_as_pictures(
    request: Request, opened: Opened, progress: Progress, reading: Reading
) -> tuple[PictureDataset, Store, Store]:
    """Read, split and cache a source that is open; also returns all of its examples, copies included, and all of those that
    the held-out ones are from.

    A slice is held out by a hash of each example, so that copies share a split; only the first copy is kept. Raises
    RequestError, with nothing left in the cache, if the source cannot be used, and AigcError if the cache cannot be written or
    the source changes while it is read.
    """
    things = reading.kind.name
    train, val = opened.train.part, opened.val
    if request.foreign:
        raise RequestError(f"{request.foreign[0]} is not for {things}, which {request.data} holds; remove it")
    reading.check(opened.parts, request.label)
    labels_of = partial(reading.labels, label=request.label, learned=request.conditional, classes=request.classes or ())
    labels = labels_of(train)
    val_labels = FoundLabels()
    store = reading.open(opened.train, request.label, progress, labels)
    notes = [*opened.notes, *labels.notes, *store.notes]
    origins = {**opened.understood.origins, **store.origins, **labels.origins}
    understood = replace(opened.understood, skipped=opened.understood.skipped + store.skipped(things), origins=origins)
    of_classes = store.labels if request.conditional and len(store.classes) > 1 else None
    if val is None:
        plan, held_store = reading.plan(store, of_classes), store
        held_rows = np.flatnonzero(plan.splits >= SELECT)
        if not len(held_rows):
            raise RequestError(reading.nothing_held_out(store, train.location))
    else:
        val_labels = labels_of(val.part)
        held_store = reading.open(val, request.label, progress, val_labels, store)
        ones = np.ones(len(store.hashes), np.int64)
        plan = plan_with_val(store.hashes, ones, held_store.hashes, classes=of_classes)
        held_rows = np.arange(len(held_store.hashes))
    if request.dedup == "near" or not (train.kind == "demo" or reading.looks_alike(store)):  # demos are drawn at random
        plan, near = with_near(plan, store, held_store, held_rows, request.dedup, progress)
        understood = replace(understood, near_duplicates=near.describe())
    classes = _classes(request, store, plan.splits)
    if val is None:
        rows = {name: np.flatnonzero(plan.splits == split) for name, split in _SPLITS.items()}
        if not len(rows["report"]):  # a single picture is held out, and cannot be halved
            rows["report"] = rows["select"]
        arrays = {name: _arrays(store, its, classes)[0] for name, its in rows.items()}
        notes += plan.notes
        was_cached = store.cached
    else:
        held, unknown = _arrays(held_store, None, classes)
        arrays = {"train": _arrays(store, np.flatnonzero(plan.splits == TRAIN), classes)[0], "select": held, "report": held}
        if not len(arrays["train"]):
            raise RequestError(f"nothing is left to train on: all of {train.location} is in the validation data too")
        of_held = dict.fromkeys([*val_labels.notes, *held_store.notes])
        prefix = "val" if request.val is None else "--val"
        notes += [*(f"{prefix}: {note}" for note in of_held if note not in notes), *plan.notes]
        if (of_val := understood.val) is not None:
            understood = replace(understood, val=replace(of_val, skipped=of_val.skipped + held_store.skipped(things)))
        if len(arrays["train"]) < len(held):
            notes.append(f"fewer {things} to train on ({len(arrays['train']):,}) than to validate on ({len(held):,})")
        else:
            notes.append(f"validating on {len(held):,} {reading.medium.one if len(held) == 1 else things}")
        if unknown:
            counted = listed(f"{name!r} ({count:,})" for name, count in unknown.items())
            notes.append(f"the validation data have labels that the training data lack: {counted}")
        was_cached = store.cached and held_store.cached
    if request.conditional and not classes:
        reasons = [*labels.notes, *reading.why_unlabelled(train)]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        raise RequestError(
            f"--conditional: {request.data} has no labels{why}; use a subfolder a class, or name a column: --label"
        )
    of_labels, stores = by_label(classes), store.by_label()
    told = ", ".join(f"{len(of)} classes" + f" of {name!r}" * bool(name) for name, of in of_labels.items())
    notes.insert(0, reading.counted(store) + f", {told}" * bool(told))
    notes[1:1] = [
        f"{name!r}: {note}" if name else note
        for name, of_label in stores.items()
        for note in class_notes(of_label, plan.splits, of_labels.get(name, ()), reading.medium.one, things)
    ]
    if request.conditional and not isinstance(classes, Mapping) and opened.test is not None and not opened.test.tables:
        notes += notes_on_test(reading.names(opened.test), opened.test.split_level, classes)
    if not classes:
        understood = replace(understood, origins={what: of for what, of in understood.origins.items() if what != "labels"})
    counts = {name: class_counts(of, plan.splits, of_labels.get(name, ())) for name, of in stores.items()}
    understood = replace(understood, classes=counts if store.label_names else counts[""], removed=plan.dropped)
    form = {"format": store.format.to_json(), **reading.record(store)}
    info = {
        **opened.describe(),
        "understood": understood.to_json(),
        "label": request.label,
        **form,
        "classes": {name: [*of] for name, of in classes.items()} if isinstance(classes, Mapping) else list(classes),
        "dropped": plan.dropped,
        "unreadable": list(store.unreadable),
        "splits": {name: {things if of.windows is None else "windows": len(of)} for name, of in arrays.items()},
    }
    for record, of in ((info, labels), (info["val"], val_labels)):
        if of.digest is not None:
            record["metadata"] = of.digest
    data = PictureDataset(
        **arrays,
        format=store.format,
        classes=classes,
        two_valued=bool(store.two_valued[arrays["train"].rows].all()),
        explicit_val=val is not None,
        info=info,
        notes=[named_as_given(note, opened.spooled) for note in notes],
        cached=was_cached,
        spooled=opened.spooled,
        changes=reading.changes,
        heard=reading.heard(store),
        one=reading.medium.one,
        form=form,
    )
    return data, store, held_store


def _classes(request: Request, store: Store, splits: npt.NDArray[np.uint8]) -> Classes:
    """The classes of a data set, at least two or none; if they are learned, only those with pictures to train on.

    Raises RequestError if they are learned, and one of several labels doesn't have two.
    """
    if request.classes is not None:
        return request.classes
    found = {}
    for label, of_label in store.by_label().items():
        classes = of_label.classes
        if request.conditional:
            trained = {*of_label.labels[splits == TRAIN].tolist()}
            classes = tuple(name for number, name in enumerate(classes) if number in trained)
        if len(classes) > 1:
            found[label] = classes
        elif label and request.conditional:
            held = f"only the class {classes[0]!r}" if classes else "no class"
            raise RequestError(f"--label {request.label}: {label!r} has {held} to train on; leave it out")
    return found if store.label_names else found.get("", ())


def _arrays(store: Store, rows: npt.NDArray[np.int64] | None, classes: Classes) -> tuple[PictureArrays, dict[str, int]]:
    """The rows of a store (None: all) with their labels as numbers of `classes`, and the numbers of pictures of other classes.

    Several labels that the store has under other names are taken in order.
    """
    rows = np.arange(len(store.labels)) if rows is None else rows
    windows = None
    if store.format.region is not None and len(rows):
        windows = Windows.of(store.format, len(rows))
        rows = np.repeat(rows, len(windows.offsets) // len(rows))
    columns, unknown = [], dict[str, int]()
    for names, of_label in zip(by_label(classes).values(), _labels_of(store, classes), strict=False):
        numbers = {nfc(name): number for number, name in enumerate(names)}
        number_of = np.array([numbers.get(nfc(name), -1) for name in of_label.classes] + [-1], np.int64)  # -1 stays -1
        found = of_label.labels[rows]
        columns.append(number_of[found])
        foreign, counts = np.unique(found[(found >= 0) & (number_of[found] < 0)], return_counts=True)
        unknown |= {of_label.classes[label]: count for label, count in zip(foreign, counts.tolist(), strict=True)}
    labels = None
    if isinstance(classes, Mapping) and classes:
        labels = np.stack(columns, 1) if columns else np.full((len(rows), len(classes)), -1, np.int64)
    elif columns and (columns[0] >= 0).any():
        labels = columns[0]
    factors = {name: values[rows] for name, values in store.factors.items()}
    seconds = None if store.seconds is None else store.seconds[rows]
    return PictureArrays(store.pixels, rows, labels, store.names.of(rows), factors, store.notes, windows, seconds), unknown


def _labels_of(store: Store, classes: Classes) -> list[Store]:
    """The store with each of the labels alone; none if it has others."""
    found = store.by_label()
    if not isinstance(classes, Mapping):
        return [] if store.label_names else [*found.values()]
    if classes.keys() <= found.keys():
        return [found[name] for name in classes]
    return [*found.values()] if len(found) == len(classes) and store.label_names else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")


def read_as_pictures(
    source: str,
    reading: Reading,
    *,
    classes: Classes = (),
    label: str | None = None,
    split: str | None = None,
    input_format: str | None = None,
    progress: Progress,
) -> PictureArrays:
    """The examples of another source, or one example, in the format that `reading` asks for; cached like training data.

    If the source has splits, `split` is read: by default test, otherwise val, otherwise train. All count, also copies. With
    `classes`, labels are their numbers, and other labels are refused; several labels are by default in columns of their own
    names. Raises RequestError as `prepare_as_pictures` does.
    """
    with open_evaluation(reading.kind, source, split, input_format) as opened:
        snapshot, spooled = opened.snapshot, opened.spooled
        if label is None and isinstance(classes, Mapping) and reading.label_applies([snapshot.part]):
            label = ",".join(classes)
        reading.check([snapshot.part], label)
        if isinstance(classes, Mapping) and label is not None and len(label_columns(label)) != len(classes):
            raise RequestError(f"--label {label}: name a column for each of the model's labels: {', '.join(classes)}")
        found = reading.labels(snapshot.part, label, bool(classes), classes)
        store = reading.open(snapshot, label, progress, found)
        arrays, unknown = _arrays(store, None, classes)
        told = (*opened.notes, *found.notes, *arrays.notes)
        arrays = replace(arrays, notes=[named_as_given(note, spooled) for note in told])
        if unknown:
            seen = [name for of in by_label(classes).values() for name in of]
            saw = f"the model never saw the labels {_listed([*unknown])}; it saw {_listed(seen)}"
            raise RequestError(f"{snapshot.part.location}: {saw}")
    of_itself = spooled is not None and spooled.suffix in reading.medium.suffixes
    return replace(arrays, names=["standard input"]) if of_itself else arrays


def changed_as_pictures(reading: Reading, info: Mapping[str, Any]) -> list[str]:
    """How the source differs from what a `PictureDataset.info`, or run.json, describes, one line per difference."""
    lines = changes(reading.kind, info)
    for record in (info, info["val"]):
        if not lines and record and "metadata" in record:
            part = reading.kind.open(record["location"]).parts[record["split"] or "all"]
            if reading.labels(part, info["label"], True, info["classes"]).digest != record["metadata"]:
                lines.append(f"the labels of {record['location']} have changed since this run was trained")
    return lines
