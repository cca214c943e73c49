"""Atomic writes: files and folders are written aside, fsynced and renamed, so that they are whole or absent."""

from __future__ import annotations

import errno
import fcntl
import glob
import json
import math
import os
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from aigc_cli.errors import RequestError

#: Bytes of the largest JSON file that is read of a folder that may come from a stranger.
LARGEST_JSON = 1 << 26
#: Digits of a whole number that is not too large for any float.
_DIGITS = 300


def new_file(folder: Path, prefix: str = ".tmp-") -> tuple[BinaryIO, Path]:
    """A new file in `folder` whose name can't be known beforehand, so that nobody can have put a link in its place. It has the
    permissions that the umask says; `tempfile` alone keeps what it makes to its owner."""
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix)
    os.fchmod(descriptor, 0o666 & ~_umask())
    return os.fdopen(descriptor, "wb"), Path(name)


def read_limited(path: Path, most: int = LARGEST_JSON) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises OSError for any other: a stranger's folder may have a link
    to a device, or a pipe, in its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, f"larger than the {bytes_of(most)} allowed", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(found.st_size)
    finally:
        os.close(descriptor)


def read_json(path: Path, most: int = LARGEST_JSON, *, finite: bool = False) -> Any:
    """The value in a JSON file. Raises OSError or ValueError for whatever else it is, and with `finite` for a number that
    `write_json` doesn't write."""
    numbers: dict[str, Any] = {"parse_constant": _finite, "parse_float": _finite, "parse_int": _int} if finite else {}
    try:
        return json.loads(read_limited(path, most), **numbers)
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None


