"""Which run a command works on, and saying so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from aigc_cli.engine.events import Bus, display_path
from aigc_cli.engine.runs.finding import find_run
from aigc_cli.engine.runs.run import Run

T = TypeVar("T")


def trained_run(options: Any, backend: str) -> Run:
    """The run that --run names, or the backend's newest. RequestError when there is none, or it has no model yet."""
    run = find_run(Path(options.runs_dir), backend, options.run)
    run.require_model()
    return run


class FirstNotes:
    """Notes that come before a result: which run it is from, unless the user named one, and whatever else is given. They are
    emitted once, with the first result, so that an error about the request stands alone."""

    def __init__(self, options: Any, run: Run, bus: Bus, *notes: str) -> None:
        self.bus, self.run = bus, run
        self.notes = [*([] if options.run is not None else [f"run {display_path(run.path)}"]), *notes]

    def emit(self) -> None:
        self.run.tell(self.bus)
        while self.notes:
            self.bus.note(self.notes.pop(0))

    def before(self, results: Iterable[T]) -> Iterator[T]:
        for result in results:
            self.emit()
            yield result
