"""What `--data SRC` names: a file, a folder, standard input, a Hugging Face data set or a built-in one.

Nothing here knows the content of the files. A kind of data says which suffixes it reads; this module finds the files and sorts
a folder into its splits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, NoReturn

from aigc_cli.data.sources.folder_splits import FileEntry, Naming, sort_files
from aigc_cli.data.sources.split_names import is_split, ordered, split_of
from aigc_cli.data.sources.stand_ins import refuse_stand_in
from aigc_cli.data.sources.walk import Parts, Walk, walk
from aigc_cli.data.understood import Files, Group, Understood, by_suffix
from aigc_cli.errors import RequestError
from aigc_cli.files import read_json, user_path

COMPRESSIONS = (".gz", ".zst")

_UNPACK = {
    ".xz": "xz -dk FILE unpacks it",
    ".bz2": "bunzip2 -k FILE unpacks it",
    **dict.fromkeys((".7z", ".rar"), "7z x -oFOLDER FILE unpacks it into a folder to give"),
}
"""What unpacks the archives and compressed files that aren't read, by suffix."""


@dataclass(frozen=True)
class Part:
    """One split of a source, read as one stream of examples."""

    location: str  # absolute path, hf:owner/name@revision, or demo:name
    kind: Literal["files", "hub", "demo"]
    files: tuple[Path, ...] = ()  # in name order; for kind "files"
    split: str = ""  # train, val or test; for kind "hub" the data set's own name for it; "" if the source has no splits
    split_level: int | None = None  # the level of the split's folder below the source; None if there is none
    tables: tuple[Path, ...] = ()  # files beside the source's data that describe them, of all splits
    listed_in: Path | None = None  # the table that lists `files`, which is the source; None if they are the source

    @property
    def folder(self) -> str:
        """The folder that the names of `files` are relative to."""
        return self.location if self.listed_in is None else str(self.listed_in.parent)


@dataclass(frozen=True)
class Source:
    """A source with its splits. `parts` has "all" alone, or some of "train", "val" and "test"."""

    location: str
    parts: dict[str, Part]
    remarks: tuple[str, ...] = ()
    understood: Understood = field(default_factory=Understood)

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user."""
        return (*self.understood.lines(self.location), *self.remarks)

    def training(self) -> Part:
        """The part to train on. Raises RequestError if there are splits but no train."""
        part = self.parts.get("all") or self.parts.get("train")
        if part is None:
            raise RequestError(
                f"{self.location} has the splits {', '.join(self.parts)} but no train; name a file of it to train on"
            )
        return part

    def evaluation(self, split: str | None) -> Part:
        """The part to evaluate on: `split`, or by default test, otherwise val, otherwise train or all."""
        if split is None:
            return next(self.parts[name] for name in ("test", "val", "train", "all") if name in self.parts)
        if split not in self.parts:
            has = "no splits" if "all" in self.parts else f"the splits {', '.join(self.parts)}"
            raise RequestError(f"{self.location} has {has}, not {split!r}")
        return self.parts[split]


class OtherFiles(RequestError):
    """There are files, but none of a supported type."""

    def __init__(self, message: str, paths: Sequence[Path]) -> None:
        super().__init__(message)
        self.paths = paths


def open_source(
    src: str,
    *,
    suffixes: Collection[str],
    demos: Collection[str],
    naming: Mapping[str, Naming] | None = None,
    beside: re.Pattern[str] | None = None,
    described_by: re.Pattern[str] | None = None,
    remedies: Mapping[str, str] | None = None,
) -> Source:
    """Find what `src` names; `suffixes` are those of the files to read, such as ".tsv", without compression. For the other
    arguments see `Kind`.

    Raises RequestError if there is nothing. Standard input ("-") must be spooled to a file first.
    """
    if src.startswith("hf:"):
        from aigc_cli.data.sources.hub import find_splits

        location, names = find_splits(src)
        return _sort_splits(location, names)
    if src.startswith("demo:"):
        if src.removeprefix("demo:") not in demos:
            known = ", ".join(f"demo:{name}" for name in sorted(demos))
            raise RequestError(f"there is no built-in data set {src!r}; there is {known}")
        return Source(src, {"all": Part(src, "demo")})
    if "://" in src:
        _refuse_address(src)
    remedies = {**_UNPACK, **(remedies or {})}
    path = Path(os.path.normpath(user_path(src).absolute()))
    try:
        path.exists()
    except OSError as error:  # a name that none can have, or a folder that can't be looked into
        raise RequestError(f"cannot read {src}: {error.strerror}") from None
    if path.is_dir():
        return _open_folder(path, suffixes, naming or {}, beside, described_by, remedies)
    if not path.exists():
        if (of_hub := re.search(r"\b(?:www\.)?huggingface\.co/datasets/([^/]+/[^/?]+)", src)) is not None:
            raise RequestError(f"--data does not read URLs: write hf:{of_hub[1]}")
        above = re.split(r"[*?\[]", src)[0].rpartition("/")[0]
        how = f"; patterns are not read, but a folder is: --data {above or '.'}" if re.search(r"[*?\[]", src) else ""
        raise RequestError(f"no such file or folder: {src!r}{how}")
    if suffix_of(path, suffixes) is None:
        known = " ".join(sorted(suffixes))
        remedy = remedies.get(_cut(path.name)[1])
        how = f"; {remedy}" if remedy else ""
        raise OtherFiles(f"{path} is not of a supported type; the types are {known}, also .gz or .zst{how}", [path])
    refuse_stand_in(path, pages=(naming or {}).get(_cut(path.name)[1]) != "together")  # else it may well be a text
    return single_file(path)


def single_file(path: Path, *remarks: str) -> Source:
    """A file as a source."""
    understood = Understood(files=Files.of([_cut(path.name)[1]], [path.name]))
    return Source(str(path), {"all": Part(str(path), "files", (path,))}, remarks, understood)


def suffix_of(path: PurePath | str, suffixes: Collection[str]) -> str | None:
    """The suffix in lower case, without that of a compression; None unless it is one of `suffixes`."""
    _, suffix = _cut(path if isinstance(path, str) else path.name)
    return suffix if suffix in suffixes else None


def _cut(name: str) -> tuple[str, str]:
    """A file's name without its suffix, and the suffix in lower case, both without that of a compression."""
    stem, suffix = _cut_one(name)
    return _cut_one(stem) if suffix in COMPRESSIONS else (stem, suffix)


