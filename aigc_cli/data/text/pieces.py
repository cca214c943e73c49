"""Documents in pieces, so that a document of many gigabytes is never in memory as a whole.

Pieces are cut where neither Unicode normalisation nor a tokenizer looks across, so that processing them one by one gives the
same result as processing the whole.
"""

from __future__ import annotations

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
    at = text.rfind("\n", start, end - 1)
    while at >= 0:
        if not text[at + 1].isspace():
            return at + 1
        at = text.rfind("\n", start, at)
    at = text.rfind(" ", start + 1, end - 1)
    while at >= 0:
        if not text[at - 1].isspace() and text[at + 1].isascii() and text[at + 1].isalpha():
            return at
        at = text.rfind(" ", start + 1, at)
    for good in (_after_a_clause, _between_words, _stands_alone):
        for at in range(end - 1, start, -1):
            if good(text, at):
                return at
    return 0


def _first_cut(text: str, start: int) -> int:
    return next((at for at in range(start, len(text)) if _stands_alone(text, at)), 0)


def _after_a_clause(text: str, at: int) -> bool:
    return text[at - 1] in "。！？；，、" and _is_ideograph(text[at])


def _between_words(text: str, at: int) -> bool:
    return not text[at - 1].isspace() and (text[at] in "!#$%&()*+-/<=>?@[\\]^`{|}~" or _is_ideograph(text[at]))


def _stands_alone(text: str, at: int) -> bool:
    return text[at].isascii() or _is_ideograph(text[at])


def _is_ideograph(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff"
