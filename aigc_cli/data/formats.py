"""Documents out of text files of every format, as a stream.

A document comes in pieces, so that one of many gigabytes never has to be in memory: `(text, ends)`, where
`ends` marks the last piece of a document. Pieces are cut where neither the Unicode normaliser nor a tokenizer
looks across, so that what is done to the pieces one by one equals what would be done to the whole.

TSV, CSV, JSON and plain text are read here: the readers of `datasets` guess types (0012 becomes 12, NA a
missing value, a date a timestamp) and do not know the line that is wrong. Parquet and Arrow, which carry
their types, and data sets of the hub are streamed by `datasets`.
"""

from __future__ import annotations

import codecs
import csv
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import zstandard

from aigc_cli.data.decoding import chunks, explained, lines, open_bytes
from aigc_cli.data.sources import COMPRESSIONS, suffix_of
from aigc_cli.errors import RequestError

Layout: TypeAlias = Literal["document", "lines", "paragraphs"]
Piece: TypeAlias = tuple[str, bool]

PIECE_CHARS = 1 << 18
"""The length at which a document is cut."""


def read_documents(path: Path, column: str | None, layout: Layout) -> Iterator[Piece]:
    """The documents of one file, in pieces. A null cell is an empty document.

    `column` is for tables; the default is `text`, else the only column of text. `layout` is for .txt: the
    file as one document, a document a line, or one for each run of lines between blank ones. Raises
    RequestError naming file and line (or row) for what cannot be read.
    """
    suffix = suffix_of(path, SUFFIXES)
    assert suffix is not None, "sources.py lets only known suffixes through"
    with explained(path):
        if suffix == ".txt" and layout == "document":
            with open_bytes(path) as file:
                yield from in_pieces(chunks(file, path))
        elif suffix == ".txt":
            yield from documents_in_pieces(_LAYOUTS[layout](path))
        else:
            yield from documents_in_pieces(_TABLES[suffix](path, column))


def sniff(head: bytes) -> str | None:
    """The suffix that fits a file's first bytes, such as ".parquet" or ".json.gz"; None for plain text."""
    if head.startswith(b"\x1f\x8b"):
        inner = zlib.decompressobj(wbits=31).decompress(head, 1 << 16)
        return (sniff(inner) or ".txt") + ".gz"
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        inner = zstandard.ZstdDecompressor().decompressobj().decompress(head)
        return (sniff(inner) or ".txt") + ".zst"
    for magic, suffix in ((b"PAR1", ".parquet"), (b"ARROW1", ".arrow"), (b"\xff\xff\xff\xff", ".arrow")):
        if head.startswith(magic):
            return suffix
    first = head.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return {b"{": ".jsonl", b"[": ".json"}.get(first)


# ---------------------------------------------------------------- plain text


def _lines_of_text(path: Path) -> Iterator[str]:
    for line in lines(path):
        yield line.rstrip("\r\n")


def _paragraphs(path: Path) -> Iterator[str]:
    block: list[str] = []
    for line in lines(path):
        if not line.isspace():
            block.append(line)
        elif block:
            yield "".join(block).rstrip("\r\n")
            block = []
    if block:
        yield "".join(block).rstrip("\r\n")


_LAYOUTS: dict[Layout, Callable[[Path], Iterator[str]]] = {
    "lines": _lines_of_text,
    "paragraphs": _paragraphs,
}


def documents_in_pieces(documents: Iterable[str]) -> Iterator[Piece]:
    """The pieces of each document, given whole."""
    for document in documents:
        if len(document) <= PIECE_CHARS:
            yield document, True
        else:
            yield from in_pieces([document])


def in_pieces(parts: Iterable[str]) -> Iterator[Piece]:
    """One document, given in parts cut anywhere, in pieces cut where a cut changes nothing."""
    held = ""
    for part in parts:
        held += part
        start = 0
        while len(held) - start > PIECE_CHARS:
            # Where there is no place to cut in a whole piece, the first one after it has to do.
            cut = _last_cut(held, start, start + PIECE_CHARS) or _first_cut(held, start + PIECE_CHARS)
            if not cut:
                break
            yield held[start:cut], False
            start = cut
        held = held[start:]
    yield held, True


def _last_cut(text: str, start: int, end: int) -> int:
    """The best place to cut in `text[start:end]`, as late as can be; 0 when there is none.

    After a line break before something that is not space, every token of the Qwen2 pre-tokenizer ends; so it
    does between a word and the space before the next. Failing these, before an ASCII character or an
    ideograph, which no normaliser joins to what stands before it (BPE may then differ by a token).
    """
    at = text.rfind("\n", start, end - 1)
    while at >= 0:
        if not text[at + 1].isspace():
            return at + 1
        at = text.rfind("\n", start, at)
    at = text.rfind(" ", start + 1, end - 1)
    while at >= 0:
        if not text[at - 1].isspace() and text[at + 1].isascii() and text[at + 1].isalpha():
            return at
        at = text.rfind(" ", start + 1, at)
    return next((at for at in range(end - 1, start, -1) if _stands_alone(text[at])), 0)


def _first_cut(text: str, start: int) -> int:
    return next((at for at in range(start, len(text)) if _stands_alone(text[at])), 0)


def _stands_alone(char: str) -> bool:
    return char.isascii() or "\u4e00" <= char <= "\u9fff"


# -------------------------------------------------------------------- tables


def _tsv(path: Path, column: str | None) -> Iterator[str]:
    """A header, then a row a line; cells are split at tabs and a quotation mark is a quotation mark."""
    rows = lines(path)
    header = next(rows, "").rstrip("\r\n").split("\t")
    index = header.index(_choose_column(column, header, header, path))
    for number, line in enumerate(rows, start=2):
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) != len(header):
            if cells == [""]:
                continue  # a blank line
            raise _wrong_width(path, number, len(cells), len(header))
        yield cells[index]


