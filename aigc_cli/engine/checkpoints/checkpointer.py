"""The checkpoints of a run: which are valid for its plan, which are kept, and which one is the run's model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from aigc_cli.engine.checkpoints.checkpoint import TrainState, read_state
from aigc_cli.engine.checkpoints.init_from import copy_weights
from aigc_cli.engine.checkpoints.manifest import damage
from aigc_cli.engine.events import Bus, display_path
from aigc_cli.engine.runs.run import Run
from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.settings import Plan
from aigc_cli.engine.trainer import Trainer
from aigc_cli.errors import AigcError
from aigc_cli.files import new_folder, read_json, remove_folder, set_aside, write_json


@dataclass(frozen=True)
class EarlierModel:
    """The model of a run before it was trained longer. It stays the run's model until the longer training beats it."""

    step: int  # in the previous plan
    value: float  # of the learner's objective


class Checkpointer:
    """The checkpoints of a run that follows `plan`.

    A run that is trained longer also has checkpoints of its previous plan. The current plan continues from one of them,
    recorded in run.json as `continued_from`. Checkpoints up to that one belong to the current plan; later ones of the previous
    plan, which include its cool-down, don't.
    """

    def __init__(self, run: Run, plan: Plan) -> None:
        self.run, self.plan = run, plan
        self.continued_from: int = run.record.get("continued_from") or 0
        self.earlier = _earlier_model(run)

    def path(self, step: int) -> Path:
        return self.run.checkpoint(step)

    @property
    def states(self) -> dict[int, TrainState]:
        """The checkpoints that belong to the current plan, by step, in order."""
        return self._states_of(self.run.checkpoint_steps)

    def _states_of(self, steps: Iterable[int]) -> dict[int, TrainState]:
        states = {step: read_state(self.path(step)) for step in steps}
        return {
            step: state for step, state in states.items() if step <= self.continued_from or state.plan_steps == self.plan.steps
        }

    def good(self, before: int) -> list[int]:
        """The steps, up to `before`, of checkpoints to roll back to: those saved by the plan rather than the clock."""
        return [s for s, state in self.states.items() if s <= before and (state.planned or s == self.continued_from)]

    def set_damaged_aside(self, bus: Bus) -> None:
        """Take damaged checkpoints out of the way, so that training continues from the newest whole one; the next start deletes
        them. Raises `AigcError`, and changes nothing, if none is whole."""
        faults = {step: damage(self.path(step)) for step in self.run.checkpoint_steps}
        damaged = {self.path(step): fault for step, fault in faults.items() if fault is not None}
        whole = self._states_of(step for step, fault in faults.items() if fault is None)
        if damaged and not whole:
            raise AigcError(
                f"{'; '.join(damaged.values())}; no other checkpoint of run {display_path(self.run.path)} is whole, "
                "so it can't be resumed; repeat it with --config and its run.json"
            )
        if self.run.earlier.exists() and (fault := damage(self.run.earlier)):
            damaged[self.run.earlier], self.earlier = fault, None
        for folder, fault in damaged.items():
            bus.note(f"{fault}; this checkpoint is not used", "warning")
            set_aside(folder)
        if damaged and not self.run.model.exists():
            newest = max(whole)
            self.run.choose(self.path(newest))
            bus.note(f"the run's model is that of step {newest}, the newest whole checkpoint, until there is a better one")

    def load(self, trainer: Trainer, step: int) -> None:
        """Load a checkpoint into a trainer. If its best checkpoint has been deleted since, the best is forgotten."""
        trainer.load(self.path(step))
        if trainer.state.best_step not in self.states:
            trainer.state.best = trainer.state.best_step = None

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint, make the best one's model the run's, and delete checkpoints that are no longer needed. Raises
        `AigcError` if the run was deleted, of which writing would make a part again."""
        self.run.require_there()
        trainer.save(self.path(trainer.state.step))
        self.settle(trainer.state)

    def settle(self, state: TrainState) -> None:
        """What follows on writing a checkpoint with this state; on resuming, it may have been interrupted."""
        if not self.run.ours:
            return
        best = state.step if state.best_step is None else state.best_step
        if self.earlier is None or (state.best is not None and state.best < self.earlier.value):
            self.run.choose(self.path(best))
            if self.earlier is not None:
                remove_folder(self.run.earlier)
                self.earlier = None
        before_cooldown = cooldown_start(self.plan.steps, self.plan.cooldown)  # where a longer plan would continue
        keep = {state.step, best, before_cooldown, *self.good(state.step)[-1:]}
        for step in self.run.checkpoint_steps:
            if step not in keep or step > state.step:
                remove_folder(self.path(step))

    def set_aside_model(self) -> None:
        """Keep the best checkpoint's weights where a longer plan won't overwrite them, and make them the run's model."""
        newest = next(reversed(self.states.values()), TrainState())
        if newest.best_step is None or newest.best is None or not self.path(newest.best_step).exists():
            return
        if self.earlier is not None and self.earlier.value <= newest.best:
            return
        if self.earlier is not None:
            remove_folder(self.run.earlier)
        self.earlier = EarlierModel(newest.best_step, newest.best)
        with new_folder(self.run.earlier) as aside:
            write_json(aside / "best.json", asdict(self.earlier))
            copy_weights(self.path(newest.best_step), aside)
        self.run.choose(self.run.earlier)


def _earlier_model(run: Run) -> EarlierModel | None:
    """What `set_aside_model` recorded; None if there is nothing, or nothing readable (see `set_damaged_aside`)."""
    try:
        found = EarlierModel(**read_json(run.earlier / "best.json"))
    except (OSError, ValueError, TypeError):
        return None
    return found if isinstance(found.step, int) and isinstance(found.value, int | float) else None
