"""Readers for the pictures of a source: files in a folder, tar or zip, whose class is their top folder; arrays; tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from aigc_cli.data.compression import open_bytes
from aigc_cli.data.pictures.decoding.raw import ARCHIVES, IMAGE_NAMES, TABLES, Medium, RawPicture, Reader, in_base64
from aigc_cli.data.pictures.sources import arrays
from aigc_cli.data.pictures.sources.arrays import ArrayReader
from aigc_cli.data.pictures.sources.folders import classes_of_folders, notes_on_forms, origin_of
from aigc_cli.data.pictures.sources.webdataset import BESIDE, choose_members, labels_beside
from aigc_cli.data.sources.archive_names import decode_paths
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.sources.source import Part, suffix_of
from aigc_cli.data.sources.split_names import is_split, nfc, splits_of
from aigc_cli.data.understood import by_suffix
from aigc_cli.errors import RequestError

HEIC = (".heic", ".heif")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".pbm", ".pgm", ".ppm",
    ".pnm", *(HEIC if find_spec("pillow_heif") else ()),
)  # fmt: skip
REMEDIES = {
    **dict.fromkeys(HEIC, "pip install 'aigc-cli[heic]' reads them"),
    **dict.fromkeys((".jxl", ".psd", ".svg"), "magick mogrify -format png converts them to .png"),
    **dict.fromkeys((".cr2", ".nef", ".arw", ".dng"), "dcraw -T converts them to .tiff"),
}
"""By suffix, how to convert files that are not read."""
PICTURE_FILES = Medium(
    "picture",
    "pictures",
    SUFFIXES,
    REMEDIES,
    IMAGE_NAMES,
    "Image",
    # PNG, JPEG, GIF, WebP, TIFF, BMP
    in_base64("image", "iVBORw0KGgo|/9j/|R0lGOD|UklGR|SUkqA|TU0AK|Qk[0-3]"),
)
LABEL_NAMES = ("label", "labels", "class")
"""Columns of labels, most likely first."""
READ = PICTURE_FILES.read
"""The suffixes of files that pictures are read from."""


class FileReader:
    """Picture files; `names` are their paths in the folder of the source."""

    classes: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()

    def __init__(
        self,
        paths: Sequence[Path],
        names: Sequence[str],
        labels: Sequence[str | None],
        origins: Mapping[str, str],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.count, self.origins, self.notes = len(paths), origins, notes
        self._paths, self._names, self._labels = paths, names, labels

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        for index in range(0, self.count, step):
            yield RawPicture(self._names[index], partial(open_bytes, self._paths[index]), self._labels[index])


class ArchiveReader:
    """The pictures in one archive; their classes are folders, or given by the members beside them."""

    classes: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()

    def __init__(self, path: Path, label: str | None, prefix: str, medium: Medium = PICTURE_FILES) -> None:
        self._archive, self._prefix, self._medium = Archive(path), prefix, medium
        names, note = choose_members(path, self._archive.names(medium.suffixes), medium)
        self.count = len(names)
        self._names = frozenset(names)
        notes = [*self._archive.notes, *self._archive.skipped(medium.suffixes)]
        if not names:
            found_instead = by_suffix(self._archive.suffixes().elements(), medium.remedies)
            notes.append(f"no {medium.many} in {path.name}" + (f": {found_instead}" if found_instead else ""))
        if note is not None:
            notes.append(note)
        notes += notes_on_forms(names)
        self._labels = classes_of_folders(names, None)
        found = {label for label in self._labels if label is not None}
        if found and (splits_of(found) or (len(found) <= 2 and any(map(is_split, found)))):
            raise RequestError(
                f"{path} holds the folders {', '.join(sorted(found))}, which are named for splits and not classes; "
                "unpack it and give the folder"
            )
        self.origins = origin_of(self._labels)
        beside = labels_beside(self._archive, names, label, medium)
        if beside is not None:
            self.origins = {"labels": beside[1].removeprefix("labels of ")}
            self._labels = [value and nfc(value) for value in beside[0]]
            notes.append(beside[1])
        notes += self._others(() if beside is None else BESIDE)
        self.notes = tuple(notes)

    def _others(self, used: Sequence[str]) -> list[str]:
        """A note on files of other types, except those `used`. Raises RequestError if most would have to be converted."""
        medium = self._medium
        known = (*medium.suffixes, *used)
        others = Counter({suffix: n for suffix, n in self._archive.suffixes().items() if suffix not in known})
        if not (self.count and others):
            return []
        told = by_suffix(others.elements(), medium.remedies)
        if sum(others[suffix] for suffix in medium.remedies) > self.count:
            raise RequestError(f"most of {self._archive.path} is in formats that are not supported: {told}")
        return [f"ignored files of other types in {self._archive.path.name}: {told}"]

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        labels = iter(self._labels[::step])
        for name, content in self._archive.read(self._medium.suffixes, step, self._names):
            yield RawPicture(self._prefix + name, content, next(labels))


def why_unlabelled(part: Part) -> list[str]:
    """What the files of a part hold instead of labels, or beside the pictures."""
    found = [arrays.describe_unlabelled(path) for path in part.files if path.suffix.lower() == ".npz"]
    for path in part.files:
        if suffix_of(path, ARCHIVES) is not None:
            tables = (PurePosixPath(name).name for name in Archive(path).names((".csv", ".jsonl", ".parquet")))
            if (table := next((name for name in tables if name.lower().startswith("metadata.")), None)) is not None:
                found.append(f"{table} in {path.name} is not read: unpack it and give the folder")
    return found


def label_applies(parts: Sequence[Part]) -> bool:
    """Whether labels may have names in this source."""
    files = (path for part in parts for path in part.files)
    if any(suffix_of(path, (*TABLES, *ARCHIVES, ".npz")) for path in files):
        return True
    return any(part.kind in ("hub", "demo") or part.tables for part in parts)


def check_label_applies(parts: Sequence[Part], label: str | None) -> None:
    """Raise RequestError for a --label that would do nothing."""
    if label is not None and not label_applies(parts):
        table = next(iter(sorted(Path(parts[0].location).glob("*.csv"))), None)
        rename = f"; rename {table.name} to metadata.csv, and its column of names to file_name" if table else ""
        raise RequestError(
            f"--label is for tables, .npz files, archives and folders with a metadata.csv; {parts[0].location} has none{rename}"
        )


def picture_files(part: Part, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """The files of a part that are a picture each, or an example of another kind, with other suffixes."""
    return [path for path in part.files if suffix_of(path, suffixes)]


def names_of(part: Part, suffixes: Collection[str] = SUFFIXES) -> list[str]:
    """Their paths in the source's folder."""
    return decode_paths([name_in(path, part) for path in picture_files(part, suffixes)])[0]


