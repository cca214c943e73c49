"""What `--data SRC` names: a file, a folder, standard input, a Hugging Face data set or a built-in one.

Nothing here knows what the files hold. A kind of data says which suffixes it reads; this module finds the files and sorts a
folder into its splits.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from aigc_cli.data.folder_splits import FileEntry, Naming, listed, sort_files
from aigc_cli.data.split_names import is_split, ordered, split_of
from aigc_cli.data.walk import Parts, Walk, walk
from aigc_cli.errors import RequestError

COMPRESSIONS = (".gz", ".zst")


@dataclass(frozen=True)
class Part:
    """One split of a source: what is read as one stream of examples."""

    location: str  # absolute path, hf:owner/name@revision, or demo:name
    kind: Literal["files", "hub", "demo"]
    files: tuple[Path, ...] = ()  # in name order; for kind "files"
    split: str = ""  # train, val or test; for kind "hub" the data set's own name of it; "" where the source has no splits
    split_level: int | None = None  # which folder on the way from the source to a file is the split's; None where none is


@dataclass(frozen=True)
class Source:
    """A source with its splits. `parts` has "all" alone, or some of "train", "val" and "test"."""

    location: str
    parts: dict[str, Part]
    notes: tuple[str, ...] = ()

    def training(self) -> Part:
        """The part to train on. Raises RequestError for a folder of splits that lacks one."""
        part = self.parts.get("all") or self.parts.get("train")
        if part is None:
            raise RequestError(
                f"{self.location} has the splits {', '.join(self.parts)} but no train; name a file of it to train on"
            )
        return part

    def evaluation(self, split: str | None) -> Part:
        """The part to evaluate on: `split`, or by default test, else val, else train or all there is."""
        if split is None:
            return next(self.parts[name] for name in ("test", "val", "train", "all") if name in self.parts)
        if split not in self.parts:
            has = "no splits" if "all" in self.parts else f"the splits {', '.join(self.parts)}"
            raise RequestError(f"{self.location} has {has}, not {split!r}")
        return self.parts[split]


class OtherFiles(RequestError):
    """There are files, and none of a type that is wanted."""

    def __init__(self, message: str, paths: Sequence[Path]) -> None:
        super().__init__(message)
        self.paths = paths


def open_source(
    src: str, *, suffixes: Collection[str], demos: Collection[str], naming: Mapping[str, Naming] | None = None
) -> Source:
    """Find what `src` names; `suffixes` are those of the files wanted, such as ".tsv", compression apart, and `naming` says
    what the names of files of a suffix say of their split.

    Raises RequestError when nothing is there. Standard input ("-") must be spooled to a file first.
    """
    if src.startswith("hf:"):
        from aigc_cli.data.hub import find_splits

        location, names = find_splits(src)
        return _sort_splits(location, names)
    if src.startswith("demo:"):
        if src.removeprefix("demo:") not in demos:
            known = ", ".join(f"demo:{name}" for name in sorted(demos))
            raise RequestError(f"there is no built-in data set {src!r}; there is {known}")
        return Source(src, {"all": Part(src, "demo")})
    path = Path(os.path.normpath(Path(src).expanduser().absolute()))
    if path.is_dir():
        return _open_folder(path, suffixes, naming or {})
    if not path.exists():
        raise RequestError(f"no such file or folder: {src!r}")
    if suffix_of(path, suffixes) is None:
        known = " ".join(sorted(suffixes))
        raise OtherFiles(f"{path} is of a type that is not read here; the types are {known}, also .gz or .zst", [path])
    return Source(str(path), {"all": Part(str(path), "files", (path,))})


def suffix_of(path: PurePath | str, suffixes: Collection[str]) -> str | None:
    """The suffix in lower case, that of a compression apart; None when it is not one of `suffixes`."""
    _, suffix = _cut(path if isinstance(path, str) else path.name)
    return suffix if suffix in suffixes else None


def _cut(name: str) -> tuple[str, str]:
    """A file's name without its suffix, that of a compression apart, and the suffix in lower case."""
    stem, suffix = _cut_one(name)
    return _cut_one(stem) if suffix in COMPRESSIONS else (stem, suffix)


