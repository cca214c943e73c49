"""`aigc train`, from the options to a finished run."""

from __future__ import annotations

import dataclasses
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any, cast

import torch

from aigc_cli import __version__
from aigc_cli.engine.budget import decide_reports, measure, plan_for_seconds, plan_for_steps
from aigc_cli.engine.clock import seconds_since_start
from aigc_cli.engine.device import can_compile, describe, measure_flops
from aigc_cli.engine.events import Bus, Finished, Started, display_path
from aigc_cli.engine.initial import find_initial, keep_initial, take_over
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.loop import STALE, Trainer
from aigc_cli.engine.resume import builder, resume, take_up
from aigc_cli.engine.run import Run, check_name, create_run, find_run, free_name, read_metrics
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.signals import Interrupts
from aigc_cli.engine.trainable import Machine, Options, Trainable
from aigc_cli.errors import AigcError, Interrupted, RequestError
from aigc_cli.options import Given, absolute, build, recorded

DEFAULT_MINUTES, DEMO_MINUTES = 10.0, 1.0


@dataclass(frozen=True)
class Result:
    run: Path
    status: str
    steps: int
    seconds: float
    measures: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"version": 1, **dataclasses.asdict(self), "run": str(self.run)}


def train(backend: Trainable[Options], options: type[Options], given: Mapping[str, Given], demo: str, bus: Bus) -> Result:
    """Train a new run, or go on with one (`--resume`), and return where it is and how it went."""
    interrupts = Interrupts()
    with interrupts.installed(), ExitStack() as held:
        asked = build(options, given)
        try:
            if not asked.resume:
                run, trainer = _start(backend, asked, demo, bus, held, interrupts)
            else:
                run = find_run(Path(asked.runs_dir), backend.name, asked.run, resumable=asked.run is None)
                held.enter_context(run.lock())
                resumed = resume(backend, options, run, given, bus)
                if resumed is None:
                    return _result(run)
                trainer = resumed
                held.enter_context(interrupts.deferred())
        except Interrupted as error:
            kept = "the run is as it was" if asked.resume else "nothing was kept"
            raise Interrupted(f"interrupted before training began; {kept}", error.signal_number) from None
        return _go(run, trainer, bus, interrupts)


def _start(
    backend: Trainable[Options], asked: Options, demo: str, bus: Bus, held: ExitStack, interrupts: Interrupts
) -> tuple[Run, Trainer]:
    """A new run, locked, and its trainer at step 0. From here on a signal waits for the step to end."""
    runs_dir = Path(asked.runs_dir)
    if asked.run is not None and (runs_dir / backend.name / check_name(asked.run)).exists():
        raise RequestError(
            f"run {runs_dir / backend.name / asked.run} exists; go on with --resume, or choose another --run name"
        )
    open_ended = asked.steps is None and asked.minutes is None
    minutes = asked.minutes or (DEMO_MINUTES if asked.data is None else DEFAULT_MINUTES)
    options = dataclasses.replace(
        asked, data=absolute(asked.data) or demo, val=absolute(asked.val), minutes=minutes, run=None, resume=False
    )
    if asked.data is None:
        length = "for one minute" if open_ended else "as asked"
        bus.note(f"no --data given: learning from the built-in {demo}, {length}")
    if open_ended:
        options = dataclasses.replace(options, patience=asked.patience or STALE)
    if asked.init_from is not None:
        options = dataclasses.replace(options, init_from=str(find_initial(runs_dir, backend.name, asked.init_from)))

    device, options = take_up(options)
    before = seconds_since_start()
    data = backend.prepare(options, bus)
    preparing = 0.0 if data.cached else seconds_since_start() - before
    deadline = minutes * 60 + preparing
    compiled, compile_reasons = _decide_compile(data.options, device, minutes)
    flops = measure_flops(device, options.precision)
    machine = Machine(device, torch.get_num_threads(), flops, minutes * 60)
    plan, reasons = backend.plan(dataclasses.replace(data.options, compile=compiled), data, machine)
    trainer = _decide_steps(plan, builder(backend, plan, data, device), device, bus, runs_dir, deadline, open_ended)
    reasons = [*compile_reasons, *reasons]
    if open_ended and trainer.plan.steps == trainer.learner.useful_steps():
        reasons.append(f"{trainer.plan.steps} steps are as many as so little data is worth; --minutes or --steps ask for more")
    if options.init_from is not None:
        reasons.append(take_over(trainer.learner, Path(options.init_from)))
    for reason in (*data.notes, *reasons):
        bus.note(reason)

    held.enter_context(interrupts.deferred())
    record = {"asked": recorded(asked), "reasons": [*data.notes, *reasons], "data": data.info}
    run = _create(runs_dir, backend.name, asked.run, data.stem, record | {"versions": _versions(), "device": describe(device)})
    held.enter_context(run.lock())
    plan = cast(Options, dataclasses.replace(trainer.plan, minutes=None))
    if options.init_from is not None:
        plan = dataclasses.replace(plan, init_from=str(keep_initial(run, Path(options.init_from))))
    if data.keep is not None:
        plan = dataclasses.replace(plan, data=str(_keep_input(run, data.keep)))
        run.record["data"] = backend.prepare(plan, bus).info
    run.update(plan=recorded(plan))
    trainer.run, trainer.plan = run, plan
    return run, trainer


