"""`aigc sample BACKEND`."""

from __future__ import annotations

import dataclasses
import json
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from aigc_cli.backends.base import PictureSampleOptions, Sample, SampleOptions
from aigc_cli.backends.registry import backends
from aigc_cli.commands.output import announced, output
from aigc_cli.commands.pictures import picture_writer, previewed, print_lines
from aigc_cli.commands.run_choice import FirstNotes, trained_run
from aigc_cli.engine.events import Bus
from aigc_cli.options import Given, build
from aigc_cli.ui.progress import progress
from aigc_cli.ui.text import one_line, printable

Piece: TypeAlias = Callable[[str], None]

RULE = "─" * 8 + "\n"
"""Below a sample of several lines, on a terminal, where one could not tell its end."""


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options: Any = build(backend.options["sample"], given)
    target = trained_run(options, name)
    notes = []
    if options.seed is None:
        options = dataclasses.replace(options, seed=secrets.randbits(32))
        notes = [f"seed {options.seed}"]

    def draw(bus: Bus, piece: Piece | None = None) -> Iterator[Sample]:
        first_notes = FirstNotes(options, target, bus, *notes)

        def told(text: str) -> None:
            assert piece is not None
            first_notes.emit()
            piece(text)

        return first_notes.before(backend.load().sample(target, options, bus, None if piece is None else told))

    if isinstance(options, PictureSampleOptions):
        folder = Path("samples", f"{name}-{target.name}")
        with previewed(options) as passing, progress(json_lines=options.json, quiet=options.quiet) as bus:
            write = picture_writer(options, folder, options.expected())
            print_lines(announced(write(passing(draw(bus))), bus, sys.stdout), as_json=options.json)
    else:
        with progress(json_lines=options.json, quiet=options.quiet) as bus:
            _write_texts(options, partial(draw, bus), bus)


def _write_texts(options: SampleOptions, draw: Callable[[Piece | None], Iterator[Sample]], bus: Bus) -> None:
    with output(options.out, force=options.force) as stream:
        terminal = stream.isatty()
        streaming = getattr(options, "stream", False) and not options.json
        piece = _piece_writer(stream, terminal, bus) if streaming else None
        for sample in announced(draw(piece), bus, stream):
            if piece is not None:
                _write(stream, "\n" + (RULE if terminal else ""))
            else:
                _write(stream, _shown(sample, options.json, terminal))


def _shown(sample: Sample, as_json: bool, terminal: bool) -> str:
    """A line a sample; on a terminal the text as it will be used, made safe to print."""
    if as_json:
        return json.dumps(sample.record, ensure_ascii=False) + "\n"
    text = sample.text or ""
    if not terminal:
        return one_line(text) + "\n"
    return printable(text, keep="\n\t") + "\n" + (RULE if "\n" in text else "")


def _piece_writer(stream: BinaryIO, terminal: bool, bus: Bus) -> Piece:
    def write(text: str) -> None:
        for piece in announced([text], bus, stream):
            _write(stream, printable(piece) if terminal else one_line(piece))

    return write


def _write(stream: BinaryIO, text: str) -> None:
    stream.write(text.encode("utf-8", "replace"))
    stream.flush()
