"""Open the sources a user names, for every kind of data: `--data`, `--val`, snapshots of files, what a run records about
them, and whether they changed since."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from aigc_cli.data import cache
from aigc_cli.data.kinds import Kind
from aigc_cli.data.sources import fingerprints
from aigc_cli.data.sources.fingerprints import FileRecord
from aigc_cli.data.sources.source import Part, Source
from aigc_cli.data.sources.standard_input import check_input_format, speaking_of_stdin, spool_stdin
from aigc_cli.data.understood import Understood
from aigc_cli.errors import AigcError, RequestError

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """A part of a source, and its files as they were when first requested."""

    kind: Kind
    part: Part

    @cached_property
    def _read(self) -> tuple[list[FileRecord], bool]:
        return fingerprints.read_records(self.part)

    @property
    def records(self) -> list[FileRecord]:
        return self._read[0]

    def remember(self) -> None:
        """Keep the hashes of files that had to be read, for the next start. Call it once the data are known to be valid."""
        records, read = self._read
        if read:
            fingerprints.remember_files(self.part, records)

    @property
    def identity(self) -> list[Any]:
        """What its content depends on: part of the cache key."""
        return self.kind.identity(self.part, self.records)

    def describe(self) -> dict[str, Any]:
        """What run.json records, without a list of files: there may be a million."""
        return {
            "location": self.part.location,
            "split": self.part.split,
            "files": len(self.records),
            "fingerprint": cache.key_of(self.identity),
        }


@dataclass(frozen=True)
class Opened:
    """A source to train on."""

    train: Snapshot
    val: Snapshot | None  # of --val, otherwise the source's own
    notes: tuple[str, ...]
    understood: Understood
    spooled: Path | None  # the copy of standard input, where the data came from there
    test: Part | None = None  # the source's own, which isn't read

    @property
    def snapshots(self) -> list[Snapshot]:
        return [snapshot for snapshot in (self.train, self.val) if snapshot is not None]

    @property
    def parts(self) -> list[Part]:
        return [snapshot.part for snapshot in self.snapshots]

    def describe(self) -> dict[str, Any]:
        """What run.json records. A kind that understands more of its content replaces `understood`."""
        val = None if self.val is None else self.val.describe()
        understood = self.understood.to_json()
        return {"kind": self.train.kind.name, **self.train.describe(), "val": val, "understood": understood}


@dataclass(frozen=True)
class Evaluated:
    """A source to evaluate on."""

    snapshot: Snapshot
    notes: tuple[str, ...]
    spooled: Path | None  # the copy of standard input, where the data came from there


@contextmanager
def open_training(kind: Kind, data: str, val: str | None, input_format: str | None) -> Iterator[Opened]:
    """The sources of `--data` and `--val`. Errors inside the context name standard input instead of its copy, and
    remove the copy.

    Raises RequestError if there is no data, and for contradictory options.
    """
    check_input_format(data, input_format)
    if val == "-":
        raise RequestError("--val cannot be standard input; name a file")
    spooled = spool_stdin(kind, input_format) if data == "-" else None
    with speaking_of_stdin(spooled):
        source = kind.open(data if spooled is None else str(spooled))
        train = Snapshot(kind, source.training())
        understood = source.understood if spooled is None else source.understood.of_standard_input()
        notes = source.notes
        val_part = source.parts.get("val")
        if val is not None:
            val_source = kind.open(val)
            val_part = _validation(val_source)
            understood = replace(understood, val=val_source.understood)
            notes += tuple(f"--val: {note}" for note in val_source.notes if note not in notes)
        held = None if val_part is None else Snapshot(kind, val_part)
        yield Opened(train, held, notes, understood, spooled, source.parts.get("test"))


def _validation(source: Source) -> Part:
    part = source.parts.get("all") or source.parts.get("val")
    if part is None:
        raise RequestError(f"--val {source.location} has the splits {', '.join(source.parts)} but no val; name a file of it")
    return part


@contextmanager
def open_evaluation(kind: Kind, src: str, split: str | None, input_format: str | None) -> Iterator[Evaluated]:
    """One part of a source: `split`, or by default test, otherwise val, otherwise train or all. The copy of standard input is
    removed on exit. Raises RequestError as `open_training` does."""
    check_input_format(src, input_format)
    spooled = spool_stdin(kind, input_format) if src == "-" else None
    try:
        with speaking_of_stdin(spooled):
            source = kind.open(src if spooled is None else str(spooled))
            part = source.evaluation(split)
            notes = (*source.notes, f"read the split {part.split}") if part.split else source.notes
            yield Evaluated(Snapshot(kind, part), notes, spooled)
    finally:
        if spooled is not None:
            spooled.unlink(missing_ok=True)


def cached(
    key: str, snapshots: Sequence[Snapshot], load: Callable[[Path], T | None], build: Callable[[], None]
) -> tuple[T, bool]:
    """A cache entry as loaded by `load`, and whether it existed. If it is absent or damaged (`load` returns None), `build`
    makes it in a `new_entry`.

    Raises AigcError if the cache cannot be written, and what `build` raises.
    """
    folder = cache.lookup(key)
    if folder is not None and (found := load(folder)) is not None:
        for snapshot in snapshots:
            snapshot.remember()
        return found, True
    cache.discard(key)
    cache.again(build)
    for snapshot in snapshots:
        snapshot.remember()
    folder = cache.lookup(key)
    found = load(folder) if folder is not None else None
    if found is None:
        raise AigcError(f"the cache {cache.cache_dir()} lost what was just written to it; try again")
    return found, False


@contextmanager
def new_entry(key: str, snapshots: Sequence[Snapshot]) -> Iterator[Path]:
    """A folder to fill, which becomes a cache entry. Raises AigcError if the sources changed meanwhile."""
    with cache.new_entry(key) as folder:
        yield folder
        for snapshot in snapshots:
            fingerprints.refuse_changed(snapshot.records)


def changes(kind: Kind, info: Mapping[str, Any]) -> list[str]:
    """How the source differs from what `info`, of a data set or run.json, describes, one line per difference.

    The source is read again, so that an added file counts, except on the Hub, where the location names the revision.
    """
    if not info.get("location"):
        return ["the run doesn't say what it was trained on"]
    recorded = ((info, True), (info.get("val"), False))
    return [line for then, training in recorded if then and (line := _difference(kind, then, training))]


def _difference(kind: Kind, then: Mapping[str, Any], training: bool) -> str | None:
    location = then["location"]
    if location.startswith("hf:"):
        return None
    try:
        if not location.startswith("demo:") and not Path(location).exists():
            return f"{location} is gone"
        source = kind.open(location)
        if "split" in then:
            part = source.parts.get(then["split"] or "all")
        else:  # texts recorded by older versions
            part = source.training() if training else source.parts.get("all") or source.parts.get("val")
        if part is None:
            split = then.get("split", "val")
            now_read = "as one" if "all" in source.parts else f"as the splits {', '.join(source.parts)}"
            return f"{location} is now read {now_read}, and " + (f"has no split {split}" if split else "was read as one")
        snapshot = Snapshot(kind, part)
        now = snapshot.describe()
    except OSError as error:  # a name that none can have
        return f"cannot read {location}: {error.strerror}"
    except RequestError as error:
        return str(error)
    if now["fingerprint"] == then.get("fingerprint"):
        snapshot.remember()
        return None
    if part.kind == "demo":
        return f"{location} is generated differently by this version of aigc"
    files = then.get("files", now["files"])
    n = files if isinstance(files, int) else len(files) if isinstance(files, list) else 0
    counts = f": {now['files']:,} files now, {n:,} then" if now["files"] != n else ""
    return f"{location} has changed since this run was trained{counts}"
