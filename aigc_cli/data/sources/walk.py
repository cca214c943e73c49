"""The files in a folder and below it. Links to folders are followed once; hidden and system files are skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from aigc_cli.errors import RequestError

Parts: TypeAlias = tuple[str, ...]
"""The path of a file in a folder."""

_SYSTEM = {
    "@eadir", "#recycle", "#snapshot", "@recycle", "__macosx", "$recycle.bin", "system volume information", "lost+found",
    "__pycache__", "node_modules", "thumbs.db", "ehthumbs.db", "desktop.ini", "photothumb.db",
}  # fmt: skip


def is_ignored(name: str) -> bool:
    """Whether a file or folder with this name is hidden or belongs to the system."""
    return name.startswith(".") or name.casefold() in _SYSTEM


@dataclass
class Walk:
    """The content of a folder."""

    files: list[Parts] = field(default_factory=list)  # in order of name, level by level
    ignored: list[tuple[Parts, Parts]] = field(default_factory=list)  # hidden or system entries, with a file in each
    followed: list[tuple[Parts, str]] = field(default_factory=list)  # links to folders, and where they lead
    repeated: list[tuple[Parts, str]] = field(default_factory=list)  # links to folders that are already read
    broken: list[Parts] = field(default_factory=list)  # broken links
    empty: list[Parts] = field(default_factory=list)  # folders with nothing in them that counts


def walk(folder: Path) -> Walk:
    """Raises RequestError for a folder that cannot be read."""
    found = Walk()
    real = folder.resolve()
    seen = {_identity(above.stat()) for above in (real, *real.parents)}  # a link to a parent would read everything in it
    links: list[Parts] = []
    _scan(folder, (), found, links, seen)
    while links:  # after all real folders, so that a folder that is also linked is listed under its own name
        links.sort()
        link = links.pop(0)
        path = folder.joinpath(*link)
        target = os.path.realpath(path)
        if (identity := _identity(path.stat())) in seen:
            found.repeated.append((link, target))
        else:
            seen.add(identity)
            found.followed.append((link, target))
            _scan(folder, link, found, links, seen)
    found.files.sort()
    return found


def _scan(root: Path, folder: Parts, found: Walk, links: list[Parts], seen: set[tuple[int, int]]) -> bool:
    """Whether it holds anything."""
    anything = False
    for entry in _entries(root.joinpath(*folder)):
        parts = (*folder, entry.name)
        if is_ignored(entry.name):
            found.ignored += ((parts, inside) for inside in _inside(entry, parts))
            continue
        if entry.is_symlink():
            if entry.is_dir():
                links.append(parts)
            else:
                (found.files if entry.is_file() else found.broken).append(parts)
        elif entry.is_dir():
            identity = _identity(entry.stat())
            if identity not in seen:
                seen.add(identity)
                if not _scan(root, parts, found, links, seen):
                    continue
        elif entry.is_file():
            found.files.append(parts)
        anything = True
    if not anything and folder:
        found.empty = [*(of for of in found.empty if of[: len(folder)] != folder), folder]
    return anything


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise RequestError(f"cannot read the folder {folder}: {error.strerror}") from error


def _inside(entry: os.DirEntry[str], parts: Parts) -> Iterator[Parts]:
    if not entry.is_dir(follow_symlinks=False):
        yield parts
        return
    for path, _, files in os.walk(entry.path):  # which skips what it cannot read
        below = Path(path).relative_to(entry.path).parts
        for name in files:
            yield (*parts, *below, name)


def _identity(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino
