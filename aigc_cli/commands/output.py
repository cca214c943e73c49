"""Where a result goes: standard output, or a file that is whole or absent and never overwritten unasked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aigc_cli.files import check_file, written_aside


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
