"""Documents out of files of every format that text comes in, as a stream."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from aigc_cli.data import tables
from aigc_cli.data.columns import ColumnNames
from aigc_cli.data.compression import chunks, explained, lines, without_end
from aigc_cli.data.sources import suffix_of
from aigc_cli.data.tables import Asked, Row, read_table, table_suffix
from aigc_cli.data.text.pieces import Piece, documents_in_pieces, in_pieces

TextLayout: TypeAlias = Literal["document", "lines", "paragraphs"]

SUFFIXES = (".txt", *tables.SUFFIXES)
"""The suffixes of files that text is read from; each may have .gz or .zst after it."""


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
            yield from in_pieces(chunks(path))
        else:
            yield from documents_in_pieces(_LAYOUTS[layout](path))


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its suffix."""
    return suffix_of(path, tables.SUFFIXES) is not None


def recognise(head: bytes) -> str | None:
    """The suffix that fits a file's first bytes, such as ".parquet"; None for plain text."""
    first = head.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return table_suffix(head) or {b"{": ".jsonl", b"[": ".json"}.get(first)


def _lines_of_text(path: Path) -> Iterator[Row]:
    for line in lines(path):
        yield (without_end(line),)


def _paragraphs(path: Path) -> Iterator[Row]:
    block: list[str] = []
    for line in lines(path):
        if not line.isspace():
            block.append(line)
        elif block:
            yield (without_end("".join(block)),)
            block = []
    if block:
        yield (without_end("".join(block)),)


_LAYOUTS: dict[TextLayout, Callable[[Path], Iterator[Row]]] = {
    "lines": _lines_of_text,
    "paragraphs": _paragraphs,
}
