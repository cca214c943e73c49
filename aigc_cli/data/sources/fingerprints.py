"""Hashes of files, cached by path, size and time, so that a run can report whether its data changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aigc_cli.data import cache
from aigc_cli.data.sources.source import Part
from aigc_cli.data.sources.stand_ins import POINTER_BYTES, refuse_pointer
from aigc_cli.errors import AigcError, RequestError

_SETTLED_NS = 2_000_000_000  # a file younger than this may change again within one tick of its clock


@dataclass(frozen=True)
class FileRecord:
    """A file as it was when it was read."""

    path: str
    size: int
    mtime_ns: int
    digest: str  # BLAKE2b of the content


def record_files(part: Part) -> list[FileRecord]:
    """The part's files with the hashes of their content, remembered for the same path, size and time.

    Raises RequestError for a file that cannot be read.
    """
    return read_records(part)[0]


def read_records(part: Part) -> tuple[list[FileRecord], bool]:
    """The result of `record_files`, and whether a file had to be read for it."""
    known = _recall(part.location)
    records, read = [], False
    for path in part.files:
        try:
            stat = path.stat()
            remembered = known.get(str(path))
            if remembered and (remembered.size, remembered.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
                records.append(remembered)
                continue
            with path.open("rb") as file:
                if stat.st_size < POINTER_BYTES:
                    refuse_pointer(path, file.read())
                    file.seek(0)
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        except OSError as error:
            raise RequestError(f"cannot read {path}: {error.strerror}") from error
        records.append(FileRecord(str(path), stat.st_size, stat.st_mtime_ns, digest))
        read = True
    return records, read


def remember_files(part: Part, records: Sequence[FileRecord]) -> None:
    """Keep the hashes, so that the next start need not read the files, except for files that just changed."""
    settled = [vars(record) for record in records if record.mtime_ns < time.time_ns() - _SETTLED_NS]
    known = [vars(record) for record in _recall(part.location).values()]
    merged = {record["path"]: record for record in [*known, *settled]}
    if merged:
        cache.write(cache.place() / _memory(part.location), json.dumps(list(merged.values())))


def _recall(location: str) -> dict[str, FileRecord]:
    for folder in cache.places():
        with suppress(OSError, ValueError, TypeError):  # nothing remembered, or not in a form that this version writes
            records = [FileRecord(**record) for record in json.loads((folder / _memory(location)).read_bytes())]
            return {record.path: record for record in records}
    return {}


def _memory(location: str) -> Path:
    return Path("hashes", f"{cache.key_of(location)}.json")


def content_fingerprint(records: Sequence[FileRecord]) -> str:
    """One hash of the content of the files in order, without names and paths."""
    return cache.key_of([record.digest for record in records])


def refuse_changed(records: Sequence[FileRecord]) -> None:
    """Raise AigcError if the files have changed since they were recorded."""
    for record in records:
        path = Path(record.path)
        what = "is gone" if not path.is_file() else "has changed" if _changed(record, path) else None
        if what is not None:
            raise AigcError(f"{path} {what} while it was read; try again when nothing writes to it")


def _changed(record: FileRecord, path: Path) -> bool:
    stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) == (record.size, record.mtime_ns):
        return False
    (now,) = record_files(Part(record.path, "files", (path,)))
    return now.digest != record.digest
