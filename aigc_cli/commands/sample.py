"""`aigc sample BACKEND`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from aigc_cli.backends.base import Sample, SampleOptions
from aigc_cli.backends.registry import backends
from aigc_cli.engine.run import find_run
from aigc_cli.errors import RequestError
from aigc_cli.options import Given, build
from aigc_cli.ui.progress import progress
from aigc_cli.ui.text import one_line, printable


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options: Any = build(backend.options["sample"], given)
    target = find_run(Path(options.runs_dir), name, options.run)
    target.require_model()
    with progress(json_lines=options.json, quiet=options.quiet) as bus, _output(options) as stream:
        terminal = stream.isatty()
        streaming = getattr(options, "stream", False) and not options.json
        piece = _piece_writer(stream, terminal) if streaming else None
        for sample in backend.load().sample(target, options, bus, piece):
            if piece is not None:
                _write(stream, "\n" if not terminal else "\n\n")
            else:
                _write(stream, _shown(sample, options.json, terminal))


def _shown(sample: Sample, as_json: bool, terminal: bool) -> str:
    """A line a sample; on a terminal the text as it will be used, made safe to print."""
    if as_json:
        return json.dumps(sample.record, ensure_ascii=False) + "\n"
    text = sample.text or ""
    if not terminal:
        return one_line(text) + "\n"
    return printable(text) + ("\n\n" if "\n" in text else "\n")


def _piece_writer(stream: BinaryIO, terminal: bool) -> Callable[[str], None]:
    return lambda text: _write(stream, printable(text) if terminal else one_line(text))


def _write(stream: BinaryIO, text: str) -> None:
    stream.write(text.encode("utf-8", "replace"))
    stream.flush()


@contextmanager
def _output(options: SampleOptions) -> Iterator[BinaryIO]:
    if options.out in (None, "-"):
        yield sys.stdout.buffer
        return
    path = Path(options.out or "")
    if path.exists() and not path.is_file() and not path.is_dir():  # a device or a named pipe
        with path.open("wb") as file:
            yield file
        return
    if path.exists() and not options.force:
        raise RequestError(f"--out {path} exists; add --force to overwrite it, or choose another name")
    if path.is_dir() or not path.parent.is_dir():
        raise RequestError(f"--out {path} is not a file that can be written; name a file in a folder that exists")
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        with aside.open("wb") as file:
            yield file
        aside.replace(path.resolve())
    finally:
        aside.unlink(missing_ok=True)
