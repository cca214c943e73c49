"""Going on with a run: the recorded settings hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from aigc_cli.engine import earlier
from aigc_cli.engine.checkpoint import checkpoint_path, read_position
from aigc_cli.engine.device import (
    keep_freed_memory,
    resolve_device,
    resolve_matmul,
    resolve_precision,
    seed_everything,
    set_deterministic,
    set_matmul,
    set_threads,
)
from aigc_cli.engine.events import Bus, display_path
from aigc_cli.engine.init_from import take_over
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.loop import Trainer
from aigc_cli.engine.run import DONE, Run
from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.settings import Plan, TrainOptions
from aigc_cli.engine.trainable import AnyPlan, Prepared, Trainable
from aigc_cli.errors import RequestError
from aigc_cli.options import Given, absolute, fields_of, recorded

Options = TypeVar("Options", bound=TrainOptions)


def resume(backend: Trainable[Any, AnyPlan], run: Run, given: Mapping[str, Given], bus: Bus) -> Trainer | None:
    """A trainer where the (locked) run stands, or None when the run is done and no larger --steps was asked for."""
    if "plan" not in run.record:
        raise RequestError(f"run {display_path(run.path)} was killed before it had a plan; delete it and start a new one")
    plan = backend.read_plan(run.record["plan"])
    longer = _check_contradictions(run, plan, given)
    if longer is None and run.record["status"] in DONE:
        bus.note(f"run {display_path(run.path)} is {run.record['status']}; {_longer(run)}")
        return None
    if run.record.get("pruned"):
        raise RequestError(
            f"run {display_path(run.path)} was pruned: it has no checkpoint to go on from; start a new one, "
            f"with --init-from {run.reference} to keep what was learned"
        )
    if changed := backend.changed(run.record["data"]):
        raise RequestError(
            f"{changed[0]}, so run {display_path(run.path)} can't go on; start a new one, "
            f"with --init-from {run.reference} to keep what was learned"
        )
    positions = {step: read_position(checkpoint_path(run, step)) for step in run.checkpoint_steps}
    # A checkpoint of an earlier, shorter plan is past its cool-down, but for the one that this plan goes on from.
    own = [s for s in positions if positions[s]["plan_steps"] == plan.steps or s == run.record.get("continued_from")]
    if longer is not None:
        own, plan = _plan_longer(run, plan, own, longer, bus)
    device, plan = take_up(plan)
    data = backend.prepare(plan, bus)
    trainer = Trainer(builder(backend, plan, data, device), plan, device, bus, run)
    if own:
        trainer.resume(own[-1])
        if trainer.at.plan_steps != plan.steps:  # the first steps of this plan are no less progress for the end of another
            trainer.at.mark, trainer.at.stale = None, 0
    trainer.earlier = earlier.find(run)
    run.update(status="running")
    return trainer


def _check_contradictions(run: Run, plan: Plan, given: Mapping[str, Given]) -> int | None:
    """The recorded settings hold. Returns a larger number of steps, if one was asked for."""
    longer = None
    for name, item in given.items():
        if not fields_of(type(plan))[name].rule.recorded:
            continue
        ours = getattr(plan, name)
        if name == "steps" and item.value > plan.steps:
            longer = item.value
        elif name in ("data", "val") and absolute(item.value) == ours:
            continue
        elif name == "minutes" and item.value != run.record["asked"].get(name):
            raise RequestError(f"{item.where} plans a new run, and run {display_path(run.path)} has its plan; {_longer(run)}")
        elif item.value not in (ours, run.record["asked"].get(name), "auto"):
            raise RequestError(
                f"{item.where} {item.value!r} contradicts run {display_path(run.path)}, which has {ours!r}; "
                "leave it out, or start a new run"
            )
    return longer


def _plan_longer(run: Run, plan: AnyPlan, steps: list[int], longer: int, bus: Bus) -> tuple[list[int], AnyPlan]:
    """Where to go on from, one of the checkpoints at `steps` or nowhere, and the plan of as many steps. Both are recorded."""
    first = cooldown_start(plan.steps, plan.cooldown)
    # Where the whole run is a cool-down, only the beginning is before it.
    begin = max([step for step in steps if step <= first] or steps, default=0)
    where = "before the cool-down" if begin <= first else f"at the learning rate that {longer} steps have there"
    earlier.set_aside(run)
    plans = [*run.record.get("earlier_plans", []), run.record["plan"]]
    plan = dataclasses.replace(plan, steps=longer, patience=run.record["asked"].get("patience"))
    run.update(plan=recorded(plan), status="running", earlier_plans=plans, continued_from=begin)
    bus.note(
        f"going on from step {begin}, {where}, to step {longer}; the model that the run has now stays until one is better on "
        "held-out data"
    )
    return [step for step in steps if step == begin], plan


def _longer(run: Run) -> str:
    """How to train it for more steps than were planned."""
    if run.record.get("pruned"):
        return f"it was pruned, and has nothing to go on from: a new run begins with its weights by --init-from {run.reference}"
    took = f", which took {run.record['seconds']:.0f} s" if "seconds" in run.record else ""
    return f"to train it longer give a larger --steps than {run.record['plan']['steps']}{took}"


def take_up(options: Options) -> tuple[torch.device, Options]:
    """Claim the device and the threads, and record what they are."""
    device = resolve_device(options.device)
    threads = set_threads(options.threads)
    set_deterministic(options.deterministic, device)
    keep_freed_memory()
    matmul: Any = resolve_matmul(options.matmul, device)
    set_matmul(matmul)
    precision: Any = resolve_precision(options.precision, device)
    return device, dataclasses.replace(options, device=str(device), threads=threads, matmul=matmul, precision=precision)


def builder(backend: Trainable[Any, AnyPlan], plan: AnyPlan, data: Prepared, device: torch.device) -> Callable[[], Learner]:
    """Makes the learner that the plan begins with, the same one every time."""

    def build() -> Learner:
        seed_everything(plan.seed, "initial weights")
        learner = backend.learner(plan, data, device)
        if plan.init_from is not None:
            take_over(learner, Path(plan.init_from))
        return learner

    return build
