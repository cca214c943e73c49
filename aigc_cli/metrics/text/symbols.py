"""Text as sequences of symbols, for measures of n-grams."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SEPARATOR = 0xD800  # a surrogate, so never part of a text; separates documents

# Scripts written without spaces between words: Thai and Lao, Burmese, Khmer, kana, Han and its extensions.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


def code_points(text: str) -> NDArray[np.uint32]:
    """The Unicode scalar values of a text, shape (len(text),)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def words(text: str) -> Iterator[str]:
    """The words and punctuation of a text: runs of letters and digits, single marks, and in scripts without spaces
    between words (Han, kana, Thai and others) single characters. White space is dropped."""
    return (match.group() for match in _WORD.finditer(text))


def number_words(texts: Sequence[str]) -> tuple[list[NDArray[np.uint32]], dict[str, int]]:
    """The words of each text as numbers, and the vocabulary, numbered in order of first appearance."""
    vocabulary: dict[str, int] = {}
    numbered = [
        np.fromiter((vocabulary.setdefault(word, len(vocabulary)) for word in words(text)), dtype=np.uint32) for text in texts
    ]
    return numbered, vocabulary


def thin(documents: Sequence[str], max_chars: int) -> list[str]:
    """At most `max_chars` characters: every k-th document from the first, the last of them cut to fit."""
    total = sum(map(len, documents))
    kept = []
    room = max_chars
    for document in documents[:: max(1, -(-total // max_chars))]:
        kept.append(document[:room])
        room -= len(kept[-1])
        if room == 0:
            break
    return kept