def _cut_one(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, dot + suffix.lower()) if stem else (name, "")


def _open_folder(folder: Path, suffixes: Collection[str], naming: Mapping[str, Naming]) -> Source:
    found = walk(folder)
    wanted: list[Parts] = []
    others: list[Parts] = []
    for parts in found.files:
        (wanted if suffix_of(parts[-1], suffixes) else others).append(parts)
    if not wanted:
        known = " ".join(sorted(suffixes))
        message = f"there is no data in the folder {folder}: no file of the types {known}"
        raise OtherFiles(message, [folder.joinpath(*parts) for parts in others])
    cut = ((parts, *_cut(parts[-1])) for parts in wanted)
    files = [FileEntry(parts, stem, naming.get(suffix, "splits")) for parts, stem, suffix in cut]
    paths = [folder.joinpath(*parts) for parts in wanted]
    sort = sort_files(folder, files, lambda number: paths[number].stat().st_size)
    splits = sort.splits or {"all": list(range(len(paths)))}
    parts_of = {
        name: Part(str(folder), "files", tuple(paths[number] for number in numbers), "" if name == "all" else name, sort.level)
        for name, numbers in splits.items()
    }
    return Source(str(folder), parts_of, (*sort.notes, *_notes(folder, found, others, suffixes)))


def _notes(folder: Path, found: Walk, others: Sequence[Parts], suffixes: Collection[str]) -> list[str]:
    """What there is to tell of what was not read, and of links."""
    notes = []
    if others:
        notes.append(f"ignored {len(others):,} files of other types in {folder}: {listed(map('/'.join, others))}")
    if ignored := [(of[-1], file) for of, file in found.ignored if suffix_of(file[-1], suffixes)]:
        files = listed("/".join(file) for _, file in ignored)
        notes.append(f"ignored {len(ignored):,} hidden and system files in {folder}: {files}")
    if found.broken:
        notes.append(f"ignored links in {folder} that lead nowhere: {listed(map('/'.join, found.broken))}")
    for what, links in (("followed links", found.followed), ("did not follow links to what is read already", found.repeated)):
        if links:
            notes.append(f"{what}: {listed('/'.join(link) + ' → ' + target for link, target in links)}")
    return notes


def _sort_splits(location: str, names: Sequence[str]) -> Source:
    """Sort the splits of a hub's data set into ours; a single split of another name is all there is."""
    exact = [name for name in names if is_split(name)]
    named: dict[str, list[str]] = {}
    for name in exact if any(split_of(name) == "train" for name in exact) else names:
        if split := split_of(name):
            named.setdefault(split, []).append(name)
    for split, of in named.items():
        if len(of) > 1:
            raise RequestError(f"{location} has several splits for {split}: {', '.join(of)}; download the one that is meant")
    if named:
        parts = {split: Part(location, "hub", split=named[split][0]) for split in ordered({*named})}
        told = ", ".join(split if split == part.split else f"{split} ({part.split})" for split, part in parts.items())
        left = [name for name in names if name not in {part.split for part in parts.values()}]
        return Source(location, parts, (f"splits: {told}" + (f"; left out: {listed(left)}" if left else ""),))
    if len(names) == 1:
        return Source(location, {"all": Part(location, "hub", split=names[0])})
    raise RequestError(f"{location} has the splits {', '.join(names)}; none is named train, val or test")


def stem(source: str, default: str) -> str:
    """What to name a run after: the source's name without folder, endings and settings; `default` where it has none."""
    name = source.rpartition(":")[2].partition("?")[0].rstrip("/").rpartition("/")[2]
    return name.split(".")[0] or default