def _cut_one(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix.lower()) if stem else (name, "")


def _refuse_address(address: str) -> NoReturn:
    scheme, _, rest = address.partition("://")
    host, _, path = rest.partition("/")
    if host.removeprefix("www.") == "huggingface.co" and path.startswith("datasets/"):
        raise RequestError(f"--data does not read URLs: write hf:{'/'.join(path.split('/')[1:3])}")
    name = PurePosixPath(path.partition("?")[0]).name or "FILE"
    get = f"curl -L -o {name} '{address}'" if scheme in ("http", "https") else "download it"
    raise RequestError(f"--data does not read URLs: {get}, then --data {name}")


def _open_folder(
    folder: Path,
    suffixes: Collection[str],
    naming: Mapping[str, Naming],
    beside: re.Pattern[str] | None,
    described_by: re.Pattern[str] | None,
    remedies: Mapping[str, str],
) -> Source:
    found = walk(folder)
    tables = [parts for parts in found.files if described_by and described_by.fullmatch(parts[-1].lower())]
    if not any(suffix_of(parts[-1], suffixes) for parts in found.files if parts not in tables):
        tables = []  # with nothing to describe, they are the data
    of_type: list[Parts] = []
    others: list[Parts] = []
    for parts in found.files:
        if parts not in tables:
            (of_type if suffix_of(parts[-1], suffixes) else others).append(parts)
    if not of_type:
        known = " ".join(sorted(suffixes))
        message = f"there is no data in the folder {folder}: no file of the types {known}"
        if others:
            message += f"; found {_counted(others, remedies)}"
        raise OtherFiles(message, [folder.joinpath(*parts) for parts in others])
    unread = [parts for parts in others if _cut(parts[-1])[1] in remedies]
    if len(unread) > len(of_type):
        raise RequestError(f"most of {folder} is in formats that are not supported: {_counted(unread, remedies)}")
    unlisted = _unlisted(folder, found.files)
    side = {parts for parts in of_type if parts in unlisted or (beside and beside.fullmatch(parts[-1].lower()))}
    wanted = [parts for parts in of_type if parts not in side] or of_type
    if len(wanted) == len(of_type):
        side = set()
    cut = [(parts, *_cut(parts[-1])) for parts in wanted]
    files = [FileEntry(parts, stem, naming.get(suffix, "splits")) for parts, stem, suffix in cut]
    paths = [folder.joinpath(*parts) for parts in wanted]
    for file, path in zip(files, paths, strict=True):
        if file.naming == "splits":
            refuse_stand_in(path)
    sort = sort_files(folder, files, lambda number: paths[number].stat().st_size)
    splits = sort.splits or {"all": list(range(len(paths)))}
    parts_of = {
        name: Part(
            str(folder),
            "files",
            tuple(paths[number] for number in numbers),
            "" if name == "all" else name,
            sort.level,
            tuple(folder.joinpath(*parts) for parts in tables),
        )
        for name, numbers in splits.items()
    }
    understood = Understood(
        files=Files.of([suffix for _, _, suffix in cut], map("/".join, wanted)),
        splits=sort.origins,
        skipped=(*sort.skipped, *_skipped(found, others, side, suffixes, remedies)),
        followed=Group.of("link to a folder", "links to folders", map(_arrow, found.followed)),
    )
    return Source(str(folder), parts_of, sort.notes, understood)


