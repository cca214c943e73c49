"""Work on many examples, of which several devices each do a part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from aigc_cli.engine.processes.group import current

Part = TypeVar("Part")
Result = TypeVar("Result")


def shared(parts: Iterable[Part], work: Callable[[Part], Result]) -> Iterator[tuple[Part, Result]]:
    """Each part and what `work` makes of it, in order. Every device has every result, and does its share of the work.

    A result is made of what JSON knows, bytes, arrays and tensors; a part must not depend on the work on another one.
    """
    processes = current()
    if processes.count == 1:
        for part in parts:
            yield part, work(part)
        return
    parts = iter(parts)
    while some := list(islice(parts, processes.count)):
        own = work(some[processes.rank]) if processes.rank < len(some) else None
        for source, part in enumerate(some):
            result = processes.agree(own, source)
            assert result is not None
            yield part, result
