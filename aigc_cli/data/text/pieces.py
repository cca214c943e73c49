"""Documents in pieces, so that one of many gigabytes never has to be in memory.

Pieces are cut where neither the Unicode normaliser nor a tokenizer looks across, so that what is done to the
pieces one by one equals what would be done to the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import TypeAlias

from aigc_cli.data.tables import Row


class End(Enum):
    """What ends with a piece of text."""

    NOTHING = 0
    FIELD = 1  # one of a document's fields, but the last
    DOCUMENT = 2


Piece: TypeAlias = tuple[str, End]
"""Text, and what ends with it."""

PIECE_CHARS = 1 << 18
"""The length at which a document is cut."""


def documents_in_pieces(rows: Iterable[Row]) -> Iterator[Piece]:
    """The pieces of each document, given whole."""
    for *fields, last in rows:
        for field in fields:
            yield from _field_in_pieces(field, End.FIELD)
        yield from _field_in_pieces(last, End.DOCUMENT)


def halves(pieces: Iterable[Piece], share: float) -> Iterator[Piece]:
    """Each document, of one field, as two: its first characters, ⌊share · length⌋ of them, and the rest. One at a time is in
    memory whole."""
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
    """One text, given in parts cut anywhere, in pieces cut where a cut changes nothing; `end` is what ends with it."""
    held = ""
    for part in parts:
        held += part
        start = 0
        while len(held) - start > PIECE_CHARS:
            # Where there is no place to cut in a whole piece, the first one after it has to do.
            cut = _last_cut(held, start, start + PIECE_CHARS) or _first_cut(held, start + PIECE_CHARS)
            if not cut:
                break
            yield held[start:cut], End.NOTHING
            start = cut
        held = held[start:]
    yield held, end


def _last_cut(text: str, start: int, end: int) -> int:
    """The best place to cut in `text[start:end]`, as late as can be; 0 when there is none.

    After a line break before something that is not space, every token of the Qwen2 pre-tokenizer and every word ends; so it
    does between a word and the space before the next. Failing these, after a mark that ends a clause before an ideograph, or
    else before an ideograph or what a word cannot have, where Unicode's words end. Failing these too, before any ASCII
    character, which no normaliser joins to what stands before it either. (In the last two BPE, and words that spaCy cuts, may
    differ by a token.)
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
