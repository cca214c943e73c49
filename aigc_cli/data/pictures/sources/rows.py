"""A table beside pictures, of any form: its columns, and the values of some of them row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aigc_cli.data.pictures.decoding.raw import IMAGE_NAMES
from aigc_cli.data.sources.source import suffix_of

SUFFIXES = (".tsv", ".csv", ".jsonl", ".ndjson", ".json", ".parquet")

_SHOW_A_HEADER = ("file_name", *IMAGE_NAMES, "audio", "sound", "path", "filename", "file", "caption")


class Rows:
    """The rows of a table. Raises RequestError if it can't be read."""

    def __init__(self, path: Path, header: bool | None = None) -> None:
        self.path, self._header = path, header
        self.notes: Sequence[str] = ()
        self.strings: tuple[str, ...] = ()  # the columns that may hold strings; none of Parquet with pictures in it
        if self._is_parquet:
            from aigc_cli.data.pictures.sources.tables import columns_of_strings, read_schema

            schema = read_schema(path)
            self.names, self.strings = tuple(map(str, schema.names)), columns_of_strings(schema)
        else:
            from aigc_cli.data.tables.table import sniff

            table = sniff(path, self._asked())
            self.names, self.notes = table.names, table.notes
            self.strings = self.names

    @property
    def _is_parquet(self) -> bool:
        return suffix_of(self.path, SUFFIXES) == ".parquet"

    def _asked(self) -> Any:
        from aigc_cli.data.tables.table import Asked

        return Asked(_SHOW_A_HEADER, self._header)

    def values(self, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """The values of these columns by name, row by row; of JSON those of all columns, and no row that isn't an object. Those
        of a `ClassLabel` are its names."""
        if self._is_parquet:
            from aigc_cli.data.pictures.sources.tables import read_columns

            return read_columns(self.path, list(names))
        from aigc_cli.data.tables.table import named_values

        return iter(named_values(self.path, tuple(names), self._asked()))
