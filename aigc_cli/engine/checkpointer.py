"""The checkpoints of a run: which of them its plan may go back to, which are kept, and which one is the run's model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from aigc_cli.engine.checkpoint import TrainState, read_state
from aigc_cli.engine.init_from import copy_weights
from aigc_cli.engine.run import Run
from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.settings import Plan
from aigc_cli.engine.trainer import Trainer
from aigc_cli.files import new_folder, remove_folder, write_json


@dataclass(frozen=True)
class EarlierModel:
    """The model that a run had before it was trained longer: it stays the run's until the longer training has a better one."""

    step: int  # of the plan before
    value: float  # of the learner's objective


class Checkpointer:
    """The checkpoints of a run that follows `plan`.

    A run that is trained longer also has checkpoints of the plan before. This plan goes on from one of them, which run.json
    names (`continued_from`). Those up to it are the plan's past; those after it, which are past another cool-down, are not.
    """

    def __init__(self, run: Run, plan: Plan) -> None:
        self.run, self.plan = run, plan
        self.continued_from: int = run.record.get("continued_from") or 0
        file = run.earlier / "best.json"
        self.earlier = EarlierModel(**json.loads(file.read_text())) if file.exists() else None

    def path(self, step: int) -> Path:
        return self.run.checkpoints / f"step-{step:06d}"

    @property
    def states(self) -> dict[int, TrainState]:
        """The checkpoints of this plan and of its past, by their steps, in order."""
        states = {step: read_state(self.path(step)) for step in self.run.checkpoint_steps}
        return {
            step: state for step, state in states.items() if step <= self.continued_from or state.plan_steps == self.plan.steps
        }

    def good(self, before: int) -> list[int]:
        """The steps, up to `before`, of checkpoints that may be rolled back to: those that the plan names, not the clock."""
        return [s for s, state in self.states.items() if s <= before and (state.planned or s == self.continued_from)]

    def load(self, trainer: Trainer, step: int) -> None:
        """Bring a trainer to where it stood. A best checkpoint that has been deleted since is no longer known as the best."""
        trainer.load(self.path(step))
        if trainer.state.best_step not in self.states:
            trainer.state.best = trainer.state.best_step = None

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint, have the best one's model be the run's, and delete those that nothing needs any more."""
        state = trainer.state
        trainer.save(self.path(state.step))
        best = state.step if state.best_step is None else state.best_step
        if self.earlier is None or (state.best is not None and state.best < self.earlier.value):
            self.run.choose(self.path(best))
            if self.earlier is not None:
                remove_folder(self.run.earlier)
                self.earlier = None
        before_cooldown = cooldown_start(self.plan.steps, self.plan.cooldown)  # what a longer plan would go on from
        keep = {state.step, best, before_cooldown, *self.good(state.step)[-1:]}
        for step in self.run.checkpoint_steps:
            if step not in keep or step > state.step:
                remove_folder(self.path(step))

    def set_aside_model(self) -> None:
        """Keep the best checkpoint's weights where a longer plan does not overwrite them. They stay the run's model."""
        newest = next(reversed(self.states.values()), TrainState())
        if newest.best_step is None or newest.best is None or not self.path(newest.best_step).exists():
            return
        if self.earlier is not None and self.earlier.value <= newest.best:
            return
        if self.earlier is not None:
            remove_folder(self.run.earlier)
        self.earlier = EarlierModel(newest.best_step, newest.best)
        with new_folder(self.run.earlier) as aside:
            copy_weights(self.path(newest.best_step), aside)
            write_json(aside / "best.json", asdict(self.earlier))
        self.run.choose(self.run.earlier)
