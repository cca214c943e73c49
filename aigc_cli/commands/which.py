"""Which run a command is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aigc_cli.engine.events import Bus, display_path
from aigc_cli.engine.run import Run, find_run


def opened_run(options: Any, backend: str) -> Run:
    """The run that --run names, or the newest of the backend. RequestError where there is none, or it has no model yet."""
    run = find_run(Path(options.runs_dir), backend, options.run)
    run.require_model()
    return run


def told_run(options: Any, run: Run, bus: Bus) -> None:
    """Says which run it is where nobody named one."""
    if options.run is None:
        bus.note(f"run {display_path(run.path)}")
