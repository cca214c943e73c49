"""The one training loop.

What happens at a step (batches, draws, evaluation, selection, roll-back) depends only on the plan, the seed and the step. The
clock only adds checkpoints to resume from, which are never rolled back to. So a run that is killed and resumed ends with the
same weights as one that isn't.
"""

from __future__ import annotations

import math

from aigc_cli.engine import clock
from aigc_cli.engine.checkpoints.checkpoint import TrainState
from aigc_cli.engine.checkpoints.checkpointer import Checkpointer
from aigc_cli.engine.device import batches
from aigc_cli.engine.events import Evaluated, Previewed, Saved, Trained, display_path
from aigc_cli.engine.learner import Concern
from aigc_cli.engine.runs.metrics_log import MetricsLog
from aigc_cli.engine.runs.run import Run
from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.signals import Interrupts
from aigc_cli.engine.step import StepValues, read
from aigc_cli.engine.trainer import Trainer
from aigc_cli.errors import AigcError, Interrupted

#: Consecutive steps skipped for a non-finite value before rolling back to the last good checkpoint.
SKIPS_BEFORE_ROLLBACK = 3
#: Roll-backs, each at half the learning rate, before training fails.
ROLLBACKS_BEFORE_STOP = 3
#: Evaluations without progress before a warning, and before a run without an explicit budget stops.
STALE = 5
#: About the most previews that a run keeps, at equal distances.
MOST_PREVIEWS = 200
#: The most steps whose values are left unread on the device; reading waits for the device.
UNREAD = 100


