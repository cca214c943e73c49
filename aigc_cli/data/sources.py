"""What `--data SRC` names: a file, a folder, standard input, a Hugging Face data set or a built-in one.

Nothing here knows what the files hold. A kind of data says which suffixes it reads; this module finds the files and sorts a
folder into its splits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aigc_cli.errors import RequestError

COMPRESSIONS = (".gz", ".zst")
SPLIT_NAMES = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test",
}  # fmt: skip
_SHARD = re.compile(r"-\d+-of-\d+$")  # train-00000-of-00002.parquet


@dataclass(frozen=True)
class Part:
    """One split of a source: what is read as one stream of examples."""

    location: str  # absolute path, hf:owner/name@revision, or demo:name
    kind: Literal["files", "hub", "demo"]
    files: tuple[Path, ...] = ()  # in name order; for kind "files"
    split: str = ""  # train, val or test; for kind "hub" the data set's own name of it; "" where the source has no splits


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


def open_source(src: str, *, suffixes: Collection[str], demos: Collection[str]) -> Source:
    """Find what `src` names; `suffixes` are those of the files wanted, such as ".tsv", compression apart.

    Raises RequestError when nothing is there. Standard input ("-") must be spooled to a file first.
    """
    if src.startswith("hf:"):
        from aigc_cli.data.hub import find_splits

        location, names = find_splits(src)
        return Source(location, _sort_splits(location, names))
    if src.startswith("demo:"):
        if src.removeprefix("demo:") not in demos:
            known = ", ".join(f"demo:{name}" for name in sorted(demos))
            raise RequestError(f"there is no built-in data set {src!r}; there is {known}")
        return Source(src, {"all": Part(src, "demo")})
    path = Path(os.path.normpath(Path(src).expanduser().absolute()))
    if path.is_dir():
        return _open_folder(path, suffixes)
    if not path.exists():
        raise RequestError(f"no such file or folder: {src!r}")
    if suffix_of(path, suffixes) is None:
        known = " ".join(sorted(suffixes))
        raise OtherFiles(f"{path} is of a type that is not read here; the types are {known}, also .gz or .zst", [path])
    return Source(str(path), {"all": Part(str(path), "files", (path,))})


def suffix_of(path: Path, suffixes: Collection[str]) -> str | None:
    """The suffix in lower case, that of a compression apart; None when it is not one of `suffixes`."""
    parts = [suffix.lower() for suffix in path.suffixes]
    if parts and parts[-1] in COMPRESSIONS:
        parts.pop()
    return parts[-1] if parts and parts[-1] in suffixes else None


def _open_folder(folder: Path, suffixes: Collection[str]) -> Source:
    entries: dict[str, list[Path]] = {}  # an entry of the folder -> the data files in it
    ignored: list[str] = []
    for entry in sorted(_list(folder), key=lambda path: path.name):
        if entry.name.startswith("."):
            continue
        inside = _walk(entry) if entry.is_dir() else [entry]
        wanted = [path for path in inside if suffix_of(path, suffixes)]
        ignored += [str(path.relative_to(folder)) for path in inside if not suffix_of(path, suffixes)]
        if wanted:
            entries[entry.name] = wanted
    if not entries:
        known = " ".join(sorted(suffixes))
        message = f"there is no data in the folder {folder}: no file of the types {known}"
        raise OtherFiles(message, [folder / name for name in ignored])
    notes = []
    if ignored:
        shown = ", ".join(ignored[:3]) + (", …" if len(ignored) > 3 else "")
        notes.append(f"ignored {len(ignored)} files of other types in {folder}: {shown}")
    splits: dict[str, list[Path]] = {}
    for name, files in entries.items():
        stem = name if (folder / name).is_dir() else name.split(".")[0]
        splits.setdefault(SPLIT_NAMES.get(_SHARD.sub("", stem), ""), []).extend(files)
    if "" in splits:
        splits = {"all": [path for files in entries.values() for path in files]}
    parts = {name: Part(str(folder), "files", tuple(splits[name]), "" if name == "all" else name) for name in _ordered(splits)}
    return Source(str(folder), parts, tuple(notes))


def _list(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise RequestError(f"cannot read the folder {folder}: {error.strerror}") from error


def _walk(folder: Path) -> list[Path]:
    """The files below in name order; hidden ones are left out, links to folders not followed."""
    found: list[Path] = []
    for entry in sorted(_list(folder), key=lambda path: path.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            found += _walk(entry)
        elif entry.is_file():
            found.append(entry)
    return found


def _ordered(names: Collection[str]) -> list[str]:
    return [name for name in ("all", "train", "val", "test") if name in names]


def _sort_splits(location: str, names: Sequence[str]) -> dict[str, Part]:
    """Sort the splits of a hub's data set into ours; a single split of another name is all there is."""
    parts = {SPLIT_NAMES[name]: Part(location, "hub", split=name) for name in names if name in SPLIT_NAMES}
    if parts:
        return {name: parts[name] for name in _ordered(parts)}
    if len(names) == 1:
        return {"all": Part(location, "hub", split=names[0])}
    raise RequestError(f"{location} has the splits {', '.join(names)}; none is named train, val or test")


def stem(source: str, default: str) -> str:
    """What to name a run after: the source's name without folder, endings and settings; `default` where it has none."""
    name = source.rpartition(":")[2].partition("?")[0].rstrip("/").rpartition("/")[2]
    return name.split(".")[0] or default
