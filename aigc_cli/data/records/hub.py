"""Texts beside the pictures or sounds of a data set on the Hugging Face Hub, in its other columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from aigc_cli.data import cache
from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.sources.tables import choose_columns, holds_feature, hub_schema, read_hub_columns, text_columns
from aigc_cli.data.records.texts import Beside, Record, texts_of
from aigc_cli.data.sources.source import Part

_FILE = "texts.jsonl"
_VERSION = 1


def picture_on_the_hub(location: str, medium: Medium) -> str | None:
    """The name of the column of pictures of hf:owner/name, or of what else is meant; None if it has none. Raises AigcError if
    it can't be opened."""
    part = PICTURES.open(location).training()
    schema = hub_schema(part.location, part.split)
    return choose_columns(schema, None, part.location, medium).image if holds_feature(schema, medium.feature) else None


def columns_on_the_hub(part: Part, medium: Medium) -> Beside:
    """The columns that can be texts."""
    schema = hub_schema(part.location, part.split)
    picture = choose_columns(schema, None, part.location, medium).image
    columns, usual = text_columns(schema, picture)
    return Beside(part.location, medium, picture, columns, usual, partial(_read, part))


def _read(part: Part, columns: Sequence[str]) -> Iterator[Record]:
    """The records, from the cache if they were streamed before: the location names a revision, which never changes."""
    key = cache.key_of("texts on the hub", _VERSION, part.location, part.split, list(columns))
    folder = cache.lookup(key)
    if folder is not None:
        yield from _cached(folder / _FILE)
        return
    with cache.new_entry(key) as new, (new / _FILE).open("w", encoding="utf-8") as file:
        for number, row in enumerate(read_hub_columns(part.location, part.split, columns)):
            texts = texts_of(row, columns, f"{part.location}, row {number:,}")
            file.write(json.dumps(texts) + "\n")
            yield f"row {number}", texts


def _cached(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            yield f"row {number}", tuple(json.loads(line))
