"""JSON Lines with pictures, from standard input: as a Parquet file with the pictures in it, which needs nothing else.

A row names a picture file in the current folder, or holds one in base64, with or without `data:image/png;base64,` before it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.sources.listed import file_of, inside, is_name
from aigc_cli.data.pictures.sources.readers import PICTURE_FILES
from aigc_cli.data.pictures.sources.rows import Rows
from aigc_cli.data.sources.source import suffix_of
from aigc_cli.data.understood import listed
from aigc_cli.errors import RequestError

_LOOKED_AT = 200  # rows, for the key of the pictures
_AT_ONCE = 100  # rows written together


def pack(path: Path, folder: Path, medium: Medium = PICTURE_FILES) -> Path:
    """A Parquet file beside the file of JSON Lines, with its pictures and other columns. Paths are relative to `folder`.

    Raises RequestError if no column holds pictures, or several do, and for a path that leaves the folder.
    """
    rows = Rows(path)
    key = _key_of(rows, folder, medium)
    others = {name: _column([row.get(name) for row in rows.values(rows.names)]) for name in rows.names if name != key}
    encoded = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({key: encoded, **{name: of.type for name, of in others.items()}})
    packed = path.with_suffix(".parquet")
    try:
        with pq.ParquetWriter(packed, schema) as writer:
            start, values = 0, _encoded(rows, key, folder, medium)
            while batch := list(islice(values, _AT_ONCE)):
                columns = [pa.array(batch, encoded), *(of.slice(start, len(batch)) for of in others.values())]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                start += len(batch)
    except BaseException:
        packed.unlink(missing_ok=True)
        raise
    return packed


def _column(values: list[Any]) -> pa.Array:
    try:
        found = pa.array(values)
    except (pa.ArrowException, OverflowError):  # of several types
        found = pa.array([None if value is None else str(value) for value in values])
    return found.cast(pa.string()) if pa.types.is_null(found.type) else found


def _key_of(rows: Rows, folder: Path, medium: Medium) -> str:
    found: dict[str, None] = {}
    for row in islice(rows.values(rows.names), _LOOKED_AT):
        found.update((name, None) for name, value in row.items() if holds(value, folder, medium))
    if len(found) == 1:
        return next(iter(found))
    if found:
        raise RequestError(
            f"{rows.path} has {medium.many} in {listed(map(repr, found))}; a record has one {medium.one}: leave the others out"
        )
    raise RequestError(
        f"{rows.path}: no value is a {medium.one}: the name of a {medium.one} file that is in {folder}, or a {medium.one} in "
        f"base64; there is {listed(map(repr, rows.names)) or 'none'}"
    )


def texts_in(head: bytes) -> list[tuple[str, str]]:
    """The keys and values of texts in JSON Lines that begin like this."""
    return re.findall(r'"((?:[^"\\]|\\.)*)"\s*:\s*"([^"\\]*)', head.decode("utf-8", "replace"))


def tar_begins_with(head: bytes, medium: Medium) -> bool:
    """Whether the first member of a tar that begins like this is such a file."""
    return suffix_of(head[:100].rstrip(b"\0").decode("utf-8", "replace"), medium.suffixes) is not None


def holds(value: object, folder: Path, medium: Medium = PICTURE_FILES) -> bool:
    """Whether a value is the name of a picture in the folder, or a picture in base64."""
    if not isinstance(value, str):
        return False
    if medium.base64.match(value):
        return True
    return is_name(value.strip(), medium) and file_of(folder, value.strip()) is not None


def _encoded(rows: Rows, key: str, folder: Path, medium: Medium) -> Iterator[Mapping[str, Any] | None]:
    for number, row in enumerate(rows.values((key,)), start=1):
        value = row.get(key)
        text = value.strip() if isinstance(value, str) else ""
        start = medium.base64.match(text)
        if not text:
            yield None
        elif start:
            yield {"bytes": _decoded(text.removeprefix(start["address"] or "")), "path": None}
        else:
            file = file_of(folder, inside(text, folder, f"{rows.path}, row {number:,}"))
            yield {"bytes": None if file is None else file.read_bytes(), "path": text}


def _decoded(text: str) -> bytes:
    """What isn't base64 is no picture either, and is refused when it is decoded."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return text.encode()
