"""Whether a source holds records, for what learns from texts too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from aigc_cli.data.pictures.arrays import SUFFIXES as ARRAYS
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.listed import NotReadable, listing_of
from aigc_cli.data.pictures.piped import holds
from aigc_cli.data.pictures.raw import ARCHIVES, TABLES
from aigc_cli.data.pictures.readers import READ, SUFFIXES, picture_files
from aigc_cli.data.records.texts import PICTURE
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.sources.source import Part, suffix_of
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.sources.standard_input import peek_stdin, sniff
from aigc_cli.data.sources.walk import walk
from aigc_cli.data.text.kind import TEXT
from aigc_cli.errors import AigcError, RequestError


def holds_records(data: str, fields: Sequence[str] | None) -> bool:
    """Whether a source has a field of pictures, and if `fields` are given, whether it is one of them. Not much of it is read.

    A folder holds what most of its files are. False for what can't be opened, which is said where it is read as texts. Raises
    RequestError if `fields` name a column of pictures that can't be read.
    """
    if data.startswith("demo:"):
        picture = PICTURE if data.removeprefix("demo:").partition("?")[0] in PICTURES.demos else None
    elif data.startswith("hf:"):
        picture = _picture_on_the_hub(data)
    elif data == "-":
        picture = _piped_picture(peek_stdin())
    else:
        try:
            picture = _picture_of(Path(data).expanduser().absolute())
        except NotReadable as error:
            if fields is not None and {*map(nfc, fields)} & {*map(nfc, error.columns)}:
                raise
            return False
        except RequestError:
            return False
    if picture is None or fields is None:
        return picture is not None
    return bool({*map(nfc, fields)} & {nfc(picture), PICTURE})


def _picture_of(path: Path) -> str | None:
    """The name of the field of pictures; None if there is none."""
    if (listing := listing_of(path)) is not None:
        return listing.column
    if path.is_file() and suffix_of(path, READ) is None:
        return None
    part = PICTURES.open(str(path)).training()
    if picture_files(part):
        return PICTURE if _mostly_pictures(path, part) else None
    first = part.files[0]
    suffix = suffix_of(first, READ)
    if suffix in TABLES:
        from aigc_cli.data.pictures.tables import open_table

        return open_table(first, None, "").picture
    if suffix in ARCHIVES:
        return PICTURE if Archive(first).names(SUFFIXES) else None
    return PICTURE if suffix in ARRAYS else None


def _picture_on_the_hub(location: str) -> str | None:
    from aigc_cli.data.records.hub import picture_on_the_hub

    try:
        return picture_on_the_hub(location)
    except AigcError:
        return None


def _piped_picture(head: bytes) -> str | None:
    """The key of a picture in JSON Lines that begin like this, or the field of a picture file or a tar with one first."""
    suffix = sniff(PICTURES, head)
    if suffix == ".jsonl":
        pairs = re.findall(r'"((?:[^"\\]|\\.)*)"\s*:\s*"([^"\\]*)', head.decode("utf-8", "replace"))
        return next((key for key, value in pairs if holds(value, Path.cwd())), None)
    if suffix == ".tar":
        return PICTURE if suffix_of(head[:100].rstrip(b"\0").decode("utf-8", "replace"), SUFFIXES) else None
    return PICTURE if suffix in SUFFIXES else None


def _mostly_pictures(path: Path, part: Part) -> bool:
    if not path.is_dir():
        return True
    beside = {picture.with_suffix("") for picture in picture_files(part)}
    files = [path.joinpath(*parts) for parts in walk(path).files]
    texts = [of for of in files if suffix_of(of, TEXT.suffixes) and of not in part.tables and of.with_suffix("") not in beside]
    return len(picture_files(part)) > len(texts)
