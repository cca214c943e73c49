"""Picture files that a table lists: a column of their paths, relative to the table's folder.

The column is found by its values, which are names of picture files that exist. Paths can't leave the folder, and nothing is
downloaded.
"""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.sources.readers import PICTURE_FILES
from aigc_cli.data.pictures.sources.rows import SUFFIXES as TABLES
from aigc_cli.data.pictures.sources.rows import Rows
from aigc_cli.data.sources.source import Part, Source, suffix_of
from aigc_cli.data.sources.stand_ins import refuse_stand_in
from aigc_cli.data.understood import Files, Group, Understood, listed
from aigc_cli.errors import RequestError

_LOOKED_AT = 200  # rows, for the column of paths
_MOST_COLUMNS = 1000  # looked at
_ADDRESS = re.compile(r"(https?|ftp|s3|gs|hf|file|data):", re.IGNORECASE)


class NotReadable(RequestError):
    """Pictures are listed in these columns, and can't be read."""

    def __init__(self, message: str, columns: Sequence[str]) -> None:
        super().__init__(message)
        self.columns = columns


@dataclass(frozen=True)
class Listing:
    """A table with a column of paths of pictures."""

    rows: Rows
    column: str

    @property
    def path(self) -> Path:
        return self.rows.path

    def read(self, columns: Sequence[str] = ()) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
        """The name of the picture in each row, as its path in the table's folder, and the row with these columns; None for a
        row without one. Whether there is such a file isn't checked.

        Raises RequestError for a path that leaves the folder, and for an address.
        """
        for number, row in enumerate(self.rows.values((self.column, *columns)), start=1):
            value = row.get(self.column)
            text = value.strip() if isinstance(value, str) else ""
            where = f"{self.path}, row {number:,}"
            yield (inside(text, self.path.parent, where) if text else None), row


def open_listed(path: Path, medium: Medium = PICTURE_FILES) -> Source | None:
    """The pictures that a table lists, each once and in order; None if it lists none. Raises RequestError for a table that
    can't be read, that lists only files that aren't there, or that has several columns of pictures."""
    found = listing_of(path, medium)
    if found is None:
        return None
    names = dict.fromkeys(name for name, _ in found.read() if name is not None)
    files: dict[str, Path] = {}
    missing, others = [], []
    for name in names:
        file = file_of(path.parent, name)
        if file is None:
            missing.append(name)
        elif suffix_of(file, medium.suffixes) is None:
            others.append(name)
        else:
            files[str(file)] = file
    groups = (
        Group.of(f"{medium.one} that is not there", f"{medium.many} that are not there", missing),
        Group.of(f"file that is no {medium.one}", f"files that are no {medium.many}", others),
    )
    understood = Understood(
        files=Files.of([PurePosixPath(name).suffix.lower() for name in files], names),
        origins={medium.many: f"the column {found.column!r}"},
        skipped=tuple(group for group in groups if group is not None),
        followed=Group.of("link out of the folder", "links out of the folder", _led_outside(files.values(), path.parent)),
    )
    part = Part(str(path), "files", tuple(files.values()), tables=(path,), listed_in=path)
    return Source(str(path), {"all": part}, tuple(found.rows.notes), understood)


