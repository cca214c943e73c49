"""Sort the files of a folder into splits: by their folders, otherwise by their own names.

If only some names are those of splits, the rest may hold what must not be trained on, so the folder is refused, unless the rest
is small beside train and another split. A folder such as train is a class if two or more others are beside it and no other
has the same subfolders.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from aigc_cli.data.sources.split_names import is_split, ordered, split_of, splits_of
from aigc_cli.data.sources.walk import Parts
from aigc_cli.data.understood import Group, listed
from aigc_cli.errors import RequestError

Naming: TypeAlias = Literal["splits", "together", "never"]
"""How a file's name determines its split: if it contains that of a split; the same, but only if all files have such names; or
never, because a picture named train may show a train."""

_LEVELS = 3  # levels of folders that may be splits: train/, cat/train/
_FOLD = re.compile(r"(?:k?fold|split|cv)[ _-]?\d+", re.IGNORECASE)
_SLACK = 0.1  # the share of bytes that may belong to no split


@dataclass(frozen=True)
class FileEntry:
    """A data file of a folder."""

    parts: Parts
    stem: str  # its name without suffixes
    naming: Naming


@dataclass(frozen=True)
class FolderSplits:
    """The files of each split by their numbers. Without splits the folder is one source."""

    splits: dict[str, list[int]]
    level: int | None = None  # the level of the folder that is named for the split; None: none
    origins: dict[str, str] = field(default_factory=dict)  # where each split is from
    skipped: tuple[Group, ...] = ()
    notes: tuple[str, ...] = ()


def sort_files(where: object, files: Sequence[FileEntry], size: Callable[[int], int]) -> FolderSplits:
    """Sort the files of the folder `where`; `size` gives the bytes of one by its number.

    Raises RequestError if some are named for splits and what the rest is for can't be told.
    """
    first = common_folders([file.parts for file in files], is_split)
    entries = [_name_at(file, first) for file in files]
    if None not in entries and (known := splits_of({*map(str, entries)})):
        return _sorted(files, [known[str(entry)] for entry in entries], first)
    for level in range(first, first + _LEVELS):
        if any(len(file.parts) < level + 2 for file in files):
            break
        if known := splits_of({file.parts[level] for file in files}):
            if level > first:
                _refuse_folds(where, {file.parts[first] for file in files})
            return _sorted(files, [known[file.parts[level]] for file in files], level)
    if all(file.naming != "never" for file in files) and (known := splits_of({file.stem for file in files})):
        _refuse_folds(where, {file.parts[first] for file in files})
        return _sorted(files, [known[file.stem] for file in files], None)
    _refuse_splits_in_some_folders(where, files, first)
    return _partly_named(where, files, first, size)


def _refuse_folds(where: object, folders: set[str]) -> None:
    """Raise RequestError if the `folders` above splits are folds: what one tests on, another trains on."""
    if len(folders) > 1 and all(map(_FOLD.fullmatch, folders)):
        names = sorted(folders)
        raise RequestError(
            f"{where} has the folds {listed(names)}, each with its own splits, and what one tests on, another trains on: "
            f"give one, such as --data {where}/{names[0]}"
        )


def _refuse_splits_in_some_folders(where: object, files: Sequence[FileEntry], level: int) -> None:
    """Raise RequestError if a folder is divided into train and another split, and the one beside it isn't, as in cat/train,
    cat/test and dog/0.png."""
    below: dict[str, set[str]] = {}
    for file in files:
        if len(file.parts) > level + 1:
            below.setdefault(file.parts[level], set()).add(file.parts[level + 1] if len(file.parts) > level + 2 else "")
    divided = {name for name, names in below.items() if {"train"} < {split_of(of) for of in names if is_split(of)}}
    if divided and (rest := sorted(below.keys() - divided)):
        name = min(divided)
        inside = listed(f"{name}/{of}/" for of in sorted(below[name]) if of)
        raise RequestError(
            f"{where} has {inside}, named as splits, and {listed(of + '/' for of in rest)} without: "
            f"divide {rest[0]}/ alike, such as {rest[0]}/train/, or give what to train on with --data"
        )


def common_folders(paths: Collection[tuple[str, ...]], stops_at: Callable[[str], bool] = lambda name: False) -> int:
    """How many first parts all paths share, not counting the last part of any, before one that `stops_at` is true of."""
    level, first = 0, next(iter(paths), ())
    while level + 1 < len(first) and not stops_at(first[level]):
        if any(len(parts) < level + 2 or parts[level] != first[level] for parts in paths):
            break
        level += 1
    return level


def _name_at(file: FileEntry, level: int) -> str | None:
    """The name of the file's folder at a level, otherwise its own if that may name a split."""
    if len(file.parts) > level + 1:
        return file.parts[level]
    return None if file.naming == "never" else file.stem


