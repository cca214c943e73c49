"""Where a run stands."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Position:
    """Where a run stands: all that a checkpoint holds beside tensors."""

    step: int = 0  # steps done
    seconds: float = 0.0  # of training
    plan_steps: int = 0  # of the plan that it follows: a run that is trained longer has had another one
    micro_batches: int = 1
    best_step: int | None = None
    best: float | None = None
    mark: float | None = None  # the objective when it last improved by more than chance
    stale: int = 0  # evaluations since then
    concerns: list[str] = field(default_factory=list)  # the troubles at the last evaluation
    lr_scale: float = 1.0
    rollbacks: int = 0
    norms: dict[str, list[float]] = field(default_factory=dict)  # of each optimiser's last gradients, before they were clipped
    skips: int = 0  # in a row
    skipped: int = 0  # in all
    planned: bool = True  # written at a step that the plan names, so it may be rolled back to
    sums: dict[str, float] = field(default_factory=dict)  # of losses since the last report
    summed: int = 0
    metrics_bytes: int = 0