class TrainLoop:
    """A trainer and its run. `train` runs to the plan's last step."""

    def __init__(self, trainer: Trainer, run: Run) -> None:
        self.trainer, self.run, self.bus, self.processes = trainer, run, trainer.bus, trainer.processes
        self.plan, self.learner = trainer.plan, trainer.learner
        self.checkpoints = Checkpointer(run, self.plan)
        self.unread: list[StepValues] = []

    @property
    def state(self) -> TrainState:
        return self.trainer.state

    def train(self, interrupts: Interrupts) -> str:
        """Train from the current step to the end. Returns "finished", or "stopped" if it stopped improving."""
        with MetricsLog(self.run, self.state.metrics_bytes) as self.log:
            if self.state.step > 0 and self.state.plan_steps != self.plan.steps:
                self.log.write("continued", self.state.step, steps=self.plan.steps)
            self.state.plan_steps = self.plan.steps
            self.began = clock.seconds() - self.state.seconds
            self.saved = self.reported = clock.seconds()
            self.items = 0  # since the last report
            while self.state.step < self.plan.steps and not self.stopped_improving():
                self._steps(interrupts)
        return "finished" if self.state.step == self.plan.steps else "stopped"

    def _steps(self, interrupts: Interrupts) -> None:
        """Train until the end, a roll-back, or no more improvement."""
        plan, trainer, last = self.plan, self.trainer, self.plan.steps
        before_cooldown = cooldown_start(plan.steps, plan.cooldown)
        for batch, moved in batches(self.learner.batch, self.state.step, last, trainer.device):
            self.unread.append(trainer.step(batch, self.state.step, moved))
            self.state.step += 1
            self.items += self.learner.count(batch)
            step = self.state.step

            reporting = step % plan.log_every == 0 or step == last
            evaluating = step % plan.eval_every == 0 or step == last
            planned = evaluating or step == before_cooldown
            overdue = clock.seconds() - self.saved > plan.checkpoint_seconds
            overdue, received = self.processes.agree((overdue, interrupts.received))
            saving = planned or overdue or received is not None

            if reporting or saving or len(self.unread) == UNREAD:
                faulty = self._read()
                if faulty is not None:
                    return self._roll_back(faulty)
            if reporting:
                self._report()
            if evaluating and not self._evaluate():
                return self._roll_back(step)
            if saving:
                self._save(planned=planned and self.state.skips == 0)
            if self.stopped_improving():
                return None
            if received is not None and step < last:
                raise Interrupted("interrupted", received)
        return None

    def stopped_improving(self) -> bool:
        return self.plan.patience is not None and self.state.stale >= self.plan.patience

    # Reports

    def _read(self) -> int | None:
        """Read the values of unread steps into the state. Returns the step at which too many in a row had been skipped, if any.
        Later steps don't count, so that the result doesn't depend on when values are read."""
        state, unread = self.state, self.unread
        self.unread = []
        for step, values in enumerate(read(unread), start=state.step - len(unread)):
            if values:
                state.add(values)
            state.skips = 0 if values else state.skips + 1
            state.skipped += not values
            if state.skips == SKIPS_BEFORE_ROLLBACK:
                return step
        state.seconds = clock.seconds() - self.began
        return None

    def _report(self) -> None:
        state, now = self.state, clock.seconds()
        rate = self.items / max(now - self.reported, 1e-9)
        left = (now - self.reported) / self.plan.log_every * (self.plan.steps - state.step)
        losses, unit = state.take_means(), self.learner.unit
        lr = next(iter(self.learner.optimizers.values())).param_groups[0]["lr"]
        line = {**losses, "lr": lr, "skipped": state.skipped, "seconds": round(state.seconds, 3)}
        self.log.write("trained", state.step, **line, **{f"{unit}_per_second": round(rate, 1)})
        self.bus.emit(Trained(state.step, self.plan.steps, losses, lr, rate, unit, state.seconds, left))
        self.reported, self.items = now, 0

    # Evaluation

    def _evaluate(self) -> bool:
        """Evaluate, and update the best so far. Returns False if the objective is not finite: the weights are bad."""
        state, learner = self.state, self.learner
        measures = self.trainer.evaluate(self.plan.eval_items)
        value = measures[learner.objective]
        if not math.isfinite(value):
            return False
        better = state.best is None or value < state.best
        if better:
            state.best, state.best_step = value, state.step
        if state.mark is None or value < state.mark - learner.noise(measures):
            state.mark, state.stale = value, 0
        elif state.step > learner.stage_start(-1, self.plan.steps):
            state.stale += 1
        self.log.write("evaluated", state.step, **measures, best=better)
        self.bus.emit(Evaluated(state.step, measures, learner.objective, better))
        self._preview()
        self._handle_concerns()
        return True

    def _preview(self) -> None:
        preview = self.trainer.preview()
        if preview is not None:
            self._thin_previews()
            path = self.run.samples / f"step-{self.state.step:06d}{preview.suffix}"
            path.write_bytes(preview.content)
            self.bus.emit(Previewed(self.state.step, preview.text, display_path(path), preview.grid))

    def _thin_previews(self) -> None:
        """Delete the one before, unless it is of those that are kept, so that the disk doesn't fill up with them."""
        apart = self.plan.eval_every * -(-self.plan.steps // (self.plan.eval_every * MOST_PREVIEWS))
        before = (self.state.step - 1) // self.plan.eval_every * self.plan.eval_every
        if before % apart:
            for path in self.run.samples.glob(f"step-{before:06d}.*"):
                path.unlink(missing_ok=True)

    def _handle_concerns(self) -> None:
        """Report concerns that are new since the last evaluation, and undo those that ask for it."""
        state = self.state
        found = self.learner.concerns(self.log.lines()) if self.processes.leads else {}
        told = self.processes.agree([(name, concern.text, concern.undo) for name, concern in found.items()])
        concerns = {name: Concern(text, undo) for name, text, undo in told}
        if self.plan.patience is None and state.stale >= STALE:
            text = f"no significant progress on held-out data for {STALE} evaluations; the best checkpoint is kept"
            concerns["stale"] = Concern(text)
        new = {name: concern for name, concern in concerns.items() if name not in state.concerns}
        for name, concern in new.items():
            self.log.write("concern", state.step, name=name, text=concern.text)
            self.bus.note(concern.text, "warning")
        state.concerns = list(concerns)
        best = state.best_step
        if best not in (None, state.step) and any(concern.undo for concern in new.values()):
            self._return_to_best(best)

    # Checkpoints

    def _return_to_best(self, best: int) -> None:
        """Restore networks, averages and optimisers from the best step, and halve the learning rate. The step count, and with
        it the schedule and the run's duration, stay the same."""
        self.trainer.load_weights(self.checkpoints.path(best))
        self.state.lr_scale /= 2
        self.log.write("undone", self.state.step, to=best, lr_scale=self.state.lr_scale)
        self.bus.note(f"continuing from the best weights so far (step {best}) at half the learning rate", "warning")

    def _roll_back(self, step: int) -> None:
        """Return to the last good checkpoint before `step`, or to the start, at half the learning rate. Raises `AigcError`
        after too many roll-backs."""
        before = self.state
        if before.rollbacks == ROLLBACKS_BEFORE_STOP:
            raise AigcError(
                f"the loss is not finite at step {step} even at a learning rate {1 / before.lr_scale:g} times smaller; "
                f"try a smaller --lr; the last good checkpoint is kept in {display_path(self.run.path)}"
            )
        if good := self.processes.agree(self.checkpoints.good(step)):
            self.checkpoints.load(self.trainer, good[-1])
        else:
            self.trainer.restart()
        state = self.state
        state.lr_scale, state.rollbacks, state.skips = before.lr_scale / 2, before.rollbacks + 1, 0
        state.skipped, state.micro_batches = before.skipped, before.micro_batches
        self.log.write("rolled_back", step, to=state.step, lr_scale=state.lr_scale)
        self.bus.note(
            f"the loss is not finite at step {step}: rolled back to step {state.step} at half the learning rate", "warning"
        )

    def _save(self, *, planned: bool) -> None:
        self.state.planned, self.state.metrics_bytes = planned, self.log.sync()
        self.checkpoints.save(self.trainer)
        self.saved = clock.seconds()
        self.bus.emit(Saved(self.state.step, display_path(self.checkpoints.path(self.state.step))))
