"""Reading latent vectors from a table in any format, recognised by its first bytes. Every error is a line that says where."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from aigc_cli.data.compression import explained, open_bytes
from aigc_cli.errors import RequestError, first_line

COLUMNS = ("latent", "mean", "codes")
"""Columns that hold the vectors; the first one present is used."""

Labels: TypeAlias = Mapping[str, Sequence[str | None]]
"""Classes by column: `label`, or `label_NAME` for each of several labels; None for a missing one."""
Row: TypeAlias = tuple[str, Mapping[str, Any], Sequence[float]]
"""A name, labels by column, and a vector."""


@dataclass(frozen=True)
class Latents:
    """Vectors to decode, with their names and labels."""

    source: str  # for messages: a path, or "standard input"
    names: Sequence[str]  # (n,)
    labels: Labels  # each (n,); without columns that are empty
    vectors: npt.NDArray[np.float32]  # (n, d), finite; n and d at least 1

    def require_width(self, width: int) -> None:
        """Raise `RequestError` unless the vectors have this many numbers."""
        if self.vectors.shape[1] != width:
            raise RequestError(
                f"{self.source}: its vectors have {self.vectors.shape[1]} numbers, but this model's have {width}; "
                "decode with the run that encoded them (--run)"
            )


def read_latents(source: str) -> Latents:
    """The vectors in a file (also .gz or .zst) or standard input ('-'): TSV, JSON Lines, Parquet, .npz, or an .npy (n, d).

    Raises `RequestError` for a file that can't be read, lacks the column, or has rows of different lengths or with anything but
    finite numbers.
    """
    if source == "-":
        return _read(sys.stdin.buffer, "standard input")
    with explained(Path(source)), open_bytes(Path(source)) as file:
        return _read(file, source)


def _read(file: BinaryIO, where: str) -> Latents:
    head: bytes = file.peek(16)  # type: ignore[attr-defined]  # all of them are buffered
    if head.startswith(b"PAR1"):
        names, labels, vectors = _parquet(file.read(), where)
    elif head.startswith((b"PK", b"\x93NUMPY")):
        names, labels, vectors = _numpy(io.BytesIO(file.read()), where)
    else:
        parse = _jsonl if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{") else _tsv
        names, found, rows = [], [], []
        for name, label, row in parse(_lines(file, where), where):
            names.append(name)
            found.append(label)
            rows.append(row)
        columns = dict.fromkeys(column for of in found for column in of)
        labels = _labels({column: [of.get(column) for of in found] for column in columns}, len(rows))
        vectors = _float32(rows)
    if vectors.size == 0:
        raise RequestError(f"{where} has no latent vectors")
    bad = np.argwhere(~np.isfinite(vectors))
    if len(bad):
        row, number = bad[0]
        raise RequestError(
            f"{where}, row {row + 1}: number {number + 1} of the vector is {vectors[row, number]}, not a finite float32"
        )
    return Latents(where, names, labels, vectors)


def _float32(numbers: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """As float32. Numbers out of range become infinite, and are refused later."""
    with np.errstate(over="ignore"):
        return np.asarray(numbers).astype(np.float32)


def _lines(file: BinaryIO, where: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            yield (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise RequestError(f"{where}, line {number}: byte {error.start} of the line is not UTF-8") from error


def _tsv(lines: Iterator[str], where: str) -> Iterator[Row]:
    header = next(lines, "").rstrip("\r\n").split("\t")
    places = _vector_columns(header, where)
    named = header.index("name") if "name" in header else None
    labelled = {column: place for place, column in enumerate(header) if _is_label(column)}
    for number, line in enumerate(lines, start=2):
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) != len(header):
            if cells == [""]:
                continue  # a blank line
            raise RequestError(f"{where}, line {number}: {len(cells)} cells, but the header has {len(header)} columns")
        row = [_number(cells[place], f"{where}, line {number}, column {header[place]}") for place in places]
        name = f"row {number - 1}" if named is None else _unescaped(cells[named])
        yield name, {column: _unescaped(cells[place]) for column, place in labelled.items()}, row


def _vector_columns(header: list[str], where: str) -> list[int]:
    """The positions of mean_0, mean_1, … (or latent_0, …) in the header."""
    for column in COLUMNS:
        pattern = re.compile(rf"{column}_([0-9]{{1,9}})")
        numbered = {int(match[1]): place for place, cell in enumerate(header) if (match := pattern.fullmatch(cell))}
        missing = next((i for i in range(len(numbered)) if i not in numbered), None)
        if missing is not None:
            raise RequestError(f"{where}, line 1: the column '{column}_{missing}' is missing, but later ones are present")
        if numbered:
            return [numbered[i] for i in range(len(numbered))]
    raise _no_column(f"{where}, line 1", [f"{column}_0" for column in COLUMNS], header)


def _number(cell: str, where: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        raise RequestError(f"{where}: {cell[:40]!r} is not a number") from None
    if not math.isfinite(number):
        raise RequestError(f"{where}: {cell} is not a finite number")
    return number


def _unescaped(cell: str) -> str:
    return re.sub(r"\\[\\tnr]", lambda match: {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}[match[0]], cell)


def _jsonl(lines: Iterator[str], where: str) -> Iterator[Row]:
    column, width = "", 0
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        at = f"{where}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{at}: not valid JSON: {getattr(error, 'msg', error)}") from None
        if not isinstance(row, dict):
            raise RequestError(f"{at}: expected an object, found {type(row).__name__}")
        column = column or next((name for name in COLUMNS if name in row), "")
        if column not in row:
            raise _no_column(at, [column] if column else COLUMNS, row)
        vector = row[column]
        if not isinstance(vector, list) or not vector:
            raise RequestError(f"{at}: {column!r} is not a list of numbers")
        for place, value in enumerate(vector):
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e300:
                raise RequestError(f"{at}: {column}[{place}] is {json.dumps(value)[:40]}, not a finite number")
        width = width or len(vector)
        if len(vector) != width:
            raise RequestError(f"{at}: {column!r} has {len(vector)} numbers, but {width} in the first line")
        yield str(row.get("name", f"row {number}")), {key: of for key, of in row.items() if _is_label(key)}, vector


def _parquet(content: bytes, where: str) -> tuple[Sequence[str], Labels, npt.NDArray[np.float32]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        # No threads: an Arrow thread that releases a Python object during interpreter shutdown would abort the process.
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (OSError, ValueError) as error:
        raise RequestError(f"{where} is a damaged Parquet file: {first_line(error)}") from error
    column = next((name for name in COLUMNS if name in table.column_names), None)
    if column is None:
        raise _no_column(where, COLUMNS, table.column_names)
    try:
        lengths = pc.list_value_length(table[column]).fill_null(-1).to_numpy()
        flat = pc.list_flatten(table[column]).cast(pa.float32(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise RequestError(f"{where}: the column {column!r} holds {table[column].type}, not lists of numbers") from None
    width = int(lengths.max(initial=0))
    odd = np.flatnonzero(lengths != width)
    if len(odd):
        has = "no vector" if lengths[odd[0]] < 0 else f"{lengths[odd[0]]} numbers"
        raise RequestError(f"{where}, row {odd[0] + 1}: {column!r} has {has}, but other rows have {width} numbers")
    vectors = flat.to_numpy().astype(np.float32).reshape(len(lengths), width)  # null becomes NaN
    names = table["name"].to_pylist() if "name" in table.column_names else None
    labels = {text: table[text].to_pylist() for text in table.column_names if _is_label(text)}
    return _names(names, len(vectors)), _labels(labels, len(vectors)), vectors


def _numpy(file: BinaryIO, where: str) -> tuple[Sequence[str], Labels, npt.NDArray[np.float32]]:
    names: Sequence[Any] | None = None
    labels: dict[str, Sequence[Any]] = {}
    column = "array"
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            vectors = loaded
        else:
            column = next((name for name in COLUMNS if name in loaded), "")
            if not column:
                raise _no_column(where, COLUMNS, loaded.files)
            vectors = loaded[column]
            names = loaded["name"].ravel().tolist() if "name" in loaded else None
            labels = {text: loaded[text].ravel().tolist() for text in loaded.files if _is_label(text)}
    except RequestError:
        raise
    except Exception as error:  # of NumPy, and of each way in which a zip is packed
        raise RequestError(f"{where} is damaged or not a NumPy file of numbers: {first_line(error)}") from error
    if not isinstance(vectors, np.ndarray):  # bytes, of a member that is no array
        raise RequestError(f"{where}: the {column} is not an array")
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise RequestError(f"{where}: the {column} is {vectors.dtype} of shape {vectors.shape}; expected numbers (n, d)")
    return _names(names, len(vectors)), _labels(labels, len(vectors)), _float32(vectors)


def _names(names: Sequence[Any] | None, n: int) -> Sequence[str]:
    """Names for n rows: the given ones if there are n of them, otherwise row numbers."""
    return [str(name) for name in names] if names is not None and len(names) == n else [f"row {i + 1}" for i in range(n)]


def _is_label(column: str) -> bool:
    return column == "label" or column.startswith("label_")


def _labels(labels: Mapping[str, Sequence[Any]], n: int) -> Labels:
    """Labels for n rows, without columns that don't have n of them or are empty."""
    found = {column: [None if label in (None, "") else str(label) for label in of] for column, of in labels.items()}
    return {column: of for column, of in found.items() if len(of) == n and any(label is not None for label in of)}


def _no_column(where: str, wanted: Iterable[str], columns: Iterable[str]) -> RequestError:
    known = [repr(name) for name in columns]
    listed = ", ".join(known[:12]) + (", …" if len(known) > 12 else "") or "none"
    return RequestError(f"{where}: there is no column {' or '.join(map(repr, wanted))}; the columns are {listed}")