def _csv(path: Path, column: str | None) -> Iterator[str]:
    """As RFC 4180 has it: a header, cells that may be quoted, a quoted cell over several lines."""
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader(lines(path), strict=True)
    try:
        header = next(rows, [""])
        index = header.index(_choose_column(column, header, header, path))
        for row in rows:
            if len(row) == len(header):
                yield row[index]
            elif row:
                raise _wrong_width(path, rows.line_num, len(row), len(header))
    except csv.Error as error:
        raise RequestError(f"{path}, line {rows.line_num}: not valid CSV: {error}") from error


def _wrong_width(path: Path, line: int, cells: int, columns: int) -> RequestError:
    return RequestError(f"{path}, line {line}: {cells} cells where the header has {columns} columns")


def _jsonl(path: Path, column: str | None) -> Iterator[str]:
    """A JSON object (or string) a line."""
    chosen = column
    for number, line in enumerate(lines(path), start=1):
        if line.isspace():
            continue
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{where}: not valid JSON: {_json_reason(error)}") from error
        chosen = chosen or _column_of(value, None, path)
        yield _json_document(value, chosen, where)


def _json(path: Path, column: str | None) -> Iterator[str]:
    """An array of objects or of strings, read whole; or, as many .json files are, a JSON object a line."""
    with open_bytes(path) as file:
        start = "".join(_first(chunks(file, path))).lstrip()
        if not start.startswith("["):
            yield from _jsonl(path, column)
            return
    with open_bytes(path) as file:
        text = "".join(chunks(file, path))
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise RequestError(f"{path}, line {line}: not valid JSON: {_json_reason(error)}") from error
    chosen = column
    for number, value in enumerate(values, start=1):
        chosen = chosen or _column_of(value, None, path)
        yield _json_document(value, chosen, f"{path}, item {number}")


def _json_reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _first(parts: Iterator[str]) -> Iterator[str]:
    """The parts up to the first that is not all space."""
    for part in parts:
        yield part
        if part and not part.isspace():
            return


def _column_of(value: object, column: str | None, path: Path) -> str | None:
    if not isinstance(value, dict):
        return None
    return _choose_column(column, [key for key, cell in value.items() if isinstance(cell, str)], list(value), path)


def _json_document(value: object, column: str | None, where: str) -> str:
    if isinstance(value, dict):
        if column not in value:
            raise RequestError(f"{where}: there is no {column!r} in it; it has {_listed(value)}")
        value = value[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"{where}: {type(value).__name__} where text is wanted")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"{where}: half a surrogate pair, {value[error.start]!r}, is no text") from error
    return value


def _arrow_table(builder: str) -> Callable[[Path, str | None], Iterator[str]]:
    def read(path: Path, column: str | None) -> Iterator[str]:
        from aigc_cli.data.hub import quiet_datasets

        datasets = quiet_datasets()
        # The library puts a lock file into its cache even when it streams; that goes to a folder of ours.
        with tempfile.TemporaryDirectory() as folder:
            if path.suffix.lower() in COMPRESSIONS:  # the formats need random access
                plain = Path(folder) / f"data.{builder}"
                with open_bytes(path) as packed, plain.open("wb") as file:
                    shutil.copyfileobj(packed, file)
            else:
                plain = path
            try:
                dataset = datasets.load_dataset(
                    builder, data_files=[str(plain)], split="train", streaming=True, cache_dir=folder
                )
                yield from rows_of_text(dataset, column, path)
            except (OSError, ValueError) as error:  # pyarrow's and datasets' exceptions are of these two
                reason = str(error).strip().split("\n")[0]
                raise RequestError(f"{path} is not a whole {builder} file: {reason}") from error

    return read


def rows_of_text(dataset: Any, column: str | None, location: object) -> Iterator[str]:
    """The cells of one column of a streaming `datasets` data set; a null is an empty document.

    Raises RequestError when the column is missing or does not hold text.
    """
    features = dataset.features or {}
    of_text = [name for name, feature in features.items() if getattr(feature, "dtype", "") in _TEXT_TYPES]
    chosen = _choose_column(column, of_text, list(features), location)
    if chosen not in of_text:
        raise RequestError(f"{location}: the column {chosen!r} does not hold text; {_listed(of_text)} does")
    row = 0
    for table in dataset.select_columns([chosen]).with_format("arrow").iter(batch_size=1000):
        try:
            cells = table.column(0).to_pylist()
        except UnicodeDecodeError as error:
            raise RequestError(f"{location}, after row {row}: a cell is not UTF-8: {error.reason}") from error
        row += len(cells)
        for cell in cells:
            yield cell or ""


_TEXT_TYPES = ("string", "large_string", "string_view")

_TABLES: dict[str, Callable[[Path, str | None], Iterator[str]]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _arrow_table("parquet"),
    ".arrow": _arrow_table("arrow"),
}

SUFFIXES = (".txt", *_TABLES)
"""The suffixes of files that text is read from; each may have .gz or .zst after it."""


def _choose_column(column: str | None, of_text: Sequence[str], columns: Sequence[str], where: object) -> str:
    """`column`, else `text`, else the only column of text."""
    if column is not None:
        if column in columns:
            return column
        raise RequestError(f"{where}: there is no column {column!r}; the columns are {_listed(columns)}")
    if "text" in of_text:
        return "text"
    if len(of_text) == 1:
        return of_text[0]
    if not of_text:
        raise RequestError(f"{where}: no column holds text; the columns are {_listed(columns)}")
    raise RequestError(f"{where}: choose a column with --column; the columns of text are {_listed(of_text)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
