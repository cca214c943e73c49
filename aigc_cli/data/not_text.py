"""Refuse bytes that decode as UTF-8 without being text: files of other formats, and encodings that hide in ASCII."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from aigc_cli.data.transcoding import command, marked_encoding
from aigc_cli.errors import RequestError

_FORMATS = (
    (b"PK\x03\x04", "a zip (as .docx, .xlsx and .epub are)", "save it with its own suffix"),
    (b"%PDF-", "a PDF", "pdftotext FILE converts it"),
    (b"{\\rtf", "an RTF document", "pandoc -t plain -o FILE.txt FILE converts it"),
    (b"\x1f\x8b", "compressed with gzip", "add .gz to its name"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "add .zst to its name"),
    (b"SQLite format 3\0", "an SQLite database", "export its table as CSV"),
)
_WIDE = ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE")
_ISO_2022_JP = re.compile(rb"\x1b\$[@B]")
_HZ = re.compile(rb"~\{(?:[\x21-\x77][\x21-\x7e])+~\}")
_HZ_SHARE = 0.2  # of the bytes, at least, are in escapes
_COMMON = re.compile(r"[ \n,;.\t\u3000-\u3002\uff0c]")


def refuse_other_bytes(path: Path, head: bytes) -> None:
    """Raise RequestError, with a remedy, if a file's first bytes aren't text in UTF-8 or with a byte-order mark."""
    if (why := no_text(path, head)) is not None:
        raise RequestError(f"{path} {why}")


def no_text(path: Path, head: bytes) -> str | None:
    """Why a file's first bytes aren't text, and what to do; None if they may be. Other bytes than UTF-8 are for the decoder."""
    for magic, what, remedy in _FORMATS:
        if head.startswith(magic):
            return f"is {what}, not text: {remedy}"
    if marked_encoding(head) is not None:
        return None
    if b"\0" in head:
        if (encoding := _wide_encoding(head)) is not None:
            return f"looks like {encoding} without a byte-order mark: {command(encoding, path)}"
        line = head.count(b"\n", 0, head.index(b"\0")) + 1
        return f"has a NUL byte in line {line}, as no text has: if it is text all the same, tr -d '\\000' removes them"
    if _ISO_2022_JP.search(head) and _decodes(head, "iso2022_jp"):
        return f"looks like ISO-2022-JP: {command('ISO-2022-JP', path)}"
    if b"~{" in head and head.isascii() and sum(map(len, _HZ.findall(head))) > _HZ_SHARE * len(head):
        return f"looks like HZ (Chinese in ASCII): {command('HZ', path)}"
    return None


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, as iconv calls it, if the bytes decode and have the most spaces and line ends in it."""
    best, most = None, 0
    for encoding in _WIDE:
        width = 4 if "32" in encoding else 2
        try:
            text = head[: len(head) // width * width].decode(encoding, "strict" if width == 4 else "replace")
        except UnicodeDecodeError:
            continue
        if "\0" in text or text.count("\ufffd") > 1:  # one where the sample is cut
            continue
        if (common := len(_COMMON.findall(text))) > most:
            best, most = encoding, common
    return best


def _decodes(head: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return True