def _create(runs_dir: Path, backend: str, asked: str | None, stem: str, record: dict[str, Any]) -> Run:
    """The run that was named, or one with the first free name, whoever else is creating runs at this moment."""
    while True:
        name = asked or free_name(runs_dir, backend, stem)
        try:
            return create_run(runs_dir, backend, name, record)
        except RequestError:
            if asked is not None or not (runs_dir / backend / name).exists():
                raise


def _decide_compile(options: TrainOptions, device: torch.device, minutes: float) -> tuple[bool, list[str]]:
    """Whether to compile, and the reason where it is not what was asked for. Compiling costs a minute, and on a CPU it gains a
    twentieth (tests/benchmarks/RECIPE.md)."""
    wanted = options.compile if options.compile is not None else device.type == "cuda" and minutes >= 5
    if wanted and not can_compile():
        return False, ["torch.compile needs a compiler, which was not found: training without it"]
    return wanted, []


def _decide_steps(
    plan: Options,
    build: Callable[[], Learner],
    device: torch.device,
    bus: Bus,
    scratch: Path,
    deadline: float,
    open_ended: bool,
) -> Trainer:
    """A trainer at its initial state, with the plan complete. A budget that nobody asked for is a ceiling."""
    if plan.steps is not None:
        trainer = Trainer(build, plan, device, bus)
        trainer.plan = plan_for_steps(plan, trainer.learner.eval_items)
        return trainer
    bus.stage("calibrating", 0, None)
    trainer = Trainer(build, decide_reports(plan, 10**9, 1, 1), device, bus)
    costs = measure(trainer, deadline - seconds_since_start(), scratch)
    parts = trainer.at.micro_batches
    if parts > 1 and plan.batch_size:
        plan = dataclasses.replace(plan, micro_batch_size=-(-plan.batch_size // parts))
    trainer.plan = plan
    trainer.restart()
    learner = trainer.learner
    most = learner.useful_steps() if open_ended else None
    trainer.plan = plan_for_seconds(plan, costs, deadline - seconds_since_start(), learner.eval_items, most)
    return trainer


def _keep_input(run: Run, spooled: Path) -> Path:
    """Standard input can't be read again: its text is kept in the run."""
    kept = (run.path / f"input{''.join(spooled.suffixes)}").absolute()
    shutil.move(spooled, kept)
    return kept


def _go(run: Run, trainer: Trainer, bus: Bus, interrupts: Interrupts) -> Result:
    """Train to the end, and record how it ended."""
    plan, learner = trainer.plan, trainer.learner
    bus.emit(Started(display_path(run.path), plan.steps or 0, trainer.at.step, learner.describe()))
    again = f"aigc train {run.backend} --run {run.reference} --resume"
    try:
        status = trainer.train(interrupts)
    except Interrupted as error:
        run.update(status="interrupted")
        line = f"interrupted at step {trainer.at.step} of {plan.steps}; a checkpoint was written; go on with: {again}"
        raise Interrupted(line, error.signal_number) from None
    except AigcError:
        run.update(status="failed")
        raise
    except Exception as error:
        run.update(status="failed")
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise AigcError(
            f"training failed at step {trainer.at.step}: {reason}; what was learned until the last checkpoint is kept, "
            f"go on with: {again} (--debug shows the traceback)"
        ) from error
    best = {"step": trainer.at.best_step, learner.objective: trainer.at.best}
    run.update(status=status, steps=trainer.at.step, seconds=round(trainer.at.seconds, 2), best=best)
    if status == "stopped":
        bus.note(
            f"stopped at step {trainer.at.step} of {plan.steps}: no better on held-out data for {plan.patience} evaluations; "
            "an explicit --minutes or --steps is used in full"
        )
    for line in learner.advice(read_metrics(run)):
        bus.note(line)
    result = _result(run)
    bus.emit(Finished(display_path(run.path), status, result.steps, result.seconds, result.measures))
    return result


def _result(run: Run) -> Result:
    record = run.record
    return Result(run.path, run.status, record["steps"], record["seconds"], record["best"])


def _versions() -> dict[str, str]:
    """Of everything that this package needs."""
    packages = [
        match[0] for need in requires("aigc-cli") or () if "extra ==" not in need and (match := re.match(r"[\w.-]+", need))
    ]
    return {"aigc": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}