def _sorted(files: Sequence[FileEntry], of: Sequence[str], level: int | None, skipped: Group | None = None) -> FolderSplits:
    splits: dict[str, list[int]] = {split: [] for split in ordered({*of} - {""})}
    for number, split in enumerate(of):
        if split:
            splits[split].append(number)
    origins = {split: _told(files, numbers, level) for split, numbers in splits.items()}
    return FolderSplits(splits, level, origins, () if skipped is None else (skipped,))


def _told(files: Sequence[FileEntry], numbers: Sequence[int], level: int | None) -> str:
    """Where a split is: the folders that are named for it, otherwise its files."""
    folders = {files[i].parts[level] + "/" for i in numbers if level is not None and len(files[i].parts) > level + 1}
    loose = ["/".join(files[i].parts) for i in numbers if level is None or len(files[i].parts) <= level + 1]
    count = f", {len(numbers):,} file{'s' * (len(numbers) != 1)}" if folders else ""
    return listed([*sorted(folders), *loose]) + count


def _partly_named(where: object, files: Sequence[FileEntry], first: int, size: Callable[[int], int]) -> FolderSplits:
    # Several words name a class, such as "test tube"; Train_Images beside Test_Images name splits.
    folders = {file.parts[first] for file in files if len(file.parts) > first + 1}
    words = {name for name in folders if " " not in name}
    named = {*map(split_of, words)} - {""}
    repeated = _repeat_subfolders(files, first, words)
    by_word = repeated or ("train" in named and len(named) > 1)

    def of_folder(file: FileEntry) -> str:
        folder = file.parts[first] if len(file.parts) > first + 1 else ""
        return split_of(folder) if folder and (is_split(folder) or (by_word and folder in words)) else ""

    of = [of_folder(file) or (split_of(file.stem) if file.naming == "splits" else "") for file in files]
    found, unnamed = {*of} - {""}, [number for number, split in enumerate(of) if not split]
    if "train" in found and len(found) > 1:
        if sum(map(size, unnamed)) <= _SLACK * sum(map(size, range(len(files)))):
            rest = [_entry(files[number], first) for number in unnamed]
            return _sorted(files, of, first, Group.of("entry of no split", "entries of no split", rest))
        raise _mixed(where, files, of, first)
    exact = {str(name) for file in files if (name := _name_at(file, first)) is not None and is_split(name)}
    tables = {file.stem for file, split in zip(files, of, strict=True) if split and file.naming == "splits"}
    beside = any(files[number].naming == "splits" for number in unnamed)
    if (unnamed and exact & tables) or (beside and tables and found - {"train"}):
        raise _mixed(where, files, of, first)
    if (exact & folders and len(folders) <= 2) or repeated:
        raise _mixed(where, files, of, first, " (or rename the folder of a class)")
    note = f"{listed(sorted(exact))} in {where} is not read as a split, because what is beside it isn't one"
    return FolderSplits({}, notes=(note,) if exact else ())


def _repeat_subfolders(files: Sequence[FileEntry], level: int, words: Collection[str]) -> bool:
    """Whether a folder named for a split and one that isn't have subfolders of the same name, as Train/cat and Holdout/cat."""
    below = {file.parts[level : level + 2] for file in files if len(file.parts) > level + 2}
    named = {parts[1] for parts in below if parts[0] in words and split_of(parts[0])}
    return any(parts[1] in named and not split_of(parts[0]) for parts in below)


def _mixed(where: object, files: Sequence[FileEntry], of: Sequence[str], first: int, remedy: str = "") -> RequestError:
    named, rest = (
        listed([_entry(file, first) for file, split in zip(files, of, strict=True) if bool(split) is wanted])
        for wanted in (True, False)
    )
    return RequestError(
        f"{where} has {named}, named as a split, and {rest}, which isn't: "
        f"give what to train on with --data, and validation data with --val{remedy}"
    )


def _entry(file: FileEntry, level: int) -> str:
    return file.parts[level] + ("/" if len(file.parts) > level + 1 else "")
