"""From a budget of seconds to a number of steps, by timing throw-away steps.

A budget of minutes runs from the start of the process, imports included.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from aigc_cli.engine import clock
from aigc_cli.engine.device import synchronize
from aigc_cli.engine.settings import Plan, TrainOptions
from aigc_cli.engine.trainable import AnyPlan
from aigc_cli.engine.trainer import Trainer
from aigc_cli.files import scratch_folder

#: The most to spend on timing steps (once; repeated on a busy machine) and on evaluation, as shares of the budget.
CALIBRATION, EVALUATION = 0.03, 0.04
#: A machine seems busy if the mean of at least MANY steps exceeds their median UNEVEN times. The steps are then timed again, at
#: most MEASURED times in all.
MANY, UNEVEN, MEASURED = 8, 1.5, 3
#: Seconds from the last checkpoint to the process's exit, and the share of the budget reserved for slowdowns.
EXIT, SLACK = 0.7, 0.04


@dataclass(frozen=True)
class Costs:
    """Measured seconds."""

    step: float
    eval_item: float
    look: float  # the fixed cost of an evaluation and a preview, whatever the number of items
    save: float


def measure(trainer: Trainer, seconds: float, scratch: Path, patience: float | None = None) -> Costs:
    """Time everything with this plan on this machine. The trainer is not at its initial state afterwards.

    `patience`: seconds after which fewer than five steps will do, a quarter of `seconds` by default.
    """
    step = mean_step_seconds(trainer, seconds, seconds / 4 if patience is None else patience)
    few = max(1, min(trainer.learner.eval_items, 64))
    trainer.evaluate(1)
    one, many = _time(lambda: trainer.evaluate(1)), _time(lambda: trainer.evaluate(few))
    eval_item = max(many - one, 0.0) / max(few - 1, 1) or many / few
    preview = _time(trainer.preview)
    with scratch_folder(scratch) as folder:
        save = _time(lambda: trainer.save(folder / "c"))
    return Costs(*trainer.processes.agree((step, eval_item, max(one - eval_item, 0.0) + preview, save)))


def mean_step_seconds(trainer: Trainer, seconds: float, patience: float) -> float:
    """The mean seconds of a step over all stages of training, each timed where it begins."""
    stages = trainer.learner.stages
    timed = 0.0
    for number, (begin, end) in enumerate(pairwise((*stages, 1.0))):
        first = trainer.learner.stage_start(number, trainer.plan.steps)
        steps = partial(_steps, trainer, first, seconds / len(stages), patience / len(stages))
        timed += (end - begin) * step_seconds(steps)
    return timed


def _steps(trainer: Trainer, first: int, seconds: float, patience: float) -> list[float]:
    """The seconds of each throw-away step from `first` on, without the first two, which allocate and compile."""
    budget = min(max(seconds * CALIBRATION, 0.4), 8.0)
    durations: list[float] = []
    began = clock.seconds()
    going = True
    while going:
        at = clock.seconds()
        step = first + len(durations)
        trainer.step(trainer.learner.batch(step), step)
        synchronize(trainer.device)
        now = clock.seconds()
        durations.append(now - at)
        more = len(durations) < 5 or (now - began < budget and len(durations) < 200)
        going = trainer.processes.agree(more and not (now - began > patience and len(durations) >= 3))
    return trainer.processes.agree(durations[2:])


def step_seconds(measured: Callable[[], Sequence[float]]) -> float:
    """The mean seconds of a step, hiccups included, as they will recur. But other load on the machine may end soon, so uneven
    steps are timed again, and the fastest mean counts."""
    means = []
    for _ in range(MEASURED):
        seconds = measured()
        means.append(statistics.fmean(seconds))
        if len(seconds) < MANY or means[-1] < UNEVEN * statistics.median(seconds):
            break
    return min(means)


def _time(work: Callable[[], object]) -> float:
    began = clock.seconds()
    work()
    return clock.seconds() - began


def plan_for_seconds(
    plan: AnyPlan, asked: TrainOptions, costs: Costs, seconds: float, eval_items: int, most_steps: int | None = None
) -> AnyPlan:
    """A plan with as many steps as fit in `seconds`, at most `most_steps`. Unless asked otherwise, it evaluates about every ten
    seconds (2 … 20 times in all) on at most `eval_items`."""
    evaluations = int(min(max(seconds / 10, 2), 20))
    if asked.eval_items is None:
        affordable = int(seconds * EVALUATION / evaluations / max(costs.eval_item, 1e-9))
        eval_items = max(1, min(eval_items, max(affordable, 8)))
    else:
        eval_items = asked.eval_items
    look = costs.look + eval_items * costs.eval_item + costs.save
    resume_points = seconds / plan.checkpoint_seconds + 1
    training = seconds * (1 - SLACK) - EXIT - evaluations * look - resume_points * costs.save
    steps = max(1, min(int(training / costs.step), most_steps or sys.maxsize))
    return plan.scheduled(asked, steps, evaluations, eval_items)


def plan_for_steps(plan: AnyPlan, asked: TrainOptions, eval_items: int) -> AnyPlan:
    """A plan with the given number of steps. Nothing is timed, so that the same command makes the same run anywhere."""
    return plan.scheduled(asked, plan.steps, min(max(plan.steps // 50, 2), 20), min(eval_items, 512))


def expected_seconds(plan: Plan, costs: Costs) -> float:
    """The seconds that training takes with a plan, from the first step to the last checkpoint."""
    looks = -(-plan.steps // plan.eval_every)
    return plan.steps * costs.step + looks * (costs.look + plan.eval_items * costs.eval_item + costs.save)
