"""A learner and its training state: steps, averages, evaluation, saving and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from aigc_cli.engine.checkpoints.checkpoint import TrainState, load_checkpoint, save_checkpoint
from aigc_cli.engine.checkpoints.init_from import require_whole, take_over
from aigc_cli.engine.device import autocast, not_deterministic, resolve_precision, seed_everything
from aigc_cli.engine.ema import EMA, applied
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Batch, Learner, Preview
from aigc_cli.engine.processes.group import alone, current
from aigc_cli.engine.settings import Plan
from aigc_cli.engine.step import StepValues, TrainStep
from aigc_cli.engine.trainable import AnyPlan, Prepared, Trainable


def learner_factory(
    backend: Trainable[Any, AnyPlan], plan: AnyPlan, data: Prepared, device: torch.device
) -> Callable[[], Learner]:
    """A function that builds the learner with the plan's initial weights, the same ones every time. Raises `RequestError` if
    those of another run are damaged."""
    if plan.init_from is not None:
        require_whole(Path(plan.init_from))

    def build() -> Learner:
        seed_everything(plan.seed, "initial weights")
        learner = backend.learner(plan, data, device)
        if plan.init_from is not None:
            take_over(learner, Path(plan.init_from))
        return learner

    return build


class Trainer:
    """A learner, its plan and its training state."""

    def __init__(self, build: Callable[[], Learner], plan: Plan, device: torch.device, bus: Bus) -> None:
        self.build, self.plan, self.device, self.bus = build, plan, device, bus
        self.processes = current()
        self.precision = resolve_precision(plan.precision, device)
        self.learner = build()
        if plan.shards > 1:
            self.learner.part_seed = plan.seed
        self.train_step = TrainStep(self.learner, device, self.precision, bus)
        if plan.compile:
            for network in self.learner.networks.values():
                network.compile()
        self._begin()

    def _begin(self) -> None:
        rows = -(-self.plan.batch_size // self.plan.shards)
        parts = -(-rows // self.plan.micro_batch_size)
        self.state = TrainState(plan_steps=self.plan.steps, micro_batches=parts)
        self.train_step.norms = {}
        self.ema = {name: EMA(self.learner.networks[name], half_life) for name, half_life in self.learner.ema.items()}

    def restart(self) -> None:
        """Return to step 0 and the initial weights. Compiled networks stay compiled."""
        for name, network in self.build().networks.items():
            self.learner.networks[name].load_state_dict(network.state_dict())
        for optimizer in self.learner.optimizers.values():
            optimizer.state.clear()
        self._begin()

    def step(self, batch: Batch, step: int, moved: Batch | None = None) -> StepValues:
        """Run all phases of one step, then update the averages. `moved` is the batch on the device, if it is there already."""
        values = self.train_step(batch, step, self.plan, self.state, moved)
        for average in self.ema.values():
            average.update(step)
        return values

    def evaluate(self, items: int) -> dict[str, float]:
        """The learner's measures. Devices share the work, and the first one's figures count."""
        with self._evaluating():
            return self.processes.agree(self.learner.evaluate(items))

    def preview(self) -> Preview | None:
        """A sample of the current model, in the first process."""
        if not self.processes.leads:
            return None
        with alone(), self._evaluating():
            return self.learner.preview()

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode, averaged weights, and the same random draws every time."""
        self.learner.set_training(False)
        seed_everything(self.plan.seed, "look")
        with applied(self.ema), torch.no_grad(), autocast(self.device, self.precision), not_deterministic():
            yield

    def save(self, folder: Path) -> None:
        """Write a checkpoint. The first process does, but all take part."""
        self.state.norms = self.train_step.norms
        with ExitStack() as whole:
            for updates in self.train_step.updates.values():
                whole.enter_context(updates.whole_state())
            if self.processes.leads:
                save_checkpoint(folder, self.learner, self.ema, self.state)

    def load(self, folder: Path) -> None:
        """Restore everything from a checkpoint."""
        self.state = self.load_weights(folder)
        self.train_step.norms = self.state.norms

    def load_weights(self, folder: Path) -> TrainState:
        """Restore only networks, averages and optimisers. Returns the checkpoint's training state."""
        state = load_checkpoint(folder, self.learner, self.ema)
        for updates in self.train_step.updates.values():
            updates.drop_others()
        return state
