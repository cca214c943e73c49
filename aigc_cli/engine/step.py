"""One step of training: the optimisers' turns, each with the gradient of the whole batch, clipped, checked and applied."""

from __future__ import annotations

import math
import statistics

import torch
from torch import Tensor

from aigc_cli.engine.device import autocast, free_memory, is_out_of_memory, seed_everything
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Batch, Learner, Phase, split
from aigc_cli.engine.settings import Plan
from aigc_cli.engine.state import Position

#: Norms that a gradient is compared with.
NORMS = 64
#: What is reported of every phase.
LOSS, GRAD_NORM = "loss", "grad_norm"


class Turns:
    """What a step does with a batch, given the plan and where the run stands; it notes skips and norms in the position."""

    def __init__(self, learner: Learner, device: torch.device, precision: str, bus: Bus) -> None:
        self.learner, self.device, self.precision, self.bus = learner, device, precision, bus
        self.peak_lrs = {
            name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in learner.optimizers.items()
        }

    def __call__(self, batch: Batch, step: int, plan: Plan, at: Position) -> dict[str, float]:
        """Every phase of one step. What there is to report; a value that is not finite skips the phase's update, and then
        nothing is."""
        self._set_lr(self.learner.lr_factor(step, plan) * at.lr_scale)
        self.learner.set_training(True)
        report: dict[str, float] = {}
        skipped = False
        phases = self.learner.phases(step, plan)
        for index, phase in enumerate(phases):
            values, finite = self._update(phase, batch, (plan.seed, step, at.rollbacks, index), at)
            own = f"{phase.optimizer}_" if len(phases) > 1 else ""
            report |= {own + name if name in (LOSS, GRAD_NORM) else name: value for name, value in values.items()}
            skipped |= not finite
        seed_everything(plan.seed, step, at.rollbacks, "after")
        self.learner.after_step(step, batch, plan)
        at.skips = at.skips + 1 if skipped else 0
        at.skipped += skipped
        return report if not skipped else {}

    def _update(self, phase: Phase, batch: Batch, keys: tuple[int, ...], at: Position) -> tuple[dict[str, float], bool]:
        """One phase: what there is to report of it, and whether all was finite."""
        optimizer = self.learner.optimizers[phase.optimizer]
        for group in optimizer.param_groups:
            group.update(phase.settings)
        while True:
            seed_everything(*keys)
            optimizer.zero_grad(set_to_none=True)
            try:
                totals = self._backward(phase, batch, at.micro_batches)
                break
            except RuntimeError as error:
                rows = len(next(iter(batch.values())))
                if not is_out_of_memory(error) or 2 * at.micro_batches > rows:
                    raise
                at.micro_batches *= 2
                free_memory(self.device)
                self.bus.note(f"out of memory: a batch is computed in {at.micro_batches} parts", "warning")
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        values = {name: float(value) for name, value in totals.items()} | {GRAD_NORM: float(norm)}
        finite = all(map(math.isfinite, values.values()))
        if finite:
            limit = _limit(phase, float(norm), at)
            if limit is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
            optimizer.step()
        return values, finite

    def _backward(self, phase: Phase, batch: Batch, micro_batches: int) -> dict[str, Tensor]:
        """Accumulate the gradient of the batch's mean loss, exactly, whatever the number of micro-batches."""
        totals: dict[str, Tensor] = {}
        items = self.learner.count(batch)
        for part in split(batch, micro_batches):
            with autocast(self.device, self.precision):
                loss = phase.loss(part)
            share = self.learner.count(part) / items
            (loss.mean * share).backward()  # type: ignore[no-untyped-call]
            for name, value in {LOSS: loss.mean.detach(), **loss.report}.items():
                totals[name] = totals.get(name, torch.zeros((), device=value.device)) + value * share
        return totals

    def _set_lr(self, factor: float) -> None:
        for name, optimizer in self.learner.optimizers.items():
            for group, peak in zip(optimizer.param_groups, self.peak_lrs[name], strict=True):
                group["lr"] = peak * factor


def _limit(phase: Phase, norm: float, at: Position) -> float | None:
    """The norm to which this phase's gradient is scaled down."""
    if phase.max_grad_ratio is None:
        return phase.max_grad_norm
    norms = at.norms.setdefault(phase.optimizer, [])
    norms[:] = [*norms, norm][-NORMS:]
    return phase.max_grad_ratio * statistics.median(norms)
