"""The cache of prepared data: folders that are complete or absent, whatever interrupts writing them.

An entry is a folder named by a key. It is written to a temporary folder and then renamed. If two processes write the same entry
at once, both succeed, and the first one's is kept. Everything in the cache may be deleted at any time, and is made again when
needed.

A cache that can't be written to is still read. What it lacks is kept in a temporary folder until the process ends, and one
warning says so.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

from aigc_cli import files
from aigc_cli.errors import AigcError

T = TypeVar("T")

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the name of a stage, how much of it is done, and the total if known."""

_PREFIX = ".tmp-aigc-"
_log = logging.getLogger(__name__)
#: The temporary folders that take the place of caches.
_instead: dict[Path | None, Path] = {}


_HINT = "free disk space or set AIGC_CACHE_DIR"


class CannotCache(AigcError):
    """Writing to the cache failed."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; {_HINT}")
        self.why = why


def cache_dir() -> Path | None:
    """The cache folder: `AIGC_CACHE_DIR`, or by default the user's cache directory; None if they have no home. Not created
    here."""
    if set_by_user := os.environ.get("AIGC_CACHE_DIR"):
        return files.user_path(set_by_user).absolute()
    from platformdirs import user_cache_path

    with suppress(RuntimeError):
        found = user_cache_path("aigc")
        return found if found.is_absolute() else None  # as earlier versions of platformdirs have it
    return None


def place() -> Path:
    """The folder that is written to: the cache, or the temporary one in its place. Raises AigcError if there is neither."""
    cache = cache_dir()
    if cache in _instead:
        return _instead[cache]
    if cache is None:
        return _do_without("there is no home folder for a cache")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return cache
    except OSError as error:
        return _do_without(f"the cache {cache} cannot be written to ({_reason(error)})")


def places() -> list[Path]:
    """The folders where something of the cache may be, the first first."""
    cache = cache_dir()
    return [folder for folder in (_instead.get(cache), cache) if folder is not None]


def room(needed: int) -> int:
    """The bytes that are free where entries are written; that is a temporary folder if only this has as many as needed."""
    folder = place()
    free = shutil.disk_usage(folder).free
    if needed > free and folder == cache_dir():
        elsewhere = shutil.disk_usage(tempfile.gettempdir()).free
        if elsewhere >= needed:
            _do_without(f"the cache {folder} has {files.bytes_of(free)} left, and {files.bytes_of(needed)} are needed")
            return elsewhere
    return free


def key_of(*parts: object) -> str:
    """A key (32 hexadecimal digits) for JSON-serialisable parts; equal parts have equal keys."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def lookup(key: str) -> Path | None:
    """The entry's folder, or None if there is none."""
    return next((folder for of in places() if (folder := of / "prepared" / key).is_dir()), None)


def discard(key: str) -> None:
    """Remove a damaged entry. Processes that have it open keep their memory maps."""
    for of in places():
        with suppress(OSError):  # it isn't there, or can't be removed; then another one takes its place
            files.remove_folder(of / "prepared" / key)


@contextmanager
def new_entry(key: str) -> Iterator[Path]:
    """Yield an empty folder to fill, which becomes the entry `key` on exit without an exception.

    After an exception or a crash the entry is absent, or complete from another process. An OSError inside the context is
    reported as a failure to write; code that reads other files there must handle its own errors.
    """
    with writing() as folder:
        prepared = folder / "prepared"
        files.sweep_abandoned(prepared)
        with files.new_folder(prepared / key) as entry:
            yield entry


def again(make: Callable[[], T]) -> T:
    """What `make` returns. If it can't write to the cache, such as to a full disk, it is called again, and a temporary folder
    takes the cache's place."""
    try:
        return make()
    except CannotCache as error:
        if cache_dir() in _instead:
            raise
        _do_without(error.why)
        return make()


def compiled() -> Path:
    """A folder of this user's for code that torch.compile makes, and executes when it is needed again."""
    user = os.getuid() if hasattr(os, "getuid") else 0

    def make() -> Path:
        with writing() as cache:
            folder = cache / f"compiled-{user}"  # a cache may be shared
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.is_symlink() or folder.stat().st_uid != user:
                raise PermissionError(errno.EPERM, f"{folder.name} is another user's")
            return folder

    return again(make)


def write(path: Path, text: str) -> None:
    """Write a file of the cache atomically, or nothing if that fails: it only saves time."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.sweep_abandoned(path.parent)
        files.write_text(path, text)


@contextmanager
def writing() -> Iterator[Path]:
    """Yield the folder to write to. An OSError inside becomes `CannotCache`."""
    folder = place()
    try:
        yield folder
    except OSError as error:
        raise CannotCache(f"cannot write to the cache {folder}: {_reason(error)}") from error


def _do_without(why: str) -> Path:
    try:
        parent = Path(tempfile.gettempdir())
        files.sweep_abandoned(parent, _PREFIX)
        held = ExitStack()
        folder = held.enter_context(files.scratch_folder(parent, _PREFIX))
        atexit.register(held.close)  # not at import: what is registered later is called earlier, and `aigc` then ends
    except OSError as error:
        raise CannotCache(f"{why}, and neither can a temporary folder ({_reason(error)})") from error
    _instead[cache_dir()] = folder
    _log.warning("%s; prepared data are kept in %s until this command ends; AIGC_CACHE_DIR names another folder", why, folder)
    return folder


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
