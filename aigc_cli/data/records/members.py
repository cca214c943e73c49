"""Texts beside pictures or sounds in an archive, as in WebDataset: 7.jpg with 7.txt, the strings in 7.json, and 7.cls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.sources.readers import name_in
from aigc_cli.data.pictures.sources.webdataset import BESIDE, choose_members, ways_to_examples
from aigc_cli.data.records.texts import CAPTION, CLASS, Beside, Record, of_words, text_file, texts_of
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.sources.source import Part

_FIELDS = {".txt": CAPTION, ".cls": CLASS}
_LOOKED_AT = 200  # examples, for the fields that have words


def members_beside(part: Part, medium: Medium) -> Beside | None:
    """None if there are no texts in the part's archives."""
    rows: dict[str, Mapping[str, Any]] = {}
    for path in part.files:
        prefix = f"{name_in(path, part)}/" if len(part.files) > 1 else ""
        rows |= {prefix + name: row for name, row in _examples(Archive(path), medium).items()}
    columns = tuple(dict.fromkeys(name for row in rows.values() for name in row))
    if not columns:
        return None
    usual = (CAPTION,) if CAPTION in columns else of_words([*islice(rows.values(), _LOOKED_AT)], columns)
    return Beside(part.location, medium, medium.one, columns, usual, partial(_read, rows, part.location), len(rows))


def _examples(archive: Archive, medium: Medium) -> dict[str, Mapping[str, Any]]:
    """What is beside each picture that has anything beside it, by field."""
    names, _ = choose_members(archive.path, archive.names(medium.suffixes), medium)
    members = archive.names(BESIDE)
    ways = ways_to_examples(names)
    example_of = next((of for of in ways if {*map(of, names)} & {*map(of, members)}), None)
    if example_of is None:
        return {}
    rows: dict[str, dict[str, Any]] = {example_of(name): {} for name in names}
    for name, content in archive.contents(BESIDE):
        row = rows.get(example_of(name))
        if row is not None:
            _add(row, name, content, f"{archive.path}, {name!r}")
    return {name: rows[example_of(name)] for name in names if rows[example_of(name)]}


def _add(row: dict[str, Any], name: str, data: bytes, where: str) -> None:
    field = _FIELDS.get(name[-4:].lower())
    if field is not None:
        row[field] = text_file(data, where)
        return
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        row.update((key, value) for key, value in values.items() if value is not None and not isinstance(value, dict))


def _read(rows: Mapping[str, Mapping[str, Any]], where: str, columns: Sequence[str]) -> Iterator[Record]:
    for name, row in rows.items():
        yield name, texts_of(row, columns, f"{where}, {name}")
