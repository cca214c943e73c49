"""Choose the columns to read from the tables of a source, by a sample of the rows of each file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from aigc_cli.data.tables.columns import Choice, choose, empty_columns, has_texts, listed
from aigc_cli.data.tables.samples import SAMPLED_ROWS, ColumnNames, Columns, merge, sampled
from aigc_cli.data.tables.table import Asked, Table, has_open_columns, named_values, sniff
from aigc_cli.data.understood import ReadColumns, ReadTables
from aigc_cli.errors import RequestError

_SAMPLED_FILES = 50  # of a folder of many, spread evenly
_FURTHER_ROWS = 50_000  # of all files, read if columns that may hold the texts are empty in the sample
_EXAMPLES = 3


@dataclass(frozen=True)
class Tables:
    """The tables of one source, with the columns to read from each."""

    columns: dict[Path, ColumnNames]
    notes: tuple[str, ...]
    unexpected: tuple[Any, ...]  # as in `Table`, of all
    read: ReadColumns | None = None  # of most files; None if their rows are bare texts
    alike: tuple[ReadTables, ...] = ()
    layouts: tuple[str, ...] = ()
    marked: Mapping[str, str] = field(default_factory=dict)  # encodings by byte-order mark -> a file


def find_columns(paths: Sequence[Path], asked: Asked, where: object) -> Tables:
    """Choose the columns from a sample of all files; for a file without the chosen column, another is chosen.

    Raises RequestError if a column is missing or none can be chosen.
    """
    tables = {path: sniff(path, asked) for path in paths}
    known = {path: table.columns for path, table in tables.items()}
    some = list(paths)[:: max(1, len(paths) // _SAMPLED_FILES)]
    still_empty = () if asked.columns else _read_on(known, some, asked)
    merged = merge(known[path] for path in some)
    if still_empty and not has_texts(merged):
        raise RequestError(
            f"{where}: no column holds texts in the first {_FURTHER_ROWS:,} rows, where {listed(still_empty)} is empty; "
            "choose one with --column"
        )
    chosen = choose(merged, asked.columns, where) if merged else Choice(asked.columns)
    columns, notes, unexpected = {}, [chosen.note], []
    if still_empty:
        notes.append(f"{listed(still_empty)}: empty in the first {_FURTHER_ROWS:,} rows")
    for number, (path, table) in enumerate(tables.items()):
        own = chosen
        if known[path] and not set(chosen.columns) <= known[path].keys():
            own = choose(known[path], asked.columns, path)
            notes.append(f"{path.name}: {own.note}")
        if twice := [name for name in own.columns if table.names.count(name) > 1]:
            raise RequestError(f"{path}: several columns are called {twice[0]!r}; rename them in the header")
        columns[path] = own.columns
        if table.unexpected or (known[path] and not asked.columns and own.columns != table.expected):
            unexpected.append((number, *table.unexpected, *own.columns))
    told = tuple(filter(None, [*notes, *_told(tables)]))
    read = ReadColumns(chosen.columns, chosen.why, chosen.others) if merged else None
    dialects = Counter(table.dialect for table in tables.values() if table.dialect)
    alike = tuple(ReadTables(of.delimiter, of.quoted, of.header, files) for of, files in dialects.items())
    marked = {table.marked: path.name for path, table in tables.items() if table.marked}
    layouts = tuple(dict.fromkeys(table.layout for table in tables.values() if table.layout))
    return Tables(columns, told, tuple(unexpected), read, alike, layouts, marked)


def _read_on(known: dict[Path, Columns], paths: Sequence[Path], asked: Asked) -> ColumnNames:
    """Read beyond the samples, in `known`, until the columns that may hold the texts have values there. Returns those that are
    empty in as many rows as may be read."""
    left = _FURTHER_ROWS
    for path in paths:
        columns = merge(known[path] for path in paths)
        empty = empty_columns(columns)
        if not empty and (has_texts(columns) or not has_open_columns(path)):
            return ()
        names = tuple(name for name in empty if name in known[path])
        if not names and not has_open_columns(path):
            continue
        stat = path.stat()
        found, rows = _searched(path, names, asked, left, stat.st_size, stat.st_mtime_ns)
        new = {name: column for name, column in found.items() if name in names or name not in known[path]}
        known[path] = {**known[path], **new}
        left -= rows
        if left <= 0:
            return empty_columns(merge(known[path] for path in paths))
    return ()


@lru_cache(maxsize=1024)
def _searched(path: Path, names: ColumnNames, asked: Asked, limit: int, size: int, modified: int) -> tuple[Columns, int]:
    """Statistics of the rows up to those where all these columns have values, and their number; cached until the file
    changes."""
    rows, read = named_values(path, names, asked), 0
    columns: Columns = {}
    while read < limit and (batch := list(islice(rows, SAMPLED_ROWS))):
        read += len(batch)
        columns = merge([columns, sampled(batch)])
        if has_texts(columns) and all(name in columns and columns[name].texts for name in names):
            break
    return columns, read


def _told(tables: dict[Path, Table]) -> list[str]:
    """The notes on all files, each once, with example files unless it applies to all."""
    of: dict[str, list[str]] = {}
    for path, table in tables.items():
        for note in table.notes:
            of.setdefault(note, []).append(path.name)
    told = []
    for note, names in of.items():
        shown = ", ".join(names[:_EXAMPLES]) + (", …" if len(names) > _EXAMPLES else "")
        told.append(note if len(names) == len(tables) else f"{shown}: {note}")
    return told
