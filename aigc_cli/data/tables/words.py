"""Tell texts from names, numbers and codes, by their words."""

from __future__ import annotations

import re

_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3]")
_NUMBER = re.compile(r"[-+]?\d[\d.,/: T-]*( ?[ap]m)?( ?(Z|UTC|GMT)?([-+]\d[\d:]*)?)%?$", re.IGNORECASE)  # dates and times too
_LOOKED_AT = 1000  # characters of a value
_LONGEST_WORD = 30
_LONGEST_NAME = 4  # words
_MANY = 5  # words make a text, whatever is between them: source code, formulas
_OUTER = "\"'“”‘’«»„()[]{}.,;:!?…*_-–—"
_CURRENCY_OR_ZONE = re.compile(r"[A-Z]{2,3}")
_OF_MEASURES = re.compile(
    "january|february|march|april|june|july|august|september|october|november|december"  # "may" is more often a verb
    "|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
    "|(mon|tues|wednes|thurs|fri|satur|sun)day|mon|tue|wed|thu|fri|sat|sun|am|pm|hours?|min|ms|[hs]|[kmc]?m|[km]?g|m?l|[kmg]b|k?hz",
    re.IGNORECASE,
)


def is_number(cell: str) -> bool:
    """Whether a cell is a number, a date or a time."""
    return bool(_NUMBER.match(cell.strip()))


def is_word(word: str) -> bool:
    """Whether it consists of letters, and is no month, weekday, unit, or short code in capitals, such as USD."""
    word = word.strip(_OUTER)
    if not word or len(word) > _LONGEST_WORD or _CURRENCY_OR_ZONE.fullmatch(word) or _OF_MEASURES.fullmatch(word):
        return False
    return word[0].isalpha() and not any(char.isdigit() or char in "/\\_:=+<>@&()[]{}.," for char in word)


def has_words(text: str) -> bool:
    """Whether some of a value is a word."""
    text = text[:_LOOKED_AT]
    return bool(_UNSPACED.search(text)) or any(map(is_word, text.split()))


def is_prose(text: str) -> bool:
    """Whether a value has several words, mostly such, and is no name; or is in a script without spaces."""
    text = text[:_LOOKED_AT]
    return bool(_UNSPACED.search(text)) or _of_words(text)


def _of_words(text: str) -> bool:
    words = text.split()
    plain = sum(map(is_word, words))
    if plain >= _MANY:
        return True
    named = len(words) <= _LONGEST_NAME and text.rstrip()[-1:] not in (*".!?…",) and all(word[0].isupper() for word in words)
    return len(words) >= 2 and 2 * plain > len(words) and not named