def listing_of(path: Path, medium: Medium = PICTURE_FILES) -> Listing | None:
    """The table with its column of paths, found by the values; None if it has none. Raises RequestError as `open_listed`."""
    suffix = suffix_of(path, TABLES)
    try:
        if suffix is None or not path.is_file() or (suffix == ".parquet" and path.suffix.lower() != suffix):
            return None
    except OSError:  # a name that none can have
        return None
    refuse_stand_in(path)
    stat = path.stat()
    return _listing_of(path, medium, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _listing_of(path: Path, medium: Medium, size: int, modified: int) -> Listing | None:
    rows = Rows(path)
    found = _columns_of(rows, medium)
    if any(_is_there(path.parent, name, medium) for name in rows.names):  # the first row names a picture, not a column
        rows = Rows(path, header=False)
        found = _columns_of(rows, medium)
    there = [column for column, values in found.items() if any(_is_there(path.parent, value, medium) for value in values)]
    if len(there) > 1:
        several = f"{path} has {medium.many} in the columns {listed(map(repr, there))}"
        raise NotReadable(f"{several}; a record has one {medium.one}: leave the others out", there)
    if there:
        return Listing(rows, there[0])
    for column, values in found.items():
        if (address := next((value for value in values if _ADDRESS.match(value)), None)) is not None:
            raise NotReadable(
                f"{path}: the {medium.many} in {column!r} are addresses, such as {_short(address)}, and are not downloaded; "
                "download them, and name the files",
                [column],
            )
        if _relative(values[0], path.parent) is None:
            raise NotReadable(f"{path}: {_short(values[0])} is outside of the folder {path.parent}", [column])
        missing = f"{path}: none of the {medium.many} in {column!r} is there, such as {_short(values[0])}"
        raise NotReadable(f"{missing}; paths are relative to {path.parent}", [column])
    return None


def _columns_of(rows: Rows, medium: Medium) -> dict[str, list[str]]:
    """The columns in which at least half of the first values are names of such files, with these values."""
    columns = [name for name in rows.strings if name][:_MOST_COLUMNS]
    values: dict[str, list[str]] = {name: [] for name in columns}
    for row in islice(rows.values(columns) if columns else (), _LOOKED_AT):
        for name in columns:
            value = row.get(name)
            if isinstance(value, str) and value.strip():
                values[name].append(value.strip())
    named = {name: [value for value in of if is_name(value, medium)] for name, of in values.items()}
    return {name: of for name, of in named.items() if of and 2 * len(of) >= len(values[name])}


def is_name(value: str, medium: Medium = PICTURE_FILES) -> bool:
    """Whether a text may be the name of a picture file."""
    return len(value) < 1000 and "\n" not in value and suffix_of(re.sub(r"[?#].*$", "", value), medium.suffixes) is not None


def _is_there(folder: Path, value: str, medium: Medium) -> bool:
    return is_name(value, medium) and (name := _relative(value, folder)) is not None and file_of(folder, name) is not None


def file_of(folder: Path, name: str) -> Path | None:
    """The file of this name in the folder, in whatever Unicode form its name is stored."""
    for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)):
        path = folder / form
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # too long, or with a null byte
            return None
    return None


def _led_outside(files: Iterable[Path], folder: Path) -> Iterator[str]:
    """The files in a folder that really are outside of it, as links lead there, and where: "cat.png → /data/cat.png"."""
    inside, real_folders = os.path.realpath(folder).rstrip(os.sep) + os.sep, dict[str, str]()
    for file in files:
        within, name = os.path.split(file)
        if within not in real_folders:
            real_folders[within] = os.path.realpath(within)
        real = os.path.realpath(file) if file.is_symlink() else f"{real_folders[within].rstrip(os.sep)}{os.sep}{name}"
        if not real.startswith(inside):
            yield f"{os.path.relpath(file, folder)} → {real}"


def _relative(value: str, folder: Path) -> str | None:
    """A path as one in the folder; None if it leaves it."""
    name = posixpath.normpath(value.replace("\\", "/") if os.sep == "\\" or "/" not in value else value)
    if posixpath.isabs(name):
        inside = name.removeprefix(str(folder).rstrip("/") + "/")
        return None if inside == name else inside
    return None if name == ".." or name.startswith("../") else name


def inside(value: str, folder: Path, where: str) -> str:
    """A path as one in the folder. Raises RequestError for one that leaves it, and for an address."""
    if _ADDRESS.match(value):
        raise RequestError(f"{where}: {_short(value)} is an address, and is not downloaded; download it, and name the file")
    name = _relative(value, folder)
    if name is None:
        raise RequestError(f"{where}: {_short(value)} is outside of the folder {folder}")
    return name


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:59] + "…")
