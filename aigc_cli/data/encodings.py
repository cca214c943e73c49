"""Guess the legacy encoding of bytes that aren't UTF-8: names in archives, texts of old programs.

An encoding is possible if most non-ASCII characters that it gives belong to its language. Among the possible ones, the order is
that of the likelihood of the characters: a wrong encoding gives rare ones. That works for a few names of one or two characters,
where detectors that learn from longer texts don't.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from aigc_cli.data.common_characters import HANGUL, HANZI, KANJI, TRADITIONAL

PLAUSIBLE = 0.7
"""The smallest share of characters of its language with which an encoding is accepted."""

CLOSE = math.log(200)
"""Guesses whose log-likelihoods differ by less are hard to tell apart."""

_CLEAR = 0.6
"""The share of frequent characters from which on a guess is no mere possibility."""

_HOME = CLOSE
"""The prior for the encoding of the environment's language, and against those that are hardly used any more."""

_FULL_STOPS_AND_SO_ON = frozenset("　、。，．・：；？！“”‘’（）《》「」『』…—～〜﹏")
_LATIN_PUNCTUATION = frozenset("’‘“”–—…«»¿¡°€§")
_ACCENTED = frozenset("àáâãäåæçèéêëìíîïñòóôõöøœùúûüýÿßšžÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØŒÙÚÛÜÝŠŽ")
_FREQUENT_RUSSIAN = frozenset("оеаинтсрвлкмдп")
_KANA = frozenset(map(chr, (*range(0x3041, 0x3094), *range(0x30A1, 0x30F7), 0x30FC)))
_WORD = re.compile(r"(?:[A-Za-z]|[^\x00-\x7f])*[^\x00-\x7f](?:[A-Za-z]|[^\x00-\x7f])*")


def _jis_level_1(code: bytes) -> bool:
    return code[0] in (0x82, 0x83) or 0x88 <= code[0] <= 0x97  # kana too


class _Language(NamedTuple):
    """What is frequent in an East Asian language. The standards put the frequent half of their characters first."""

    standard: str  # in which codes are looked up
    frequent: Callable[[bytes], bool]  # level 1 of GB 2312, Big5 and JIS, the Hangul of KS X 1001
    common: frozenset[str]


_EAST_ASIAN = {
    "gb18030": _Language("gb2312", lambda code: 0xB0 <= code[0] <= 0xD7, HANZI),
    "cp949": _Language("euc_kr", lambda code: 0xB0 <= code[0] <= 0xC8, HANGUL),
    "big5": _Language("big5", lambda code: 0xA4 <= code[0] <= 0xC6, HANZI | TRADITIONAL),
    "cp932": _Language("shift_jis", _jis_level_1, HANZI | TRADITIONAL | KANJI),
    "euc_jp": _Language("shift_jis", _jis_level_1, HANZI | TRADITIONAL | KANJI),
}
_CYRILLIC = ("cp1251", "koi8_r", "cp866")
_WESTERN = ("cp1252", "cp437")
_UNUSUAL = ("euc_jp", "koi8_r")
_ENCODINGS = (*_EAST_ASIAN, *_CYRILLIC, *_WESTERN)
_OF_LANGUAGE = {"zh_CN": "gb18030", "zh_TW": "big5", "zh_HK": "big5", "ja": "cp932", "ko": "cp949", "ru": "cp866"}

_NAMES = {
    "gb18030": "GB18030", "cp949": "CP949", "big5": "Big5", "cp932": "Shift-JIS", "euc_jp": "EUC-JP",
    "cp1251": "Windows-1251", "koi8_r": "KOI8-R", "cp866": "CP866", "cp1252": "Windows-1252", "cp437": "CP437",
    "cp1250": "Windows-1250", "cp1253": "Windows-1253", "cp1254": "Windows-1254", "cp1255": "Windows-1255",
    "cp1256": "Windows-1256", "cp874": "Windows-874", "iso8859_2": "ISO 8859-2", "iso8859_5": "ISO 8859-5",
    "iso8859_7": "ISO 8859-7", "mac_roman": "Mac Roman", "mac_cyrillic": "Mac Cyrillic",
}  # fmt: skip

