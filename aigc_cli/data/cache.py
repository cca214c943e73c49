"""The cache of prepared data: folders that are whole or absent, whatever interrupts their making.

An entry is a folder named by a key, filled beside its place and put there by one rename. Two processes that
make the same entry at once both succeed: the second keeps the first one's. Everything in the cache may be
deleted at any time; it is made again when it is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from aigc_cli import files
from aigc_cli.errors import AigcError

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the name of a stage of the making, how much of it is done, and the total where it is known."""

_STALE_SECONDS = 24 * 3600  # what was left aside for so long is of a process that was killed


def cache_dir() -> Path:
    """The folder of the cache: `AIGC_CACHE_DIR`, else the user's cache directory. It is not created here."""
    if set_by_user := os.environ.get("AIGC_CACHE_DIR"):
        return Path(set_by_user).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("aigc")


def key_of(*parts: object) -> str:
    """A key (32 hexadecimal digits) for anything that JSON can write; equal parts have equal keys."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def lookup(key: str) -> Path | None:
    """The entry's folder, or None when there is none."""
    folder = cache_dir() / "prepared" / key
    return folder if folder.is_dir() else None


def discard(key: str) -> None:
    """Remove an entry that turned out to be damaged. A process that has it open keeps what it has mapped."""
    folder = cache_dir() / "prepared" / key
    with writing(), suppress(FileNotFoundError):
        files.remove_folder(folder)


@contextmanager
def new_entry(key: str) -> Iterator[Path]:
    """Yield an empty folder to be filled; on leaving without an exception it becomes the entry `key`.

    After an exception or a crash at any step the entry is absent, or another process's whole one. An OSError
    inside is taken for a failure to write: what reads other files in the block must explain its own.
    """
    prepared = cache_dir() / "prepared"
    with writing():
        _sweep(prepared)
        with files.new_folder(prepared / key) as folder:
            yield folder


def write(path: Path, text: str) -> None:
    """Write a file of the cache whole or not at all."""
    with writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, text)


@contextmanager
def writing() -> Iterator[None]:
    """Turn a failure to write into one line for the user."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise AigcError(f"cannot write to the cache {cache_dir()}: {reason}; make room or set AIGC_CACHE_DIR") from error


def _sweep(folder: Path) -> None:
    for leftover in folder.glob(".tmp-*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(leftover)
