"""Guess the legacy encoding of bytes that aren't UTF-8: names in archives, texts of old programs.

An encoding is scored by the share of non-ASCII characters that are frequent in its language. The East Asian standards put
these first: level 1 of GB 2312, Big5 and JIS, and the Hangul block of KS X 1001. That works for names of one or two characters,
where detectors that learn from longer texts don't.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

PLAUSIBLE = 0.7
"""The smallest share of frequent characters with which an encoding is accepted."""

_FULL_STOPS_AND_SO_ON = frozenset("　、。，．・：；？！“”‘’（）《》「」『』…—～〜﹏ー")
_LATIN_PUNCTUATION = frozenset("’‘“”–—…«»¿¡°€§")


def _jis_frequent(code: bytes) -> bool:
    return code[0] in (0x82, 0x83) or 0x88 <= code[0] <= 0x97  # kana, level 1


# encoding -> the standard that its characters are looked up in, and whether a code of it is frequent
_EAST_ASIAN: dict[str, tuple[str, Callable[[bytes], bool]]] = {
    "gb18030": ("gb2312", lambda code: 0xB0 <= code[0] <= 0xD7),
    "euc_kr": ("euc_kr", lambda code: 0xB0 <= code[0] <= 0xC8),
    "big5": ("big5", lambda code: 0xA4 <= code[0] <= 0xC6),
    "cp932": ("shift_jis", _jis_frequent),
    "euc_jp": ("shift_jis", _jis_frequent),
}
_CYRILLIC = ("cp1251", "koi8_r", "cp866")
_WESTERN = ("cp1252", "cp437")
_OF_LANGUAGE = {"zh_CN": "gb18030", "zh_TW": "big5", "zh_HK": "big5", "ja": "cp932", "ko": "euc_kr", "ru": "cp866"}

_NAMES = {
    "gb18030": "GB18030", "euc_kr": "EUC-KR", "big5": "Big5", "cp932": "Shift-JIS", "euc_jp": "EUC-JP",
    "cp1251": "Windows-1251", "koi8_r": "KOI8-R", "cp866": "CP866", "cp1252": "Windows-1252", "cp437": "CP437",
}  # fmt: skip


def likely(data: bytes, language: str | None = None) -> list[str]:
    """Python's names of the encodings that `data` may be in, most likely first; [] if none fits.

    `language`, such as "zh_TW", breaks ties; None: the language of the environment. For a text, some 64 KiB of
    lines that aren't ASCII are enough, cut at line ends.
    """
    home = _environment_language() if language is None else language
    scores = {encoding: score(data, encoding) for encoding in (*_EAST_ASIAN, *_CYRILLIC, *_WESTERN)}
    korean = _is_korean(data)

    def order(encoding: str) -> tuple[float, bool, bool]:
        own = any(home.startswith(prefix) and own == encoding for prefix, own in _OF_LANGUAGE.items())
        return -scores[encoding], not own, not (korean and encoding == "euc_kr")

    return sorted((encoding for encoding, value in scores.items() if value >= PLAUSIBLE), key=order)


def describe_encoding(encoding: str) -> str:
    """As people and iconv name it: "GB18030", "Shift-JIS"."""
    return _NAMES.get(encoding, encoding.upper())


def score(data: bytes, encoding: str) -> float:
    """The share, in [0, 1] and rounded to hundredths, of non-ASCII characters that are frequent; 0 if the bytes
    can't be decoded or are all ASCII."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    high = [character for character in text if character >= "\x80"]
    if not high:
        return 0.0
    if encoding in _EAST_ASIAN:
        good = sum(_is_frequent(character, encoding) for character in high)
    elif encoding in _CYRILLIC:
        good = sum(map(len, filter(_is_russian, _words(text))))
    else:
        letters = sum(_is_latin(character) for character in high)
        # Non-ASCII Western letters are rarely adjacent, unlike those of a wrongly decoded text.
        good = letters - sum(a >= "\x80" <= b and a.isalpha() and b.isalpha() for a, b in pairwise(text))
    return round(max(0.0, good / len(high)), 2)


@lru_cache(maxsize=1 << 16)
def _is_frequent(character: str, encoding: str) -> bool:
    if character in _FULL_STOPS_AND_SO_ON or "\uff01" <= character <= "\uff5e":
        return True
    standard, frequent = _EAST_ASIAN[encoding]
    try:
        code = character.encode(standard)
    except UnicodeEncodeError:
        return False
    return len(code) > 1 and frequent(code)


def _words(text: str) -> list[str]:
    return "".join(character if character.isalpha() else " " for character in text).split()


def _is_russian(word: str) -> bool:
    """Whether all letters are Russian, with at most the first a capital: KOI8-R and Windows-1251 swap the cases."""
    return all("а" <= letter <= "я" or letter == "ё" for letter in word.lower()) and word[1:] == word[1:].lower()


def _is_latin(character: str) -> bool:
    return character in _LATIN_PUNCTUATION or unicodedata.name(character, "").startswith("LATIN")


def _is_korean(data: bytes) -> bool:
    high = [character for character in data.decode("euc_kr", "ignore") if character >= "\x80"]
    return len(high) >= 8 and all("가" <= character <= "힣" for character in high)


def _environment_language() -> str:
    """The language of the locale, as the C library looks it up: "zh_CN.UTF-8"; "" if there is none."""
    return next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "")
