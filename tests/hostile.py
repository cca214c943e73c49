"""Running `aigc` in this process on what a stranger may have written, and looking at what comes of it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What may stand in the place of any value of a JSON file.
VALUES: Sequence[Any] = (
    "", "x", "../../up", "/etc/hostname", "\x1b[31m\u202e\n[bold]", "a\0b", "\ud800", "1" * 400, 10**30, 10**400, -1, 0, 1.5,
    1e308, float("nan"), float("-inf"), True, None, [], [None], [[]], [10**9] * 3, {}, {"a": {}}, {"\x1b": []},
)  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def crashed(self) -> bool:
        """Whether it ended otherwise than by a line that says what is wrong: what no command expects is told by its type."""
        unexpected = re.search(r"^aigc: \w+: .*\(--debug shows", self.err, re.MULTILINE)
        return self.code not in (0, 1, 2) or "Traceback" in self.err or unexpected is not None


def aigc(*arguments: object, input: bytes = b"") -> Told:
    """Run a command in this process, as a user would from the current folder."""
    from aigc_cli import app

    streams = [io.TextIOWrapper(io.BytesIO(given), "utf-8") for given in (b"", b"", input)]
    before, stdin = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["aigc", *map(str, arguments)], streams[2]
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            code = app.run()
    finally:
        sys.argv, sys.stdin = before, stdin
    said = []
    for stream in streams[:2]:
        stream.flush()
        said.append(stream.buffer.getvalue().decode("utf-8", "surrogateescape"))  # type: ignore[attr-defined]
    return Told(code, *said)


def replaced(value: Any, depth: int = 3) -> Iterator[tuple[str, Any]]:
    """A JSON value with each of its values, down to a depth, replaced by each hostile one, or missing; and where."""
    places: list[tuple[Any, ...]] = []

    def find(inside: Any, path: tuple[Any, ...]) -> None:
        keys = list(inside) if isinstance(inside, dict) else range(min(2, len(inside))) if isinstance(inside, list) else ()
        for key in keys:
            places.append((*path, key))
            if len(path) + 1 < depth:
                find(inside[key], (*path, key))

    find(value, ())
    for place in places:
        for hostile in VALUES:
            changed = deepcopy(value)
            inside = changed
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = hostile
            yield f"{place} is {hostile!r:.40}", changed
        changed = deepcopy(value)
        inside = changed
        for key in place[:-1]:
            inside = inside[key]
        del inside[place[-1]]
        yield f"{place} is missing", changed


def content_of(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Everything below a folder: files with their content, links with where they lead."""
    found: dict[str, tuple[str, bytes]] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        elif path.is_file():
            found[name] = ("file", path.read_bytes())
        else:
            found[name] = ("folder", b"")
    return found
