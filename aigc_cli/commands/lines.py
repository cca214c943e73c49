"""Samples as lines of text: on standard output as they come, or in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeAlias

from aigc_cli.backends.base import Sample
from aigc_cli.commands.output import announced, output
from aigc_cli.data.kinds import Kind
from aigc_cli.engine.events import Bus
from aigc_cli.files import json_text
from aigc_cli.ui.text import one_line, printable

Piece: TypeAlias = Callable[[str], None]
"""Takes a sample as it grows."""
Draw: TypeAlias = Callable[[Bus, Piece | None], Iterator[Sample]]
"""Draws samples; where it is given a `Piece`, text goes there too, as it grows."""

RULE = "─" * 8 + "\n"
"""Below a sample of several lines, on a terminal, where one could not tell its end."""


def write_lines(kind: Kind, options: Any, draw: Draw, bus: Bus) -> None:
    """Draw samples and write each as soon as it is there, or with --stream as it grows."""
    with output(options.out, force=options.force) as stream:
        terminal = stream.isatty()
        streaming = getattr(options, "stream", False) and not options.json
        piece = _piece_writer(stream, terminal, bus) if streaming else None
        for sample in announced(draw(bus, piece), bus, stream):
            if piece is not None:
                _write(stream, "\n" + (RULE if terminal else ""))
            elif options.json:
                _write(stream, json_text(sample.record) + "\n")
            else:
                _write(stream, _shown(str(kind.show(sample.content)), terminal))


def _shown(text: str, terminal: bool) -> str:
    """A line a sample; on a terminal the text as it will be used, made safe to print."""
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
