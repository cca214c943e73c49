"""Labels of picture files from a table beside them: metadata.csv, .jsonl or .parquet with a column file_name, as in the
ImageFolder of Hugging Face's `datasets`.

Such a table only labels the pictures that are found without it: nothing that it names is opened.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from aigc_cli.data import cache
from aigc_cli.data.pictures.decoding.raw import Medium, describe_origins
from aigc_cli.data.pictures.labels import Classes, by_label, joined, label_columns
from aigc_cli.data.pictures.sources.folders import classes_of_folders, notes_on_repeated
from aigc_cli.data.pictures.sources.listed import Listing, listing_of
from aigc_cli.data.pictures.sources.readers import LABEL_NAMES, PICTURE_FILES, name_in, names_of
from aigc_cli.data.pictures.sources.rows import Rows
from aigc_cli.data.sources.source import Part
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.understood import listed
from aigc_cli.errors import RequestError

FILE_NAME = "file_name"
_NOTHING = ("", "nan", "null", "n/a")
_WHOLE = re.compile(r"-?\d+\.0+")


@dataclass(frozen=True)
class FoundLabels:
    """What a table beside pictures says of them."""

    labels: tuple[str | None, ...] | None = None  # of the part's picture files; None if it isn't used
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str | None:
        """A hash of the labels; None if there are none."""
        return None if self.labels is None else cache.key_of("metadata", list(self.labels))


def find_labels(
    part: Part,
    label: str | None,
    learned: bool,
    classes: Classes = (),
    medium: Medium = PICTURE_FILES,
) -> FoundLabels:
    """The labels of a part's picture files in the tables beside them, as `_find_label` finds them. `label` may name several
    columns, with commas between them."""
    names = [nfc(name) for name in names_of(part, medium.suffixes)]
    known = [name for path in part.tables for name in _Table(path, medium).names] if label and "," in label else ()
    columns = label_columns(label, known)
    if len(columns) < 2:
        return _find_label(part, names, label, learned, () if isinstance(classes, Mapping) else classes, medium)
    of_run = by_label(classes)
    found = [_find_label(part, names, column, learned, of_run.get(column, ()), medium) for column in columns]
    notes = tuple(dict.fromkeys(note for of in found for note in of.notes))
    of_pictures = [of.labels for of in found if of.labels is not None]
    if len(of_pictures) < len(columns):
        return FoundLabels(notes=notes)
    origins = {"labels": listed(dict.fromkeys(of.origins["labels"] for of in found))}
    return FoundLabels(tuple(map(joined, zip(*of_pictures, strict=True))), notes, origins)


def _find_label(
    part: Part, names: Sequence[str], label: str | None, learned: bool, classes: Sequence[str], medium: Medium
) -> FoundLabels:
    """The labels of a part's picture files in the tables beside them: of the column `label`, otherwise of one named label,
    labels or class. Without `label` they are read only if classes are `learned` and the folders are none. `classes` are those
    of an existing run.

    Raises RequestError for a table that can't be read, has no column `label`, or lists none of the pictures.
    """
    if not part.tables:
        return FoundLabels(notes=tuple(notes_on_repeated(part.location, names, part.split_level) if learned else ()))
    shown = listed(name_in(path, part) for path in part.tables)
    if not names:
        return FoundLabels(notes=(f"{shown} is not read: there are no {medium.one} files that it could describe",))
    if label is None and not learned:
        if part.listed_in is not None:  # which names the pictures, and is read for that
            return FoundLabels()
        return FoundLabels(notes=(f"{shown} is not read: its labels are for --conditional",))
    if label is None and len({*classes_of_folders(names, part.split_level)} - {None}) > 1:
        return FoundLabels(
            notes=(f"{shown} is not read: the folders are the classes; --label NAME takes them from its column",)
        )
    tables = [_Table(path, medium, listing_of(path, medium) if path == part.listed_in else None) for path in part.tables]
    columns = [table.column(label) for table in tables]
    if not any(columns):
        others = ", ".join(dict.fromkeys(repr(name) for table in tables for name in table.names if name != table.file_name))
        if label is not None:
            raise RequestError(f"{shown} in {part.location} has no column {label!r}; it has {others or 'no other'}")
        return FoundLabels(notes=(f"{shown} is not read: it has no column {_or(LABEL_NAMES)}; --label names one of {others}",))
    found: dict[str, str | None] = {}
    several: set[str] = set()
    for table, column in zip(tables, columns, strict=True):
        for listed_name, value in table.rows(column) if column else ():
            name = in_source(listed_name, PurePosixPath(name_in(table.path, part)).parent)
            if found.setdefault(name, value) != value:
                several.add(name)
    notes = []
    if not found.keys() & {*names} and (renamed := _by_stem(part.location, found, names)):
        notes.append(f"{shown} names {medium.many} in another form, such as {next(iter(found))!r} for {next(iter(renamed))!r}")
        found = renamed
    found, on_values = _plain(found, classes)
    if not found.keys() & {*names}:
        raise RequestError(
            f"{shown} lists none of the {medium.many} in {part.location}: "
            f"it names {next(iter(found), 'none')!r}, and there is {names[0]!r}"
        )
    known = {*names}
    missing = [name for name in found if name not in known and not _exists(part.location, name)]
    if part.listed_in is not None:  # told when it was opened
        missing = []
    origins = {"labels": f"the column {next(filter(None, columns))!r} of {shown}"}
    notes = [describe_origins(origins), *notes, *(f"{shown}: {note}" for note in on_values)]
    notes += [f"{name_in(table.path, part)}: {note}" for table in tables for note in table.notes]
    if missing:
        notes.append(f"{len(missing):,} listed in {shown} are not there: {listed(missing)}")
    if several:
        notes.append(f"{len(several):,} listed in {shown} with several labels, of which the first is used: {listed(several)}")
    return FoundLabels(tuple(found.get(name) for name in names), tuple(notes), origins)


def _by_stem(location: str, found: Mapping[str, str | None], names: Sequence[str]) -> dict[str, str | None]:
    """The labels by the names of the pictures, if they agree but for folders, suffixes and case, no two are alike, and
    no others have the names that are listed."""
    of_stem = {PurePosixPath(name).stem.casefold(): name for name in names}
    listed_as = {PurePosixPath(name).stem.casefold(): name for name in found}
    if len(of_stem) < len(names) or len(listed_as) < len(found) or any(_exists(location, name) for name in found):
        return {}
    return {of_stem[stem]: found[name] for stem, name in listed_as.items() if stem in of_stem}


def _plain(found: Mapping[str, str | None], classes: Sequence[str]) -> tuple[dict[str, str | None], list[str]]:
    """The labels without spaces around them, those that say nothing as None, and 1.0 as 1 if all are whole numbers; with notes.
    As they are written if these are `classes` of a run, as earlier versions read them."""
    written = {label for label in found.values() if label is not None}
    plain = {label: label.strip() for label in written}
    notes = ["labels are read without the spaces around them"] if any(map(str.__ne__, plain, plain.values())) else []
    if nothing := sorted(label for label, of in plain.items() if of.casefold() in _NOTHING):
        notes.append(f"{listed(map(repr, nothing))} is no label")
    kept = {label: of for label, of in plain.items() if label not in nothing}
    if kept and all(map(_WHOLE.fullmatch, kept.values())):
        kept = {label: of.partition(".")[0] for label, of in kept.items()}
        notes.append("labels such as 1.0 are read as 1")
    if any(name in written and name not in kept.values() for name in map(nfc, classes)):
        return {**found}, []
    return {name: None if label is None else kept.get(label) for name, label in found.items()}, notes


class _Table:
    """A table with the column file_name, or with another column of paths that was found in it."""

    def __init__(self, path: Path, medium: Medium, listing: Listing | None = None) -> None:
        self.path, self._medium = path, medium
        self._rows = Rows(path) if listing is None else listing.rows
        self._listed = listing is not None
        self.file_name = FILE_NAME if listing is None else listing.column
        self.names = self._rows.names
        self.notes = self._rows.notes if listing is None else ()  # told when it was opened

    def column(self, label: str | None) -> str | None:
        """The column with the labels; None if there is none. Raises RequestError if it can't say whose labels they are."""
        wanted = LABEL_NAMES if label is None else (nfc(label),)
        column = next((name for of in wanted for name in self.names if nfc(name) == of), None)
        if column is not None and self.file_name not in self.names:
            columns = ", ".join(map(repr, self.names))
            raise RequestError(
                f"{self.path} needs a column {self.file_name!r} that names the {self._medium.many}; its columns are {columns}"
            )
        return column

    def rows(self, column: str) -> Iterator[tuple[str, str | None]]:
        """The name of each picture and its label."""
        for number, row in enumerate(self._rows.values((self.file_name, column)), start=1):
            name, value = row.get(self.file_name), row.get(column)
            if self._listed and not name:  # a row without a picture
                continue
            if not isinstance(name, str) or not isinstance(value, str | int | float | None):
                wrong = self.file_name if not isinstance(name, str) else column
                kind = type(row.get(wrong)).__name__
                raise RequestError(
                    f"{self.path}, row {number}: {wrong!r} must be one value, such as a text; it is of type {kind}"
                )
            yield name, None if value in (None, "") else str(value)


def in_source(name: str, folder: PurePosixPath) -> str:
    """The path in the source of a file that a table in `folder` names, in NFC."""
    return posixpath.normpath(nfc(str(folder / name.replace("\\", "/"))))


def _exists(location: str, name: str) -> bool:
    """Whether there is such a file within the source, as one of another split."""
    if name.startswith(("/", "../")):
        return False
    return any(Path(location, unicodedata.normalize(form, name)).is_file() for form in ("NFC", "NFD"))


def _or(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" or {names[-1]}"
