"""`aigc train`: from options to a finished run."""

from __future__ import annotations

import dataclasses
import platform
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigc_cli import __version__
from aigc_cli.engine.checkpoints.init_from import keep_initial
from aigc_cli.engine.checkpoints.resume import resume
from aigc_cli.engine.device import describe
from aigc_cli.engine.events import Bus, Finished, Started, display_path
from aigc_cli.engine.loop import TrainLoop
from aigc_cli.engine.planning.plan import plan_run
from aigc_cli.engine.processes.group import Processes, join
from aigc_cli.engine.processes.launch import launch_id
from aigc_cli.engine.runs.finding import find_run, free_name, list_runs
from aigc_cli.engine.runs.run import RESUMABLE, Run, check_name, create_run, open_run, read_metrics
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.signals import UNTOLD, Interrupts
from aigc_cli.engine.trainable import AnyPlan, Trainable
from aigc_cli.errors import AigcError, Interrupted, RequestError, first_line
from aigc_cli.files import writable
from aigc_cli.machine import packages
from aigc_cli.options import Given, recorded


@dataclass(frozen=True)
class Result:
    run: Path
    status: str
    steps: int
    seconds: float
    measures: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"version": 1, **dataclasses.asdict(self), "run": str(self.run)}


def train(backend: Trainable[Any, AnyPlan], asked: TrainOptions, given: Mapping[str, Given], demo: str, bus: Bus) -> Result:
    """Train a new run, or resume one (`--resume`). Returns its path, status and final measures."""
    interrupts = Interrupts()
    with interrupts.installed(), ExitStack() as held:
        try:
            processes = join()
            before = _begun(backend.name, asked, processes)
            if not asked.resume and before is None:
                loop = _start(backend, asked, demo, bus, held, interrupts)
            else:
                run = before or _run_to_resume(backend.name, asked, processes)
                held.enter_context(run.lock())
                resumed = resume(backend, run, given, bus)
                if resumed is None:
                    return _result(run)
                loop = resumed
                held.enter_context(interrupts.deferred())
        except Interrupted as error:
            if str(error) != UNTOLD:  # it was the training of another run, which this one needs first
                raise
            kept = "the run is unchanged" if asked.resume else "nothing was saved"
            raise Interrupted(f"interrupted before training started; {kept}", error.signal_number) from None
        return _finish(loop, interrupts)


def _run_to_resume(backend: str, asked: TrainOptions, processes: Processes) -> Run:
    found = find_run(Path(asked.runs_dir), backend, asked.run, resumable=True) if processes.leads else None
    return _shared(found, processes)


def _begun(backend: str, asked: TrainOptions, processes: Processes) -> Run | None:
    """The run that these processes had begun before their launcher started them again."""
    found = None
    if processes.leads and (launch := launch_id(again=True)) is not None:
        runs = list_runs(Path(asked.runs_dir), backend)
        found = next((run for run in runs if run.record.get("launch") == launch and run.status in RESUMABLE), None)
    return _shared(found, processes) if processes.agree(found is not None) else None


def _shared(run: Run | None, processes: Processes) -> Run:
    """The run that the first process has found or created; it alone writes to it."""
    path = processes.agree(str(run.path) if run is not None else "")
    return run if run is not None else Run(Path(path), open_run(Path(path)).record, ours=False)


def _start(
    backend: Trainable[Any, AnyPlan], asked: TrainOptions, demo: str, bus: Bus, held: ExitStack, interrupts: Interrupts
) -> TrainLoop:
    """A loop at step 0 of a new, locked run. From here on, signals wait for the end of a step."""
    runs_dir = Path(asked.runs_dir)
    processes = join()
    named = check_name(asked.run) if asked.run is not None else None
    if processes.leads and named is not None and (runs_dir / backend.name / named).exists():
        raise RequestError(
            f"run {runs_dir / backend.name / named} exists; resume it with --resume, or choose another --run name"
        )
    if processes.leads and not writable(runs_dir):  # before the data are read
        raise RequestError(f"--runs-dir {runs_dir} cannot be written to; choose another")
    planned = plan_run(backend, asked, demo, bus, runs_dir)
    data, trainer, options = planned.data, planned.trainer, planned.options
    held.enter_context(interrupts.deferred())
    record = {"asked": recorded(asked), "reasons": planned.reasons, "data": data.info}
    environment: dict[str, Any] = {"versions": _versions(), "device": describe(trainer.device)}
    if processes.count > 1:
        environment |= {"processes": processes.count, "launch": launch_id()}
    created = _create(runs_dir, backend.name, asked.run, data.stem, record | environment) if processes.leads else None
    run = _shared(created, processes)
    held.enter_context(run.lock())
    plan = dataclasses.replace(trainer.plan, minutes=None)
    with processes.first():
        if run.ours and options.init_from is not None:
            plan = dataclasses.replace(plan, init_from=str(keep_initial(run, Path(options.init_from))))
        if run.ours and data.keep is not None:
            plan = dataclasses.replace(plan, data=str(_keep_input(run, data.keep)))
            run.record["data"] = backend.prepare(plan, bus).info
        run.update(plan=recorded(plan))
    trainer.plan = plan if run.ours else backend.read_plan(open_run(run.path).record["plan"])
    return TrainLoop(trainer, run)


