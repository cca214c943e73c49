"""`aigc train`, from the options to a finished run."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file

from aigc_cli import __version__
from aigc_cli.engine.budget import decide_reports, measure, plan_for_seconds, plan_for_steps
from aigc_cli.engine.checkpoint import checkpoint_path, checkpoint_steps, read_position
from aigc_cli.engine.clock import seconds_since_start
from aigc_cli.engine.device import (
    can_compile,
    keep_freed_memory,
    measure_flops,
    resolve_device,
    resolve_matmul,
    resolve_precision,
    seed_everything,
    set_deterministic,
    set_matmul,
    set_threads,
)
from aigc_cli.engine.events import Bus, Finished, Started, display_path
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.loop import Trainer
from aigc_cli.engine.run import Run, check_name, create_run, find_run, free_name, read_metrics
from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.signals import Interrupts
from aigc_cli.engine.trainable import Machine, Options, Prepared, Trainable
from aigc_cli.errors import AigcError, Interrupted, RequestError
from aigc_cli.options import Given, build, fields_of, rebuild, recorded

DEFAULT_MINUTES, DEMO_MINUTES = 10.0, 1.0
DEFAULT_PATIENCE = 5


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
    with interrupts.installed():
        asked = build(options, given)
        try:
            if asked.resume:
                return _resume(backend, options, given, asked, bus, interrupts)
            return _start(backend, asked, demo, bus, interrupts)
        except Interrupted as error:
            if error.args[0] != "interrupted":
                raise
            raise Interrupted("interrupted before training began; nothing was kept", error.exit_code - 128) from None


# A new run


def _start(backend: Trainable[Options], asked: Options, demo: str, bus: Bus, interrupts: Interrupts) -> Result:
    runs_dir = Path(asked.runs_dir)
    if asked.run is not None and (runs_dir / backend.name / check_name(asked.run)).exists():
        raise RequestError(
            f"run {runs_dir / backend.name / asked.run} exists; go on with --resume, or choose another --run name"
        )
    options = dataclasses.replace(asked, data=_absolute(asked.data), val=_absolute(asked.val))
    open_ended = asked.steps is None and asked.minutes is None
    if asked.data is None:
        length = "for one minute" if open_ended else "as asked"
        bus.note(f"no --data given: learning from the built-in {demo}, {length}")
        options = dataclasses.replace(options, data=demo)
    minutes = asked.minutes or (DEMO_MINUTES if asked.data is None else DEFAULT_MINUTES)
    if open_ended:
        options = dataclasses.replace(options, patience=asked.patience or DEFAULT_PATIENCE)

    device, options = _take_up(options)
    before = seconds_since_start()
    data = backend.prepare(options, bus)
    preparing = 0.0 if data.cached else seconds_since_start() - before
    for note in data.notes:
        bus.note(note)
    deadline = minutes * 60 + preparing
    precision = resolve_precision(options.precision, device)
    machine = Machine(device, torch.get_num_threads(), measure_flops(device, precision), minutes * 60)
    compiled = _decide_compile(data.options, device, minutes, bus)
    plan, reasons = backend.plan(dataclasses.replace(data.options, compile=compiled), data, machine)
    for reason in reasons:
        bus.note(reason)
    if plan.init_from is not None:
        origin = find_run(runs_dir, backend.name, plan.init_from).require_model().resolve().parent
        plan = dataclasses.replace(plan, init_from=str(origin))
        bus.note(_take_over(backend.learner(plan, data, device), origin))
    trainer = _decide_steps(plan, _builder(backend, plan, data, device), device, bus, runs_dir, deadline)
    plan = cast(Options, dataclasses.replace(trainer.plan, minutes=None, run=None, resume=False))
    name = asked.run or free_name(runs_dir, backend.name, data.stem)
    run = create_run(
        runs_dir,
        backend.name,
        name,
        {
            "asked": recorded(asked),
            "plan": recorded(plan),
            "reasons": [*data.notes, *reasons],
            "data": data.info,
            "versions": _versions(),
            "device": _describe(device),
        },
    )
    if data.keep is not None:
        plan = dataclasses.replace(plan, data=str(_keep_input(run, data.keep)))
        run.update(plan=recorded(plan), data=backend.prepare(plan, bus).info)
    trainer.run, trainer.plan = run, plan
    return _go(backend, run, trainer, bus, interrupts)


def _decide_compile(options: TrainOptions, device: torch.device, minutes: float, bus: Bus) -> bool:
    """Compiling costs a minute; on the CPU it gains nothing over the networks' own kernels (measured), on a GPU it does."""
    wanted = options.compile if options.compile is not None else device.type == "cuda" and minutes >= 5
    if wanted and not can_compile():
        bus.note("torch.compile needs a compiler, which was not found: training without it", "warning")
        return False
    return wanted


