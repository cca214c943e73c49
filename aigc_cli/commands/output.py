"""Where a result goes: standard output, or a file that is whole or absent and never overwritten unasked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

from aigc_cli.engine.events import Bus, Printing
from aigc_cli.files import check_file, written_aside
from aigc_cli.ui.text import printable

T = TypeVar("T")


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


def announced(results: Iterable[T], bus: Bus, stream: IO[Any]) -> Iterator[T]:
    """The results, each after progress on the terminal that it will be printed to has stepped aside."""
    terminal = stream.isatty()
    for result in results:
        if terminal:
            bus.emit(Printing())
        yield result


def print_path(path: str | Path) -> None:
    """Print a path on standard output: its very bytes, but on a terminal without what would control it."""
    line = printable(str(path), keep="").encode() if sys.stdout.isatty() else os.fsencode(path)
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def is_stream(path: Path) -> bool:
    """Whether it is a device or a named pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()
