"""Guess which legacy encoding of an alphabet bytes may be in, where `encodings` recognises none for certain.

Letters are counted, not weighed: the result is a few encodings to try, not a finding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_WORD = re.compile(r"(?:[^\W\d_]|[^\x00-\x7f])+")
_LEAST = 0.4  # of the characters above ASCII have to be frequent letters
_MOST_GUESSES = 3


class _Alphabet(NamedTuple):
    """An alphabet; the frequent letters are about two thirds of a text, or all those beside the plain Latin ones."""

    encodings: tuple[str, ...]
    frequent: frozenset[str]
    latin: bool = False


_ALPHABETS = (
    _Alphabet(("cp1250", "iso8859_2"), frozenset("ąćęłńóśźżáčďéěíňřšťúůýžľĺôőűăşţöüäß"), latin=True),
    _Alphabet(("cp1254",), frozenset("çğıöşüâîû"), latin=True),
    _Alphabet(("mac_roman",), frozenset("àáâãäåæçèéêëìíîïñòóôöøœùúûüÿß’“”"), latin=True),
    _Alphabet(("cp1253", "iso8859_7"), frozenset("αοιετσνηάίόές")),
    _Alphabet(("cp1255",), frozenset("יוהלארתבמש")),
    _Alphabet(("cp1256",), frozenset("اليمونرتبةه")),
    _Alphabet(("cp874",), frozenset("านรอกเงมยลวดท่ี้ั")),
    _Alphabet(("cp1251", "iso8859_5", "mac_cyrillic"), frozenset("оеаинтсрвл")),
)


def perhaps(data: bytes) -> list[str]:
    """Python's names of up to three encodings of alphabets that a text may be in, the likeliest first."""
    shares = {encoding: _share(data, encoding, alphabet) for alphabet in _ALPHABETS for encoding in alphabet.encodings}
    found = sorted((encoding for encoding in shares if shares[encoding] >= _LEAST), key=lambda encoding: -shares[encoding])
    return found[:_MOST_GUESSES]


def _share(data: bytes, encoding: str, alphabet: _Alphabet) -> float:
    """The share of frequent letters of an alphabet in the characters above ASCII; 0 if the bytes can't be in the encoding."""
    try:
        words = _WORD.findall(data.decode(encoding))
    except UnicodeDecodeError:
        return 0.0
    high = sum(char >= "\x80" for word in words for char in word)
    return sum(_frequent(word, alphabet) for word in words) / high if high else 0.0


def _frequent(word: str, alphabet: _Alphabet) -> int:
    """The frequent letters of a word; none if capitals stand inside it, or it mixes alphabets."""
    if any(char.isupper() for char in word[1:]) and not word.isupper():
        return 0
    plain: Sequence[str] = [char for char in word if char.isascii()]
    if alphabet.latin is not bool(plain):
        return 0
    return sum(char in alphabet.frequent for char in word.lower() if char >= "\x80")
