"""From a source of pictures or sounds with texts beside them to records: a picture and texts, of which one may describe the
other.

Sounds are read as pictures, and called so here. The pictures are read, decoded, cached and split as those of any source of
pictures; a record is in the split of its picture. So whatever is trained on the same source's pictures alone, such as a codec,
never sees a held-out picture either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.prepared.preparing import (
    PictureArrays,
    PictureDataset,
    Reading,
    Request,
    changed_as_pictures,
    prepare_as_pictures,
)
from aigc_cli.data.pictures.prepared.store import Store
from aigc_cli.data.pictures.sources.metadata import FoundLabels
from aigc_cli.data.records.fields import RecordField, choose_fields
from aigc_cli.data.records.join import Joined, digest_of, join, sort
from aigc_cli.data.records.sources import classes_beside, texts_beside
from aigc_cli.data.records.texts import Beside
from aigc_cli.data.sources.opening import Opened, Snapshot, open_evaluation, open_training
from aigc_cli.data.sources.source import Part
from aigc_cli.data.sources.standard_input import named_as_given
from aigc_cli.data.splits import REPORT, SELECT, TRAIN
from aigc_cli.data.understood import EXAMPLES, Group, ReadColumns, Understood
from aigc_cli.errors import RequestError

__all__ = [
    "RecordArrays",
    "RecordDataset",
    "RecordField",
    "RecordRequest",
    "check_unchanged",
    "fields_in",
    "kind_in",
    "prepare_records",
    "read_records",
]

_MOST_VALUES = 100
_OF_TEXTS = re.compile(r"ignored files of other types in .*: [\d,]+ \.(txt|json|cls)(, [\d,]+ \.(txt|json|cls))*")
"""A note on the members of an archive that are read as texts."""


@dataclass(frozen=True)
class RecordRequest(Request):
    """What the user asked for."""

    fields: tuple[str, ...] | None = None  # in order; None: all columns with words in them, then the picture


@dataclass(frozen=True)
class RecordArrays:
    """Some of the records of a source: n pictures, each as often as it has records, and n texts a field."""

    pictures: PictureArrays  # `pictures.rows` (n,) are equal where records share a picture
    texts: Mapping[str, Sequence[str]]  # field -> (n,) texts in normal form C
    notes: Sequence[str] = ()  # on how they were read

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class RecordDataset:
    """Training and held-out records, with notes about them."""

    train: RecordArrays
    select: RecordArrays  # chooses checkpoints and stops
    report: RecordArrays  # for the reported figures
    fields: tuple[RecordField, ...]  # in order
    pictures: PictureDataset  # what is known of all of them
    explicit_val: bool  # `select` and `report` are both the whole of a --val or of the source's own val split
    info: dict[str, Any]  # for run.json
    notes: list[str]  # for the user
    cached: bool  # nothing had to be decoded
    spooled: Path | None = None  # the copy of standard input


def fields_in(info: Mapping[str, Any]) -> tuple[RecordField, ...]:
    """The fields of a run with this record of its data."""
    return tuple(RecordField(field["name"], field["kind"]) for field in info["fields"])


def kind_in(info: Mapping[str, Any]) -> str:
    """The kind of the field that isn't text."""
    return next(field.kind for field in fields_in(info) if not field.is_text)


def prepare_records(request: RecordRequest, reading: Reading, *, progress: Progress) -> RecordDataset:
    """Open, decode, split and cache what the request names. With the `reading` of a codec's format, what was held out from it
    is held out here too.

    Of records that are equal in picture and texts only the first is kept. Raises RequestError if the source cannot be used,
    and AigcError if the cache cannot be written or the source changes while it is read.
    """
    medium = reading.medium
    with open_training(reading.kind, request.data, request.val, request.input_format) as opened:
        beside = texts_beside(opened.train.part, medium)
        if beside is not None:
            choose_fields(beside, request.fields)  # before pictures are decoded
        val_beside = None if opened.val is None else texts_beside(opened.val.part, medium)
        opened = _as_records(opened, beside)
        data, store, held_store = prepare_as_pictures(request, opened, progress, reading)
        _refuse_windows(store, opened.train.part.location, medium)
        beside = beside or classes_beside(store, opened.train.part.location, medium)
        fields = choose_fields(beside, request.fields)
        joined = _join(beside, store, fields, progress, opened.train.part)
        if opened.val is None:
            held, held_joined = beside, joined
        else:
            held = val_beside or classes_beside(held_store, opened.val.part.location, medium)
            held_joined = _join(held, held_store, _as_in(fields, held), progress, opened.val.part)
        arrays, n_copies = _arrays(opened, data, (store, joined), (held_store, held_joined), fields)
        told = reading.described(store)
        return _dataset(opened, data, store, beside, fields, arrays, joined, held_joined, n_copies, told)


