"""Statistics of a sample of a table's values, by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aigc_cli.data.tables.nested import Inside, add_inside, texts_inside
from aigc_cli.data.tables.words import has_words, is_number, is_prose

ColumnNames: TypeAlias = tuple[str, ...]

SAMPLED_ROWS = 1000  # of each file

_SOME = 0.1  # of a column's values, at least
_TURNS = ({"role", "content"}, {"from", "value"})


def text_of(value: object) -> str | None:
    """A string unchanged, a list of strings joined as lines, a list of such lists as paragraphs; None for anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    parts = [part for part in value if part is not None]
    if all(isinstance(part, str) for part in parts):
        return "\n".join(parts)
    if not all(isinstance(part, list) and all(item is None or isinstance(item, str) for item in part) for part in parts):
        return None
    return "\n\n".join("\n".join(line for line in part if line is not None) for part in parts)


def is_missing(value: object) -> bool:
    """Whether a value is None, or the NaN that pandas writes for it."""
    return value is None or (isinstance(value, float) and value != value)


def is_chat(value: object) -> bool:
    """Whether a value is a list of messages, as chat models are trained on."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(turn, dict) and any(keys <= turn.keys() for keys in _TURNS) for turn in value
    )  # fmt: skip


@dataclass
class ColumnSample:
    """Statistics of a sample of a column's values."""

    typed: bool = False  # the table's schema says that it holds text
    texts: int = 0  # values that are text and not empty
    lists: bool = False  # some are lists of strings
    other: str = ""  # the type of a value that is no text and no number; "chat" for a list of messages
    counts: int = 0  # values that are numbers rather than texts
    chars: int = 0
    prose: int = 0  # values of several words, as in sentences
    worded: int = 0  # values with a word, rather than numbers, dates and codes alone
    numbers: bool = True  # all values are numbers, dates or times
    example: str = ""
    inside: Inside = field(default_factory=dict)  # texts in objects, which can't be read from here
    rows: str = ""  # the jq path of the table's rows, for messages; "" if there is none

    def add(self, value: object) -> None:
        """Take one more value into account. None and NaN are empty text."""
        if is_missing(value):
            return
        if isinstance(value, int | float):
            self.counts += 1
            return
        text = text_of(value)
        if text is None:
            self.other = "chat" if is_chat(value) else type(value).__name__
            self.inside = add_inside(self.inside, texts_inside(value))
            return
        self.lists = self.lists or isinstance(value, list)
        if not text:
            return
        self.texts += 1
        self.chars += len(text)
        self.prose += any(map(is_prose, text.split("\n"))) if isinstance(value, list) else is_prose(text)
        self.worded += has_words(text)
        self.numbers = self.numbers and is_number(text[:100])
        self.example = self.example or text

    def merged(self, other: ColumnSample) -> ColumnSample:
        """Both samples combined."""
        return ColumnSample(
            self.typed or other.typed,
            self.texts + other.texts,
            self.lists or other.lists,
            self.other or other.other,
            self.counts + other.counts,
            self.chars + other.chars,
            self.prose + other.prose,
            self.worded + other.worded,
            self.numbers and other.numbers,
            self.example or other.example,
            add_inside(self.inside, other.inside),
            self.rows or other.rows,
        )

    @property
    def holds_text(self) -> bool:
        return not self.not_text and (self.typed or self.texts > 0)

    @property
    def not_text(self) -> bool:
        """Whether it has values that aren't text. A few numbers among texts are errors, reported on reading."""
        return bool(self.other) or self.counts > self.texts

    @property
    def unlikely(self) -> bool:
        """Whether nearly all values are names, numbers or codes, rather than texts. A value without white space is one at any
        length, except in scripts without spaces."""
        return self.texts == 0 or self.prose < _SOME * self.texts

    @property
    def codes(self) -> bool:
        """Whether nearly all values are numbers, dates, addresses or codes, without a word."""
        return self.texts > 0 and self.worded < _SOME * self.texts


Columns: TypeAlias = dict[str, ColumnSample]
"""The columns of a table in order; empty if its rows are bare texts."""


def merge(samples: Iterable[Columns]) -> Columns:
    """The columns of several tables, merged by name."""
    merged: Columns = {}
    for sample in samples:
        for name, column in sample.items():
            merged[name] = merged[name].merged(column) if name in merged else column
    return merged


def sampled(rows: Iterable[Mapping[str, Any]]) -> Columns:
    """Statistics of each column from rows of named values."""
    columns: Columns = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, ColumnSample()).add(value)
    return columns
