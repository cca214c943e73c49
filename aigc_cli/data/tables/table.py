"""Columns of text from a table: TSV, CSV, JSON, Parquet, Arrow, or a data set on the Hub.

TSV, CSV and JSON are read here: the readers of `datasets` guess types (0012 becomes 12, NA a missing value, a
date a timestamp) and don't report which line is wrong. Parquet and Arrow, which carry their types, and data
sets on the Hub are streamed by `datasets`. A null is empty text.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from aigc_cli.data.compression import encoding_by_mark, ends_at_returns, open_bytes
from aigc_cli.data.not_text import refuse_other_bytes
from aigc_cli.data.sources.hub import quiet_datasets
from aigc_cli.data.sources.source import COMPRESSIONS, open_source, suffix_of
from aigc_cli.data.tables import delimited, dialects, json_rows
from aigc_cli.data.tables.samples import ColumnNames, Columns, ColumnSample, text_of
from aigc_cli.errors import RequestError

Row: TypeAlias = tuple[str, ...]
"""The cells of the requested columns, in order; a single one for plain text."""

JSON = (".jsonl", ".json", ".ndjson")
SUFFIXES = (".tsv", ".csv", *JSON, ".parquet", ".arrow")

_ROWS = 1000  # read at a time
_LOOKED_AT_BYTES = 1 << 16  # of a file, for what is no text


@dataclass(frozen=True)
class Asked:
    """The user's options for tables."""

    columns: ColumnNames = ()  # empty: choose one
    header: bool | None = None  # of TSV and CSV: whether the first row names the columns; None: detect it


@dataclass(frozen=True)
class Table:
    """What is known from the beginning of a file."""

    columns: Columns
    names: ColumnNames  # of all columns, as often as the file has them
    expected: ColumnNames  # the column that its first row and suffix suggest; empty if they don't
    dialect: delimited.Dialect | None = None  # of delimited text
    notes: tuple[str, ...] = ()
    unexpected: tuple[Any, ...] = ()  # how it is read if that differs from its suffix: part of the cache key
    layout: str = ""  # of JSON that is not a list of objects
    marked: str | None = None  # the encoding by its byte-order mark; None for UTF-8


