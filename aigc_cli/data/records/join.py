"""Join texts with the pictures, or sounds, of the same name, and sort records into splits by their pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aigc_cli.data import cache
from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.prepared.store import Store
from aigc_cli.data.records.texts import Record
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.splits import DROPPED
from aigc_cli.data.text.tokenizers.tokenizer import normalise
from aigc_cli.data.understood import Group

LONGEST = 1 << 16
"""Characters of a text; a record with a longer one is skipped."""


@dataclass(frozen=True)
class Joined:
    """The n records of a source, in its order."""

    rows: npt.NDArray[np.int64]  # (n,) the row of each one's picture in the store
    texts: Sequence[tuple[str, ...]]  # (n,) the texts of each, normalised
    skipped: tuple[Group, ...]
    digest: str  # of the texts and the names of their pictures

    def __len__(self) -> int:
        return len(self.rows)


def join(
    records: Iterator[Record], store: Store, medium: Medium, progress: Callable[[int], None], *, told_missing: bool
) -> Joined:
    """The records whose picture is in the store, and whose texts are not too long. The store tells which pictures cannot be
    decoded; with `told_missing`, those that are not there are told of elsewhere too."""
    row_of = {nfc(name): row for row, name in enumerate(store.names)}
    unreadable = {nfc(of["name"]) for of in store.unreadable}
    rows: list[int] = []
    texts: list[tuple[str, ...]] = []
    without: list[str] = []
    missing: list[str] = []
    long: list[str] = []

    def told() -> Iterator[Record]:
        for number, (name, of) in enumerate(records, start=1):
            if number % 1000 == 0:
                progress(number)
            name = name and nfc(name)
            row = None if name is None else row_of.get(name)
            if row is not None and all(len(text) <= LONGEST for text in of):
                rows.append(row)
                texts.append(tuple([normalise(text) for text in of]))
            elif row is not None:
                long.append(f"record {number:,}")
            elif name is None:
                without.append(f"record {number:,}")
            elif name not in unreadable and not told_missing:
                missing.append(name)
            yield name, of

    digest = digest_of(told())
    too_long = f"with a text of over {LONGEST:,} characters"
    of_pictures = {*rows}
    textless = (
        [name for row, name in enumerate(store.names) if row not in of_pictures] if len(of_pictures) < len(row_of) else []
    )
    groups = (
        Group.of(f"{medium.one} without a record", f"{medium.many} without a record", textless),
        Group.of(f"record without a {medium.one}", f"records without a {medium.one}", without),
        Group.of(f"record whose {medium.one} is not there", f"records whose {medium.one} is not there", missing),
        Group.of(f"record {too_long}", f"records {too_long}", long),
    )
    return Joined(np.array(rows, np.int64), texts, tuple(group for group in groups if group is not None), digest)


def digest_of(records: Iterator[Record]) -> str:
    """A hash of the names of pictures and their texts, in order."""
    found = cache.key_of()
    for name, of in records:
        found = cache.key_of(found, name and nfc(name), of)
    return found


def sort(joined: Joined, store: Store, split_of: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    """The split of each record (n,): that of its picture, by the hash of the pixels; DROPPED if that has none, or if an earlier
    record is equal in picture and texts."""
    splits = np.full(len(joined), DROPPED, np.uint8)
    seen: set[tuple[int, tuple[str, ...]]] = set()
    hashes = store.hashes[joined.rows].tolist()
    for number, record in enumerate(zip(hashes, joined.texts, strict=True)):
        if record not in seen:
            seen.add(record)
            splits[number] = split_of.get(record[0], DROPPED)
    return splits
