"""Readers for the pictures of a source: files in a folder, tar or zip, whose class is their top folder; arrays; tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from aigc_cli.data.compression import open_bytes
from aigc_cli.data.pictures import arrays
from aigc_cli.data.pictures.arrays import ArrayReader
from aigc_cli.data.pictures.raw import RawPicture, Reader
from aigc_cli.data.pictures.webdataset import labels_beside
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.sources.source import Part, suffix_of
from aigc_cli.data.sources.split_names import are_splits, is_split, nfc
from aigc_cli.errors import RequestError

HEIC = (".heic", ".heif")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".pbm", ".pgm", ".ppm",
    ".pnm", *(HEIC if find_spec("pillow_heif") else ()),
)  # fmt: skip
ARCHIVES = (".tar", ".tgz", ".zip")
TABLES = (".parquet", ".arrow")
READ = (*SUFFIXES, *TABLES, *arrays.SUFFIXES, *ARCHIVES)
"""The suffixes of files that pictures are read from."""


class FileReader:
    """Picture files; `names` are their paths in the folder of the source, whose first part is the class."""

    classes: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, paths: Sequence[Path], names: Sequence[str], split_level: int | None) -> None:
        self.count = len(paths)
        self._paths, self._names = paths, names
        folders = [PurePosixPath(name).parts[:-1] for name in names]
        if split_level is not None:
            folders = [of[:split_level] + of[split_level + 1 :] for of in folders]
        self._labels = _classes_of(folders)

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        for index in range(0, self.count, step):
            yield RawPicture(self._names[index], partial(open_bytes, self._paths[index]), self._labels[index])


class ArchiveReader:
    """The pictures in one archive; their classes are folders, or given by the members beside them."""

    classes: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()

    def __init__(self, path: Path, label: str | None, prefix: str) -> None:
        self._archive, self._prefix = Archive(path), prefix
        names = self._archive.names(SUFFIXES)
        self.count = len(names)
        notes = [*self._archive.notes, *self._archive.skipped(SUFFIXES)]
        if not names:
            notes.append(f"no pictures in {path.name}{_counted(self._archive.suffixes())}")
        self._labels = _classes_of([PurePosixPath(name).parts[:-1] for name in names])
        found = {label for label in self._labels if label is not None}
        if found and (are_splits(found) or (len(found) <= 2 and any(map(is_split, found)))):
            raise RequestError(
                f"{path} holds the folders {', '.join(sorted(found))}, which are named for splits and not classes; "
                "unpack it and give the folder"
            )
        beside = labels_beside(self._archive, names, label)
        if beside is not None:
            self._labels = [value and nfc(value) for value in beside[0]]
            notes.append(beside[1])
        self.notes = tuple(notes)

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        labels = iter(self._labels[::step])
        for name, content in self._archive.read(SUFFIXES, step):
            yield RawPicture(self._prefix + name, content, next(labels))


def _counted(suffixes: Counter[str]) -> str:
    """The commonest suffixes with counts: ": 5 .heic, 2 .txt"."""
    shown = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common(4))
    return shown and f": {shown}"


def _classes_of(folders: Sequence[tuple[str, ...]]) -> list[str | None]:
    """The class of each picture, given its folders: the topmost. A folder that contains all pictures, none of them directly, is
    skipped."""
    depth = 0
    while folders and all(len(of) >= depth + 2 for of in folders) and len({of[depth] for of in folders}) == 1:
        depth += 1
    return [nfc(of[depth]) if len(of) > depth else None for of in folders]


def check_label_applies(parts: Sequence[Part], label: str | None) -> None:
    """Raise RequestError for a --label that would do nothing."""
    suffixes = {suffix_of(path, READ) for part in parts for path in part.files}
    if label is not None and not suffixes & {*TABLES, *ARCHIVES, ".npz"} and all(part.kind != "hub" for part in parts):
        raise RequestError(f"--label is for tables, .npz files and archives; {parts[0].location} has none")


def open_readers(part: Part, label: str | None) -> list[Reader]:
    """Readers for the pictures of a part that isn't drawn: one for all picture files, then one for each other file."""
    if part.kind == "hub":
        from aigc_cli.data.pictures.tables import open_hub

        return [open_hub(part.location, part.split, label)]
    readers: list[Reader] = []
    pictures = [path for path in part.files if suffix_of(path, READ) in SUFFIXES]
    if pictures:
        readers.append(FileReader(pictures, [name_in(path, part) for path in pictures], part.split_level))
    several = len(part.files) > 1
    columns = any(suffix_of(path, READ) in {*TABLES, ".npz"} for path in part.files)  # a label names one of them
    for path in part.files:
        suffix = suffix_of(path, READ)
        prefix = name_in(path, part) if several else ""
        if suffix in ARCHIVES:
            readers.append(ArchiveReader(path, None if columns else label, prefix + "/" * several))
        elif suffix in arrays.SUFFIXES:
            readers.append(ArrayReader(path, part.split, label, prefix + " " * several))
        elif suffix in TABLES:
            from aigc_cli.data.pictures.tables import open_table

            readers.append(open_table(path, label, prefix + " " * several))
    return readers


def name_in(path: Path, part: Part) -> str:
    """The file's path in the source's folder; its name if it is the source itself."""
    return path.name if str(path) == part.location else path.relative_to(part.location).as_posix()
