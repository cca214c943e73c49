"""Where the texts beside the pictures of a source are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from aigc_cli.data.pictures.demos import is_scenes
from aigc_cli.data.pictures.listed import Listing, listing_of
from aigc_cli.data.pictures.rows import Rows
from aigc_cli.data.pictures.store import Store
from aigc_cli.data.records.scenes import scenes_beside
from aigc_cli.data.records.texts import CLASS, PICTURE, Beside, Record, text_of, texts_of
from aigc_cli.data.sources.source import Part
from aigc_cli.data.tables.words import has_words

_LOOKED_AT = 200  # rows, for the columns of texts
_SOME = 0.1  # of a column's values, at least


def texts_beside(part: Part) -> Beside | None:
    """None if there are no texts beside the pictures."""
    if part.listed_in is not None:
        listing = listing_of(part.listed_in)
        assert listing is not None, "it was found when the part was opened"
        columns = tuple(name for name in listing.rows.names if name != listing.column)
        usual = _of_words(listing.rows, columns)
        return Beside(str(listing.path), listing.column, columns, usual, partial(_listed, listing))
    if is_scenes(part.location):
        return scenes_beside(part)
    return None


def classes_beside(store: Store, where: str) -> Beside:
    """The classes of pictures, if they have any, as texts."""
    columns = (CLASS,) if len(store.classes) > 1 else ()
    return Beside(where, PICTURE, columns, columns, partial(_classes, store))


def _listed(listing: Listing, columns: Sequence[str]) -> Iterator[Record]:
    for number, (name, row) in enumerate(listing.read(columns), start=1):
        yield name, texts_of(row, columns, f"{listing.path}, row {number:,}")


def _classes(store: Store, columns: Sequence[str]) -> Iterator[Record]:
    names = (*store.classes, "")  # -1 is none
    for name, label in zip(store.names, store.labels.tolist(), strict=True):
        yield name, (names[label],) * len(columns)


def _of_words(rows: Rows, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns with words in some of their values, rather than numbers and codes alone."""
    values: dict[str, list[str]] = {name: [] for name in columns}
    for row in islice(rows.values(columns), _LOOKED_AT):
        for name in columns:
            text = text_of(row.get(name))
            if text:
                values[name].append(text)
    return tuple(name for name, of in values.items() if of and sum(map(has_words, of)) >= _SOME * len(of))
