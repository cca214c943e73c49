"""Documents in pieces, so that one of many gigabytes never has to be in memory.

Pieces are cut where neither the Unicode normaliser nor a tokenizer looks across, so that what is done to the
pieces one by one equals what would be done to the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

Piece: TypeAlias = tuple[str, bool]
"""Text, and whether it is the last piece of its document."""

PIECE_CHARS = 1 << 18
"""The length at which a document is cut."""


def documents_in_pieces(documents: Iterable[str]) -> Iterator[Piece]:
    """The pieces of each document, given whole."""
    for document in documents:
        if len(document) <= PIECE_CHARS:
            yield document, True
        else:
            yield from in_pieces([document])


def in_pieces(parts: Iterable[str]) -> Iterator[Piece]:
    """One document, given in parts cut anywhere, in pieces cut where a cut changes nothing."""
    held = ""
    for part in parts:
        held += part
        start = 0
        while len(held) - start > PIECE_CHARS:
            # Where there is no place to cut in a whole piece, the first one after it has to do.
            cut = _last_cut(held, start, start + PIECE_CHARS) or _first_cut(held, start + PIECE_CHARS)
            if not cut:
                break
            yield held[start:cut], False
            start = cut
        held = held[start:]
    yield held, True


def _last_cut(text: str, start: int, end: int) -> int:
    """The best place to cut in `text[start:end]`, as late as can be; 0 when there is none.

    After a line break before something that is not space, every token of the Qwen2 pre-tokenizer ends; so it
    does between a word and the space before the next. Failing these, before an ASCII character or an
    ideograph, which no normaliser joins to what stands before it (BPE may then differ by a token).
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
    return next((at for at in range(end - 1, start, -1) if _stands_alone(text[at])), 0)


def _first_cut(text: str, start: int) -> int:
    return next((at for at in range(start, len(text)) if _stands_alone(text[at])), 0)


def _stands_alone(char: str) -> bool:
    return char.isascii() or "\u4e00" <= char <= "\u9fff"
