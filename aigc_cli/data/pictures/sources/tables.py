"""Pictures in a column of Parquet, Arrow or a Hub dataset, with labels and factors from other columns.

The picture column has Hugging Face's `Image` feature, or otherwise holds bytes. Labels come from a `ClassLabel` column, or
otherwise from one named label. Every other column of numbers is a factor.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count as counting
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from aigc_cli.data.pictures.decoding.raw import Medium, RawPicture, describe_origins
from aigc_cli.data.pictures.labels import joined, label_columns
from aigc_cli.data.pictures.sources.readers import LABEL_NAMES, PICTURE_FILES
from aigc_cli.data.sources import hub
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.errors import RequestError

SUFFIXES = (".parquet", ".arrow")

_BATCH_BYTES = 1 << 23  # approximately, per read
_HUB_ROWS = 32


@dataclass(frozen=True)
class PictureColumns:
    """The roles of a table's columns."""

    image: str
    labels: Mapping[str, tuple[str, ...] | None]  # the names of a `ClassLabel`
    factors: tuple[str, ...]
    origins: Mapping[str, str]

    @property
    def all(self) -> list[str]:
        return [self.image, *self.labels, *self.factors]


def choose_columns(schema: pa.Schema, label: str | None, where: object, medium: Medium = PICTURE_FILES) -> PictureColumns:
    """Choose columns. Raises `RequestError` if there is no picture column, or no column `label` that can hold labels."""
    features = _features(schema)
    kinds = {name: features.get(name, {}).get("_type") for name in schema.names}
    image, origin = _choose_image(schema, kinds, where, medium)
    origins = {medium.many: origin}
    classes = [name for name in schema.names if kinds[name] == "ClassLabel"]
    named = [name for name in LABEL_NAMES if name in schema.names and _can_be_label(schema.field(name).type)]
    asked = [_label_column(schema, name, image, where, medium) for name in label_columns(label, schema.names)]
    chosen = asked or ([name for name in named if name in classes] + classes + named)[:1]
    if chosen:
        others = f" (not {_others(classes, chosen[0])}; choose with --label)" if not asked and len(classes) > 1 else ""
        origins["labels"] = " and ".join(f"the column {name!r}" for name in chosen) + others
    names = {name: features.get(name, {}).get("names") if kinds[name] == "ClassLabel" else None for name in chosen}
    factors = [name for name in schema.names if name not in chosen and _is_number(schema.field(name).type)]
    labels = {name: tuple(of) if of else None for name, of in names.items()}
    return PictureColumns(image, labels, tuple(factors), origins)


def _label_column(schema: pa.Schema, label: str, image: str, where: object, medium: Medium) -> str:
    """The column that --label names. Raises `RequestError` if there is none, or it can't hold labels."""
    label = next((name for name in schema.names if nfc(name) == nfc(label)), label)
    if label not in schema.names or label == image:
        others = ", ".join(repr(name) for name in schema.names if name != image) or "none"
        raise RequestError(f"{where}: there is no column {label!r}; columns other than the {medium.many} are {others}")
    if not _can_be_label(schema.field(label).type):
        raise RequestError(f"{where}: the column {label!r} is of type {schema.field(label).type}, which can't be a label")
    return label


def columns_of_strings(schema: pa.Schema) -> tuple[str, ...]:
    """The columns of strings of a table without embedded pictures; none of one with them."""
    if any(_holds_bytes(field.type) for field in schema):
        return ()
    return tuple(field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type))


