"""Terminals for tests: a pseudo-terminal to run a command in, and a screen that interprets its output."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from contextlib import suppress

from conftest import AIGC, Shell


def in_terminal(
    shell: Shell,
    *arguments: object,
    stdout: bool = True,
    stderr: bool = True,
    size: tuple[int, int] = (80, 24),
    answer: str | None = None,
    status: int = 0,
    **environ: str,
) -> str:
    """The output of `aigc` in a terminal of this size (columns, lines), in which `answer` is typed, if given. Streams that are
    turned off are discarded."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    env = {**shell.env, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environ}
    process = subprocess.Popen(
        [*AIGC, *map(str, arguments)],
        cwd=shell.cwd,
        env=env,
        stdin=subprocess.DEVNULL if answer is None else child,
        stdout=child if stdout else subprocess.DEVNULL,
        stderr=child if stderr else subprocess.DEVNULL,
    )
    os.close(child)
    if answer is not None:
        os.write(parent, answer.encode())
    seen = b""
    with suppress(OSError):  # on Linux, reading fails once the other end is closed
        while part := os.read(parent, 1 << 16):
            seen += part
    os.close(parent)
    assert process.wait() == status, seen.decode()
    return seen.decode().replace("\r\n", "\n")


class Screen:
    """The features of a terminal that `aigc` uses: long lines wrap, again whenever the width changes; the cursor moves up within
    the visible rows; and the rest of a row can be erased."""

    def __init__(self, width: int, height: int = 24) -> None:
        self._width, self.height = width, height
        self.rows = [""]
        self.goes_on = [False]
        self.row, self.column = 0, 0

    def feed(self, text: str) -> None:
        for code, character in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|([^\x1b])", text):
            if code.endswith("A"):
                self.row = max(self.top, self.row - int(code[:-1]))
            elif code == "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
                self.goes_on[self.row] = False
            elif code:
                assert code.endswith("m"), code
            elif character == "\r":
                self.column = 0
            elif character == "\n":
                self._to(self.row + 1)
            else:
                if self.column == self.width:
                    self.goes_on[self.row] = True
                    self._to(self.row + 1)
                row = self.rows[self.row].ljust(self.column)
                self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
                self.column += 1

    def _to(self, row: int) -> None:
        self.row, self.column = row, 0
        if row == len(self.rows):
            self.rows.append("")
            self.goes_on.append(False)

    @property
    def top(self) -> int:
        """The first row that is seen."""
        return max(0, len(self.rows) - self.height)

    @property
    def width(self) -> int:
        return self._width

    @width.setter
    def width(self, width: int) -> None:
        """The cursor must be where nothing follows, as it is between two drawings."""
        assert not any(self.rows[self.row :])
        del self.rows[self.row + 1 :], self.goes_on[self.row + 1 :]
        lines, self.rows, self.goes_on = self.lines, [], []
        for line in lines:
            parts = [line[at : at + width] for at in range(0, len(line), width)] or [""]
            self.rows += parts
            self.goes_on += [True] * (len(parts) - 1) + [False]
        self.row, self.column, self._width = len(self.rows) - 1, 0, width

    @property
    def lines(self) -> list[str]:
        joined, line = [], ""
        for row, goes_on in zip(self.rows, self.goes_on, strict=True):
            line += row
            if not goes_on:
                joined.append(line)
                line = ""
        return joined

    @property
    def shown(self) -> list[str]:
        """The rows that are seen, down to the cursor's, which nothing follows."""
        assert not any(self.rows[self.row + 1 :])
        return [row.rstrip() for row in self.rows[self.top : self.row + 1]]
