"""Classes of pictures by their folders, and what is told about folders that may mean something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from aigc_cli.data.sources.folder_splits import common_folders
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.understood import listed


def classes_of_folders(names: Sequence[str], split_level: int | None) -> list[str | None]:
    """The class of each picture, given its path in the source: the topmost folder, but not that of its split. A folder that
    contains all pictures, none of them directly, is skipped."""
    folders, depth = _folders_of(names, split_level)
    return [nfc(of[depth]) if len(of) > depth else None for of in folders]


def _folders_of(names: Sequence[str], split_level: int | None) -> tuple[list[tuple[str, ...]], int]:
    """The folders of each picture without that of its split, and which of them is its class."""
    above = [name.rpartition("/")[0] for name in names]
    parts = {folder: PurePosixPath(folder).parts for folder in {*above}}  # of a million names few differ
    folders = [parts[folder] for folder in above]
    if split_level is not None:
        folders = [of[:split_level] + of[split_level + 1 :] for of in folders]
    return folders, common_folders({*folders})


def origin_of(labels: Sequence[str | None]) -> dict[str, str]:
    """The origin of labels that are names of folders."""
    return {"labels": "the folders"} if any(label is not None for label in labels) else {}


def notes_on_forms(names: Sequence[str]) -> list[str]:
    """A note on folders whose names differ only in their Unicode form, such as é in one character and in two."""
    folders = {str(PurePosixPath(name).parent) for name in names if not name.isascii()}
    counts = Counter(map(nfc, folders))
    twice = [repr(name) for name in sorted(counts) if counts[name] > 1]
    return [f"folders of one name in two Unicode forms (NFC and NFD) are read as one: {listed(twice)}"] if twice else []


def notes_on_repeated(location: str, names: Sequence[str], split_level: int | None) -> list[str]:
    """A note if every class has the same two or more subfolders, as folds or years have: they may be the classes."""
    folders, depth = _folders_of(names, split_level)
    below: dict[str, set[str]] = {}
    for of in {*folders}:
        if len(of) > depth:
            below.setdefault(of[depth], set()).update(of[depth + 1 : depth + 2])
    shared = set.intersection(*below.values()) if len(below) > 1 else set()
    if len(shared) < 2:
        return []
    level = depth + 1 + (split_level is not None and split_level <= depth + 1)
    write = f"(echo file_name,label; find */ -type f | awk -F/ -v OFS=, '{{print $0,${level + 1}}}') > metadata.csv"
    return [
        f"the classes are the upper folders ({listed(sorted(below))}), and each has {listed(sorted(shared))} in it; "
        f"to learn the lower ones: cd '{location}' && {write}, then --label label"
    ]


def notes_on_test(names: Sequence[str], split_level: int | None, classes: Sequence[str]) -> list[str]:
    """A note on folders of a test split that are none of the `classes` that are learned."""
    known = {*map(nfc, classes)}
    found = Counter(label for label in classes_of_folders(names, split_level) if label is not None and label not in known)
    unknown = listed(f"{name!r} ({count:,})" for name, count in sorted(found.items()))
    return [f"the test split has classes that are not trained on: {unknown}"] if found else []