# Log-probabilities of a character: of the common ones, of the other frequent ones, and of all that the encoding can write.
_IDEOGRAPH, _SYLLABLE = math.log(0.85 / 1000), math.log(0.85 / 350)
_FREQUENT, _RARE = math.log(0.13 / 3000), math.log(0.02 / 20_000)
_OTHER_SYLLABLE = math.log(0.01 / 9000)  # of Hangul, which CP949 has in addition
_OTHER_TRADITIONAL = math.log(0.02 / 5000)
_OF_KANA = math.log(0.6 / len(_KANA))
_LETTER, _ODD_LETTER = math.log(1 / 33), math.log(0.02 / 100)  # of an alphabet, and where words of the language don't have it
_FREQUENT_LETTER, _SELDOM_LETTER = math.log(0.8 / len(_FREQUENT_RUSSIAN)), math.log(0.2 / 19)
_FOREIGN_LETTER = math.log(0.1 / 52)
_UNDECODABLE = _RARE / 2  # for each byte


class Guess(NamedTuple):
    """An encoding that bytes may be in."""

    encoding: str  # Python's name
    nats: float  # log-likelihood of the characters


def likely(data: Sequence[bytes], language: str | None = None, *, distinct: bool = False) -> list[Guess]:
    """The encodings that `data` may be in, most likely first; [] if none fits.

    `language`, such as "zh_TW", counts as evidence for its encoding; None: the language of the environment. Of a text, some
    64 KiB of lines that aren't ASCII are enough, cut at line ends. With `distinct`, each word counts once, as in a list of
    paths. An encoding may fail for a few of the items.
    """
    home = home_encoding(language)
    found = []
    for encoding in _ENCODINGS:
        words, faults = _words(data, encoding, distinct)
        high = sum(char >= "\x80" for word in words for char in word) + faults / 2
        if high and sum(_good(word, encoding) for word in words) / high >= PLAUSIBLE:
            prior = _HOME * (encoding == home) - _HOME * (encoding in _UNUSUAL)
            nats = sum(_nats(word, encoding) for word in words) + faults * _UNDECODABLE
            found.append(Guess(encoding, nats + prior))
    return sorted(found, key=lambda guess: -guess.nats)


def is_clear(guess: Guess, data: bytes) -> bool:
    """Whether most characters above ASCII are frequent in the language, as in Hebrew read as Russian they aren't, and capitals
    begin words, as in French of a Mac read as CP437 they don't."""
    words = list(_words([data], guess.encoding, False)[0])
    high = [char for word in words for char in word.lower() if char >= "\x80"]
    if guess.encoding in _EAST_ASIAN:
        frequent = _EAST_ASIAN[guess.encoding].common | _KANA
    elif guess.encoding in _CYRILLIC:
        frequent = _FREQUENT_RUSSIAN
    else:
        odd = sum(not word.isupper() and any(char.isupper() for char in word[1:]) for word in words)
        return odd <= 0.2 * len(words)
    return sum(char in frequent for char in high) >= _CLEAR * len(high)


def home_encoding(language: str | None = None) -> str | None:
    """The legacy encoding of a language such as "zh_TW", by default the environment's; None if it has none of its own."""
    language = _environment_language() if language is None else language
    return next((encoding for prefix, encoding in _OF_LANGUAGE.items() if language.startswith(prefix)), None)


def describe_encoding(encoding: str) -> str:
    """As people and iconv name it: "GB18030", "Shift-JIS"."""
    return _NAMES.get(encoding, encoding.upper())


def iconv_name(encoding: str) -> str:
    """The name by which GNU's and Apple's iconv know an encoding."""
    return {"mac_roman": "MACINTOSH"}.get(encoding, encoding.upper().replace("_", "-"))


