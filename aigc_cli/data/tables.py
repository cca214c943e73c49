"""A column of text out of a table: TSV, CSV, JSON, Parquet, Arrow, or a data set of the hub.

TSV, CSV and JSON are read here: the readers of `datasets` guess types (0012 becomes 12, NA a missing value, a
date a timestamp) and do not know the line that is wrong. Parquet and Arrow, which carry their types, and data
sets of the hub are streamed by `datasets`. A null is an empty document.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aigc_cli.data.decoding import chunks, lines, open_bytes, without_end
from aigc_cli.data.hub import quiet_datasets
from aigc_cli.data.sources import COMPRESSIONS
from aigc_cli.errors import RequestError


def _tsv(path: Path, column: str | None) -> Iterator[str]:
    """A header, then a row a line; cells are split at tabs and a quotation mark is a quotation mark."""
    rows = lines(path)
    header = without_end(next(rows, "")).split("\t")
    index = header.index(_choose_column(column, header, header, path))
    for number, line in enumerate(rows, start=2):
        cells = without_end(line).split("\t")
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
        chosen = chosen or _column_of(value, path)
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
        chosen = chosen or _column_of(value, path)
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


def _column_of(value: object, path: Path) -> str | None:
    """The column to take, chosen by the first object."""
    if not isinstance(value, dict):
        return None
    return _choose_column(None, [key for key, cell in value.items() if isinstance(cell, str)], list(value), path)


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


def _parquet(path: Path, column: str | None) -> Iterator[str]:
    with _loader("parquet", path) as load:
        chosen = text_column(load(), column, path)
        yield from cells_of(load(columns=[chosen], batch_size=_ROWS), chosen, path)


def _arrow(path: Path, column: str | None) -> Iterator[str]:
    with _loader("arrow", path) as load:
        dataset = load()
        chosen = text_column(dataset, column, path)
        yield from cells_of(dataset, chosen, path)


@contextmanager
def _loader(builder: str, path: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens the file as a streaming data set; failures inside become one line for the user."""
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
            yield partial(
                datasets.load_dataset,
                builder,
                data_files=[str(plain)],
                split="train",
                streaming=True,
                cache_dir=folder,
            )
        except (OSError, ValueError) as error:  # the exceptions of pyarrow and datasets are of these two
            reason = str(error).strip().split("\n")[0]
            raise RequestError(f"{path} is not a whole {builder} file: {reason}") from error


def text_column(dataset: Any, column: str | None, location: object) -> str:
    """The column of a `datasets` data set to take. Raises RequestError when it is missing or holds no text."""
    features = dataset.features or {}
    of_text = [name for name, feature in features.items() if getattr(feature, "dtype", "") in _TEXT_TYPES]
    chosen = _choose_column(column, of_text, list(features), location)
    if chosen not in of_text:
        raise RequestError(f"{location}: the column {chosen!r} does not hold text; {_listed(of_text)} does")
    return chosen


def cells_of(dataset: Any, column: str, location: object) -> Iterator[str]:
    """The cells of a column of text of a streaming data set; a null is an empty document."""
    row = 0
    for table in dataset.select_columns([column]).with_format("arrow").iter(batch_size=_ROWS):
        try:
            cells = table.column(0).to_pylist()
        except UnicodeDecodeError as error:
            raise RequestError(f"{location}, after row {row}: a cell is not UTF-8: {error.reason}") from error
        row += len(cells)
        for cell in cells:
            yield cell or ""


_ROWS = 1000  # read at a time
_TEXT_TYPES = ("string", "large_string", "string_view")

TABLES: dict[str, Callable[[Path, str | None], Iterator[str]]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
"""How a file of each suffix is read, given its path and the column to take (None: to be chosen)."""


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