def sniff(path: Path, asked: Asked) -> Table:
    """What is known from the beginning of a file; cached until the file changes."""
    stat = path.stat()
    return _sniffed(path, asked, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sniffed(path: Path, asked: Asked, size: int, modified: int) -> Table:
    suffix = suffix_of(path, SUFFIXES)
    assert suffix is not None, "sources.py lets only known suffixes through"
    if suffix in (*delimited.OWN, *JSON):
        with open_bytes(path) as file:
            refuse_other_bytes(path, file.read(_LOOKED_AT_BYTES))
    if suffix in delimited.OWN:
        return _sniff_delimited(path, suffix, asked)
    if suffix in JSON:
        found = json_rows.sniff(path)
        marked = encoding_by_mark(path)
        notes = [*found.notes, *([f"read as {marked.upper()} by its byte-order mark"] if marked else [])]
        expected = _expected(found.first)
        layout = " ".join(found.notes)
        return Table(found.columns, tuple(found.columns), expected, notes=tuple(notes), layout=layout, marked=marked)
    with _loader(suffix.removeprefix("."), path) as load:
        return sniff_dataset(load())


def _sniff_delimited(path: Path, suffix: str, asked: Asked) -> Table:
    found = dialects.sniff(path, suffix, asked.columns, asked.header)
    notes = list(found.notes)
    columns = {name: ColumnSample(typed=True) for name in found.columns}
    for row in found.rows:
        for name, cell in zip(found.columns, row, strict=False):
            columns[name].add(cell)
    unexpected: tuple[Any, ...] = ()
    if found.dialect != delimited.Dialect(delimited.OWN[suffix], suffix == ".csv"):
        unexpected += found.dialect
    if ends_at_returns(path):
        unexpected += ("returns",)
        notes.append("lines end at carriage returns")
    if (marked := encoding_by_mark(path)) is not None:
        notes.append(f"read as {marked.upper()} by its byte-order mark")
    expected = _expected(found.columns)
    return Table(columns, found.columns, expected, found.dialect, tuple(notes), unexpected, marked=marked)


def _expected(of_text: ColumnNames) -> ColumnNames:
    return ("text",) if "text" in of_text else of_text if len(of_text) == 1 else ()


def read_table(path: Path, columns: ColumnNames, asked: Asked) -> Iterator[Row]:
    """The cells of these columns, row by row; for bare texts, the texts."""
    suffix = suffix_of(path, SUFFIXES)
    if suffix in JSON:
        yield from json_rows.rows(path, columns)
    elif suffix in delimited.OWN:
        table = sniff(path, asked)
        assert table.dialect is not None
        take = _cells_at(table.names, columns)
        for row in delimited.rows(path, table.dialect, len(table.names)):
            yield take(row)
    else:
        with _loader(str(suffix).removeprefix("."), path) as load:
            extra = {"columns": list(columns), "batch_size": _ROWS} if suffix == ".parquet" else {}
            yield from rows_of(load(**extra), columns, path)


def has_open_columns(path: Path) -> bool:
    """Whether later rows of a file may have other columns."""
    return suffix_of(path, SUFFIXES) in JSON


def named_values(path: Path, names: ColumnNames, asked: Asked) -> Iterator[Mapping[str, Any]]:
    """The values of these columns, row by row; of JSON, those of all columns. Bare texts have none."""
    if has_open_columns(path):
        yield from json_rows.objects(path)
    else:
        for cells in read_table(path, names, asked):
            yield dict(zip(names, cells, strict=True))


def _cells_at(header: Sequence[str], columns: ColumnNames) -> Callable[[Sequence[str]], Row]:
    """A function that extracts the cells of these columns from a row."""
    place_of = {name: place for place, name in reversed([*enumerate(header)])}  # the first, where several have a name
    places = [place_of[column] for column in columns]
    return lambda row: tuple([row[place] for place in places])


@contextmanager
def _loader(builder: str, path: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens the file as a streaming data set; failures inside become one line for the user."""
    datasets = quiet_datasets()
    # The library writes a lock file to its cache even when streaming; it goes to a folder of our own.
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"data.{builder}"
        if path.suffix.lower() in COMPRESSIONS:  # the formats need random access
            with open_bytes(path) as packed, plain.open("wb") as file:
                shutil.copyfileobj(packed, file)
        else:
            plain.symlink_to(path.absolute())  # the library takes names for patterns and addresses
        try:
            yield partial(
                datasets.load_dataset,
                builder,
                data_files=[str(plain)],
                split="train",
                streaming=True,
                cache_dir=folder,
            )
        except (OSError, ValueError, LookupError, TypeError, OverflowError, NotImplementedError, MemoryError) as error:
            reason = str(error).strip().split("\n")[0]
            raise RequestError(f"{path} is not a valid {builder} file: {reason}") from error


def sniff_dataset(dataset: Any, batches: int = 1) -> Table:
    """What is known from the schema of a `datasets` data set, and from its first rows if several columns may hold texts: up to
    `batches` of 1,000, until each of these columns has a value; one, if that called `text` has a value there."""
    features: Any = dataset.features
    fields = features.arrow_schema if features else ()
    columns: Columns = {field.name: _of_type(field.type, features[field.name]) for field in fields}
    of_text = [name for name, column in columns.items() if column.typed]
    inside = any(column.other in ("texts inside", "chat") for column in columns.values())
    several = len(of_text) > 1 or (inside and bool(of_text))
    if several and "text" in of_text:
        first = next(iter(dataset.select_columns(["text"]).with_format("arrow").iter(batch_size=_ROWS)), None)
        for value in [] if first is None else _values(first, "text"):
            columns["text"].add(value)
    if several and not ("text" in of_text and columns["text"].texts):
        for batch in islice(dataset.select_columns(of_text).with_format("arrow").iter(batch_size=_ROWS), batches):
            for name in of_text:
                for value in _values(batch, name):
                    columns[name].add(value)
            if all(columns[name].texts for name in of_text):
                break
    return Table(columns, tuple(columns), _expected(tuple(name for name in of_text if not columns[name].lists)))


def _of_type(kind: Any, feature: Any) -> ColumnSample:
    """What is known from the type of a column; lists of lists of strings and the like are text too."""
    import pyarrow as pa

    inner, lists = kind, False
    while pa.types.is_list(inner) or pa.types.is_large_list(inner):
        inner, lists = inner.value_type, True
    text = pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)
    if text and getattr(feature, "_type", "Value") != "Image":
        return ColumnSample(typed=True, lists=lists)
    if lists and pa.types.is_struct(inner) and {field.name for field in inner} >= {"content"}:
        return ColumnSample(other="chat")
    if pa.types.is_binary(inner) or pa.types.is_large_binary(inner):
        return ColumnSample(other="bytes")
    return ColumnSample(other="texts inside" if _has_texts_inside(inner) else "schema")


def _has_texts_inside(kind: Any) -> bool:
    """Whether an Arrow type is a structure with texts in it, and not a file: bytes and their path."""
    import pyarrow as pa

    if not pa.types.is_struct(kind) or any(pa.types.is_binary(field.type) for field in kind):
        return False
    return any(_of_type(field.type, None).typed or _has_texts_inside(field.type) for field in kind)


def rows_of(dataset: Any, columns: ColumnNames, location: object) -> Iterator[Row]:
    """The cells of columns of text of a streaming data set, row by row; a null is empty text."""
    row = 0
    for table in dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=_ROWS):
        try:
            cells = [_values(table, column) for column in columns]
        except UnicodeDecodeError as error:
            raise RequestError(f"{location}, after row {row}: a cell is not UTF-8: {error.reason}") from error
        row += len(table)
        for values in zip(*cells, strict=True):
            yield tuple([value if type(value) is str else text_of(value) or "" for value in values])


def _values(table: Any, name: str) -> list[Any]:
    """The values of a column. Raises `pyarrow.ArrowInvalid` if its insides don't fit together, which Arrow itself doesn't check
    before it uses them; whether texts are UTF-8 is left to Python."""
    import pyarrow as pa

    column = table.column(name)
    text = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}.get(column.type)
    (column if text is None else column.cast(text)).validate(full=True)
    values: list[Any] = column.to_pylist()
    return values


def table_suffix(head: bytes) -> str | None:
    """The suffix that fits the first bytes of a table in a binary format; None if there is none."""
    magics = {b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".arrow"}
    return next((suffix for magic, suffix in magics.items() if head.startswith(magic)), None)


def column_names(src: str) -> list[str]:
    """The columns of a file, or of the first in a folder; empty if it isn't a table (or is compressed Parquet or Arrow).

    Raises RequestError, OSError or ValueError if there is nothing to read.
    """
    part = next(iter(open_source(src, suffixes=SUFFIXES, demos=()).parts.values()))
    (path, *_) = part.files
    if suffix_of(path, SUFFIXES) in (".parquet", ".arrow"):
        return _schema(path)
    return list(sniff(path, Asked()).names)


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
