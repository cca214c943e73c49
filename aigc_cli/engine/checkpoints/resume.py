"""`--resume`: continue a run with its recorded settings."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping
from typing import Any

from aigc_cli.engine.checkpoints.checkpointer import Checkpointer
from aigc_cli.engine.device import claim_device
from aigc_cli.engine.events import Bus, display_path
from aigc_cli.engine.loop import TrainLoop
from aigc_cli.engine.processes.group import current
from aigc_cli.engine.runs.run import DONE, Run
from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.settings import Plan
from aigc_cli.engine.trainable import AnyPlan, Trainable
from aigc_cli.engine.trainer import Trainer, learner_factory
from aigc_cli.errors import RequestError, understood
from aigc_cli.options import Given, absolute, fields_of, recorded, renamed


def resume(backend: Trainable[Any, AnyPlan], run: Run, given: Mapping[str, Given], bus: Bus) -> TrainLoop | None:
    """A loop at the newest checkpoint of a (locked) run, or None if the run is done and --steps is no larger."""
    processes = current()
    begun = _begin_again(backend, run, given, bus) if processes.leads else None
    place = processes.agree(None if begun is None else (recorded(begun[0]), begun[1]))
    if place is None:
        return None
    plan, step = begun if begun is not None else (backend.read_plan(place[0]), place[1])
    device, plan = claim_device(plan)
    with processes.first():
        data = backend.prepare(plan, bus)
    _check_read_alike(run, data.info)
    loop = TrainLoop(Trainer(learner_factory(backend, plan, data, device), plan, device, bus), run)
    if step is not None:
        loop.checkpoints.load(loop.trainer, step)
        if loop.state.plan_steps != plan.steps:  # don't measure progress against the end of the previous plan
            loop.state.mark, loop.state.stale = None, 0
        else:
            loop.checkpoints.settle(loop.state)
    run.update(status="running")
    return loop


def _begin_again(
    backend: Trainable[Any, AnyPlan], run: Run, given: Mapping[str, Given], bus: Bus
) -> tuple[AnyPlan, int | None] | None:
    """The plan of a run and the step to go on from, if any; None if the run is done and --steps is no larger."""
    run.check_files()
    if "plan" not in run.record:
        raise RequestError(f"run {display_path(run.path)} was killed before it had a plan; delete it and start a new run")
    plan = backend.read_plan(run.record["plan"])
    longer = _check_contradictions(run, plan, given)
    if longer is None and run.record["status"] in DONE:
        bus.note(f"run {display_path(run.path)} is {run.record['status']}; {_longer(run)}")
        return None
    if run.record.get("pruned"):
        raise RequestError(
            f"run {display_path(run.path)} was pruned and has no checkpoint to resume from; "
            f"start a new run from its weights with --init-from {run.reference}"
        )
    if changed := backend.changed(run.record["data"]):
        raise RequestError(
            f"{changed[0]}, so run {display_path(run.path)} can't be resumed; "
            f"start a new run from its weights with --init-from {run.reference}"
        )
    checkpoints = Checkpointer(run, plan)
    checkpoints.set_damaged_aside(bus)
    steps = list(checkpoints.states)
    if longer is not None:
        steps, plan = _plan_longer(run, plan, longer, bus)
    return plan, steps[-1] if steps else None


def _check_read_alike(run: Run, now: Mapping[str, Any]) -> None:
    """Raise `RequestError` if this version reads other classes from the data than the run has, so that their numbers differ."""
    data = run.record["data"]
    with understood(f"run {display_path(run.path)}: its run.json"):
        then = _class_names(data)
    classes = _class_names(now)
    if "classes" in data and then != classes:
        raise RequestError(
            f"this version of aigc reads the classes {', '.join(classes) or 'none'} from {now['location']}, but run "
            f"{display_path(run.path)} has {', '.join(then) or 'none'}, so it can't be resumed; "
            f"start a new run from its weights with --init-from {run.reference}"
        )


def _class_names(data: Mapping[str, Any]) -> list[str]:
    """All classes that a record of data names, in NFC; those of several labels as label=class. Raises TypeError if they aren't
    texts."""
    classes = data.get("classes", ())
    if isinstance(classes, Mapping):
        classes = [f"{label}={name}" for label, of in classes.items() for name in of]
    return [unicodedata.normalize("NFC", name) for name in classes]


def _check_contradictions(run: Run, plan: Plan, given: Mapping[str, Given]) -> int | None:
    """Raise `RequestError` if a given option contradicts the recorded plan. Returns a larger number of steps, if given."""
    longer = None
    asked = renamed(type(plan), run.record["asked"])
    for name, item in given.items():
        if not fields_of(type(plan))[name].rule.recorded:
            continue
        ours = getattr(plan, name)
        if name == "steps" and item.value > plan.steps:
            longer = item.value
        elif name in ("data", "val") and absolute(item.value) == ours:
            continue
        elif name == "minutes" and item.value != asked.get(name):
            raise RequestError(
                f"{item.where} is for new runs, but run {display_path(run.path)} already has a plan; {_longer(run)}"
            )
        elif name == "steps" and item.value < plan.steps:
            raise RequestError(
                f"{item.where} {item.value} is less than the {plan.steps} of run {display_path(run.path)}: omit it and stop "
                "with Ctrl-C, which keeps the best model so far, or start a new run"
            )
        elif item.value not in (ours, asked.get(name), "auto"):
            raise RequestError(
                f"{item.where} {item.value!r} contradicts run {display_path(run.path)}, which has {ours!r}; "
                "omit it, or start a new run"
            )
    return longer


def _plan_longer(run: Run, plan: AnyPlan, longer: int, bus: Bus) -> tuple[list[int], AnyPlan]:
    """The step of the checkpoint to continue from (none if there is no checkpoint), and a plan with more steps. Records
    both."""
    checkpoints = Checkpointer(run, plan)
    steps = list(checkpoints.states)
    first = cooldown_start(plan.steps, plan.cooldown)
    # If the whole run is a cool-down, only step 0 comes before it.
    begin = max([step for step in steps if step <= first] or steps, default=0)
    where = "before the cool-down" if begin <= first else f"at the learning rate of a run of {longer} steps"
    checkpoints.set_aside_model()
    plans = [*run.record.get("earlier_plans", []), run.record["plan"]]
    plan = dataclasses.replace(plan, steps=longer, patience=run.record["asked"].get("patience"))
    run.update(plan=recorded(plan), status="running", earlier_plans=plans, continued_from=begin)
    bus.note(
        f"continuing from step {begin}, {where}, to step {longer}; the run keeps its current model until a better one is found "
        "on held-out data"
    )
    return [step for step in steps if step == begin], plan


def _longer(run: Run) -> str:
    """How to train the run longer."""
    if run.record.get("pruned"):
        return f"it was pruned and can't be trained longer; start a new run from its weights with --init-from {run.reference}"
    took = f", which took {run.record['seconds']:.0f} s" if "seconds" in run.record else ""
    return f"to train it longer, give a larger --steps than {run.record['plan']['steps']}{took}"
