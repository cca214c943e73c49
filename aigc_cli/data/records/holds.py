"""Whether a source holds records, and of what, for what learns from texts too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from aigc_cli.data.pictures.decoding.raw import ARCHIVES, TABLES
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.media import MediaKind
from aigc_cli.data.pictures.sources.arrays import SUFFIXES as ARRAYS
from aigc_cli.data.pictures.sources.listed import NotReadable, listing_of
from aigc_cli.data.pictures.sources.piped import holds, tar_begins_with, texts_in
from aigc_cli.data.pictures.sources.readers import picture_files
from aigc_cli.data.sounds.kind import SOUNDS
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.sources.source import Part, suffix_of
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.sources.standard_input import peek_stdin, sniff
from aigc_cli.data.sources.walk import walk
from aigc_cli.data.text.kind import TEXT
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.files import user_path

KINDS: tuple[MediaKind, ...] = (PICTURES, SOUNDS)
"""The kinds of which a record has one field, beside texts."""


def kind_of_records(data: str, fields: Sequence[str] | None) -> str | None:
    """The kind of a source's field of pictures or sounds, if it has one, and if `fields` are given, if that is one of them. Not
    much of the source is read.

    A folder holds what most of its files are. None for what can't be opened, which is said where it is read as texts. Raises
    RequestError if there are fields of several kinds and `fields` don't choose, or if they name a column that can't be read.
    """
    found = _fields_of(data, fields)
    if fields is not None:
        asked = {*map(nfc, fields)}
        found = {kind: name for kind, name in found.items() if asked & {nfc(name), kind.medium.one}}
    if len(found) > 1:
        told = " and ".join(f"{kind.name} in {name!r}" for kind, name in found.items())
        raise RequestError(f"{data} has {told}, and a record has one of them: name it with the texts in --fields")
    return next((kind.name for kind in found), None)


def _fields_of(data: str, asked: Sequence[str] | None) -> Mapping[MediaKind, str]:
    """By kind, the name of the field of it that a source has."""
    if data.startswith("demo:"):
        name = data.removeprefix("demo:").partition("?")[0]
        return {kind: kind.medium.one for kind in KINDS if name in kind.demos}
    found = {}
    for kind in KINDS:
        try:
            if data.startswith("hf:"):
                field = _on_the_hub(kind, data)
            elif data == "-":
                field = _piped(kind, peek_stdin())
            else:
                field = _in_files(kind, user_path(data).absolute())
        except NotReadable as error:
            if asked is not None and {*map(nfc, asked)} & {*map(nfc, error.columns)}:
                raise
            field = None
        except AigcError:
            field = None
        if field is not None:
            found[kind] = field
    return found


def _in_files(kind: MediaKind, path: Path) -> str | None:
    """The name of the field of this kind; None if there is none."""
    medium = kind.medium
    if (listing := listing_of(path, medium)) is not None:
        return listing.column
    if path.is_file() and suffix_of(path, medium.read) is None:
        return None
    part = kind.open(str(path)).training()
    if picture_files(part, medium.suffixes):
        return medium.one if _mostly(kind, path, part) else None
    first = part.files[0]
    suffix = suffix_of(first, medium.read)
    if suffix in TABLES:
        return _in_columns(kind, first)
    if (suffix in ARCHIVES or suffix in ARRAYS) and not _is_of_another(kind, first):
        return medium.one if suffix in ARRAYS or Archive(first).names(medium.suffixes) else None
    return None


def _in_columns(kind: MediaKind, path: Path) -> str | None:
    """The column of embedded files of this kind: one that is declared as such, otherwise one of bytes."""
    from aigc_cli.data.pictures.sources.tables import choose_columns, holds_feature, read_any_schema

    schema = read_any_schema(path)
    declared = [other for other in KINDS if holds_feature(schema, other.medium.feature)]
    if kind in declared if declared else not _is_of_another(kind, path):
        return choose_columns(schema, None, path, kind.medium).image
    return None


def _is_of_another(kind: MediaKind, path: Path) -> bool:
    """Whether an archive, arrays or columns of bytes hold another kind: pictures, unless they are known to hold what else there
    is."""
    others = [other for other in KINDS if other is not PICTURES and other.holds(str(path))]
    return kind is not (others[0] if others else PICTURES)


def _on_the_hub(kind: MediaKind, location: str) -> str | None:
    from aigc_cli.data.records.hub import picture_on_the_hub

    return picture_on_the_hub(location, kind.medium)


def _piped(kind: MediaKind, head: bytes) -> str | None:
    """The key of a file in JSON Lines that begin like this, or the field of such a file or a tar with one first."""
    medium = kind.medium
    suffix = sniff(kind, head)
    if suffix == ".jsonl":
        return next((key for key, value in texts_in(head) if holds(value, Path.cwd(), medium)), None)
    if suffix == ".tar":
        return medium.one if tar_begins_with(head, medium) else None
    return medium.one if suffix in medium.suffixes else None


def _mostly(kind: MediaKind, path: Path, part: Part) -> bool:
    """Whether most files of a folder are of this kind, rather than texts or of another."""
    if not path.is_dir():
        return True
    found = picture_files(part, kind.medium.suffixes)
    beside = {picture.with_suffix("") for picture in found}
    files = [path.joinpath(*parts) for parts in walk(path).files]
    texts = [of for of in files if suffix_of(of, TEXT.suffixes) and of not in part.tables and of.with_suffix("") not in beside]
    others = [sum(suffix_of(of, other.medium.suffixes) is not None for of in files) for other in KINDS if other is not kind]
    return len(found) > max(len(texts), *others)
