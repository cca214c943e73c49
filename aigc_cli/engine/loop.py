"""The one training loop.

What happens at a step depends on the plan, the seed and the step alone: batches, draws, evaluations, selection, roll-back.
The clock only adds checkpoints to resume from, which are never rolled back to. So a run that was killed and resumed ends
with the same weights as one that was left alone.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch

from aigc_cli.engine.checkpoint import (
    checkpoint_path,
    load_checkpoint,
    read_position,
    save_checkpoint,
)
from aigc_cli.engine.device import autocast, batches, not_deterministic, resolve_precision, seed_everything
from aigc_cli.engine.earlier import Earlier
from aigc_cli.engine.ema import Average, applied
from aigc_cli.engine.events import Bus, Evaluated, Previewed, Saved, Trained, display_path
from aigc_cli.engine.learner import Batch, Concern, Learner
from aigc_cli.engine.run import Run, read_metrics
from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.settings import Plan
from aigc_cli.engine.signals import Interrupts
from aigc_cli.engine.state import Position
from aigc_cli.engine.step import Turns
from aigc_cli.errors import AigcError, Interrupted
from aigc_cli.files import remove_folder

#: Steps in a row that may be skipped for a value that is not finite before the run goes back to its last good checkpoint.
SKIPS_BEFORE_ROLLBACK = 3
#: Times that it may go back, at half the learning rate each, before it stops.
ROLLBACKS_BEFORE_STOP = 3
#: Evaluations without progress after which it is said, and after which a run ends whose budget nobody asked for.
STALE = 5


class Trainer:
    """A learner, a plan and a position; `train` brings the position to the plan's last step."""

    def __init__(
        self,
        build: Callable[[], Learner],
        plan: Plan,
        device: torch.device,
        bus: Bus,
        run: Run | None = None,
    ) -> None:
        self.build, self.plan, self.device, self.bus = build, plan, device, bus
        self.run = run
        self.earlier: Earlier | None = None  # the run's model, until one is better
        self.precision = resolve_precision(plan.precision, device)
        self.learner = build()
        self.turns = Turns(self.learner, device, self.precision, bus)
        if plan.compile:
            for network in self.learner.networks.values():
                network.compile()
        self._begin()

    def _begin(self) -> None:
        self.at = Position(plan_steps=self.plan.steps, micro_batches=self._parts())
        self.averages = {
            name: Average(self.learner.networks[name], half_life) for name, half_life in self.learner.averages.items()
        }

    def _parts(self) -> int:
        """The number of micro-batches that the plan asks for."""
        return -(-self.plan.batch_size // self.plan.micro_batch_size)

    def restart(self) -> None:
        """Back to step 0 and the plan's initial weights; what was compiled stays compiled."""
        for name, network in self.build().networks.items():
            self.learner.networks[name].load_state_dict(network.state_dict())
        for optimizer in self.learner.optimizers.values():
            optimizer.state.clear()
        self._begin()

    def resume(self, step: int) -> None:
        assert self.run is not None
        self.at = Position(**load_checkpoint(checkpoint_path(self.run, step), self.learner, self.averages))

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        """Every phase of one step, and the averages after it. What there is to report; nothing where a phase was skipped."""
        report = self.turns(batch, step, self.plan, self.at)
        for average in self.averages.values():
            average.update(step)
        return report

    # Looking at what was learned

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Evaluation mode, averaged weights, and draws that are the same at every look."""
        self.learner.set_training(False)
        seed_everything(self.plan.seed, "look")
        with applied(self.averages), torch.no_grad(), autocast(self.device, self.precision), not_deterministic():
            yield

    def evaluate(self, items: int) -> dict[str, float]:
        with self._judged():
            return self.learner.evaluate(items)

    def _evaluate_and_select(self) -> bool:
        """Measure, and note whether it is the best so far. False when the measure is not finite: the weights are bad."""
        measures = self.evaluate(self.plan.eval_items)
        value = measures[self.learner.objective]
        if not math.isfinite(value):
            return False
        better = self.at.best is None or value < self.at.best
        if better:
            self.at.best, self.at.best_step = value, self.at.step
        if self.at.mark is None or value < self.at.mark - self.learner.noise(measures):
            self.at.mark, self.at.stale = value, 0
        else:
            self.at.stale += 1
        self._log({"event": "evaluated", "step": self.at.step, **measures, "best": better})
        self.bus.emit(Evaluated(self.at.step, measures, self.learner.objective, better))
        self.preview()
        self._see_to_concerns()
        return True

    def _see_to_concerns(self) -> None:
        """Tell what looks wrong now and did not at the last evaluation, and undo it where that helps."""
        assert self.run is not None
        concerns = dict(self.learner.concerns(read_metrics(self.run)))
        if self.plan.patience is None and self.at.stale >= STALE:
            text = f"no progress beyond chance on held-out data for {STALE} evaluations; the best is kept"
            concerns["stale"] = Concern(text)
        new = {name: concern for name, concern in concerns.items() if name not in self.at.concerns}
        for name, concern in new.items():
            self._log({"event": "concern", "step": self.at.step, "name": name, "text": concern.text})
            self.bus.note(concern.text, "warning")
        self.at.concerns = list(concerns)
        if any(concern.undo for concern in new.values()) and self.at.best_step not in (None, self.at.step):
            self._take_up_best()

    def _take_up_best(self) -> None:
        """The networks, averages and optimisers as they were at the best step, at half the learning rate from here on. The
        step stays, and with it the schedule and the time that the run takes."""
        assert self.run is not None and self.at.best_step is not None
        load_checkpoint(checkpoint_path(self.run, self.at.best_step), self.learner, self.averages)
        self.at.lr_scale /= 2
        self._log({"event": "undone", "step": self.at.step, "to": self.at.best_step, "lr_scale": self.at.lr_scale})
        self.bus.note(
            f"going on with the best weights so far, of step {self.at.best_step}, at half the learning rate", "warning"
        )

    def preview(self) -> None:
        with self._judged():
            preview = self.learner.preview()
        if preview is not None and self.run is not None:
            path = self.run.samples / f"step-{self.at.step:06d}{preview.suffix}"
            path.write_bytes(preview.content)
            self.bus.emit(Previewed(self.at.step, preview.text, display_path(path), preview.grid))

    # The whole run

    def train(self, interrupts: Interrupts) -> str:
        """From the current position to the end; "finished", or "stopped" when it no longer improved."""
        assert self.run is not None
        longer = self.at.step > 0 and self.at.plan_steps != self.plan.steps
        self.at.plan_steps = self.plan.steps
        with self.run.metrics.open("a", encoding="utf-8") as self._metrics:
            self._cut_metrics()
            if longer:
                self._log({"event": "continued", "step": self.at.step, "steps": self.plan.steps})
            self._clock = time.perf_counter() - self.at.seconds
            self._saved_at = time.perf_counter()
            self._reported = (time.perf_counter(), 0)
            while self.at.step < self.plan.steps and not self._stopped_improving():
                self._stretch(interrupts)
        return "finished" if self.at.step == self.plan.steps else "stopped"

    def _stretch(self, interrupts: Interrupts) -> None:
        """Steps up to the end, to a roll-back, or to where it has stopped improving."""
        steps = self.plan.steps
        before_cooldown = cooldown_start(steps, self.plan.cooldown)
        for batch in batches(self.learner.batch, self.at.step, steps, self.device):
            report = self.step(batch, self.at.step)
            if self.at.skips >= SKIPS_BEFORE_ROLLBACK:
                self._roll_back()
                return
            self.at.step += 1
            self.at.seconds = time.perf_counter() - self._clock
            self._report(report, self.learner.count(batch))
            evaluating = self.at.step % self.plan.eval_every == 0 or self.at.step == steps
            if evaluating and not self._evaluate_and_select():
                self._roll_back()
                return
            if evaluating or self.at.step == before_cooldown:
                self._checkpoint(planned=self.at.skips == 0)
            elif interrupts.received is not None or time.perf_counter() - self._saved_at > self.plan.checkpoint_seconds:
                self._checkpoint(planned=False)
            if self._stopped_improving():
                return
            if interrupts.received is not None and self.at.step < steps:
                raise Interrupted("interrupted", interrupts.received)

    def _stopped_improving(self) -> bool:
        return self.plan.patience is not None and self.at.stale >= self.plan.patience

    def _roll_back(self) -> None:
        assert self.run is not None
        step, scale, rollbacks = self.at.step, self.at.lr_scale, self.at.rollbacks
        skipped, micro_batches = self.at.skipped, self.at.micro_batches
        if rollbacks == ROLLBACKS_BEFORE_STOP:
            raise AigcError(
                f"the loss is not finite at step {step} even at a learning rate {1 / scale:g} times smaller; "
                f"try a smaller --lr; the last good checkpoint is kept in {display_path(self.run.path)}"
            )
        good = [s for s in self.run.checkpoint_steps if read_position(checkpoint_path(self.run, s))["planned"]]
        if good:
            self.resume(good[-1])
        else:
            self.restart()
        self.at.lr_scale, self.at.rollbacks, self.at.skips = scale / 2, rollbacks + 1, 0
        self.at.skipped, self.at.micro_batches = skipped, micro_batches
        self._log({"event": "rolled_back", "step": step, "to": self.at.step, "lr_scale": self.at.lr_scale})
        self.bus.note(
            f"the loss is not finite at step {step}: back to step {self.at.step} at half the learning rate",
            "warning",
        )

    def _checkpoint(self, *, planned: bool) -> None:
        """Write a checkpoint, link the best one's model, and delete those that nothing needs any more."""
        assert self.run is not None
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        self.at.planned, self.at.metrics_bytes = planned, self.run.metrics.stat().st_size
        folder = checkpoint_path(self.run, self.at.step)
        save_checkpoint(folder, self.learner, self.averages, asdict(self.at))
        self._saved_at = time.perf_counter()
        best = self.at.step if self.at.best_step is None else self.at.best_step
        if self.earlier is None or (self.at.best is not None and self.at.best < self.earlier.value):
            self.run.choose(checkpoint_path(self.run, best))
            if self.earlier is not None:
                remove_folder(self.run.earlier)
                self.earlier = None
        self._prune(best)
        self.bus.emit(Saved(self.at.step, display_path(folder)))

    def _prune(self, best: int) -> None:
        """Keep the newest, the newest that may be rolled back to, the best, and the one before the cool-down."""
        assert self.run is not None
        steps = self.run.checkpoint_steps
        planned = [s for s in steps if read_position(checkpoint_path(self.run, s))["planned"]]
        keep = {self.at.step, best, *planned[-1:], cooldown_start(self.plan.steps, self.plan.cooldown)}
        for step in steps:
            if step not in keep or step > self.at.step:
                remove_folder(checkpoint_path(self.run, step))

    # What is written down

    def _report(self, report: Mapping[str, float], items: int) -> None:
        if report:
            for name, value in report.items():
                self.at.sums[name] = self.at.sums.get(name, 0.0) + value
            self.at.summed += 1
        since, done = self._reported
        self._reported = (since, done + items)
        if self.at.step % self.plan.log_every != 0 and self.at.step != self.plan.steps:
            return
        now = time.perf_counter()
        rate = (done + items) / max(now - since, 1e-9)
        losses = {name: total / self.at.summed for name, total in self.at.sums.items()}
        lr = next(iter(self.learner.optimizers.values())).param_groups[0]["lr"]
        line = {"event": "trained", "step": self.at.step, **losses, "lr": lr, "skipped": self.at.skipped}
        self._log({**line, "seconds": round(self.at.seconds, 3), f"{self.learner.unit}_per_second": round(rate, 1)})
        left = (now - since) / self.plan.log_every * (self.plan.steps - self.at.step)
        self.bus.emit(Trained(self.at.step, self.plan.steps, losses, lr, rate, self.learner.unit, self.at.seconds, left))
        self.at.sums, self.at.summed, self._reported = {}, 0, (now, 0)

    def _log(self, line: Mapping[str, Any]) -> None:
        self._metrics.write(json.dumps(line) + "\n")
        self._metrics.flush()

    def _cut_metrics(self) -> None:
        """Drop what was reported after the checkpoint that we go on from."""
        if self._metrics.tell() > self.at.metrics_bytes:
            self._metrics.truncate(self.at.metrics_bytes)
