"""From options to a complete plan and a trainer at step 0. Keeps nothing but the cache of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aigc_cli.engine import clock
from aigc_cli.engine.checkpoints.init_from import find_initial, take_over
from aigc_cli.engine.device import available_memory, can_compile, claim_device, count_devices, measure_flops
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.loop import STALE
from aigc_cli.engine.planning.budget import Costs, measure, plan_for_seconds, plan_for_steps
from aigc_cli.engine.processes.group import current
from aigc_cli.engine.settings import Plan, TrainOptions
from aigc_cli.engine.trainable import AnyPlan, Machine, Prepared, Trainable
from aigc_cli.engine.trainer import Trainer, learner_factory
from aigc_cli.errors import RequestError
from aigc_cli.options import absolute

DEFAULT_MINUTES, DEMO_MINUTES = 10.0, 1.0


@dataclass(frozen=True)
class Planned:
    """A run before it starts."""

    options: TrainOptions  # as given, with absolute paths
    data: Prepared
    trainer: Trainer  # at step 0, with a complete plan
    reasons: list[str]
    costs: Costs | None  # None if the number of steps was given, so that nothing was timed


def plan_run(backend: Trainable[Any, AnyPlan], asked: TrainOptions, demo: str, bus: Bus, scratch: Path) -> Planned:
    """Open the data, decide everything and say why. `scratch` is a folder to time checkpoints in. Raises `RequestError` if the
    request can't be met."""
    open_ended = asked.steps is None and asked.minutes is None
    minutes = asked.minutes or (DEMO_MINUTES if asked.data is None else DEFAULT_MINUTES)
    options = dataclasses.replace(
        asked, data=absolute(asked.data) or demo, val=absolute(asked.val), minutes=minutes, run=None, resume=False
    )
    if asked.data is None:
        length = ", for one minute" if open_ended else ""
        bus.note(f"no --data given: training on the built-in {demo}{length}")
    if open_ended:
        options = dataclasses.replace(options, patience=asked.patience or STALE)
    if asked.init_from is not None:
        origin = find_initial(Path(asked.runs_dir), backend.name, asked.init_from, bus)
        options = dataclasses.replace(options, init_from=str(origin))

    processes = current()
    options = dataclasses.replace(options, shards=options.shards or processes.count)
    if processes.count > (options.shards or 1):
        raise RequestError(f"--shards {options.shards} can't be shared by {processes.count} devices; give as many, or more")
    if processes.count > 1 and options.data == "-":
        raise RequestError("--data - can be read by one process only; write it to a file, or leave out --devices")
    device, options = claim_device(options)
    before = clock.seconds()
    with processes.first():
        data = backend.prepare(options, bus)
    preparing = 0.0 if data.cached else clock.seconds() - before
    deadline = minutes * 60 + preparing
    compiled, compile_reasons = processes.agree(_decide_compile(data.options, device, minutes))
    flops, memory = processes.agree((measure_flops(device, options.precision), available_memory(device)))
    if memory is not None and device.type == "cpu":
        memory //= processes.beside
    machine = Machine(device, torch.get_num_threads(), flops * processes.count, minutes * 60, memory)
    settled: TrainOptions = dataclasses.replace(data.options, compile=compiled)
    plan, reasons = backend.plan(settled, data, machine)
    if plan.shards > plan.batch_size:
        raise RequestError(
            f"a batch of {plan.batch_size} can't be cut into {plan.shards} --shards, at least one for each device; "
            "give a larger --batch-size"
        )
    build = learner_factory(backend, plan, data, device)
    trainer, costs = _decide_steps(plan, settled, build, device, bus, scratch, deadline, open_ended)
    reasons = [*data.notes, *compile_reasons, *reasons]
    if (there := count_devices(str(device.type))) > 1 and processes.count == 1:
        reasons.append(f"{there} devices are here, and one is used; --devices all trains on all of them")
    reasons += _reason_for_steps(trainer, open_ended)
    if (expectation := trainer.learner.expectation(trainer.plan)) is not None:
        reasons.append(expectation)
    if options.init_from is not None:
        reasons.append(take_over(trainer.learner, Path(options.init_from)))
    for reason in reasons:
        bus.note(reason)
    return Planned(options, data, trainer, reasons, costs)


def _reason_for_steps(trainer: Trainer, open_ended: bool) -> list[str]:
    """How often the data are seen, and whether that is why there are no more steps."""
    steps, per_epoch = trainer.plan.steps, trainer.learner.steps_per_epoch
    count = steps / per_epoch if per_epoch else 0
    epochs = f" (about {f'{count:,.0f}' if count >= 10 else f'{count:.2g}'} epochs)" if per_epoch else ""
    told = "1 step" if steps == 1 else f"{steps:,} steps"
    if open_ended and steps == trainer.learner.useful_steps():
        return [
            f"{told} {'is' if steps == 1 else 'are'} enough for so little data{epochs}; for more, give --minutes or --steps"
        ]
    return [f"{told}{epochs}"] if epochs else []


def _decide_compile(options: TrainOptions, device: torch.device, minutes: float) -> tuple[bool, list[str]]:
    """Whether to compile, and a reason if that is not what was asked. Compiling takes a minute, and gains only 5 % on a CPU
    (tests/benchmarks/RECIPE.md). How long a number of steps takes is not known here: it may be over in seconds."""
    wanted = options.compile
    if wanted is None:
        wanted = device.type == "cuda" and options.steps is None and minutes >= 5
    if wanted and not can_compile(device):
        return False, ["training without torch.compile: no compiler found"]
    return wanted, []


def _decide_steps(
    plan: Plan,
    asked: TrainOptions,
    build: Callable[[], Learner],
    device: torch.device,
    bus: Bus,
    scratch: Path,
    deadline: float,
    open_ended: bool,
) -> tuple[Trainer, Costs | None]:
    """A trainer at its initial state with a complete plan, and what was timed. A default budget is a ceiling."""
    trainer = Trainer(build, plan, device, bus)
    if asked.steps is not None:
        trainer.plan = plan_for_steps(plan, asked, trainer.learner.eval_items)
        return trainer, None
    bus.stage("calibrating", 0, None)
    costs = measure(trainer, deadline - clock.seconds(), scratch)
    parts = trainer.state.micro_batches
    if parts > 1:
        plan = dataclasses.replace(plan, micro_batch_size=-(-plan.batch_size // parts))
    trainer.plan = plan
    trainer.restart()
    learner = trainer.learner
    most = learner.useful_steps() if open_ended else None
    seconds = trainer.processes.agree(deadline - clock.seconds())
    trainer.plan = plan_for_seconds(plan, asked, costs, seconds, learner.eval_items, most)
    return trainer, costs
