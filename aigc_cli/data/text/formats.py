"""Documents out of files of every format that text comes in, as a stream."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from aigc_cli.data.compression import FIRST_LINE, at_returns, chunks, explained, lines, open_bytes, without_end
from aigc_cli.data.sources.source import suffix_of
from aigc_cli.data.tables import dialects
from aigc_cli.data.tables import table as tables
from aigc_cli.data.tables.samples import ColumnNames
from aigc_cli.data.tables.table import Asked, Row, read_table, table_suffix
from aigc_cli.data.text.pieces import Piece, documents_in_pieces, in_pieces
from aigc_cli.data.transcoding import marked_encoding

_JSON = re.compile(r'\s*(\{\s*"|\[\s*["{]|\[\s*\[[\s[]*["{\d-])')  # neither "[Verse]" nor "{ curly"

TextLayout: TypeAlias = Literal["document", "lines", "paragraphs"]

SUFFIXES = (".txt", *tables.SUFFIXES)
"""The suffixes of files that text is read from; each may have .gz or .zst after it."""

MARKUP_AND_CODE = (
    ".md", ".markdown", ".rst", ".org", ".tex", ".log", ".srt", ".vtt", ".lrc", ".html", ".css", ".xml", ".yaml",
    ".yml", ".toml", ".ini", ".py", ".js", ".ts", ".jsx", ".tsx", ".java", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs",
    ".go", ".rs", ".rb", ".php", ".swift", ".kt", ".scala", ".sh", ".sql", ".r", ".jl", ".lua", ".pl", ".hs", ".ml",
    ".ex", ".clj",
)  # fmt: skip
"""Files that are read like .txt where there is nothing else; beside texts and tables they rather describe those."""


def read_documents(path: Path, layout: TextLayout, columns: ColumnNames = (), asked: Asked | None = None) -> Iterator[Piece]:
    """The documents of one file, in pieces. A null cell is empty text.

    `layout` is for .txt: the file as one document, a document a line, or one for each run of lines between blank
    ones. `columns` are for tables, a field of the document each, chosen of what was `asked`. Raises RequestError naming
    file and line (or row) for what cannot be read.
    """
    with explained(path):
        if is_table(path):
            yield from documents_in_pieces(read_table(path, columns, asked or Asked(columns)))
        elif layout == "document":
            yield from in_pieces(_with_newlines(chunks(path)))
        else:
            yield from documents_in_pieces(split_lines(lines(path), layout))


def _with_newlines(text: Iterable[str]) -> Iterator[str]:
    """The text with \\n for \\r where lines end at \\r alone. Other line breaks stay as they are."""
    returns = None
    for chunk in text:
        if returns is None and chunk:
            returns = at_returns(chunk[:FIRST_LINE].encode())
        yield chunk.replace("\r", "\n") if returns else chunk


def is_plain_text(path: Path) -> bool:
    """Whether the first bytes of a file are UTF-8 text, or its mark says that it is text."""
    with explained(path), open_bytes(path) as file:
        head = file.read(1 << 16)
    if marked_encoding(head) is not None:
        return True
    try:
        codecs.utf_8_decode(head, "strict", False)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its suffix."""
    return suffix_of(path, tables.SUFFIXES) is not None


def recognise(head: bytes) -> str | None:
    """The suffix that fits a file's first bytes, such as ".parquet"; None for plain text."""
    known = table_suffix(head)
    if known is not None:
        return known
    text = head_of_text(head)
    if _JSON.match(text):
        return ".jsonl" if text.lstrip().startswith("{") else ".json"
    return dialects.table_suffix(text)


def head_of_text(head: bytes) -> str:
    """The first bytes of a file as text, up to the end of a line if there is one; bytes in another encoding are replaced."""
    text = head.decode(marked_encoding(head) or "utf-8-sig", "replace")
    return text[: text.rfind("\n") + 1] or text


def split_lines(lines: Iterable[str], layout: TextLayout) -> Iterator[Row]:
    """A document a line, or one for each run of lines between blank ones."""
    if layout == "lines":
        for line in lines:
            yield (without_end(line),)
        return
    block: list[str] = []
    for line in lines:
        if not line.isspace():
            block.append(line)
        elif block:
            yield (without_end("".join(block)),)
            block = []
    if block:
        yield (without_end("".join(block)),)
