"""The model that a run had before it was trained longer: it stays the run's until the longer training has a better one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from aigc_cli.engine.checkpoint import checkpoint_path, read_position
from aigc_cli.engine.init_from import copy_weights
from aigc_cli.engine.run import Run
from aigc_cli.files import new_folder, remove_folder, write_json


@dataclass(frozen=True)
class Earlier:
    step: int  # of the plan before
    value: float  # of the learner's objective


def set_aside(run: Run) -> None:
    """Keep the weights of the run's best checkpoint where the steps to come do not overwrite them."""
    steps = run.checkpoint_steps
    position = read_position(checkpoint_path(run, steps[-1])) if steps else {}
    step, value = position.get("best_step"), position.get("best")
    known = find(run)
    if step is None or value is None or (known is not None and known.value <= value):
        return
    if known is not None:
        remove_folder(run.earlier)
    with new_folder(run.earlier) as aside:
        copy_weights(checkpoint_path(run, step), aside)
        write_json(aside / "best.json", asdict(Earlier(step, value)))
    run.choose(run.earlier)


def find(run: Run) -> Earlier | None:
    """What was set aside, where it is still the run's model."""
    file = run.earlier / "best.json"
    return Earlier(**json.loads(file.read_text())) if file.exists() else None
