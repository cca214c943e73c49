"""The texts beside pictures or sounds: which fields there are, and the texts of each record with the name of its picture.

Texts and pictures are joined by the pictures' names, so that every source whose pictures are read has records. Sounds are read
as pictures, and called so here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.tables.words import has_words
from aigc_cli.errors import RequestError

CAPTION, CLASS = "caption", "class"
"""Names of fields where the source gives none."""

Record: TypeAlias = tuple[str | None, tuple[str, ...]]
"""The name of a record's picture, None if it has none, and its texts."""

_SOME = 0.1  # of a column's values, at least


@dataclass(frozen=True)
class Beside:
    """The texts beside the pictures of a part."""

    where: str
    medium: Medium  # what the pictures are
    picture: str  # the name of their field
    columns: tuple[str, ...]  # all that can be fields of texts
    usual: tuple[str, ...]  # those that are if none are asked for
    read: Callable[[Sequence[str]], Iterator[Record]]  # the records, with the texts of these columns
    files: int = 0  # that texts are read from, beside the pictures


def of_words(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns with words in some of their values, rather than numbers and codes alone."""
    found = []
    for name in columns:
        texts = [text for text in (text_of(row.get(name)) for row in rows) if text]
        if texts and sum(map(has_words, texts)) >= _SOME * len(texts):
            found.append(name)
    return tuple(found)


def texts_of(row: Mapping[str, Any], columns: Sequence[str], where: str) -> tuple[str, ...]:
    """The values of these columns as texts. Raises RequestError for a value that can't be one."""
    texts = tuple([text_of(row.get(name)) for name in columns])
    for name, text in zip(columns, texts, strict=True):
        if text is None:
            raise RequestError(f"{where}: {name!r} must be a text; it is of type {type(row[name]).__name__}")
    try:
        "".join(map(str, texts)).encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"{where}: half a surrogate pair is not text") from error
    return tuple(map(str, texts))


def text_of(value: object) -> str | None:
    """A value as a text: a number as it is written, several values, such as tags, with commas between them; "" for none.
    None for what can't be one."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        parts = [text_of(part) for part in value if not isinstance(part, list)]
        return ", ".join(map(str, parts)) if len(parts) == len(value) and None not in parts else None
    return None


def text_file(data: bytes, where: object) -> str:
    """The text of a file, without the white space around it. Raises RequestError if it isn't UTF-8."""
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise RequestError(f"{where} is not UTF-8 text: {error.reason}") from error
