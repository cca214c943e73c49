"""Where the texts beside the pictures or sounds of a source are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from aigc_cli.data.pictures.decoding.raw import ARCHIVES, Medium
from aigc_cli.data.pictures.demos.built_in import is_scenes
from aigc_cli.data.pictures.prepared.store import Store
from aigc_cli.data.pictures.sources.listed import Listing, file_of, listing_of
from aigc_cli.data.pictures.sources.metadata import FILE_NAME, in_source
from aigc_cli.data.pictures.sources.readers import name_in, names_of, picture_files
from aigc_cli.data.pictures.sources.rows import Rows
from aigc_cli.data.records.members import members_beside
from aigc_cli.data.records.scenes import scenes_beside
from aigc_cli.data.records.texts import CAPTION, CLASS, Beside, Record, of_words, text_file, texts_of
from aigc_cli.data.records.tones import is_tones, tones_beside
from aigc_cli.data.sources.source import Part, suffix_of
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.understood import listed
from aigc_cli.errors import RequestError

_LOOKED_AT = 200  # rows, for the columns of texts


def texts_beside(part: Part, medium: Medium) -> Beside | None:
    """None if there are no texts beside the pictures, or what else is meant. Raises RequestError for tables of texts that can't
    be read."""
    if part.listed_in is not None:
        listing = listing_of(part.listed_in, medium)
        assert listing is not None, "it was found when the part was opened"
        columns = tuple(name for name in listing.rows.names if name != listing.column)
        usual = _usual([listing.rows], columns)
        return Beside(str(listing.path), medium, listing.column, columns, usual, partial(_listed, listing))
    if is_scenes(part.location):
        return scenes_beside(part)
    if is_tones(part.location):
        return tones_beside(part)
    if part.kind == "hub":
        from aigc_cli.data.records.hub import columns_on_the_hub

        return columns_on_the_hub(part, medium)
    suffixes = {suffix_of(path, medium.read) for path in part.files}
    files = picture_files(part, medium.suffixes)
    if part.tables and files:
        return _of_metadata(part, medium)
    if files:
        return _of_text_files(part, medium)
    if suffixes == {".parquet"}:
        return _of_columns(part, medium)
    return members_beside(part, medium) if suffixes and suffixes <= {*ARCHIVES} else None


def classes_beside(store: Store, where: str, medium: Medium) -> Beside:
    """The classes of pictures, if they have any, as texts."""
    columns = (CLASS,) if len(store.classes) > 1 else ()
    return Beside(where, medium, medium.one, columns, columns, partial(_classes, store))


def _classes(store: Store, columns: Sequence[str]) -> Iterator[Record]:
    names = (*store.classes, "")  # -1 is none
    for name, label in zip(store.names, store.labels.tolist(), strict=True):
        yield name, (names[label],) * len(columns)


def _usual(tables: Sequence[Rows], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns with words in them."""
    rows: list[Mapping[str, Any]] = []
    for table in tables:
        has = {*table.names}
        rows += islice(table.values([name for name in columns if name in has]), _LOOKED_AT - len(rows))
    return of_words(rows, columns)


# A table that lists pictures


def _listed(listing: Listing, columns: Sequence[str]) -> Iterator[Record]:
    for number, (name, row) in enumerate(listing.read(columns), start=1):
        yield name, texts_of(row, columns, f"{listing.path}, row {number:,}")


# metadata.csv, .jsonl or .parquet beside pictures, as in the ImageFolder of Hugging Face's `datasets`


def _of_metadata(part: Part, medium: Medium) -> Beside | None:
    tables = [Rows(path) for path in part.tables]
    for table in tables:
        if FILE_NAME not in table.names:
            named = listed(map(repr, table.names), 10)
            raise RequestError(
                f"{table.path} needs a column {FILE_NAME!r} that names the {medium.many}; its columns are {named}"
            )
    columns = tuple(dict.fromkeys(name for table in tables for name in table.names if name != FILE_NAME))
    read = partial(_metadata, part, medium, tables)
    return Beside(part.location, medium, medium.one, columns, _usual(tables, columns), read)


def _metadata(part: Part, medium: Medium, tables: Sequence[Rows], columns: Sequence[str]) -> Iterator[Record]:
    """The rows of which the pictures are in the part, or not there at all; others are in other splits."""
    names = {*map(nfc, names_of(part, medium.suffixes))}
    for table in tables:
        folder = PurePosixPath(name_in(table.path, part)).parent
        rows = table.values([FILE_NAME, *(name for name in columns if name in table.names)])
        for number, row in enumerate(rows, start=1):
            value = row.get(FILE_NAME)
            text = value.strip() if isinstance(value, str) else ""
            name = in_source(text, folder) if text else None
            texts = texts_of(row, columns, f"{table.path}, row {number:,}")
            if name is None or name in names or name.startswith(("../", "/")) or file_of(Path(part.folder), name) is None:
                yield name, texts


# cat.txt beside cat.png


def _of_text_files(part: Part, medium: Medium) -> Beside | None:
    files = {path: path.with_suffix(".txt") for path in picture_files(part, medium.suffixes)}
    counts = Counter(files.values())
    found = {path: text for path, text in files.items() if text.is_file()}
    if not found:
        return None
    if twice := next((text for text in found.values() if counts[text] > 1), None):
        raise RequestError(f"{twice} is beside several {medium.many} of its name; leave one of them")
    read = partial(_text_files, part, medium, found)
    return Beside(part.location, medium, medium.one, (CAPTION,), (CAPTION,), read, len(found))


def _text_files(part: Part, medium: Medium, found: Mapping[Path, Path], columns: Sequence[str]) -> Iterator[Record]:
    for path, name in zip(picture_files(part, medium.suffixes), names_of(part, medium.suffixes), strict=True):
        if path in found:
            yield name, (text_file(found[path].read_bytes(), found[path]),) * len(columns)


# Columns beside embedded pictures


def _of_columns(part: Part, medium: Medium) -> Beside:
    from aigc_cli.data.pictures.sources.tables import choose_columns, read_schema, text_columns

    schema = read_schema(part.files[0])
    picture = choose_columns(schema, None, part.files[0], medium).image
    columns, usual = text_columns(schema, picture)
    return Beside(part.location, medium, picture, columns, usual, partial(_columns, part))


def _columns(part: Part, columns: Sequence[str]) -> Iterator[Record]:
    for path in part.files:
        prefix = f"{name_in(path, part)} " if len(part.files) > 1 else ""
        for number, row in enumerate(Rows(path).values(columns)):
            yield f"{prefix}row {number}", texts_of(row, columns, f"{path}, row {number:,}")