def _take_up(options: Options) -> tuple[torch.device, Options]:
    """Claim the device and the threads, and record what they are."""
    device = resolve_device(options.device)
    threads = set_threads(options.threads)
    set_deterministic(options.deterministic, device)
    keep_freed_memory()
    matmul: Any = resolve_matmul(options.matmul, device)
    set_matmul(matmul)
    precision: Any = resolve_precision(options.precision, device)
    return device, dataclasses.replace(options, device=str(device), threads=threads, matmul=matmul, precision=precision)


def _builder(backend: Trainable[Options], plan: Options, data: Prepared, device: torch.device) -> Callable[[], Learner]:
    """Makes the learner that the plan begins with, the same one every time."""

    def build() -> Learner:
        seed_everything(plan.seed, "initial weights")
        learner = backend.learner(plan, data, device)
        if plan.init_from is not None:
            _take_over(learner, Path(plan.init_from))
        return learner

    return build


def _decide_steps(
    plan: Options,
    build: Callable[[], Learner],
    device: torch.device,
    bus: Bus,
    scratch: Path,
    deadline: float,
) -> Trainer:
    """A trainer at its initial state, with the plan complete."""
    if plan.steps is not None:
        trainer = Trainer(build, plan, device, bus)
        trainer.plan = plan_for_steps(plan, trainer.learner.eval_items)
        return trainer
    bus.stage("calibrating", 0, None)
    trainer = Trainer(build, decide_reports(plan, 10**9, 1, 1), device, bus)
    costs = measure(trainer, deadline - seconds_since_start(), scratch)
    trainer.restart()
    trainer.plan = plan_for_seconds(plan, costs, deadline - seconds_since_start(), trainer.learner.eval_items)
    return trainer


def _keep_input(run: Run, spooled: Path) -> Path:
    """Standard input can't be read again: its text is kept in the run."""
    kept = (run.path / f"input{''.join(spooled.suffixes)}").absolute()
    shutil.move(spooled, kept)
    return kept


# Going on


def _resume(
    backend: Trainable[Options],
    options: type[Options],
    given: Mapping[str, Given],
    asked: Options,
    bus: Bus,
    interrupts: Interrupts,
) -> Result:
    run = find_run(Path(asked.runs_dir), backend.name, asked.run, resumable=asked.run is None)
    plan = rebuild(options, run.record["plan"])
    longer = _check_contradictions(run, plan, given)
    with run.lock():
        checkpoints = checkpoint_steps(run)
        if longer is not None:
            first = cooldown_start(plan.steps or 0, plan.cooldown or 0.0)
            usable = [s for s in checkpoints if s <= first and read_position(checkpoint_path(run, s))["planned"]]
            checkpoints = usable[-1:]
            plan = dataclasses.replace(plan, steps=longer)
            bus.note(f"going on from step {checkpoints[-1] if checkpoints else 0}, before the cool-down, to step {longer}")
        elif run.status in ("finished", "stopped"):
            bus.note(f"run {display_path(run.path)} is {run.status}; to train it longer give a larger --steps")
            return _result(run)
        device, plan = _take_up(plan)
        data = backend.prepare(plan, bus)
        if data.info.get("fingerprint") != run.record["data"].get("fingerprint"):
            raise RequestError(
                f"the data of run {display_path(run.path)} have changed since it began ({data.info.get('location')}); "
                f"start a new run on them, with --init-from {run.name} to keep what was learned"
            )

        trainer = Trainer(_builder(backend, plan, data, device), plan, device, bus, run)
        if checkpoints:
            trainer.resume(checkpoints[-1])
        changes = {"earlier_plans": [*run.record.get("earlier_plans", []), run.record["plan"]]} if longer else {}
        run.update(plan=recorded(plan), status="running", **changes)
    return _go(backend, run, trainer, bus, interrupts)