def _int(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path`; a crash at any moment leaves the old file or the new one."""
    file, aside = new_file(path.parent)
    try:
        with file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def json_text(value: Any, **options: Any) -> str:
    """JSON that is valid UTF-8 even with the name of a file that isn't. The options are those of `json.dumps`."""
    text = json.dumps(value, ensure_ascii=False, **options)
    return json.dumps(value, **options) if any("\ud800" <= c <= "\udfff" for c in text) else text


def write_json(path: Path, value: Any) -> None:
    write_text(path, json_text(value, indent=2, allow_nan=False) + "\n")


def user_path(text: str) -> Path:
    """A path as a user gives it: a leading ~ is a home folder, if there is one, or else part of a name."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


@contextmanager
def in_utf8(path: Path) -> Iterator[Path]:
    """A path to read a file by, for libraries that take no other than UTF-8: its own, or one of the open file."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield Path(f"/dev/fd/{file.fileno()}")
    else:
        yield path


def quoted(name: str) -> str:
    """A name for a shell, in printable characters and on one line: bash, zsh and ksh know $'…'."""
    if name.isprintable():
        return shlex.quote(name)
    parts = (char if char.isprintable() and char not in "\\'" else _escaped(char) for char in name)
    return f"$'{''.join(parts)}'"


def _escaped(char: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


def existing(path: Path) -> Path:
    """The path, or the innermost of the folders around it that exists."""
    whole = path.absolute()
    # Unlike pathlib's, os.path's exists() doesn't raise where this user may not look.
    return next(there for there in (whole, *whole.parents) if os.path.exists(there))  # noqa: PTH110


def writable(folder: Path) -> bool:
    """Whether a folder, which may not exist yet, can be written to."""
    there = existing(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def check_file(path: Path, *, force: bool, flag: str = "--out") -> None:
    """RequestError unless `path`, the value of `flag`, can be written and is new or may be overwritten. A link that leads
    nowhere is not new: what is written would be where it leads."""
    if os.path.lexists(path) and not force:
        raise RequestError(f"{flag} {path} exists; add --force to overwrite it, or choose another name")
    if path.is_dir() or not path.parent.is_dir():
        raise RequestError(f"{flag} {path} cannot be written; name a file in an existing folder")
    if not os.access(path.parent, os.W_OK):
        raise RequestError(f"{flag} {path} cannot be written, as its folder can't; name another folder")


@contextmanager
def written_aside(path: Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """A file to fill; it appears as `path`, whole, when the block ends, and not at all when it fails. A link at `path` is
    followed, or replaced."""
    target = path.resolve() if follow else path
    prefix = f".tmp-{os.fsdecode(os.fsencode(target.name)[:_PREFIX_BYTES])}-"
    for leftover in target.parent.glob(f"{glob.escape(prefix)}*"):
        if _abandoned(leftover):
            leftover.unlink(missing_ok=True)
    file, aside = new_file(target.parent, prefix)
    try:
        with file:
            _claim(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it appears as `path`, whole, when the block ends, and not at all when it fails.

    If `path` exists by then (another process was faster), it is kept and ours is dropped.
    """
    mask = _umask()
    with scratch_folder(path.parent) as aside:
        yield aside
        for file in sorted(aside.rglob("*"), reverse=True):
            fsync_folder(file) if file.is_dir() else _finish_file(file, mask)
        aside.chmod(0o777 & ~mask)
        fsync_folder(aside)
        try:
            aside.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    fsync_folder(path.parent)


@contextmanager
def scratch_folder(parent: Path, prefix: str = ".tmp-") -> Iterator[Path]:
    """A temporary folder in `parent`, which is made if need be. `sweep_abandoned` leaves it alone until the block ends, or this
    process."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _claim(descriptor)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def point_link(link: Path, target: str) -> None:
    """Make `link` a relative symbolic link to `target`, replaced by a rename so that it is never missing."""
    aside = link.with_name(f".tmp-{link.name}-{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    try:
        aside.replace(link)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync_folder(link.parent)


def remove_folder(path: Path) -> None:
    """Delete a folder; it is never visible half deleted under its own name. Of a link, only the link is deleted."""
    if path.is_symlink():
        path.unlink()
        return
    aside = path.with_name(f".tmp-old-{path.name}-{os.getpid()}")
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def set_aside(path: Path) -> None:
    """Hide a damaged folder under a temporary name; `sweep` deletes it."""
    path.rename(path.with_name(f".tmp-damaged-{path.name}-{os.getpid()}"))


def size_of(path: Path) -> int:
    """The bytes of a folder's files, not counting those that disappear meanwhile."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += 0 if file.is_symlink() or file.is_dir() else file.stat().st_size
        except OSError:
            continue
    return total


def sweep(folder: Path) -> None:
    """Delete the temporary files that interrupted writes left in `folder`."""
    for leftover in folder.glob(".tmp-*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sweep_abandoned(folder: Path, prefix: str = ".tmp-") -> None:
    """Delete what killed processes left in a folder where others may be writing."""
    for leftover in folder.glob(f"{prefix}*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _UNCLAIMED and _abandoned(leftover):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


#: The most bytes of a file's name in that of its temporary file: a name has 255 at most.
_PREFIX_BYTES = 200
#: Seconds after which a temporary file must have been claimed, and after which one is abandoned where files can't be locked.
_UNCLAIMED, _STALE = 60, 24 * 3600


def _claim(descriptor: int) -> None:
    """Lock a temporary file or folder while this process lives."""
    with suppress(OSError):  # some file systems have no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _abandoned(path: Path) -> bool:
    """Whether no living process has claimed a temporary file or folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return time.time() - path.lstat().st_mtime > _STALE
    return True


def fsync_folder(path: Path) -> None:
    with suppress(OSError):  # some file systems cannot fsync a directory
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _finish_file(path: Path, mask: int) -> None:
    """Sync a file, and give it the permissions that the umask says: some libraries keep what they write to its owner."""
    if not path.is_symlink():
        path.chmod(0o666 & ~mask)
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def bytes_of(n: int) -> str:
    """999 B, 1.5 kB, 12 GB: at least two digits, in powers of a thousand."""
    if n < 1000:
        return f"{n} B"
    value, units = float(n), iter(("kB", "MB", "GB", "TB", "PB"))
    while True:
        value, unit = value / 1000, next(units)
        if value < 999.5 or unit == "PB":
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
