"""One training step: for each phase, the gradient of the whole batch is computed, checked, clipped and applied.

A batch may be cut into shards, each computed as on its own. Who computes which doesn't change the result.

On a GPU, nothing here waits for the device: values to report stay there until they are read, and gradients that are not finite
are detected and skipped there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from aigc_cli.engine.checkpoints.checkpoint import TrainState
from aigc_cli.engine.device import autocast, free_memory, is_out_of_memory, seed_everything, to_device
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Batch, Learner, Loss, Phase, split
from aigc_cli.engine.processes.group import current
from aigc_cli.engine.processes.shards import sum_of
from aigc_cli.engine.processes.updates import Summed, Updates
from aigc_cli.engine.settings import Plan
from aigc_cli.errors import AigcError

#: The number of latest gradient norms whose median a gradient is compared with.
NORMS = 64
#: The values reported for every phase.
LOSS, GRAD_NORM = "loss", "grad_norm"


@dataclass(frozen=True)
class StepValues:
    """The values a step reports: n names and a tensor (n,), on the device."""

    names: Sequence[str]
    values: Tensor


def read(steps: Sequence[StepValues]) -> list[dict[str, float]]:
    """The values of several steps; waits for the device once. Empty for a step with a value that is not finite, whose update
    was skipped."""
    numbers = iter(torch.cat([step.values for step in steps]).tolist()) if steps else iter(())
    found = [[(name, next(numbers)) for name in step.names] for step in steps]
    return [dict(values) if all(math.isfinite(value) for _, value in values) else {} for values in found]


class TrainStep:
    """Performs training steps on batches, given the plan and the training state."""

    def __init__(self, learner: Learner, device: torch.device, precision: str, bus: Bus) -> None:
        self.learner, self.device, self.precision, self.bus = learner, device, precision, bus
        self.processes = current()
        self.updates = {name: Updates(optimizer, self.processes) for name, optimizer in learner.optimizers.items()}
        #: Whether optimisers that can do so skip non-finite updates on the device, without waiting for it.
        self.skips_on_device = device.type == "cuda"
        self.peak_lrs = {
            name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in learner.optimizers.items()
        }
        #: By optimiser, the norms (NORMS,) of its latest gradients before clipping, padded with infinity.
        self._norms: dict[str, Tensor] = {}

    def __call__(self, batch: Batch, step: int, plan: Plan, state: TrainState, moved: Batch | None = None) -> StepValues:
        """Run all phases of one step. `moved` is the batch on the device, if it is there already."""
        self._set_lr(self.learner.lr_factor(step, plan) * state.lr_scale)
        self.learner.set_training(True)
        moved = to_device(batch, self.device) if moved is None else moved
        names: list[str] = []
        values: list[Tensor] = []
        phases = self.learner.phases(step, plan)
        for index, phase in enumerate(phases):
            reported = self._update(phase, batch, moved, (plan.seed, step, state.rollbacks, index), plan, state)
            own = f"{phase.optimizer}_" if len(self.learner.optimizers) > 1 else ""
            names += [own + name if name in (LOSS, GRAD_NORM) else name for name in reported.names]
            values.append(reported.values)
        seed_everything(plan.seed, step, state.rollbacks, "after")
        self.learner.after_step(step, moved, plan)
        return StepValues(names, torch.cat(values))

    def _update(
        self, phase: Phase, batch: Batch, moved: Batch, keys: tuple[int, ...], plan: Plan, state: TrainState
    ) -> StepValues:
        """Run one phase. Its update is skipped if a value is not finite."""
        optimizer = self.learner.optimizers[phase.optimizer]
        for group in optimizer.param_groups:
            group.update(phase.settings)
        summed, names = self._gradient(phase, batch, moved, keys, plan, state)
        values = torch.cat((summed.values, summed.norm.to(self.device, torch.float32)[None]))
        bad = ~values.isfinite().all()
        skips = self.skips_on_device and getattr(optimizer, "_step_supports_amp_scaling", False)
        if skips or not bad:
            grads = [p.grad for p in summed.parameters if p.grad is not None]
            self._clip(phase, grads, values[-1], bad)
            _step(optimizer, bad if skips else None)
            self.updates[phase.optimizer].spread(summed.parameters)
        return StepValues([*names, GRAD_NORM], values)

    def _gradient(
        self, phase: Phase, batch: Batch, moved: Batch, keys: tuple[int, ...], plan: Plan, state: TrainState
    ) -> tuple[Summed, list[str]]:
        """The gradient of the batch's mean loss, in the parameters that this process updates, and the names of the values that
        are summed with it. Where memory isn't enough for it, the batch is split further, in all processes."""
        optimizer, updates = self.learner.optimizers[phase.optimizer], self.updates[phase.optimizer]
        shards = list(zip(split(batch, plan.shards), split(moved, plan.shards), strict=True))
        names: list[str] = []

        def seed(index: int) -> None:
            seed_everything(*keys, *([] if plan.shards == 1 else ["shard", index]))

        @torch.no_grad()
        def statistic(index: int) -> Tensor:
            assert phase.over_batch is not None
            seed(index)
            parts = self._parts(batch, *shards[index], state.micro_batches)
            with autocast(self.device, self.precision):
                return torch.stack([share * phase.over_batch(part) for part, share in parts]).sum(0)

        def of_shard(index: int) -> Tensor:
            seed(index)
            optimizer.zero_grad(set_to_none=True)
            totals = self._backward(loss, self._parts(batch, *shards[index], state.micro_batches))
            names[:] = totals
            return torch.stack([value.detach().to(self.device, torch.float32) for value in totals.values()])

        while True:
            short: RuntimeError | MemoryError | None = None
            loss = phase.loss
            try:
                if phase.over_batch is not None and plan.shards * state.micro_batches > 1:
                    loss = partial(phase.loss, of_batch=sum_of((0, plan.shards), statistic))
                sums = updates.own_sums(plan.shards, of_shard)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                short = error
            if not self.processes.any(short is not None):
                return updates.summed(sums), names
            if 2 * state.micro_batches > len(next(iter(batch.values()))) // plan.shards:
                raise short or AigcError("another process has too little memory for a single example; try a smaller model")
            state.micro_batches *= 2
            short = None  # its traceback holds everything that was computed
            free_memory(self.device)
            self.bus.note(f"out of memory: splitting each batch into {state.micro_batches} micro-batches", "warning")

    def _parts(self, batch: Batch, shard: Batch, moved: Batch, parts: int) -> Iterator[tuple[Batch, float]]:
        """The micro-batches of a shard (on the CPU and on the device), and their shares of the batch's items."""
        whole = batch is shard and parts == 1
        for here, there in zip(split(shard, parts), split(moved, parts), strict=True):
            yield there, 1.0 if whole else self.learner.count(here) / self.learner.count(batch)

    def _backward(self, of_part: Callable[[Batch], Loss], parts: Iterable[tuple[Batch, float]]) -> dict[str, Tensor]:
        """Accumulate what micro-batches add to the gradient of the batch's mean loss. It doesn't depend on how many there are,
        but for rounding."""
        totals: dict[str, Tensor] = {}
        for part, share in parts:
            with autocast(self.device, self.precision):
                loss = of_part(part)
            (loss.mean * share).backward()  # type: ignore[no-untyped-call]
            for name, value in {LOSS: loss.mean.detach(), **loss.report}.items():
                totals[name] = totals.get(name, torch.zeros((), device=value.device)) + value * share
        return totals

    def _set_lr(self, factor: float) -> None:
        for name, optimizer in self.learner.optimizers.items():
            for group, peak in zip(optimizer.param_groups, self.peak_lrs[name], strict=True):
                group["lr"] = peak * factor

    def _clip(self, phase: Phase, grads: list[Tensor], norm: Tensor, bad: Tensor) -> None:
        """Clip the gradient to the norm allowed in this phase."""
        limit: float | Tensor | None = phase.max_grad_norm
        if phase.max_grad_ratio is not None:
            limit = phase.max_grad_ratio * self._median_norm(phase.optimizer, norm, bad)
        if limit is not None and grads:
            torch._foreach_mul_(grads, ((norm + 1e-6).reciprocal() * limit).clamp(max=1.0))

    def _median_norm(self, optimizer: str, norm: Tensor, bad: Tensor) -> Tensor:
        """The median of this optimiser's latest norms, including this one unless it is bad."""
        norms = self._norms.get(optimizer)
        if norms is None:
            norms = torch.full((NORMS,), math.inf, device=self.device)
        norms = self._norms[optimizer] = torch.where(bad, norms, torch.cat((norms[1:], norm[None])))
        known = norms.isfinite().sum().clamp(min=1)
        return norms.sort().values.gather(0, torch.stack(((known - 1) // 2, known // 2))).sum() / 2

    @property
    def norms(self) -> dict[str, list[float]]:
        """The latest gradient norms by optimiser, newest last."""
        return {name: [norm for norm in norms.tolist() if math.isfinite(norm)] for name, norms in self._norms.items()}

    @norms.setter
    def norms(self, norms: Mapping[str, Sequence[float]]) -> None:
        self._norms = {
            name: torch.tensor([math.inf] * (NORMS - len(known)) + list(known), device=self.device)
            for name, known in norms.items()
        }


def _step(optimizer: Optimizer, bad: Tensor | None) -> None:
    """Apply the gradient. `bad` on the device is passed to the optimiser as torch.amp.GradScaler does: it changes nothing if
    `found_inf` is 1."""
    if bad is None:
        optimizer.step()
        return
    scaled: Any = optimizer
    scaled.grad_scale, scaled.found_inf = None, bad.float()
    optimizer.step()
    del scaled.grad_scale, scaled.found_inf
