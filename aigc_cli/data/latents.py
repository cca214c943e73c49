"""Writing latent vectors as a table, chunk by chunk: each row has a name, labels if there are any, vectors and numbers.

A column of vectors, such as `mean`, is a list column in Parquet, an array (n, d) in an .npz file, a list in JSON Lines, and the
columns mean_0, mean_1, … in a TSV. In the names and labels of a TSV, tabs, line breaks and backslashes are escaped as \\t, \\n,
\\r and \\\\. A missing label is null in Parquet and JSON Lines, and empty otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Codes: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Encoded:
    """The encodings of n inputs."""

    names: Sequence[str]  # (n,)
    columns: Mapping[str, Array]  # numbers, each (n,) or (n, d)
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)  # by column, (n,) classes; None for a missing one


def write_latents(stream: BinaryIO, format: str, chunks: Iterable[Encoded]) -> int:
    """Write a table in this format (tsv, jsonl, npz or parquet). Text formats are flushed after every chunk.

    Returns the number of rows. All chunks must have the same columns.
    """
    n = 0

    def counted() -> Iterator[Encoded]:
        nonlocal n
        for chunk in chunks:
            n += len(chunk.names)
            if len(chunk.names):
                labels = {
                    column: [None if label is None else _utf8(label) for label in of] for column, of in chunk.labels.items()
                }
                yield Encoded([_utf8(name) for name in chunk.names], chunk.columns, labels)

    _WRITERS[format](stream, counted())
    return n


def _write_tsv(stream: BinaryIO, chunks: Iterator[Encoded]) -> None:
    for number, chunk in enumerate(chunks):
        if number == 0:
            heads = [
                name if array.ndim == 1 else "\t".join(f"{name}_{i}" for i in range(array.shape[1]))
                for name, array in chunk.columns.items()
            ]
            stream.write(("\t".join(["name", *chunk.labels, *heads]) + "\n").encode())
        texts = [chunk.names, *([label or "" for label in of] for of in chunk.labels.values())]
        flat = [_numbers(array.reshape(len(array), -1)) for array in chunk.columns.values()]
        for row, *cells in zip(zip(*texts, strict=True), *flat, strict=True):
            stream.write(("\t".join([*map(_escaped, row), *map(str, chain(*cells))]) + "\n").encode())
        stream.flush()


def _write_jsonl(stream: BinaryIO, chunks: Iterator[Encoded]) -> None:
    for chunk in chunks:
        texts = {"name": chunk.names, **chunk.labels}
        keys = [*texts, *chunk.columns]
        for cells in zip(*texts.values(), *map(_numbers, chunk.columns.values()), strict=True):
            row = dict(zip(keys, map(_finite, cells), strict=True))
            stream.write((json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode())
        stream.flush()


def _write_npz(stream: BinaryIO, chunks: Iterator[Encoded]) -> None:
    parts = list(chunks)
    columns = {key: np.concatenate([part.columns[key] for part in parts]) for key in (parts[0].columns if parts else ())}
    texts = {"name": [name for part in parts for name in part.names]}
    for column in parts[0].labels if parts else ():
        texts[column] = [label or "" for part in parts for label in part.labels[column]]
    np.savez(stream, allow_pickle=False, **{key: np.array(text, dtype=np.str_) for key, text in texts.items()}, **columns)


def _write_parquet(stream: BinaryIO, chunks: Iterator[Encoded]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column(array: Array) -> Any:
        if array.ndim == 1:
            return pa.array(array)
        ends = np.arange(len(array) + 1, dtype=np.int32) * array.shape[1]
        return pa.ListArray.from_arrays(pa.array(ends), pa.array(array.reshape(-1)))

    def table(chunk: Encoded) -> Any:
        texts = {"name": chunk.names, **chunk.labels}
        return pa.table(
            {key: pa.array(values, pa.string()) for key, values in texts.items()}
            | {key: column(array) for key, array in chunk.columns.items()}
        )

    tables = map(table, chunks)
    first = next(tables, pa.table({"name": pa.array([], pa.string())}))
    with pq.ParquetWriter(stream, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)


_WRITERS: dict[str, Callable[[BinaryIO, Iterator[Encoded]], None]] = {
    "tsv": _write_tsv,
    "jsonl": _write_jsonl,
    "npz": _write_npz,
    "parquet": _write_parquet,
}


def _numbers(array: Array) -> list[Any]:
    """As Python numbers; float32 rounded to nine digits, which are enough to read back the same float32."""
    if array.dtype != np.float32:
        return list(array.tolist())
    flat = [float(f"{value:.9g}") for value in array.ravel().tolist()]
    return flat if array.ndim == 1 else [flat[i : i + array.shape[1]] for i in range(0, len(flat), array.shape[1])]


def _finite(cell: Any) -> Any:
    """Non-finite numbers become null, because JSON has none."""
    if isinstance(cell, list):
        return [_finite(value) for value in cell]
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _utf8(name: str) -> str:
    """File names may not be UTF-8, but table cells must be."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _escaped(name: str) -> str:
    return name.translate(_ESCAPES)
