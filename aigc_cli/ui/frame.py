"""A few lines at the bottom of what a terminal shows, redrawn in place."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TypeAlias

from rich.console import Console, RenderableType
from rich.segment import Segment, Segments

Line: TypeAlias = list[Segment]

ERASE = "\x1b[K"
"""To the end of the line. Erasing to the end of the screen instead would put a copy into the history of some terminals."""


class Frame:
    """Each redrawing is one write, which overwrites line by line and erases only what is left, so that nothing flickers. The
    cursor waits on the line below. A terminal that became narrower has wrapped the lines that are there: that is counted when
    the cursor goes back to their first, and they are erased before they are drawn anew."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.width = console.width
        self.drawn: list[int] = []
        """The cells in each line that is there."""

    def draw(self, lines: Iterable[RenderableType] = (), above: Iterable[RenderableType] = ()) -> None:
        """Show these instead of what is there, as far as the terminal is high enough; what is `above` stays for good."""
        width, most = self.console.width, max(1, self.console.height - 1)
        staying, shown = self._rendered(above), self._rendered(lines)[:most]
        rows = min(most, sum(max(1, -(-cells // width)) for cells in self.drawn))  # what went off the screen is out of reach
        text = _up(rows)
        if width != self.width:
            text += _erased(rows)
        text += "".join(map(self._text, (*staying, *shown))) + _erased(rows - len(staying) - len(shown))
        self.drawn, self.width = [Segment.get_line_length(line) for line in shown], width
        if text:
            self.console.file.write(text)
            self.console.file.flush()

    def leave(self) -> None:
        """What is there stays, and whatever comes next goes below it."""
        self.drawn = []

    def _rendered(self, lines: Iterable[RenderableType]) -> list[Line]:
        return list(chain.from_iterable(self.console.render_lines(line, pad=False) for line in lines))

    def _text(self, line: Line) -> str:
        with self.console.capture() as captured:
            self.console.print(Segments(line), end="")
        full = Segment.get_line_length(line) >= self.console.width  # where the cursor is still on the last cell
        return captured.get() + ("" if full else ERASE) + "\n"


def _up(rows: int) -> str:
    return f"\x1b[{rows}A\r" if rows > 0 else ""


def _erased(rows: int) -> str:
    """So many rows, beginning with the cursor's, where it is again in the end."""
    return f"{ERASE}\n" * rows + _up(rows)
