"""Decode file names that are stored as bytes without an encoding, as in a tar or an unmarked zip.

All names are decoded together, as in `unar`, because a name of one or two characters fits several encodings: "猫" in GBK is "è"
in UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence

from aigc_cli.data.encodings import describe_encoding, likely, score

_POOL_BYTES = 1 << 16  # of names that aren't ASCII, from which the encoding is chosen
_SHORT = 8  # with fewer characters, other encodings that fit equally well are reported
_FALLBACK = "cp437"  # of PKZIP; every byte is a character of it


def decode_names(raw: Sequence[str | bytes]) -> tuple[list[str], str | None]:
    """The names as text, and a note if those in bytes aren't UTF-8.

    One encoding is chosen for all names in bytes, and no name is lost: if none is likely, they are read as code page 437.
    """
    unmarked = [name for name in raw if isinstance(name, bytes)]
    encoding = "utf-8" if all(_decodes(name, "utf-8") for name in unmarked) else _choose(unmarked)
    names = [name if isinstance(name, str) else name.decode(encoding) for name in raw]
    return names, None if encoding == "utf-8" else _note(unmarked, encoding)


def _choose(names: Sequence[bytes]) -> str:
    """The most likely of the encodings that decode every name."""
    return next((encoding for encoding in likely(_pool(names)) if all(_decodes(name, encoding) for name in names)), _FALLBACK)


def _decodes(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _pool(names: Sequence[bytes]) -> bytes:
    """The distinct parts of the paths that aren't ASCII, one per line: a class counts once, however many pictures it has."""
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
    return b"\n".join(parts)


def _note(names: Sequence[bytes], encoding: str) -> str:
    pool = _pool(names)
    ranked = likely(pool)
    if encoding not in ranked:
        return f"names in an unrecognised encoding, read as {describe_encoding(encoding)}: {_examples(pool, encoding)}"
    note = f"names read as {describe_encoding(encoding)} (not marked as UTF-8): {_examples(pool, encoding)}"
    ties = [other for other in ranked if other != encoding and score(pool, other) == score(pool, encoding)]
    if sum(character >= "\x80" for character in pool.decode(encoding)) < _SHORT:
        note += "".join(f", or as {describe_encoding(other)}: {_examples(pool, other)}" for other in ties[:2])
    return note


def _examples(pool: bytes, encoding: str) -> str:
    shown = pool.decode(encoding).split("\n")
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "")