def _create(runs_dir: Path, backend: str, asked: str | None, stem: str, record: dict[str, Any]) -> Run:
    """Create the named run, or one with the first free name, even if other processes are creating runs at the same time."""
    while True:
        name = asked or free_name(runs_dir, stem)
        try:
            return create_run(runs_dir, backend, name, record)
        except RequestError:
            if asked is not None or not (runs_dir / backend / name).exists():
                raise


def _keep_input(run: Run, spooled: Path) -> Path:
    """Move the copy of standard input, which can't be read again, into the run. Returns its path."""
    kept = (run.path / f"input{''.join(spooled.suffixes)}").absolute()
    shutil.move(spooled, kept)
    return kept


def _finish(loop: TrainLoop, interrupts: Interrupts) -> Result:
    """Train to the end, and record the outcome."""
    run, plan, learner, bus = loop.run, loop.plan, loop.learner, loop.bus
    bus.emit(Started(display_path(run.path), plan.steps, loop.state.step, learner.describe()))
    again = run.resume_command
    try:
        status = loop.train(interrupts)
    except Interrupted as error:
        run.update(status="interrupted", **_progress(loop))
        line = f"interrupted at step {loop.state.step} of {plan.steps}; a checkpoint was saved; resume with: {again}"
        raise Interrupted(line, error.signal_number) from None
    except AigcError:
        _record_failure(run)
        raise
    except Exception as error:
        run.require_there()
        _record_failure(run)
        saved = "no checkpoint had been saved yet"
        if steps := run.checkpoint_steps:
            saved = f"the checkpoint of step {steps[-1]} is saved; resume with: {again}"
        full = (
            f"free disk space for {display_path(run.path)}, or use another --runs-dir; "
            if re.search("No space left|quota exceeded", str(error))
            else ""
        )
        raise AigcError(
            f"training failed at step {loop.state.step}: {first_line(error)}; {full}{saved} (--debug shows the traceback)"
        ) from error
    run.update(status=status, **_progress(loop))
    if status == "stopped":
        bus.note(
            f"stopped at step {loop.state.step} of {plan.steps}: no improvement on held-out data for {plan.patience} "
            "evaluations; an explicit --minutes or --steps is used in full"
        )
    if (earlier := loop.checkpoints.earlier) is not None:
        bus.note(
            f"the longer training never beat step {earlier.step} of the earlier one on held-out data; "
            "the run keeps its earlier model"
        )
    for line in learner.advice(read_metrics(run)):
        bus.note(line)
    loop.processes.any(False)  # none leaves while another may still need it
    result = _result(run)
    bus.emit(Finished(display_path(run.path), status, result.steps, result.seconds, result.measures))
    return result


def _record_failure(run: Run) -> None:
    with suppress(OSError):  # otherwise it stays "running" without a lock, which means interrupted
        run.update(status="failed")


def _progress(loop: TrainLoop) -> dict[str, Any]:
    """Progress, for run.json."""
    state, objective, earlier = loop.state, loop.learner.objective, loop.checkpoints.earlier
    step, value = (state.best_step, state.best) if earlier is None else (earlier.step, earlier.value)
    best = {"best": {"step": step, objective: value}} if step else {}
    return {"steps": state.step, "seconds": round(state.seconds, 2), "first_sample": loop.learner.first_sample(), **best}


def _result(run: Run) -> Result:
    record = run.record
    return Result(run.path, run.status, record["steps"], record["seconds"], record["best"])


def _versions() -> dict[str, str | None]:
    """Versions of aigc, Python and all required packages."""
    needed, _ = packages()
    return {"aigc": __version__, "python": platform.python_version(), **needed}
