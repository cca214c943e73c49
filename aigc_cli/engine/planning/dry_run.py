"""`aigc train … --dry-run`: plan a run without training. Keeps nothing but the cache of the data."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigc_cli.engine.device import describe, peak_memory
from aigc_cli.engine.events import Bus
from aigc_cli.engine.planning.budget import expected_seconds, measure
from aigc_cli.engine.planning.plan import plan_run
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.trainable import AnyPlan, Example, Trainable
from aigc_cli.options import recorded

#: The budget, in seconds, for timing steps if their number is given.
SECONDS = 60.0
#: Seconds after which fewer than five timed steps will do. A GAN takes the most memory in the fifth, when its second gradient
#: penalty meets a fragmented heap.
PATIENCE = 120.0


@dataclass(frozen=True)
class DryRun:
    """The plan of a run that was not trained."""

    data: Mapping[str, Any]  # as a run would record it
    examples: Sequence[Example]
    model: str
    parameters: int
    device: str
    memory: int  # peak bytes while steps were timed
    steps: int
    seconds: float  # of training, from the timed steps
    reasons: Sequence[str]
    plan: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        examples = {"examples": [of.content for of in self.examples], "which": [of.heading for of in self.examples]}
        return {"version": 1, **dataclasses.asdict(self), **examples}


def dry_run(backend: Trainable[Any, AnyPlan], asked: TrainOptions, demo: str, bus: Bus) -> DryRun:
    """Plan a run and time a few of its steps. Raises `RequestError` if the request can't be met."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        planned = plan_run(backend, asked, demo, bus, scratch)
        data, trainer = planned.data, planned.trainer
        examples = data.examples()
        if data.keep is not None:
            data.keep.unlink(missing_ok=True)
        plan = trainer.plan
        costs = planned.costs or measure(trainer, SECONDS, scratch, PATIENCE)
    return DryRun(
        data=data.info,
        examples=examples,
        model=trainer.learner.describe(),
        parameters=sum(p.numel() for network in trainer.learner.networks.values() for p in network.parameters()),
        device=describe(trainer.device),
        memory=peak_memory(trainer.device),
        steps=plan.steps,
        seconds=round(expected_seconds(plan, costs), 3),
        reasons=planned.reasons,
        plan=recorded(plan),
    )
