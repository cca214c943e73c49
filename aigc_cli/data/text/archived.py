"""Texts in a tar or a zip: its .txt files, a document each, or the texts of .json files beside them, as in a WebDataset."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from aigc_cli.data import understood
from aigc_cli.data.compression import FIRST_LINE, at_returns
from aigc_cli.data.encodings import describe_encoding, likely
from aigc_cli.data.not_text import no_text
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.sources.folder_splits import common_folders
from aigc_cli.data.sources.source import suffix_of
from aigc_cli.data.sources.split_names import are_splits
from aigc_cli.data.tables.columns import Choice, choose, listed
from aigc_cli.data.tables.samples import SAMPLED_ROWS, ColumnNames, sampled, text_of
from aigc_cli.data.tables.table import SUFFIXES as TABLES
from aigc_cli.data.tables.table import Row
from aigc_cli.data.text.formats import MARKUP_AND_CODE, TextLayout, split_lines
from aigc_cli.data.text.pieces import Piece, documents_in_pieces, in_pieces
from aigc_cli.data.transcoding import marked_encoding
from aigc_cli.errors import RequestError

SUFFIXES = (".zip", ".tar", ".tgz")
"""Of the archives; a .tar may have .gz or .zst after it."""

_JSON = (".json",)
_DESCRIPTION = re.compile(r"(readme|licen[cs]e|notice|changelog)([._-].*)?", re.IGNORECASE)


def is_archive(path: PurePath) -> bool:
    """Whether a file is a tar or a zip, by its suffix."""
    return suffix_of(path, SUFFIXES) is not None


def counted(path: Path) -> Counter[str]:
    """The number of files per suffix in an archive."""
    return Archive(path).suffixes()


def holds_texts(counts: Counter[str]) -> bool:
    """Whether an archive with so many files per suffix holds texts or tables, rather than what a few texts describe."""
    return 3 * sum(counts[suffix] for suffix in (".txt", *MARKUP_AND_CODE, *TABLES)) >= max(1, counts.total())


def read_archive(path: Path, layout: TextLayout, wanted: ColumnNames) -> Iterator[Piece]:
    """The documents of an archive, in its order. With `wanted`, or without files of text, those of the columns of .json files.

    Raises RequestError, with the member's name, for what cannot be read.
    """
    archive = Archive(path)
    suffixes, choice = _choose(archive, wanted)
    if choice is not None:
        rows = (_cells(value, choice.columns, f"{path}: {name!r} in it") for name, value in _objects(archive))
        yield from documents_in_pieces(rows)
        return
    names = _without_descriptions(archive.names(suffixes))
    for name, text in _texts(archive, suffixes):
        if name not in names:
            continue
        if layout == "document":
            yield from in_pieces([text])
        else:
            yield from documents_in_pieces(split_lines(io.StringIO(text, newline="\n"), layout))


def recognise_archive(path: Path, wanted: ColumnNames) -> tuple[list[str], Choice | None]:
    """Notes on how an archive is read, and the columns if its .json files are. Raises RequestError as `read_archive` does."""
    archive = Archive(path)
    suffixes, choice = _choose(archive, wanted)
    notes = [*archive.notes, *archive.skipped(suffixes)]
    read = set(archive.names(suffixes)) if choice is not None else _without_descriptions(archive.names(suffixes))
    if ignored := [name for name in archive.names(archive.suffixes()) if name not in read]:
        notes.append(
            f"ignored {len(ignored):,} other file{'s' * (len(ignored) > 1)} in {path.name}: {understood.listed(ignored)}"
        )
    if choice is not None:
        notes += [note for note in (f"{len(archive.names(_JSON)):,} .json files in {path.name}", choice.note) if note]
    else:
        count = len(read)
        notes.append(f"{count:,} {', '.join(suffixes)} file{'s' * (count > 1)} in {path.name}")
    return notes, choice


def _choose(archive: Archive, wanted: ColumnNames) -> tuple[tuple[str, ...], Choice | None]:
    """The suffixes of the files to read, or the columns of its .json files."""
    path, counts = archive.path, archive.suffixes()
    has_json = counts[".json"] > 0
    if wanted and not has_json:
        raise RequestError(f"{path} has no columns: there are no .json files in it")
    texts = (".txt",) if counts[".txt"] else tuple(suffix for suffix in MARKUP_AND_CODE if counts[suffix])
    others = [suffix for suffix in TABLES if suffix not in _JSON and counts[suffix]]
    if others and not wanted:
        shown = listed(islice(archive.names(others), 3))
        raise RequestError(f"{path} holds the tables {shown}: unpack it, and give one of them or their folder with --data")
    if texts and not wanted:
        _refuse_splits(path, _without_descriptions(archive.names(texts)))
        return texts, None
    if not has_json:
        raise RequestError(f"there are no texts in {path}")
    columns = sampled(value for _, value in islice(_objects(archive), SAMPLED_ROWS))
    return _JSON, choose(columns, wanted, path)


def _refuse_splits(path: Path, names: Iterable[str]) -> None:
    paths = [PurePosixPath(name).parts for name in names]
    depth = common_folders(paths)
    entries = {PurePosixPath(parts[depth]).stem if len(parts) == depth + 1 else parts[depth] for parts in paths}
    if len(entries) > 1 and are_splits(entries):
        raise RequestError(f"{path} holds the splits {', '.join(sorted(entries))}: unpack it and give the folder with --data")


def _without_descriptions(names: Sequence[str]) -> set[str]:
    """The names without those of files that only describe the others, such as README.txt."""
    return {name for name in names if not _DESCRIPTION.fullmatch(PurePosixPath(name).name)} or set(names)


def _texts(archive: Archive, suffixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name, content in archive.contents(suffixes):
        where = f"{archive.path}: {name!r} in it"
        if (why := no_text(Path(name), content[: 1 << 16])) is not None:
            raise RequestError(f"{where} {why}")
        try:
            text = content.decode(marked_encoding(content) or "utf-8-sig")
        except UnicodeDecodeError as error:
            guesses = likely([content[: 1 << 16]]) or likely([content])
            looks = f"; it looks like {describe_encoding(guesses[0].encoding)}" if guesses else ""
            raise RequestError(f"{where} is not UTF-8{looks}: unpack it and convert its files to UTF-8") from error
        yield name, text.replace("\r", "\n") if at_returns(text[:FIRST_LINE].encode()) else text


def _objects(archive: Archive) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, text in _texts(archive, _JSON):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{archive.path}: {name!r} in it is not valid JSON: {error}") from error
        if not isinstance(value, dict):
            raise RequestError(
                f"{archive.path}: {name!r} in it is no object: unpack the archive and give the folder with --data"
            )
        yield name, value


def _cells(value: Mapping[str, Any], columns: ColumnNames, where: str) -> Row:
    missing = [column for column in columns if column not in value]
    if missing:
        raise RequestError(f"{where} has no {missing[0]!r}; it has {listed(value)}")
    texts = ["" if value[column] is None else text_of(value[column]) for column in columns]
    if None in texts:
        raise RequestError(f"{where}: expected text in {columns[texts.index(None)]!r}")
    return tuple(text or "" for text in texts)
