"""What `--data SRC` names: a file, a folder, standard input, a Hugging Face data set or a built-in one.

Nothing here knows what the files hold. A kind of data (text, pictures) says which suffixes it reads; this
module finds the files, sorts a folder into its splits, and fingerprints the content, so that a run can say
whether its data changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from aigc_cli.data import cache
from aigc_cli.errors import AigcError, RequestError

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"

COMPRESSIONS = (".gz", ".zst")
SPLIT_NAMES = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test",
}  # fmt: skip
_SHARD = re.compile(r"-\d+-of-\d+$")  # train-00000-of-00002.parquet
_SETTLED_NS = 2_000_000_000  # a file younger than this may change again within one tick of its clock


@dataclass(frozen=True)
class Part:
    """One split of a source: what is read as one stream of examples."""

    location: str  # absolute path, hf:owner/name@revision, or demo:name
    kind: Literal["files", "hub", "demo"]
    files: tuple[Path, ...] = ()  # in name order; for kind "files"
    split: str = ""  # for kind "hub": the data set's own name of the split


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


@dataclass(frozen=True)
class FileRecord:
    """A file as it was when it was read."""

    path: str
    size: int
    mtime_ns: int
    digest: str  # BLAKE2b of the content


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
        raise RequestError(
            f"{path} is of a type that is not read here{_for_others([path])}; the types are {known}, also .gz or .zst"
        )
    return Source(str(path), {"all": Part(str(path), "files", (path,))})


#: What is not for one generator may be for another.
_OTHERS = {
    **dict.fromkeys((".txt", ".md", ".csv", ".tsv"), "text: 'aigc train transformer' learns from it"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".gif"), "pictures: 'aigc train gan' or 'vae' learns from them"),
}


def _for_others(paths: Iterable[Path]) -> str:
    """What most of the files are, where that is known."""
    found = Counter(_OTHERS[suffix] for path in paths if (suffix := path.suffix.lower()) in _OTHERS)
    return f" ({found.most_common(1)[0][0]})" if found else ""


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
        others = _for_others(map(Path, ignored))
        raise RequestError(f"there is no data in the folder {folder}{others}: no file of the types {known}")
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
    parts = {name: Part(str(folder), "files", tuple(splits[name])) for name in _ordered(splits)}
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


def record_files(part: Part) -> list[FileRecord]:
    """The part's files with the hashes of their content, remembered for the same path, size and time.

    Raises RequestError for a file that cannot be read.
    """
    known = _recall(part.location)
    records = []
    for path in part.files:
        try:
            stat = path.stat()
            remembered = known.get(str(path))
            if remembered and (remembered.size, remembered.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                records.append(remembered)
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        except OSError as error:
            raise RequestError(f"cannot read {path}: {error.strerror}") from error
        records.append(FileRecord(str(path), stat.st_size, stat.st_mtime_ns, digest))
    return records


def remember_files(part: Part, records: Sequence[FileRecord]) -> None:
    """Keep the hashes, so that the next start need not read the files; but not of files just changed."""
    settled = [asdict(record) for record in records if record.mtime_ns < time.time_ns() - _SETTLED_NS]
    known = [asdict(record) for record in _recall(part.location).values()]
    merged = {record["path"]: record for record in [*known, *settled]}
    if merged:
        cache.write(_memory(part.location), json.dumps(list(merged.values())))


def _recall(location: str) -> dict[str, FileRecord]:
    try:
        records = [FileRecord(**record) for record in json.loads(_memory(location).read_bytes())]
    except (OSError, ValueError, TypeError):
        return {}  # nothing remembered, or not in a form that this version writes: the files are read again
    return {record.path: record for record in records}


def _memory(location: str) -> Path:
    return cache.cache_dir() / "hashes" / f"{cache.key_of(location)}.json"


def content_fingerprint(records: Sequence[FileRecord]) -> str:
    """One hash for the content of the files in their order; their names and places do not enter."""
    return cache.key_of([record.digest for record in records])


def differences(records: Sequence[FileRecord]) -> list[str]:
    """What happened to recorded files since, a line each; empty when nothing did."""
    found = []
    for record in records:
        path = Path(record.path)
        if not path.is_file():
            found.append(f"{path} is gone")
            continue
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) != (record.size, record.mtime_ns):
            (now,) = record_files(Part(record.path, "files", (path,)))
            if now.digest != record.digest:
                found.append(f"{path} has changed")
    return found


def spool_stdin(suffix_for: Callable[[bytes], str]) -> Path:
    """Copy standard input, which can be read only once, to a file of the cache named by its content.

    `suffix_for` gets the first bytes and returns the file's suffix, such as ".jsonl.gz".
    Raises RequestError when there is nothing to read.
    """
    stream = sys.stdin.buffer
    head = stream.read(1 << 18)
    if not head:
        raise RequestError("standard input is empty; pipe the data in, or name a file with --data")
    suffix = suffix_for(head)
    folder = cache.cache_dir() / "stdin"
    digest = hashlib.blake2b(digest_size=16)
    with cache.writing():
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".tmp-", dir=folder)
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                while head:
                    digest.update(head)
                    file.write(head)
                    head = stream.read(1 << 20)
            return aside.replace(folder / f"{digest.hexdigest()}{suffix}")
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def speaking_of_stdin(spooled: Path | None) -> Iterator[None]:
    """An error about the copy of standard input speaks of standard input, and removes the copy. None: there is no copy."""
    try:
        yield
    except RequestError as error:
        if spooled is None:
            raise
        spooled.unlink(missing_ok=True)
        raise RequestError(str(error).replace(str(spooled), "standard input")) from error


def validation_part(val: str | None, source: Source, open_val: Callable[[str], Source]) -> Part | None:
    """The part to validate on: of --val, else the source's own."""
    if val is None:
        return source.parts.get("val")
    parts = open_val(val).parts
    part = parts.get("all") or parts.get("val")
    if part is None:
        raise RequestError(f"--val {val} has the splits {', '.join(parts)} but no val; name a file of it")
    return part


def refuse_changed(records: Sequence[FileRecord]) -> None:
    """Raise AigcError when the files are no longer as they were recorded."""
    if changed := differences(records):
        raise AigcError(f"{changed[0]} while it was read; try again when it is at rest")


def stem(source: str, default: str) -> str:
    """What to name a run after: the source's name without folder, endings and settings; `default` where it has none."""
    name = source.rpartition(":")[2].partition("?")[0].rstrip("/").rpartition("/")[2]
    return name.split(".")[0] or default
