"""Whether a source holds sounds or pictures, whose archives, tables and arrays have the same suffixes."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

from aigc_cli.data.arrays import arrays_of
from aigc_cli.data.kinds import Kind
from aigc_cli.data.pictures.decoding.raw import ARCHIVES, ARRAYS, TABLES, Medium
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.sources.listed import listing_of
from aigc_cli.data.pictures.sources.piped import holds, tar_begins_with, texts_in
from aigc_cli.data.pictures.sources.readers import PICTURE_FILES
from aigc_cli.data.pictures.sources.rows import SUFFIXES as LISTS
from aigc_cli.data.sounds.arrays import rate_of
from aigc_cli.data.sounds.decode import is_sound
from aigc_cli.data.sounds.readers import SOUND_FILES
from aigc_cli.data.sources.archives import first_names
from aigc_cli.data.sources.source import suffix_of
from aigc_cli.data.sources.standard_input import peek_stdin, sniff
from aigc_cli.data.sources.walk import walk
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.files import user_path

_LOOKED_AT = 1000  # members of an archive


def holds_sounds(sounds: Kind, src: str, input_format: str | None = None) -> bool:
    """Whether a source holds sounds rather than pictures. Not much of it is read.

    False for what can't be opened, which is said where it is read as pictures.
    """
    if src.startswith("demo:"):
        return src.removeprefix("demo:").partition("?")[0] in sounds.demos
    try:
        if src == "-":
            return _piped(sounds, peek_stdin(), input_format)
        if src.startswith("hf:"):
            return _on_hub(src)
        path = user_path(src).absolute()
        return _folder(path) if path.is_dir() else _file(path)
    except (AigcError, OSError):
        return False


def _folder(path: Path) -> bool:
    """By what most of its files are, otherwise by the first archive, table or array."""
    files = walk(path).files
    if (more := _more_sounds([parts[-1] for parts in files])) is not None:
        return more
    first = next((parts for parts in files if suffix_of(parts[-1], (*TABLES, *ARRAYS, *ARCHIVES))), None)
    return first is not None and _file(path.joinpath(*first))


def _file(path: Path) -> bool:
    if suffix_of(path, SOUND_FILES.suffixes):
        return True
    if suffix_of(path, ARCHIVES):
        return bool(_more_sounds(first_names(path, _LOOKED_AT)))
    if suffix_of(path, ARRAYS):
        most = max((len(array.shape) for array in arrays_of(path)), default=0)
        return most == 2 or rate_of(path) is not None  # arrays of pictures have 3 axes or 4
    if suffix_of(path, TABLES) and (in_table := _table(path)) is not None:
        return in_table
    return suffix_of(path, LISTS) is not None and _lists(path, SOUND_FILES) and not _lists(path, PICTURE_FILES)


def _lists(path: Path, medium: Medium) -> bool:
    """Whether a table lists such files, be it that they can't be read."""
    try:
        return listing_of(path, medium) is not None
    except RequestError:
        return True


def _more_sounds(names: list[str]) -> bool | None:
    """Whether more of these files are sounds than pictures; None if none are either."""
    counts = Counter(
        medium.one
        for medium in (PICTURE_FILES, SOUND_FILES)
        for name in names
        if suffix_of(name, (*medium.suffixes, *medium.remedies))
    )
    return counts[SOUND_FILES.one] > counts[PICTURE_FILES.one] if counts else None


def _table(path: Path) -> bool | None:
    """None if no column of a table holds files."""
    from aigc_cli.data.pictures.sources.tables import first_cell, holds_feature, read_any_schema

    schema = read_any_schema(path)
    if (
        declared := _declared(holds_feature(schema, SOUND_FILES.feature), holds_feature(schema, PICTURE_FILES.feature))
    ) is not None:
        return declared
    cell = first_cell(path, schema)
    return None if cell is None else is_sound(cell)


def _declared(sounds: bool, pictures: bool) -> bool | None:
    return sounds and not pictures if sounds or pictures else None


def _on_hub(src: str) -> bool:
    from aigc_cli.data.sources import hub

    source = PICTURES.open(src)
    part = next(iter(source.parts.values()))
    with hub.explained(src):
        features = hub.stream(part.location, part.split).features or {}
    named = {type(feature).__name__ for feature in features.values()}
    return bool(_declared(SOUND_FILES.feature in named, PICTURE_FILES.feature in named))


def _piped(sounds: Kind, head: bytes, input_format: str | None) -> bool:
    """By the first bytes of standard input: of a sound, of an archive with one first, or of JSON Lines with one."""
    suffix = f".{input_format}" if input_format else sniff(sounds, head)
    if suffix == ".jsonl":
        return any(holds(value, Path.cwd(), SOUND_FILES) for _, value in islice(texts_in(head), 100))
    if suffix == ".tar":
        return tar_begins_with(head, SOUND_FILES)
    if suffix == ".zip":
        name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return suffix_of(name.decode("utf-8", "replace"), SOUND_FILES.suffixes) is not None
    return suffix in SOUND_FILES.suffixes
