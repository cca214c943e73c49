"""Whether a source holds records, for what learns from texts too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.listed import listing_of
from aigc_cli.data.pictures.readers import picture_files
from aigc_cli.data.records.texts import PICTURE
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.errors import RequestError


def holds_records(data: str, fields: Sequence[str] | None) -> bool:
    """Whether a source has a field of pictures, and if `fields` are given, whether it is one of them. Not much of it is read.

    False for what can't be opened, which is said where it is read as texts.
    """
    if data.startswith("demo:"):
        return data.removeprefix("demo:").partition("?")[0] in PICTURES.demos and _names(fields, PICTURE)
    try:
        listing = listing_of(Path(data).expanduser().absolute())
        if listing is not None:
            of_texts = PICTURE in listing.rows.names and listing.column != PICTURE
            return _names(fields, listing.column, *([] if of_texts else [PICTURE]))
        return Path(data).is_dir() and bool(picture_files(PICTURES.open(data).training())) and _names(fields, PICTURE)
    except RequestError:
        return False


def _names(fields: Sequence[str] | None, *pictures: str) -> bool:
    return fields is None or bool({*map(nfc, fields)} & {*map(nfc, pictures)})
