"""Documents in pieces, so that a document of many gigabytes is never in memory as a whole.

Pieces are cut where neither Unicode normalisation nor a tokenizer looks across, so that processing them one by one gives the
same result as processing the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TypeAlias

from aigc_cli.data.tables.table import Row


class End(Enum):
    """What ends at the end of a piece."""

    NOTHING = 0
    FIELD = 1  # a field of a document other than the last
    DOCUMENT = 2


Piece: TypeAlias = tuple[str, End]
"""Text, and what ends at its end."""

PIECE_CHARS = 1 << 18
"""The maximum length of a piece, if there is a place to cut."""


def documents_in_pieces(rows: Iterable[Row]) -> Iterator[Piece]:
    """The pieces of whole documents."""
    for *fields, last in rows:
        for field in fields:
            yield from _field_in_pieces(field, End.FIELD)
        yield from _field_in_pieces(last, End.DOCUMENT)


def halves(pieces: Iterable[Piece], share: float) -> Iterator[Piece]:
    """Split each document of one field into two: its first ⌊share · length⌋ characters, and the rest. Each document must fit in
    memory."""
    held = ""
    for text, end in pieces:
        held += text
        if end is End.DOCUMENT:
            middle = int(share * len(held))
            yield from _field_in_pieces(held[:middle], End.FIELD)
            yield from _field_in_pieces(held[middle:], End.DOCUMENT)
            held = ""


def _field_in_pieces(field: str, end: End) -> Iterator[Piece]:
    return iter([(field, end)]) if len(field) <= PIECE_CHARS else in_pieces([field], end)


def in_pieces(parts: Iterable[str], end: End = End.DOCUMENT) -> Iterator[Piece]:
    """Cut a text, given in arbitrary parts, into pieces at safe places; `end` is what ends at its end."""
    held = ""
    for part in parts:
        held += part
        start = 0
        while len(held) - start > PIECE_CHARS:
            # If there is no place to cut within a whole piece, use the first one after it.
            cut = _last_cut(held, start, start + PIECE_CHARS) or _first_cut(held, start + PIECE_CHARS)
            if not cut:
                break
            yield held[start:cut], End.NOTHING
            start = cut
        held = held[start:]
    yield held, end


def _last_cut(text: str, start: int, end: int) -> int:
    """The best place to cut in `text[start:end]`, as late as possible; 0 if there is none.

    In order of preference: after a line break that is followed by a non-space, or between a word and the space before the next
    word, where all tokens of the Qwen2 pre-tokenizer and all words end; after punctuation that is followed by an ideograph;
    before an ideograph or a character that can't be part of a word, where Unicode words end; and before any ASCII character,
    which normalisation never joins to the preceding one. (In the last two cases, BPE and spaCy words may differ by a token.)
    """
    if (match := _BEFORE_LINE.match(text, start, end)) is not None:
        return match.end()
    if " " in text[start:end] and (match := _BEFORE_WORD.match(text, start, end)) is not None:
        return match.end()
    for pattern in (_AFTER_CLAUSE, _BETWEEN_WORDS, _BEFORE_SAFE):
        if (match := pattern.match(text, start, end)) is not None:
            return match.end()
    return 0


def _first_cut(text: str, start: int) -> int:
    match = _SAFE.search(text, start)
    return match.start() if match else 0


_IDEOGRAPHS = "\u4e00-\u9fff"
# Each matches up to the last place to cut of its sort.
_BEFORE_LINE = re.compile(r".*\n(?=\S)", re.DOTALL)
_BEFORE_WORD = re.compile(r".*\S(?= [A-Za-z])", re.DOTALL)
_AFTER_CLAUSE = re.compile(f".*[。！？；，、](?=[{_IDEOGRAPHS}])", re.DOTALL)
_BETWEEN_WORDS = re.compile(rf".*\S(?=[!#$%&()*+\-/<=>?@\[\\\]^`{{|}}~{_IDEOGRAPHS}])", re.DOTALL)
_SAFE = re.compile(f"[\\x00-\\x7f{_IDEOGRAPHS}]")
_BEFORE_SAFE = re.compile(f".+(?={_SAFE.pattern})", re.DOTALL)