def _words(data: Sequence[bytes], encoding: str, distinct: bool) -> tuple[Iterable[str], int]:
    """The words with non-ASCII characters, and the number of non-ASCII bytes that can't be decoded."""
    words: list[str] = []
    faults = 0
    for item in data:
        try:
            words += _WORD.findall(item.decode(encoding))
        except UnicodeDecodeError:
            faults += sum(byte >= 0x80 for byte in item)
    return (dict.fromkeys(words) if distinct else words), faults


def _good(word: str, encoding: str) -> int:
    """How many non-ASCII characters of a word may be of the language."""
    if encoding in _EAST_ASIAN:
        return sum(_rank(char, encoding) != _RARE for char in word if char >= "\x80")
    if encoding in _CYRILLIC:
        return sum(map(len, filter(_is_russian, _of_letters(word))))
    # Non-ASCII Western letters are rarely adjacent, unlike those of a wrongly decoded text.
    letters = sum(char in _ACCENTED or char in _LATIN_PUNCTUATION for char in word)
    return max(0, letters - _adjacent(word))


def _nats(word: str, encoding: str) -> float:
    """The log-likelihood of a word. Letters of ASCII count: in Shift-JIS they are the second halves of characters."""
    high = [char for char in word if char >= "\x80"]
    n_plain = len(word) - len(high)
    if encoding in _EAST_ASIAN:
        return sum(_rank(char, encoding) for char in high) + n_plain * _FOREIGN_LETTER
    good = _good(word, encoding)
    if encoding in _CYRILLIC:
        good = good if len(word) > 1 else 0  # words of one letter are rare
        frequent = min(good, sum(char in _FREQUENT_RUSSIAN for char in word.lower()))
        return frequent * _FREQUENT_LETTER + (good - frequent) * _SELDOM_LETTER + (len(word) - good) * _ODD_LETTER
    good = min(good, sum(char in _ACCENTED for char in high)) if n_plain else 0  # a word has plain letters too
    return (n_plain + good) * _LETTER + (len(high) - good) * _ODD_LETTER


@lru_cache(maxsize=1 << 16)
def _rank(character: str, encoding: str) -> float:
    """The log-probability of a character in the language of an East Asian encoding."""
    language = _EAST_ASIAN[encoding]
    if character in language.common:
        return _SYLLABLE if encoding == "cp949" else _IDEOGRAPH
    if character in _KANA and encoding in ("cp932", "euc_jp"):
        return _OF_KANA
    if character in _FULL_STOPS_AND_SO_ON or "\uff01" <= character <= "\uff5e":
        return _FREQUENT
    try:
        code = character.encode(language.standard)
    except UnicodeEncodeError:
        code = b""
    if len(code) > 1 and language.frequent(code):
        return _FREQUENT
    if encoding == "cp949" and "가" <= character <= "힣":
        return _OTHER_SYLLABLE
    if encoding == "gb18030" and _rank(character, "big5") > _RARE:  # GBK has the traditional characters beside GB 2312
        return _FREQUENT if character in TRADITIONAL else _OTHER_TRADITIONAL
    return _RARE


def _of_letters(text: str) -> list[str]:
    return "".join(character if character.isalpha() else " " for character in text).split()


def _is_russian(word: str) -> bool:
    """Whether all letters are Russian, with at most the first a capital: KOI8-R and Windows-1251 swap the cases."""
    return all("а" <= letter <= "я" or letter == "ё" for letter in word.lower()) and word[1:] == word[1:].lower()


def _adjacent(word: str) -> int:
    return sum(a >= "\x80" <= b and a.isalpha() and b.isalpha() for a, b in pairwise(word))


def _environment_language() -> str:
    """The language of the locale, as the C library looks it up: "zh_CN.UTF-8"; "" if there is none."""
    return next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "")