def text_columns(schema: pa.Schema, picture: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns beside the pictures that can be texts, and of these the ones that are: strings and names of classes."""
    features = _features(schema)
    others = [field for field in schema if field.name != picture]
    named = {field.name for field in others if features.get(field.name, {}).get("_type") == "ClassLabel"}
    strings = {field.name for field in others if _can_be_label(field.type) and not _is_number(field.type)}
    lists = {field.name for field in others if pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type)}
    usual = named | strings | lists
    able = tuple(field.name for field in others if field.name in usual or _is_number(field.type))
    return able, tuple(name for name in able if name in usual)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The features that Hugging Face's `datasets` writes into a schema, if any."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"].items()
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: feature for name, feature in features if isinstance(feature, dict)}


def _choose_image(schema: pa.Schema, kinds: dict[str, str | None], where: object, medium: Medium) -> tuple[str, str]:
    """The column of pictures, and how to tell it."""
    of_bytes = [name for name in schema.names if _holds_bytes(schema.field(name).type)]
    images = [name for name in of_bytes if kinds[name] == medium.feature]
    images = images or [name for name in of_bytes if name in medium.columns] or of_bytes
    if not images:
        columns = ", ".join(map(repr, schema.names)) or "none"
        raise RequestError(f"{where}: no column holds {medium.many}; the columns are {columns}")
    chosen = next((name for name in medium.columns if name in images), images[0])
    return chosen, f"the column {chosen!r}" + (f" (not {_others(images, chosen)})" if len(images) > 1 else "")


def _others(names: list[str], chosen: str | None) -> str:
    return ", ".join(repr(name) for name in names if name != chosen)


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether cells are files, or, as in `datasets`, files with their names. These are null if all have only names."""
    if pa.types.is_struct(kind):
        kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
        return bool(pa.types.is_null(kind) or pa.types.is_fixed_size_binary(kind) or _is_bytes(kind))
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _can_be_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    string = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(string or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


class TableReader:
    """The pictures of a table. `batches` opens the named columns and yields a few rows at a time."""

    def __init__(
        self,
        schema: pa.Schema,
        count: int | None,
        batches: Callable[[list[str]], AbstractContextManager[Iterable[Any]]],
        label: str | None,
        where: str,
        prefix: str,
        medium: Medium,
        downloads: bool = False,
    ) -> None:
        """`downloads`: whether files on the Hub that cells name are read: those of a dataset there are part of it."""
        self.count, self._downloads = count, downloads
        self._columns = choose_columns(schema, label, where, medium)
        self._batches, self._where, self._prefix = batches, where, prefix
        self.picture = self._columns.image
        names = [*self._columns.labels.values()]
        self.classes = (names[0] or ()) if len(names) == 1 else ()
        self.factors = self._columns.factors
        self.origins = self._columns.origins
        self.notes = (describe_origins(self.origins),)

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        columns = self._columns
        rows = counting()
        with self._batches(columns.all) as batches:
            for batch in batches:
                images = batch.column(columns.image)
                labels = {name: batch.column(name).to_pylist() for name in columns.labels}
                factors = [batch.column(name).to_pylist() for name in columns.factors]
                for index, row in zip(range(batch.num_rows), rows, strict=False):
                    if row % step == 0:
                        name = f"{self._prefix}row {row}"
                        found = [self._class(label, of[index], name) for label, of in labels.items()]
                        label = found[0] if len(found) == 1 else joined(found)
                        values = tuple(values[index] for values in factors)
                        yield RawPicture(name, _content(images[index].as_py(), self._downloads), label, values)

    def _class(self, column: str, label: Any, name: str) -> str | None:
        names = self._columns.labels[column]
        if label is None or (names is not None and label == -1):
            return None
        if names is None:
            return str(label)
        number = int(label)
        if not 0 <= number < len(names):
            raise RequestError(f"{self._where}, {name}: label {number} is not one of the {len(names)} classes")
        return names[number]


def _content(cell: Any, downloads: bool) -> Callable[[], BinaryIO]:
    path = None
    if isinstance(cell, dict):
        cell, path = cell.get("bytes"), cell.get("path")
    if cell is not None:
        return partial(io.BytesIO, cell)
    if downloads and path and (path.startswith("hf://") or "::hf://" in path):  # data must not name any other files
        return partial(_download, path)
    return partial(_missing, "its cell has only a file name" if path else "its cell is empty")


def _download(path: str) -> BinaryIO:
    with hub.quiet_datasets().utils.file_utils.xopen(path, "rb") as file:
        return io.BytesIO(file.read())


def _missing(reason: str) -> BinaryIO:
    raise OSError(reason)


def open_table(path: Path, label: str | None, prefix: str, medium: Medium = PICTURE_FILES) -> TableReader:
    """The pictures of a Parquet or Arrow file. Raises `RequestError` if it is damaged or has no pictures."""
    kind = path.suffix.lower().removeprefix(".")
    if kind == "parquet":
        with _whole(path, kind), pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            size = sum(file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups))
        at_a_time = max(1, min(1000, _BATCH_BYTES * rows // max(size, 1)))
        with _whole(path, kind):
            return TableReader(schema, rows, partial(_parquet, path, at_a_time), label, str(path), prefix, medium)
    if kind == "arrow":
        with _whole(path, kind), _arrow_batches(path) as (schema, batches):
            rows = sum(batch.num_rows for batch in batches)
            return TableReader(schema, rows, partial(_arrow, path), label, str(path), prefix, medium)
    raise RequestError(f"{path} must be unpacked first: Parquet and Arrow are memory-mapped, and compressed internally")


def read_any_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet or Arrow file. Raises `RequestError` if it is damaged."""
    if path.suffix.lower() == ".parquet":
        return read_schema(path)
    with _whole(path, "arrow"), _arrow_batches(path) as (schema, _):
        _ = schema.names  # which must be UTF-8
        return schema


def holds_feature(schema: pa.Schema, feature: str) -> bool:
    """Whether a column has this feature of Hugging Face's `datasets`."""
    return any(of.get("_type") == feature for of in _features(schema).values())


def first_cell(path: Path, schema: pa.Schema) -> bytes | None:
    """The first file in a column of files; None if there is no such column, or nothing in it."""
    columns = [field.name for field in schema if _holds_bytes(field.type)]
    opened = _parquet(path, 1, columns) if path.suffix.lower() == ".parquet" else _arrow(path, columns)
    with opened as batches:
        for batch in islice(batches, 1 if columns else 0):
            for row in batch.slice(0, 1).to_pylist():
                cells = (cell.get("bytes") if isinstance(cell, dict) else cell for cell in row.values())
                return next((cell for cell in cells if cell), None)
    return None


def read_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet file. Raises `RequestError` if it is damaged."""
    with _whole(path, "parquet"):
        schema = pq.read_schema(path)
        _ = schema.names  # which must be UTF-8
        return schema


def read_columns(path: Path, names: list[str]) -> Iterator[dict[str, Any]]:
    """The values of some columns of a Parquet file, row by row; those of a `ClassLabel` are its names."""
    features = _features(read_schema(path))
    with _parquet(path, 1000, names) as batches:
        for batch in batches:
            for row in batch.to_pylist():
                yield {name: _named(value, features.get(name, {})) for name, value in row.items()}


def _named(value: Any, feature: Mapping[str, Any]) -> Any:
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    if names is None or value is None:
        return value
    return names[value] if 0 <= value < len(names) else None


def open_hub(location: str, split: str, label: str | None, medium: Medium = PICTURE_FILES) -> TableReader:
    """The pictures of a Hub dataset, streamed."""
    schema, batches = hub_schema(location, split), partial(_hub, location, split)
    return TableReader(schema, None, batches, label, location, "", medium, downloads=True)


def hub_schema(location: str, split: str) -> pa.Schema:
    """The columns of a Hub dataset; none if they are only known once it is read."""
    with hub.explained(location):
        features = hub.stream(location, split).features
        return features.arrow_schema if features else pa.schema([])


def read_hub_columns(location: str, split: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The values of some columns of a Hub dataset, streamed row by row; those of a `ClassLabel` are its names."""
    features = _features(hub_schema(location, split))
    with _hub(location, split, list(names)) as batches:
        for batch in batches:
            for row in batch.to_pylist():
                yield {name: _named(value, features.get(name, {})) for name, value in row.items()}


@contextmanager
def _parquet(path: Path, rows: int, columns: list[str]) -> Iterator[Iterable[Any]]:
    with _whole(path, "parquet"), pq.ParquetFile(path, buffer_size=1 << 20) as file:
        yield file.iter_batches(rows, columns=columns)


@contextmanager
def _arrow(path: Path, columns: list[str]) -> Iterator[Iterable[Any]]:
    with _whole(path, "arrow"), _arrow_batches(path) as (_, batches):
        yield (checked(batch.select(columns)) for batch in batches)


def checked(batch: Any) -> Any:
    """Rows of an Arrow file whose insides fit together, as must be seen before they are used: Arrow doesn't look again. Raises
    `pyarrow.ArrowInvalid`."""
    batch.validate(full=True)
    return batch


@contextmanager
def _hub(location: str, split: str, columns: list[str]) -> Iterator[Iterable[Any]]:
    with hub.explained(location):
        yield hub.stream(location, split).select_columns(columns).with_format("arrow").iter(batch_size=_HUB_ROWS)


@contextmanager
def _arrow_batches(path: Path) -> Iterator[tuple[pa.Schema, Iterable[Any]]]:
    """The record batches of a file in either of Arrow's formats, memory-mapped."""
    with pa.memory_map(str(path)) as mapped:
        try:
            file = pyarrow.ipc.open_file(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            stream = pyarrow.ipc.open_stream(mapped)
            yield stream.schema, stream
            return
        yield file.schema, (file.get_batch(index) for index in range(file.num_record_batches))


@contextmanager
def _whole(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError) as error:
        reason = str(error).strip().split("\n")[0]
        raise RequestError(f"{path} is a damaged {kind} file: {reason}") from cast(Exception, error)
