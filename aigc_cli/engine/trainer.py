"""A learner in training, whatever becomes of it: its steps, its averages, where it stands, and looks at what it has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from aigc_cli.engine.checkpoint import TrainState, load_checkpoint, save_checkpoint
from aigc_cli.engine.device import autocast, not_deterministic, resolve_precision, seed_everything
from aigc_cli.engine.ema import EMA, applied
from aigc_cli.engine.events import Bus
from aigc_cli.engine.init_from import take_over
from aigc_cli.engine.learner import Batch, Learner, Preview
from aigc_cli.engine.settings import Plan
from aigc_cli.engine.step import StepValues, TrainStep
from aigc_cli.engine.trainable import AnyPlan, Prepared, Trainable


def learner_factory(
    backend: Trainable[Any, AnyPlan], plan: AnyPlan, data: Prepared, device: torch.device
) -> Callable[[], Learner]:
    """Makes the learner that the plan begins with, the same one every time."""

    def build() -> Learner:
        seed_everything(plan.seed, "initial weights")
        learner = backend.learner(plan, data, device)
        if plan.init_from is not None:
            take_over(learner, Path(plan.init_from))
        return learner

    return build


class Trainer:
    """A learner, its plan, and the state that its training is in."""

    def __init__(self, build: Callable[[], Learner], plan: Plan, device: torch.device, bus: Bus) -> None:
        self.build, self.plan, self.device, self.bus = build, plan, device, bus
        self.precision = resolve_precision(plan.precision, device)
        self.learner = build()
        self.train_step = TrainStep(self.learner, device, self.precision, bus)
        if plan.compile:
            for network in self.learner.networks.values():
                network.compile()
        self._begin()

    def _begin(self) -> None:
        parts = -(-self.plan.batch_size // self.plan.micro_batch_size)
        self.state = TrainState(plan_steps=self.plan.steps, micro_batches=parts)
        self.train_step.norms = {}
        self.ema = {name: EMA(self.learner.networks[name], half_life) for name, half_life in self.learner.ema.items()}

    def restart(self) -> None:
        """Back to step 0 and the plan's initial weights; what was compiled stays compiled."""
        for name, network in self.build().networks.items():
            self.learner.networks[name].load_state_dict(network.state_dict())
        for optimizer in self.learner.optimizers.values():
            optimizer.state.clear()
        self._begin()

    def step(self, batch: Batch, step: int, moved: Batch | None = None) -> StepValues:
        """Every phase of one step, and the averages after it. `moved` is the batch on the device, where it is there already."""
        values = self.train_step(batch, step, self.plan, self.state, moved)
        for average in self.ema.values():
            average.update(step)
        return values

    def evaluate(self, items: int) -> dict[str, float]:
        with self._judged():
            return self.learner.evaluate(items)

    def preview(self) -> Preview | None:
        with self._judged():
            return self.learner.preview()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Evaluation mode, averaged weights, and draws that are the same at every look."""
        self.learner.set_training(False)
        seed_everything(self.plan.seed, "look")
        with applied(self.ema), torch.no_grad(), autocast(self.device, self.precision), not_deterministic():
            yield

    def save(self, folder: Path) -> None:
        self.state.norms = self.train_step.norms
        save_checkpoint(folder, self.learner, self.ema, self.state)

    def load(self, folder: Path) -> None:
        """Everything as it was when the checkpoint was written."""
        self.state = self.load_weights(folder)
        self.train_step.norms = self.state.norms

    def load_weights(self, folder: Path) -> TrainState:
        """Networks, averages and optimisers alone, as they were then. Returns the state that they belonged to."""
        return load_checkpoint(folder, self.learner, self.ema)
