"""Decode file names that are stored as bytes without an encoding, as in a tar, an unmarked zip, or a folder unpacked from one.

All names are decoded together, as in `unar`, because a name of one or two characters fits several encodings: "猫" in GBK is "è"
in UTF-8.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from aigc_cli.data.encodings import CLOSE, Guess, describe_encoding, likely

_POOL_BYTES = 1 << 16  # of names that aren't ASCII, from which the encoding is chosen
_FALLBACK = "cp437"  # of PKZIP; every byte is a character of it
_FEW_ODD = 0.2  # of at least five parts of paths, so many may not be UTF-8 though the others are
_LOCALES = {"gb18030": "zh_CN", "big5": "zh_TW", "cp949": "ko_KR", "cp932": "ja_JP", "cp866": "ru_RU"}


def decode_names(raw: Sequence[str | bytes]) -> tuple[list[str], str | None]:
    """The names as text, and a note if those in bytes aren't UTF-8.

    One encoding is chosen for all names in bytes, and no name is lost: one that it can't decode is read in the likeliest that
    can, at last in code page 437.
    """
    unmarked = list(dict.fromkeys(name for name in raw if isinstance(name, bytes)))
    pool = _pool(unmarked)
    odd = [part for part in pool if not _decodes(part, "utf-8")]
    if not odd:
        return [name if isinstance(name, str) else name.decode() for name in raw], None
    if len(pool) >= 5 and len(odd) <= _FEW_ODD * len(pool):
        guesses, pool = likely(odd, distinct=True), odd
        order = ["utf-8", *(guess.encoding for guess in guesses), _FALLBACK]
    else:
        guesses = likely(pool, distinct=True)
        order = [*(guess.encoding for guess in guesses), _FALLBACK]
    read = {name: next(encoding for encoding in order if _decodes(name, encoding)) for name in unmarked}
    decoded = {name: name.decode(encoding) for name, encoding in read.items()}
    first = guesses[0].encoding if guesses else _FALLBACK
    note = _note([part for part in pool if _decodes(part, first)], guesses)
    if others := [decoded[name] for name in unmarked if read[name] not in (order[0], first)]:
        note += f"; {len(others):,} in another encoding, read as {', '.join(others[:3])}" + ", …" * (len(others) > 3)
    return [name if isinstance(name, str) else decoded[name] for name in raw], note


def is_utf8(name: str) -> bool:
    """Whether the name of a file is UTF-8 on disk. Python stands a surrogate for each byte that isn't."""
    return name.isascii() or not any("\udc80" <= char <= "\udcff" for char in name)


def decode_paths(names: Sequence[str]) -> tuple[list[str], str | None]:
    """The names of files as text, and a note if some aren't UTF-8 on disk, as after unpacking with an old program."""
    if all(map(is_utf8, names)):
        return list(names), None
    return decode_names([os.fsencode(name) for name in names])


def _decodes(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _pool(names: Sequence[bytes]) -> list[bytes]:
    """The distinct parts of the paths that aren't ASCII. A class counts once, however many pictures it has."""
    parts: dict[bytes, None] = {}
    size = 0
    for name in names:
        if name.isascii():
            continue
        for part in name.split(b"/"):
            if not part.isascii() and part not in parts:
                parts[part] = None
                size += len(part)
        if size > _POOL_BYTES:
            break
    return list(parts)


def _note(pool: Sequence[bytes], guesses: Sequence[Guess]) -> str:
    if not guesses:
        return f"names in an unrecognised encoding, read as {describe_encoding(_FALLBACK)}: {_examples(pool, _FALLBACK)}"
    first = guesses[0]
    note = f"names read as {describe_encoding(first.encoding)} (not marked as UTF-8): {_examples(pool, first.encoding)}"
    for other in guesses[1:]:
        locale = _LOCALES.get(other.encoding)
        if locale and first.nats - other.nats < CLOSE and all(_decodes(part, other.encoding) for part in pool):
            shown = _examples(pool, other.encoding)
            note += f"; or {describe_encoding(other.encoding)}: {shown} (chosen with LC_ALL={locale}.UTF-8)"
    return note


def _examples(pool: Sequence[bytes], encoding: str) -> str:
    """The parts of paths that aren't ASCII. A backslash separates them too, but only in decoded text: it may be the second byte
    of a character."""
    parts = [part for item in pool for part in re.split(r"[/\\]", item.decode(encoding)) if not part.isascii()]
    shown = list(dict.fromkeys(parts))
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")
