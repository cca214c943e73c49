"""Tables for a terminal, as text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aigc_cli.engine.meanings import Meanings
from aigc_cli.ui.text import printable


def table(head: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    """A table without borders, each column as wide as its widest cell."""
    console = Console(file=io.StringIO(), force_terminal=False, width=max(80, Console().width))
    above = Text(printable(title, keep="")) if title else None
    drawn = Table(*head, box=None, pad_edge=False, title=above, title_justify="left")
    for row in rows:
        drawn.add_row(*(Text(printable(cell, keep="")) for cell in row))
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def measures_table(measures: Mapping[str, Mapping[str, Any]], meanings: Meanings, title: str) -> str:
    """Each measure with its interval, sample size and reference figures. Of a measure taken at many lengths (`novelty_1` to
    `novelty_12`), only the lengths that are powers of two, with a last line that says so."""
    rows = []
    left_out = set(_between(measures))
    for name, measure in measures.items():
        if name in left_out:
            continue
        low, high = measure.get("low"), measure.get("high")
        interval = f"{low:.4g} – {high:.4g}" if low is not None and high is not None else ""
        beside = [f"{key} {_number(other.get('value'))}" for key, other in meanings.beside(measure).items()]
        rows.append([name, _number(measure["value"]), interval, f"{measure.get('n') or ''}", ", ".join(beside)])
    drawn = table(["measure", "value", "95 % interval", "n", ""], rows, title)
    return f"{drawn}\n({len(left_out)} more lengths in between; --json or a pipe shows all)" if left_out else drawn


def _between(names: Iterable[str]) -> Iterator[str]:
    """Names whose number is not a power of two, out of more than four names that differ only in their number."""
    families: dict[str, list[str]] = {}
    for name in names:
        stem, _, number = name.rpartition("_")
        if number.isdecimal():
            families.setdefault(stem, []).append(name)
    for family in families.values():
        for name in family if len(family) > 4 else ():
            if int(name.rpartition("_")[2]).bit_count() != 1:
                yield name


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