def open_readers(
    part: Part,
    label: str | None,
    labels: Sequence[str | None] | None = None,
    medium: Medium = PICTURE_FILES,
    open_arrays: Callable[[Path, str, str | None, str], Reader] = ArrayReader,
) -> list[Reader]:
    """Readers for the pictures of a part that isn't drawn: one for all picture files, then one for each other file. `labels`
    are those of the picture files, by default their folders."""
    if part.kind == "hub":
        from aigc_cli.data.pictures.sources.tables import open_hub

        return [open_hub(part.location, part.split, label, medium)]
    readers: list[Reader] = []
    if pictures := picture_files(part, medium.suffixes):
        names, note = decode_paths([name_in(path, part) for path in pictures])
        notes = (*([note] if note else []), *notes_on_forms(names))
        folders = classes_of_folders(names, part.split_level)
        readers.append(FileReader(pictures, names, labels or folders, {} if labels else origin_of(folders), notes))
    several = len(part.files) > 1
    columns = any(suffix_of(path, (*TABLES, ".npz")) for path in part.files)  # a label names one of them
    for path in part.files:
        suffix = suffix_of(path, medium.read)
        prefix = name_in(path, part) if several else ""
        if suffix in ARCHIVES:
            readers.append(ArchiveReader(path, None if columns else label, prefix + "/" * several, medium))
        elif suffix in arrays.SUFFIXES:
            readers.append(open_arrays(path, part.split, label, prefix + " " * several))
        elif suffix in TABLES:
            from aigc_cli.data.pictures.sources.tables import open_table

            readers.append(open_table(path, label, prefix + " " * several, medium))
    return readers


def name_in(path: Path, part: Part) -> str:
    """The file's path in the source's folder; its name if it is the source itself."""
    inside = str(path).removeprefix(part.folder.rstrip(os.sep) + os.sep)  # pathlib takes ten times as long
    return inside.replace(os.sep, "/") if len(inside) < len(str(path)) else path.name
