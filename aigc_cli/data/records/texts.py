"""The texts beside pictures: which fields there are, and the texts of each record with the name of its picture.

Texts and pictures are joined by the pictures' names, so that every source whose pictures are read has records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from aigc_cli.data.pictures.listed import Listing, listing_of
from aigc_cli.data.pictures.rows import Rows
from aigc_cli.data.pictures.store import Store
from aigc_cli.data.sources.source import Part
from aigc_cli.data.tables.words import has_words
from aigc_cli.errors import RequestError

PICTURE, CLASS = "picture", "class"
"""Names of fields where the source gives none."""

Record: TypeAlias = tuple[str | None, tuple[str, ...]]
"""The name of a record's picture, None if it has none, and its texts."""

_LOOKED_AT = 200  # rows, for the columns of texts
_SOME = 0.1  # of a column's values, at least


@dataclass(frozen=True)
class Beside:
    """The texts beside the pictures of a part."""

    where: str
    picture: str  # the name of the field of pictures
    columns: tuple[str, ...]  # all that can be fields of texts
    usual: tuple[str, ...]  # those that are if none are asked for
    read: Callable[[Sequence[str]], Iterator[Record]]  # the records, with the texts of these columns


def texts_beside(part: Part) -> Beside | None:
    """None if there are no texts beside the pictures."""
    if part.listed_in is not None:
        listing = listing_of(part.listed_in)
        assert listing is not None, "it was found when the part was opened"
        columns = tuple(name for name in listing.rows.names if name != listing.column)
        usual = _of_words(listing.rows, columns)
        return Beside(str(listing.path), listing.column, columns, usual, partial(_listed, listing))
    return None


def classes_beside(store: Store, where: str) -> Beside:
    """The classes of pictures, if they have any, as texts."""
    columns = (CLASS,) if len(store.classes) > 1 else ()
    return Beside(where, PICTURE, columns, columns, partial(_classes, store))


def _listed(listing: Listing, columns: Sequence[str]) -> Iterator[Record]:
    for number, (name, row) in enumerate(listing.read(columns), start=1):
        yield name, _texts(row, columns, f"{listing.path}, row {number:,}")


def _classes(store: Store, columns: Sequence[str]) -> Iterator[Record]:
    names = (*store.classes, "")  # -1 is none
    for name, label in zip(store.names, store.labels.tolist(), strict=True):
        yield name, (names[label],) * len(columns)


def _of_words(rows: Rows, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns with words in some of their values, rather than numbers and codes alone."""
    values: dict[str, list[str]] = {name: [] for name in columns}
    for row in islice(rows.values(columns), _LOOKED_AT):
        for name in columns:
            text = _text(row.get(name))
            if text:
                values[name].append(text)
    return tuple(name for name, of in values.items() if of and sum(map(has_words, of)) >= _SOME * len(of))


def _texts(row: Mapping[str, Any], columns: Sequence[str], where: str) -> tuple[str, ...]:
    """The values of these columns as texts. Raises RequestError for a value that can't be one."""
    texts = tuple([_text(row.get(name)) for name in columns])
    for name, text in zip(columns, texts, strict=True):
        if text is None:
            raise RequestError(f"{where}: {name!r} must be a text; it is of type {type(row[name]).__name__}")
    try:
        "".join(map(str, texts)).encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"{where}: half a surrogate pair is not text") from error
    return tuple(map(str, texts))


def _text(value: object) -> str | None:
    """A value as a text: a number as it is written, several values, such as tags, with commas between them; "" for none.
    None for what can't be one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        parts = [_text(part) for part in value if not isinstance(part, list)]
        return ", ".join(map(str, parts)) if len(parts) == len(value) and None not in parts else None
    return None