def _arrays(
    opened: Opened,
    data: PictureDataset,
    trained: tuple[Store, Joined],
    held: tuple[Store, Joined],
    fields: Sequence[RecordField],
) -> tuple[dict[str, RecordArrays], int]:
    """The records of each split, and the number of copies that were left out. Raises RequestError if a split has none."""
    store, joined = trained
    split_of = {int(of): TRAIN for of in store.hashes[data.train.rows]}
    if opened.val is None:
        split_of |= {int(of): REPORT for of in store.hashes[data.report.rows]}
        split_of |= {int(of): SELECT for of in store.hashes[data.select.rows]}
    splits = sort(joined, store, split_of)
    known = np.isin(store.hashes[joined.rows], np.array([*split_of], np.uint64))
    numbers = {"train": np.flatnonzero(splits == TRAIN)}
    if opened.val is None:
        numbers |= {"select": np.flatnonzero(splits == SELECT), "report": np.flatnonzero(splits == REPORT)}
        filled = [of for of in (numbers["select"], numbers["report"]) if len(of)]
        if filled:  # with few records, both may be the same
            numbers |= {name: of if len(of) else filled[0] for name, of in numbers.items() if name != "train"}
    else:
        every = np.arange(len(held[1]))
        numbers |= {"select": every, "report": every}
    for what, of in (("to train on", numbers["train"]), ("held out", numbers["select"])):
        if not len(of):
            raise RequestError(
                f"{opened.train.part.location}: none of the {data.things} {what} has a record; it has {len(joined):,}"
            )
    arrays = {
        name: _of(*(trained if name == "train" or opened.val is None else held), of, fields) for name, of in numbers.items()
    }
    return arrays, int(known.sum() - np.count_nonzero(splits))


def _dataset(
    opened: Opened,
    data: PictureDataset,
    store: Store,
    beside: Beside,
    fields: tuple[RecordField, ...],
    arrays: Mapping[str, RecordArrays],
    joined: Joined,
    held: Joined,
    n_copies: int,
    told: str,
) -> RecordDataset:
    described = ", ".join(f"{field.name} ({field.kind if field.is_text else f'{data.one}, {told}'})" for field in fields)
    n_pictures = len(np.unique(joined.rows))
    of = "" if n_pictures == len(joined) else f" of {n_pictures:,} {data.things}"
    notes = [f"{len(joined):,} record{'s' * (len(joined) != 1)}{of}: {described}"]
    others = tuple(name for name in beside.columns if name not in {field.name for field in fields})
    if others:
        notes.append(f"not read: {', '.join(others[:10])}{', …' * (len(others) > 10)} (--fields names what is learned)")
    notes += _skipped(joined.skipped, "")
    if n_copies:
        notes.append(f"removed {n_copies:,} record{'s' * (n_copies != 1)} equal to another in {data.one} and texts")
    if opened.val is not None:
        notes += _skipped(held.skipped, "val: " if opened.test is not None else "--val: ")
    if len(joined) != len(data.train) + len(data.select) + len(data.report):
        counts = [len(of) for of in arrays.values()]
        notes.append("records: {:,} to train on, {:,} to select by, {:,} to report on".format(*counts))
    understood = Understood(
        fields={field.name: field.kind for field in fields},
        columns=ReadColumns(tuple(field.name for field in fields), others=others[:EXAMPLES]),
        removed={**data.info["dropped"], "copies": n_copies},
        skipped=(*opened.understood.skipped, *store.skipped(data.things), *joined.skipped),
    ).to_json()
    info = {
        **data.info,
        "kind": fields[-1].kind,
        "fields": [asdict(field) for field in fields],
        "texts": joined.digest,
        "dropped": {**data.info["dropped"], "copies": n_copies},
        "understood": {**data.info["understood"], "removed": {}, **understood},
        "splits": {name: {"records": len(of)} for name, of in arrays.items()},
        "values": _values(arrays["train"]),
    }
    if info["val"] is not None:
        info["val"] = {**info["val"], "texts": held.digest}
    return RecordDataset(
        **arrays,
        fields=fields,
        pictures=data,
        explicit_val=data.explicit_val,
        info=info,
        notes=[*(named_as_given(note, opened.spooled) for note in notes), *_of_pictures(data)],
        cached=data.cached,
        spooled=data.spooled,
    )


