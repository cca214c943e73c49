"""Progress on standard error from the engine's events: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TextIO

from aigc_cli.engine.events import (
    Bus,
    Evaluated,
    Event,
    Finished,
    Note,
    Previewed,
    Printing,
    Stage,
    Started,
    Subscriber,
    Trained,
)
from aigc_cli.engine.meanings import Meanings, in_words
from aigc_cli.files import json_text
from aigc_cli.ui.text import duration, number, printable

SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def progress(*, json_lines: bool, quiet: bool, meanings: Meanings | None = None) -> Iterator[Bus]:
    """A bus with the subscriber that fits: nothing, JSON Lines, a live view, or plain lines. `meanings`: of the measures
    that are reported. Warnings that the package logs become its notes."""
    meanings = meanings or Meanings()
    if quiet:
        bus, close = Bus(), None
    elif json_lines:
        bus, close = Bus(json_printer(sys.stderr)), None
    elif sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from aigc_cli.ui.live import LiveView

        view = LiveView(sys.stderr, meanings)
        bus, close = Bus(view), view.close
    else:
        bus, close = Bus(PlainLines(sys.stderr, meanings)), None
    logger, handler = logging.getLogger("aigc_cli"), _ToBus(bus)
    logger.addHandler(handler)
    try:
        yield bus
    finally:
        logger.removeHandler(handler)
        if close is not None:
            with suppress(OSError, ValueError):  # the terminal may be gone
                close()


class _ToBus(logging.Handler):
    def __init__(self, bus: Bus) -> None:
        super().__init__(logging.WARNING)
        self.bus = bus

    def emit(self, record: logging.LogRecord) -> None:
        self.bus.note(record.getMessage(), "warning")


def next_steps(backend: str, run: str, sample: str) -> list[str]:
    """Commands to type after training; `sample` are the arguments for a first sample."""
    return [
        f"next: aigc sample {backend} --run {run} {sample}",
        f"      aigc eval {backend} --run {run}",
        f"      aigc report {run}",
    ]


def json_printer(stream: TextIO) -> Subscriber:
    """One line per event; for the progress of stages, at most one per second."""
    shown = 0.0

    def show(event: Event) -> None:
        nonlocal shown
        if isinstance(event, Printing):
            return
        if isinstance(event, Stage):
            if time.monotonic() - shown < 1:
                return
            shown = time.monotonic()
        stream.write(json_text(event.to_json()) + "\n")
        stream.flush()

    return show


class PlainLines:
    """A line every few seconds, without control codes: for logs and pipes."""

    def __init__(self, stream: TextIO, meanings: Meanings) -> None:
        self.stream, self.meanings = stream, meanings
        self.shown = 0.0
        self.stage = ""

    def __call__(self, event: Event) -> None:
        line = self._line(event)
        if line:
            self.stream.write(printable(line, keep="\n" if isinstance(event, Previewed) else "") + "\n")
            self.stream.flush()

    def _line(self, event: Event) -> str | None:
        match event:
            case Note():
                return f"warning: {event.text}" if event.level == "warning" else event.text
            case Stage():
                if event.name == self.stage and not self._due():
                    return None
                self.stage = event.name
                return describe_stage(event)
            case Started():
                return f"{event.run}: {event.model}, steps {event.first_step} to {event.steps}"
            case Trained() if self._due():
                return (
                    f"step {event.step}/{event.steps}  {self._measures(event.losses)}  "
                    f"{event.rate:,.0f} {event.unit}/s  {duration(event.seconds_left)} left"
                )
            case Evaluated():
                return f"step {event.step}  held-out {self._measures(event.measures)}{'  (best)' if event.best else ''}"
            case Previewed() if event.text:
                return "\n".join("    " + line for line in event.text.strip().splitlines()[:4])
            case Finished():
                return f"{event.status} after {event.steps} steps, {duration(event.seconds)}: {event.run}"
        return None

    def _measures(self, measures: Mapping[str, float]) -> str:
        shown = {name: value for name, value in measures.items() if not self.meanings.of(name).minor}
        return "  ".join(f"{in_words(name)} {number(value)}" for name, value in shown.items())

    def _due(self) -> bool:
        if time.monotonic() - self.shown < SECONDS_BETWEEN_LINES:
            return False
        self.shown = time.monotonic()
        return True


def describe_stage(event: Stage) -> str:
    if event.total:
        return f"{event.name} {100 * event.done // event.total} %"
    return f"{event.name} {event.done:,}" if event.done else f"{event.name} …"
