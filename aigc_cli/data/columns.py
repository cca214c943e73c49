"""The names of a table's columns, without reading the table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from aigc_cli.data.compression import chunks, lines, open_bytes, without_end
from aigc_cli.data.sources import open_source, suffix_of
from aigc_cli.data.tables import TABLES


def columns_of(src: str) -> list[str]:
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