def _check_contradictions(run: Run, plan: TrainOptions, given: Mapping[str, Given]) -> int | None:
    """The recorded settings hold. Returns a larger number of steps, if one was asked for."""
    longer = None
    for name, item in given.items():
        if not fields_of(type(plan))[name].rule.recorded:
            continue
        ours = getattr(plan, name)
        if name == "steps" and item.value > (ours or 0):
            longer = item.value
        elif name in ("data", "val") and _absolute(item.value) == ours:
            continue
        elif item.value not in (ours, run.record["asked"].get(name), "auto"):
            raise RequestError(
                f"{item.where} {item.value!r} contradicts run {display_path(run.path)}, which has {ours!r}; "
                "leave it out, or start a new run"
            )
    return longer


# Both


def _go(backend: Trainable[Any], run: Run, trainer: Trainer, bus: Bus, interrupts: Interrupts) -> Result:
    plan, model = trainer.plan, trainer.learner.describe()
    assert plan.steps is not None
    bus.emit(Started(display_path(run.path), plan.steps, trainer.at.step, model))
    with run.lock():
        try:
            status = trainer.train(interrupts)
        except Interrupted as error:
            run.update(status="interrupted")
            line = (
                f"{error} at step {trainer.at.step} of {plan.steps}; a checkpoint was written; go on with: "
                f"aigc train {backend.name} --run {run.name} --resume"
            )
            raise Interrupted(line, error.exit_code - 128) from None
        except AigcError:
            run.update(status="failed")
            raise
        except Exception as error:
            run.update(status="failed")
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise AigcError(
                f"training failed at step {trainer.at.step}: {reason}; what was learned until the last checkpoint is in "
                f"{display_path(run.path)} (go on with --resume; --debug shows the traceback)"
            ) from error
        position = trainer.at
        best = {"step": position.best_step, trainer.learner.objective: position.best}
        run.update(status=status, steps=position.step, seconds=round(position.seconds, 2), best=best)
    if status == "stopped":
        bus.note(
            f"stopped at step {position.step} of {plan.steps}: no better on held-out data for {plan.patience} evaluations; "
            "an explicit --minutes or --steps is used in full"
        )
    for line in trainer.learner.advice(read_metrics(run)):
        bus.note(line)
    result = _result(run)
    bus.emit(Finished(display_path(run.path), status, result.steps, result.seconds, result.measures))
    return result


def _result(run: Run) -> Result:
    record = run.record
    return Result(run.path, run.status, record["steps"], record["seconds"], record["best"])


def _take_over(learner: Learner, checkpoint: Path) -> str:
    """Copy every weight whose name and shape agree; returns what was taken over."""
    weights = load_file(checkpoint / "state" / "networks.safetensors")
    taken, total = 0, 0
    with torch.no_grad():
        for owner, network in learner.networks.items():
            for name, tensor in network.state_dict().items():
                total += 1
                source = weights.get(f"{owner}/{name}")
                if source is not None and source.shape == tensor.shape:
                    tensor.copy_(source)
                    taken += 1
    if not taken:
        raise RequestError(f"--init-from: no weight of {checkpoint.parent.parent} has a shape that fits this model")
    return f"{taken} of {total} weight tensors taken over from {display_path(checkpoint.parent.parent)}"


def _absolute(source: str | None) -> str | None:
    """A path that means the same from anywhere; '-', hf:… and demo:… as they are."""
    if source is None or source == "-" or source.startswith(("hf:", "demo:")):
        return source
    return os.path.abspath(Path(source).expanduser())


def _versions() -> dict[str, str]:
    packages = ("torch", "numpy", "safetensors", "tokenizers", "datasets")
    return {
        "aigc": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
