"""Where a result goes: standard output, or a file that is whole or absent and never overwritten unasked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aigc_cli.errors import RequestError


@contextmanager
def output(out: str | None, *, force: bool) -> Iterator[BinaryIO]:
    """Standard output for None and '-', a device or a named pipe as it is, else a file that appears when the block ends."""
    if out in (None, "-"):
        yield sys.stdout.buffer
        return
    path = Path(out or "")
    if is_stream(path):
        with path.open("wb") as file:
            yield file
        return
    check_file(path, force=force)
    with written_aside(path) as file:
        yield file


def is_stream(path: Path) -> bool:
    """Whether it is a device or a named pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_file(path: Path, *, force: bool) -> None:
    """RequestError unless `path` can be written and is new, or may be overwritten."""
    if path.exists() and not force:
        raise RequestError(f"--out {path} exists; add --force to overwrite it, or choose another name")
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise RequestError(f"--out {path} is not a file that can be written; name a file in a folder that exists")


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file to fill; it appears as `path`, whole, when the block ends, and not at all when it fails."""
    target = path.resolve()
    aside = target.with_name(f".tmp-{target.name}-{os.getpid()}")
    try:
        with aside.open("wb") as file:
            yield file
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
