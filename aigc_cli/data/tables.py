"""ColumnNames of text out of a table: TSV, CSV, JSON, Parquet, Arrow, or a data set of the hub.

TSV, CSV and JSON are read here: the readers of `datasets` guess types (0012 becomes 12, NA a missing value, a
date a timestamp) and do not know the line that is wrong. Parquet and Arrow, which carry their types, and data
sets of the hub are streamed by `datasets`. A null is empty text.
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
from typing import Any, TypeAlias

from aigc_cli.data.compression import chunks, lines, open_bytes, without_end
from aigc_cli.data.hub import quiet_datasets
from aigc_cli.data.sources import COMPRESSIONS, open_source, suffix_of
from aigc_cli.errors import RequestError

Row: TypeAlias = tuple[str, ...]
"""The cells of the columns asked for, in order; of plain text, one."""

ColumnNames: TypeAlias = tuple[str, ...]


def _tsv(path: Path, columns: ColumnNames) -> Iterator[Row]:
    """A header, then a row a line; cells are split at tabs and a quotation mark is a quotation mark."""
    rows = lines(path)
    header = without_end(next(rows, "")).split("\t")
    take = _cells_at(header, _choose(columns, header, header, path))
    for number, line in enumerate(rows, start=2):
        cells = without_end(line).split("\t")
        if len(cells) != len(header):
            if cells == [""]:
                continue  # a blank line
            raise _wrong_width(path, number, len(cells), len(header))
        yield take(cells)


def _csv(path: Path, columns: ColumnNames) -> Iterator[Row]:
    """As RFC 4180 has it: a header, cells that may be quoted, a quoted cell over several lines."""
    csv.field_size_limit(2**31 - 1)
    rows = csv.reader(lines(path), strict=True)
    try:
        header = next(rows, [""])
        take = _cells_at(header, _choose(columns, header, header, path))
        for row in rows:
            if len(row) == len(header):
                yield take(row)
            elif row:
                raise _wrong_width(path, rows.line_num, len(row), len(header))
    except csv.Error as error:
        raise RequestError(f"{path}, line {rows.line_num}: not valid CSV: {error}") from error


def _cells_at(header: Sequence[str], columns: ColumnNames) -> Callable[[Sequence[str]], Row]:
    """What takes the cells of these columns out of a row."""
    places = [header.index(column) for column in columns]
    return lambda row: tuple([row[place] for place in places])


def _wrong_width(path: Path, line: int, cells: int, columns: int) -> RequestError:
    return RequestError(f"{path}, line {line}: {cells} cells where the header has {columns} columns")


def _jsonl(path: Path, columns: ColumnNames) -> Iterator[Row]:
    """A JSON object (or string) a line."""
    chosen = columns
    for number, line in enumerate(lines(path), start=1):
        if line.isspace():
            continue
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{where}: not valid JSON: {_json_reason(error)}") from error
        chosen = chosen or _columns_of(value, path)
        yield _json_row(value, chosen, where)


def _json(path: Path, columns: ColumnNames) -> Iterator[Row]:
    """An array of objects or of strings, read whole; or, as many .json files are, a JSON object a line."""
    with open_bytes(path) as file:
        start = "".join(_first(chunks(file, path))).lstrip()
        if not start.startswith("["):
            yield from _jsonl(path, columns)
            return
    with open_bytes(path) as file:
        text = "".join(chunks(file, path))
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise RequestError(f"{path}, line {line}: not valid JSON: {_json_reason(error)}") from error
    chosen = columns
    for number, value in enumerate(values, start=1):
        chosen = chosen or _columns_of(value, path)
        yield _json_row(value, chosen, f"{path}, item {number}")


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


def _columns_of(value: object, path: Path) -> ColumnNames:
    """The column to take, chosen by the first object."""
    if not isinstance(value, dict):
        return ()
    return _choose((), [key for key, cell in value.items() if isinstance(cell, str)], list(value), path)


def _json_row(value: object, columns: ColumnNames, where: str) -> Row:
    if isinstance(value, dict):
        missing = next((column for column in columns if column not in value), None)
        if missing is not None:
            raise RequestError(f"{where}: there is no {missing!r} in it; it has {_listed(value)}")
        return tuple([_json_text(value[column], where) for column in columns])
    if len(columns) > 1:
        raise RequestError(f"{where}: {type(value).__name__} where an object with {_listed(columns)} is wanted")
    return (_json_text(value, where),)


def _json_text(value: object, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RequestError(f"{where}: {type(value).__name__} where text is wanted")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"{where}: half a surrogate pair, {value[error.start]!r}, is no text") from error
    return value


def _parquet(path: Path, columns: ColumnNames) -> Iterator[Row]:
    with _loader("parquet", path) as load:
        chosen = text_columns(load(), columns, path)
        yield from rows_of(load(columns=list(chosen), batch_size=_ROWS), chosen, path)


def _arrow(path: Path, columns: ColumnNames) -> Iterator[Row]:
    with _loader("arrow", path) as load:
        dataset = load()
        yield from rows_of(dataset, text_columns(dataset, columns, path), path)


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


def text_columns(dataset: Any, columns: ColumnNames, location: object) -> ColumnNames:
    """The columns of a `datasets` data set to take. Raises RequestError when one is missing or holds no text."""
    features = dataset.features or {}
    of_text = [name for name, feature in features.items() if getattr(feature, "dtype", "") in _TEXT_TYPES]
    chosen = _choose(columns, of_text, list(features), location)
    for column in chosen:
        if column not in of_text:
            raise RequestError(f"{location}: the column {column!r} does not hold text; {_listed(of_text)} does")
    return chosen


def rows_of(dataset: Any, columns: ColumnNames, location: object) -> Iterator[Row]:
    """The cells of columns of text of a streaming data set, row by row; a null is empty text."""
    row = 0
    for table in dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=_ROWS):
        try:
            cells = [table.column(column).to_pylist() for column in columns]
        except UnicodeDecodeError as error:
            raise RequestError(f"{location}, after row {row}: a cell is not UTF-8: {error.reason}") from error
        row += len(table)
        for values in zip(*cells, strict=True):
            yield tuple([value or "" for value in values])


_ROWS = 1000  # read at a time
_TEXT_TYPES = ("string", "large_string", "string_view")

TABLES: dict[str, Callable[[Path, ColumnNames], Iterator[Row]]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".json": _json,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
"""How a file of each suffix is read, given its path and the columns to take (none: one is to be chosen)."""


def table_suffix(head: bytes) -> str | None:
    """The suffix that fits the first bytes of a table in a binary format; None for what is none."""
    magics = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".arrow"}
    return next((suffix for magic, suffix in magics.items() if head.startswith(magic)), None)


def _choose(wanted: ColumnNames, of_text: Sequence[str], columns: Sequence[str], where: object) -> ColumnNames:
    """The columns wanted, else `text`, else the only column of text."""
    for column in wanted:
        if column not in columns:
            raise RequestError(f"{where}: there is no column {column!r}; the columns are {_listed(columns)}")
    if wanted:
        return wanted
    if "text" in of_text:
        return ("text",)
    if len(of_text) == 1:
        return (of_text[0],)
    if not of_text:
        raise RequestError(f"{where}: no column holds text; the columns are {_listed(columns)}")
    raise RequestError(
        f"{where}: choose one with --column, several with --fields, or what to answer and the answer with --source and "
        f"--target; the columns of text are {_listed(of_text)}"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def column_names(src: str) -> list[str]:
    """The columns of a file, or of the first in a folder; none where it is no table (or a compressed one of Parquet or Arrow).

    RequestError, OSError or ValueError where there is nothing to read.
    """
    part = next(iter(open_source(src, suffixes=TABLES, demos=()).parts.values()))
    (path, *_) = part.files
    match suffix_of(path, TABLES):
        case ".tsv":
            return without_end(next(lines(path), "")).split("\t")
        case ".csv":
            return next(csv.reader(lines(path)), [])
        case ".jsonl" | ".json":
            return _keys(path)
        case _:
            return _schema(path)


def _keys(path: Path) -> list[str]:
    """Those of the first object, as far as it is within the first chunk."""
    with open_bytes(path) as file:
        start = next(chunks(file, path), "").lstrip().removeprefix("[").lstrip()
    value, _ = json.JSONDecoder().raw_decode(start)
    return list(value) if isinstance(value, dict) else []


def _schema(path: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".parquet":
        return list(pq.read_schema(path).names)
    with pa.memory_map(str(path)) as file:
        try:
            return list(pa.ipc.open_file(file).schema.names)
        except pa.ArrowInvalid:
            return list(pa.ipc.open_stream(file).schema.names)