def _values(train: RecordArrays) -> dict[str, list[str]]:
    """The different texts of each field that has only a few of them, such as the words of classes."""
    of_fields = {name: sorted({*texts}) for name, texts in train.texts.items()}
    return {name: values for name, values in of_fields.items() if len(values) <= min(_MOST_VALUES, len(train) // 2)}


def _refuse_windows(store: Store, location: str, medium: Medium) -> None:
    if store.format.region is not None:
        raise RequestError(
            f"{location} holds long recordings, and a record has one {medium.one}: cut them into {medium.many} of a few "
            "seconds first"
        )


def _of_pictures(data: PictureDataset) -> list[str]:
    """The notes on the pictures, except on their number, and on copies, of which each may have a text of its own."""
    copies = data.info["dropped"]["copies"]
    told = (f"removed {copies:,} exact cop",) if copies else ()
    return [note for note in data.notes[1:] if not note.startswith(told) and not _OF_TEXTS.fullmatch(note)]


def _skipped(groups: Sequence[Group], prefix: str) -> list[str]:
    return [f"{prefix}skipped {group.count:,} {group.what}: {group}" for group in groups]


def _as_records(opened: Opened, beside: Beside | None) -> Opened:
    """The same without what is said of the files and tables beside pictures, which are read as texts."""
    train, val = _untabled(opened.train), opened.val and _untabled(opened.val)
    told = opened.understood.lines(opened.train.part.location)
    understood = opened.understood.without_others(beside.files if beside else 0)
    lines = understood.lines(opened.train.part.location)
    notes = (*lines, *(note for note in opened.notes if note not in told))
    return replace(opened, train=train, val=val, understood=understood, notes=notes)


def _untabled(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, part=replace(snapshot.part, tables=()))


def _join(beside: Beside, store: Store, fields: Sequence[RecordField], progress: Progress, part: Part) -> Joined:
    """Pictures that a table lists and which are not there were told of when it was opened."""

    def tell(count: int) -> None:
        progress("reading texts", count, None)

    records = beside.read([field.name for field in fields if field.is_text])
    return join(records, store, beside.medium, tell, told_missing=part.listed_in is not None)


def _as_in(fields: Sequence[RecordField], beside: Beside) -> tuple[RecordField, ...]:
    """The same fields of another source. Raises RequestError if it lacks one."""
    return tuple(
        choose_fields(beside, (field.name, beside.picture))[0] if field.is_text else replace(field, name=beside.picture)
        for field in fields
    )


def _of(store: Store, joined: Joined, numbers: npt.NDArray[np.int64], fields: Sequence[RecordField]) -> RecordArrays:
    """Some of the records of a source, by their numbers."""
    rows = joined.rows[numbers]
    of_text = [field.name for field in fields if field.is_text]
    columns = [[joined.texts[number][column] for number in numbers.tolist()] for column in range(len(of_text))]
    factors = {name: values[rows] for name, values in store.factors.items()}
    pictures = PictureArrays(store.pixels, rows, None, store.names.of(rows), factors, store.notes)
    return RecordArrays(pictures, dict(zip(of_text, columns, strict=True)), store.notes)


def check_unchanged(info: Mapping[str, Any], reading: Reading) -> list[str]:
    """How the source differs from what a `RecordDataset.info`, or run.json, describes, one line per difference."""
    lines = changed_as_pictures(reading, info)
    names = [field.name for field in fields_in(info) if field.is_text]
    for record in (info, info["val"]):
        if not lines and record and not record["location"].startswith("hf:"):  # of a revision, which never changes
            part = reading.kind.open(record["location"]).parts[record["split"] or "all"]
            beside = texts_beside(part, reading.medium)
            if beside is not None and digest_of(beside.read(names)) != record["texts"]:
                lines.append(f"the texts of {record['location']} have changed since this run was trained")
    return lines


def read_records(
    source: str,
    fields: Sequence[RecordField],
    reading: Reading,
    *,
    split: str | None = None,
    input_format: str | None = None,
    progress: Progress,
) -> RecordArrays:
    """All records of another source, copies included, with the fields of a run and pictures as `reading` reads them.

    If the source has splits, `split` is read: by default test, otherwise val, otherwise train. Raises RequestError as
    `prepare_records` does, and if the source lacks a field.
    """
    with open_evaluation(reading.kind, source, split, input_format) as opened:
        snapshot = _untabled(opened.snapshot)
        beside = texts_beside(opened.snapshot.part, reading.medium)
        if beside is not None:
            _as_in(fields, beside)
        store = reading.open(snapshot, None, progress, FoundLabels())
        beside = beside or classes_beside(store, snapshot.part.location, reading.medium)
        joined = _join(beside, store, _as_in(fields, beside), progress, snapshot.part)
        if not len(joined):
            raise RequestError(f"{snapshot.part.location} has no records")
        told = [named_as_given(note, opened.spooled) for note in (*opened.notes, *store.notes, *_skipped(joined.skipped, ""))]
        found = _of(store, joined, np.arange(len(joined)), fields)
        return replace(found, notes=told)
