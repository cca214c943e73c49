"""A few lines at the bottom of the terminal, redrawn in place."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TypeAlias

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments

Line: TypeAlias = list[Segment]

ERASE = "\x1b[K"
"""Erases to the end of the line. Erasing to the end of the screen would copy it to the scrollback of some terminals."""


class Frame:
    """Each redraw is one write that overwrites line by line and erases only the rest, so that nothing flickers. The cursor
    rests on the line below. A terminal that was made narrower has wrapped the lines: that is taken into account when the
    cursor moves back to the first of them, and they are erased before being redrawn."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = console.width
        self.drawn: list[int] = []
        """The cells in each line on screen."""

    def draw(self, lines: Iterable[RenderableType] = (), above: Iterable[RenderableType] = ()) -> None:
        """Show these lines instead of the current ones, as far as they fit; those `above` stay for good."""
        width, most = self.console.width, max(1, self.console.height - 1)
        staying, shown = self._rendered(above), self._rendered(lines)[:most]
        rows = min(most, sum(max(1, -(-cells // width)) for cells in self.drawn))  # what scrolled off is out of reach
        text = _up(rows)
        if width != self.width:
            text += _erased(rows)
        text += "".join(map(self._text, (*staying, *shown))) + _erased(rows - len(staying) - len(shown))
        self.drawn, self.width = [Segment.get_line_length(line) for line in shown], width
        if text:
            self.console.file.write(text)
            self.console.file.flush()

    def leave(self) -> None:
        """Leave the current lines; whatever comes next goes below them."""
        self.drawn = []

    def _rendered(self, lines: Iterable[RenderableType]) -> list[Line]:
        return list(chain.from_iterable(self.console.render_lines(line, pad=False) for line in lines))

    def _text(self, line: Line) -> str:
        with self.console.capture() as captured:
            self.console.print(Segments(line), end="")
        full = Segment.get_line_length(line) >= self.console.width  # then the cursor is still on the last cell
        return captured.get() + ("" if full else ERASE) + "\n"


def _up(rows: int) -> str:
    return f"\x1b[{rows}A\r" if rows > 0 else ""


def _erased(rows: int) -> str:
    """Erase this many rows from the cursor's on, and move back there."""
    return f"{ERASE}\n" * rows + _up(rows)
