"""Which run a command is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from aigc_cli.engine.events import Bus, display_path
from aigc_cli.engine.run import Run, find_run

T = TypeVar("T")


def opened_run(options: Any, backend: str) -> Run:
    """The run that --run names, or the newest of the backend. RequestError where there is none, or it has no model yet."""
    run = find_run(Path(options.runs_dir), backend, options.run)
    run.require_model()
    return run


class Telling:
    """Says which run a result is of, where nobody named one, and what else is to be told: once, and before the first of the
    result, so that a request that was wrong is told alone."""

    def __init__(self, options: Any, run: Run, bus: Bus, *notes: str) -> None:
        self.bus = bus
        self.notes = [*([] if options.run is not None else [f"run {display_path(run.path)}"]), *notes]

    def __call__(self) -> None:
        while self.notes:
            self.bus.note(self.notes.pop(0))

    def before(self, results: Iterable[T]) -> Iterator[T]:
        for result in results:
            self()
            yield result
