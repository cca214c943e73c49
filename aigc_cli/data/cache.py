"""The cache of prepared data: folders that are complete or absent, whatever interrupts writing them.

An entry is a folder named by a key. It is written to a temporary folder and then renamed. If two processes write the same entry
at once, both succeed, and the first one's is kept. Everything in the cache may be deleted at any time, and is made again when
needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from aigc_cli import files
from aigc_cli.errors import AigcError

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the name of a stage, how much of it is done, and the total if known."""


def cache_dir() -> Path:
    """The cache folder: `AIGC_CACHE_DIR`, or by default the user's cache directory. Not created here."""
    if set_by_user := os.environ.get("AIGC_CACHE_DIR"):
        return Path(set_by_user).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("aigc")


def key_of(*parts: object) -> str:
    """A key (32 hexadecimal digits) for JSON-serialisable parts; equal parts have equal keys."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def lookup(key: str) -> Path | None:
    """The entry's folder, or None if there is none."""
    folder = cache_dir() / "prepared" / key
    return folder if folder.is_dir() else None


def discard(key: str) -> None:
    """Remove a damaged entry. Processes that have it open keep their memory maps."""
    folder = cache_dir() / "prepared" / key
    with writing(), suppress(FileNotFoundError):
        files.remove_folder(folder)


@contextmanager
def new_entry(key: str) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes the entry `key` on exit without an exception.

    After an exception or a crash the entry is absent, or complete from another process. An OSError inside the context is
    reported as a failure to write; code that reads other files there must handle its own errors.
    """
    prepared = cache_dir() / "prepared"
    with writing():
        files.sweep_abandoned(prepared)
        with files.new_folder(prepared / key) as folder:
            yield folder


def write(path: Path, text: str) -> None:
    """Write a file of the cache atomically."""
    with writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.sweep_abandoned(path.parent)
        files.write_text(path, text)


@contextmanager
def writing() -> Iterator[None]:
    """Turn OSErrors into a line for the user."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise AigcError(f"cannot write to the cache {cache_dir()}: {reason}; free disk space or set AIGC_CACHE_DIR") from error
