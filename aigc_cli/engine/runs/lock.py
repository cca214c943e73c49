"""The lock of a folder: one process holds it, until it lets go or dies.

Where a file system has `flock`, the system sees to that. Elsewhere, as in some network file systems, a file names the owner,
who renews it every few seconds. Processes on the same machine see whether the owner is alive; to others, it has died once the
file has not been renewed for a while. Free of torch.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from aigc_cli.files import read_json

LOCK, OWNER = ".lock", ".owner"
#: Seconds between renewals of an owner's file, and after which it has died.
RENEWED, DEAD = 20.0, 120.0
#: What `flock` says where there is none.
_NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class Taken(Exception):
    """Another process holds the lock. The message is " by …", or empty."""


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder. Raises `Taken`, or OSError if the folder can't be written to."""
    with _opened(folder / LOCK, os.O_RDWR | os.O_CREAT) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Taken("") from None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            with _owned(folder / OWNER):
                yield
            return
        yield


def is_locked(folder: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        with _opened(folder / LOCK, os.O_RDONLY) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        owner = _read(folder / OWNER) if error.errno in _NO_FLOCK else None
        return owner is not None and owner.lives(folder / OWNER)
    return False


def _opened(file: Path, flags: int) -> TextIO:
    """The file that is locked. Never what a link in its place leads to, which a stranger may have put there."""
    if flags & os.O_CREAT and file.is_symlink():
        file.unlink()
    return os.fdopen(os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666), "r")


@dataclass(frozen=True)
class _Owner:
    machine: str
    system: str  # the boot, and the process numbers of the container
    process: int
    started: str
    token: str

    @classmethod
    def this_process(cls) -> _Owner:
        token = secrets.token_hex(8)
        return cls(socket.gethostname(), _system(), os.getpid(), _started(os.getpid()) or "", token)

    def lives(self, file: Path) -> bool:
        """Whether the process is alive that `file` names."""
        if (self.machine, self.system) == (socket.gethostname(), _system()):
            return _started(self.process) == self.started
        return _age(file) < DEAD


@contextmanager
def _owned(file: Path) -> Iterator[None]:
    """Hold the lock of which `file` names the owner."""
    ours = _Owner.this_process()
    _take(file, ours)
    released = threading.Event()
    threading.Thread(target=_renew, args=(file, ours, released), name="lock", daemon=True).start()
    try:
        yield
    finally:
        released.set()
        with suppress(Taken, OSError), _changing(file, ours, ours):
            if _read(file) == ours:
                file.unlink()


def _take(file: Path, ours: _Owner) -> None:
    """Have `file` name us. Raises `Taken` while it names another owner that lives, or one is putting itself there."""
    while not _create(file, ours):
        theirs = _read(file)
        if _lives(file, theirs):
            where = f" (process {theirs.process} on {theirs.machine})" if theirs is not None else ""
            raise Taken(where)
        with _changing(file, theirs, ours):
            if file.exists() and _read(file) == theirs and not _lives(file, theirs):
                aside = file.with_name(f".tmp-{ours.token}")
                _create(aside, ours)
                aside.replace(file)
                return


def _lives(file: Path, owner: _Owner | None) -> bool:
    """Whether the owner that `file` names lives. None is one whose name is being written, or was cut off."""
    return owner.lives(file) if owner is not None else file.exists() and _age(file) < DEAD


@contextmanager
def _changing(file: Path, named: _Owner | None, ours: _Owner) -> Iterator[None]:
    """Be the only one that changes a file which names this owner, by holding a lock of its own. Without it, of two that find a
    dead owner the second could remove the first one's name."""
    mark = file.with_name(f".tmp-{file.name.lstrip('.')}-{named.token if named is not None else 'cut-off'}")
    _take(mark, ours)
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def _create(file: Path, owner: _Owner) -> bool:
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        json.dump(asdict(owner), opened)
    return True


def _read(file: Path) -> _Owner | None:
    try:
        owner = _Owner(**read_json(file))
    except (OSError, ValueError, TypeError):
        return None
    usable = isinstance(owner.process, int) and 0 < owner.process < 1 << 31 and re.fullmatch(r"[0-9a-f]{16}", str(owner.token))
    return owner if usable else None


def _renew(file: Path, owner: _Owner, released: threading.Event) -> None:
    """Show that the owner lives. If another process took it for dead while it was stopped, it ends, with a last checkpoint."""
    while not released.wait(RENEWED):
        found = _read(file)
        if found is not None and found != owner:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        with suppress(OSError):
            os.utime(file)


def _age(file: Path) -> float:
    """Seconds since the file was renewed, by the clock of its file system; none if it is gone."""
    try:
        renewed = file.stat().st_mtime
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".tmp-") as now:
            return os.fstat(now.fileno()).st_mtime - renewed
    except OSError:
        return 0.0


def _system() -> str:
    """The boot of this machine and the numbering of processes, as far as the system tells."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _started(process: int) -> str | None:
    """When a process started, to tell it from a later one of the same number; "" if the system doesn't say, None if it is
    gone."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is another user's
    try:
        status = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if status[0] == "Z" else status[19]
