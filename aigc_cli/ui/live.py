"""The live view of training: what is happening, the curve, the time left and the latest sample, within 80 × 24."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event as Signal
from threading import RLock, Thread
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aigc_cli.engine.events import Evaluated, Event, Finished, Note, Previewed, Printing, Stage, Started, Trained
from aigc_cli.engine.meanings import Meanings, in_words
from aigc_cli.ui.frame import Frame
from aigc_cli.ui.terminal import SYSTEMS, Colours, colours, shows_pictures, writes_unicode
from aigc_cli.ui.text import duration, number, printable, sparkline

SAMPLE_LINES, MEASURE_LINES = 8, 2
BAR, CURVE = 24, 60
BELOW = 7
"""Lines left free for the messages at the end."""
SECONDS_BETWEEN_FRAMES, SECONDS_BETWEEN_MOVES = 0.1, 0.2
SECONDS_BEFORE_ESTIMATE = 2.0
"""After this time a stage shows how long it will still take."""


class LiveView:
    """Redraws a few lines in place, and leaves the last state on screen when training ends. Before the first step the bar moves
    by itself, to show that something is going on."""

    def __init__(self, stream: TextIO, meanings: Meanings) -> None:
        self.meanings = meanings
        self.colours = colours(os.environ)
        self.console = Console(file=stream, color_system=SYSTEMS[self.colours], highlight=False, markup=False, emoji=False)
        self.unicode, self.pictures = writes_unicode(stream), shows_pictures(stream, os.environ)
        self.frame = Frame(self.console)
        self.stage: Stage | None = Stage("starting", 0)
        self.stage_since = self.frame_at = time.monotonic()
        self.started: Started | None = None
        self.trained: Trained | None = None
        self.evaluated: Evaluated | None = None
        self.previewed: Previewed | None = None
        self.losses: list[float] = []
        self.sample: tuple[object, list[Text]] = None, []
        self.lock, self.closed = RLock(), Signal()
        with suppress(OSError, ValueError):  # the terminal may be gone
            self._show()
        Thread(target=self._keep_moving, daemon=True).start()

    def __call__(self, event: Event) -> None:
        with self.lock:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Note():
                style = "yellow" if event.level == "warning" else "dim"
                self._say(Text(printable(event.text, keep=""), style=style))
                return
            case Printing():
                self.stage = None
                self.frame.draw()
                return
            case Finished():
                self.close()
                run = printable(event.run, keep="")
                self._say(Text(f"{event.status} after {event.steps} steps, {duration(event.seconds)}: {run}"))
                return
            case Stage():
                if self.stage is None or event.name != self.stage.name:
                    self.stage_since = time.monotonic()
                self.stage = event
            case Started():
                self.started, self.stage = event, None
            case Trained():
                self.trained, self.stage = event, None
                self.losses.append(next(iter(event.losses.values()), 0.0))
            case Evaluated():
                self.evaluated = event
            case Previewed():
                self.previewed = event
        often = isinstance(event, Stage | Trained)
        if not self.closed.is_set() and not (often and time.monotonic() - self.frame_at < SECONDS_BETWEEN_FRAMES):
            self._show()

    def close(self) -> None:
        """Leave the last state of training on screen, without the bar of a stage."""
        with self.lock:
            if not self.closed.is_set():
                self.closed.set()
                self.stage = None
                self.frame.draw(self._lines())
                self.frame.leave()

    def _say(self, text: Text) -> None:
        """A line that stays."""
        self.frame.draw(() if self.closed.is_set() else self._lines(), above=[text])

    def _show(self) -> None:
        self.frame.draw(self._lines())
        self.frame_at = time.monotonic()

    def _keep_moving(self) -> None:
        with suppress(OSError, ValueError):
            while not self.closed.wait(SECONDS_BETWEEN_MOVES):
                with self.lock:
                    if self.stage is not None and not self.closed.is_set():
                        self._show()

    # Layout

    def _lines(self) -> list[RenderableType]:
        parts: list[RenderableType] = []
        if self.stage is not None:
            # Some stages report a total and then nothing until they are done.
            total = self.stage.total if self.stage.done else None
            parts.append(self._bar(self._label(self.stage), self.stage.done, total))
        if self.started is not None:
            parts.append(_one_line(f"{self.started.run}: {self.started.model}", "bold"))
        if self.trained is not None:
            t = self.trained
            left = f"step {t.step:,}/{t.steps:,}   {t.rate:,.0f} {t.unit}/s   {duration(t.seconds_left)} left"
            parts += [self._bar(left, t.step, t.steps), *self._measures(t.losses)]
            if self.evaluated is not None:
                parts += self._measures(self.evaluated.measures, "held-out")
            if self.unicode:
                parts.append(Text(sparkline(self.losses, min(CURVE, self.console.width)), style="green"))
        if self.previewed is not None and (
            sample := self._sample(self.previewed, self.console.height - len(parts) - 1 - BELOW)
        ):
            parts += [Text(), *sample]
        return parts

    def _label(self, stage: Stage) -> str:
        seconds = time.monotonic() - self.stage_since
        name = printable(stage.name, keep="")
        if not stage.done:
            return name
        if not stage.total:
            return f"{name} {stage.done:,}"
        label = f"{name}   {100 * stage.done // stage.total} %"
        if seconds < SECONDS_BEFORE_ESTIMATE or stage.done >= stage.total:
            return label
        return f"{label}   {duration(seconds / stage.done * (stage.total - stage.done))} left"

    def _bar(self, label: str, done: int, total: int | None) -> RenderableType:
        """A bar with its label; the label is never cut, and the bar takes the rest of the line."""
        width = min(BAR, self.console.width - cell_len(label) - 1)
        if width < 1:
            return _one_line(label)
        line = Table.grid(padding=(0, 1))
        line.add_row(ProgressBar(total=total or None, completed=done, width=width, pulse=not total), Text(label, no_wrap=True))
        return line

    def _measures(self, measures: Mapping[str, float], *before: str) -> list[Text]:
        """Measures in at most `MEASURE_LINES` lines, none of them split; the last ends in an ellipsis if there are too many."""
        lines: list[str] = []
        shown = {name: value for name, value in measures.items() if not self.meanings.of(name).minor}
        told = [f"{printable(in_words(name), keep='')} {number(value)}" for name, value in shown.items()]
        for part in (*before, *told):
            if lines and (len(lines) == MEASURE_LINES or cell_len(f"{lines[-1]}  {part}") <= self.console.width):
                lines[-1] += f"  {part}"
            else:
                lines.append(part)
        return [_one_line(line) for line in lines]

    def _sample(self, event: Previewed, lines: int) -> list[Text]:
        """The latest preview, in at most `lines` lines."""
        if lines < 1:
            return []
        if event.text:
            return [_one_line(line, "cyan") for line in printable(event.text.strip()).splitlines()[: min(lines, SAMPLE_LINES)]]
        lines, cells = min(lines, self.console.height // 2), self.console.width
        if self.pictures and self.sample[0] != (event, lines, cells):
            self.sample = (event, lines, cells), _pictures(event, lines, cells, self.colours)
        return self.sample[1]


def _pictures(event: Previewed, lines: int, cells: int, colours: Colours) -> list[Text]:
    """The pictures of a preview; empty if it can't be read."""
    from aigc_cli.ui.preview import preview, read_pixels, split_sheet

    try:
        pixels = read_pixels(Path(event.path))
    except (OSError, ValueError, SyntaxError):  # pillow's for a damaged file
        return []
    return preview(split_sheet(pixels, *event.grid), lines, cells, colours)


def _one_line(text: str, style: str = "") -> Text:
    return Text(printable(text, keep=""), style=style, overflow="ellipsis", no_wrap=True)