def _counted(files: Sequence[Parts], remedies: Mapping[str, str]) -> str:
    return by_suffix((_cut(parts[-1])[1] for parts in files), remedies)


def _unlisted(folder: Path, files: Sequence[Parts]) -> set[Parts]:
    """Files in a folder written by `save_to_disk` of Hugging Face's `datasets` that are not part of the data set, such as the
    cache of its `map`."""
    found: set[Parts] = set()
    for state in files:
        if state[-1] == "state.json":
            try:
                content = read_json(folder.joinpath(*state))
                listed_there = {entry["filename"] for entry in content["_data_files"]}
            except (OSError, ValueError, KeyError, TypeError):
                continue  # some other file of that name
            found |= {of for of in files if of[:-1] == state[:-1] and of[-1] not in listed_there}
    return found


def _skipped(
    found: Walk, others: Sequence[Parts], side: Collection[Parts], suffixes: Collection[str], remedies: Mapping[str, str]
) -> list[Group]:
    """What is in a folder and not read."""
    convertible = any(_cut(parts[-1])[1] in remedies for parts in others)
    counted = _counted(others, remedies) if convertible else ""
    other = Group.of("file of another type", "files of other types", map("/".join, others), counted)
    hidden = ["/".join(file) for _, file in found.ignored if suffix_of(file[-1], suffixes)]
    sorts = (
        ("hidden or system file", "hidden and system files", hidden),
        ("broken link", "broken links", map("/".join, found.broken)),
        ("empty folder", "empty folders", map("/".join, sorted(found.empty))),
        ("file beside the data", "files beside the data", map("/".join, sorted(side))),
        ("link to what is already read", "links to what is already read", map(_arrow, found.repeated)),
    )
    groups = [other, *(Group.of(one, many, names) for one, many, names in sorts)]
    return [group for group in groups if group]


def _arrow(link: tuple[Parts, str]) -> str:
    return "/".join(link[0]) + " → " + link[1]


def _sort_splits(location: str, names: Sequence[str]) -> Source:
    """Map the splits of a Hub data set to ours; a single split with another name becomes "all"."""
    exact = [name for name in names if is_split(name)]
    named: dict[str, list[str]] = {}
    for name in exact if any(split_of(name) == "train" for name in exact) else names:
        if split := split_of(name):
            named.setdefault(split, []).append(name)
    for split, of in named.items():
        if len(of) > 1:
            raise RequestError(f"{location} has several splits for {split}: {', '.join(of)}; download the one you mean")
    if named:
        parts = {split: Part(location, "hub", split=named[split][0]) for split in ordered({*named})}
        left = [name for name in names if name not in {part.split for part in parts.values()}]
        other = Group.of("other split", "other splits", left)
        origins = {split: part.split for split, part in parts.items()}
        return Source(location, parts, understood=Understood(splits=origins, skipped=(other,) if other else ()))
    if len(names) == 1:
        return Source(location, {"all": Part(location, "hub", split=names[0])})
    raise RequestError(f"{location} has the splits {', '.join(names)}; none is named train, val or test")


def stem(source: str, default: str) -> str:
    """What to name a run after: the source's name without folder, suffixes and settings; `default` if it has none."""
    name = source.rpartition(":")[2].partition("?")[0].rstrip("/").rpartition("/")[2]
    return name.split(".")[0] or default
