"""Runs on disk: settings, plan, status, metrics and checkpoints. Free of torch.

runs/transformer/poems-1/
  run.json       asked, plan, versions, data, status
  metrics.jsonl  a line per report
  checkpoints/   step-000400/{model,state}; earlier/ has the model from before a longer training, until that beats it
  model          -> the best checkpoint's model/
  samples/       previews made while training
"""

from __future__ import annotations

import glob
import json
import math
import os
import re
import shlex
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from aigc_cli.engine.checkpoints.manifest import MODEL, damage
from aigc_cli.engine.events import Bus, display_path
from aigc_cli.engine.runs.lock import Taken, is_locked, lock
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.files import new_folder, point_link, quoted, read_json, sweep, sweep_abandoned, write_json
from aigc_cli.options import located, portable

FORMAT = 1
#: Statuses of runs that can be resumed, and of runs that are done.
RESUMABLE, DONE = ("interrupted", "failed"), ("finished", "stopped")
#: The file of a checkpoint that only further training needs.
OPTIMIZERS = "optimizers.safetensors"
#: The types of what a run's record has, where it has it: a stranger may have written it.
TYPES: Mapping[str, type] = {
    "asked": dict, "plan": dict, "data": dict, "best": dict, "versions": dict, "reasons": list, "earlier_plans": list,
}  # fmt: skip
#: The longest metrics.jsonl, and line of it, that are read, in bytes.
LONGEST_METRICS, LONGEST_LINE = 1 << 30, 1 << 20


@dataclass
class Run:
    path: Path
    record: dict[str, Any]
    #: Whether this process writes to it; otherwise another one does, of those that train it together.
    ours: bool = True
    #: The model that `require_model` chose because the run's own is damaged.
    fallback: Path | None = None
    #: What to tell the user of that.
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def reference(self) -> str:
        """The value of --run that names this run from the current folder, quoted for a shell."""
        runs_dir = self.path.parent.parent
        plain = runs_dir == Path("runs") and len(list(runs_dir.glob(f"*/{glob.escape(self.name)}/run.json"))) < 2
        return quoted(self.name if plain else str(self.path))

    @property
    def resume_command(self) -> str:
        """The command that resumes this run."""
        return f"aigc train {quoted(self.backend)} --run {self.reference} --resume"

    @property
    def first_sample(self) -> str:
        """Arguments for `aigc sample` to get first samples, quoted for a shell because the record may come from a stranger."""
        try:
            return shlex.join(shlex.split(str(self.record["first_sample"])))
        except (KeyError, ValueError):
            return "-n 4"

    @property
    def backend(self) -> str:
        return str(self.record["backend"])

    @property
    def status(self) -> str:
        """running, interrupted, failed, stopped (no more improvement) or finished. A run recorded as running without a lock was
        killed: interrupted."""
        status = str(self.record["status"])
        return "interrupted" if status == "running" and not self.locked() else status

    @property
    def steps(self) -> int | None:
        """The steps done, or those of the newest checkpoint; None before the first checkpoint."""
        if self.record.get("steps") is not None:
            return int(self.record["steps"])
        return max(self.checkpoint_steps, default=None)

    @property
    def checkpoint_steps(self) -> list[int]:
        """The steps of the checkpoints on disk, in order."""
        names = (path.name.removeprefix("step-") for path in self.checkpoints.glob("step-*"))
        return sorted(int(name) for name in names if re.fullmatch("[0-9]{1,18}", name))

    @property
    def model(self) -> Path:
        return self.fallback or self.path / "model"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:06d}"

    @property
    def earlier(self) -> Path:
        """The folder of the model from before a longer training, while it is the best."""
        return self.checkpoints / "earlier"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def choose(self, checkpoint: Path) -> None:
        """Point `model` at a checkpoint's model."""
        point_link(self.path / "model", f"{self.checkpoints.name}/{checkpoint.name}/model")

    def update(self, **changes: Any) -> None:
        self.record |= changes
        if self.ours:
            self.write(self.path)

    def write(self, folder: Path) -> None:
        """Write run.json to a folder that is, or will be, the run's."""
        write_json(folder / "run.json", _with_paths(self.record, lambda settings: portable(settings, self.path)))

    def require_there(self) -> None:
        """Raise `AigcError` if the run was deleted or moved."""
        if not (self.path / "run.json").exists():
            raise AigcError(f"run {self.path} was deleted or moved while it was trained; start it again")

    def require_model(self, parts: Iterable[str] = MODEL) -> Path:
        """The folder of the run's model. If these parts of its checkpoint are damaged, it is that of the newest whole
        checkpoint, which is `model` from then on, and `warnings` says so. Raises `RequestError` if there is none."""
        fault = self._model_damage(parts)
        if fault is None and (self.model / "config.json").exists():
            return self.model
        newest_first = [self.checkpoint(step) for step in reversed(self.checkpoint_steps)]
        for folder in (*newest_first, self.earlier):
            if fault and (folder / "model" / "config.json").exists() and damage(folder, parts) is None:
                self.fallback = folder / "model"
                self.warnings.append(f"{fault}; using the newest whole checkpoint instead, {display_path(folder)}")
                return self.fallback
        if fault:
            repeat = f"aigc train {self.backend} --config {quoted(display_path(self.path / 'run.json'))}"
            raise RequestError(f"{fault}, and no other checkpoint is whole; repeat the run with: {repeat}")
        raise RequestError(
            f"run {self.path} has no model yet (its first checkpoint has not been written); resume with: {self.resume_command}"
        )

    def _model_damage(self, parts: Iterable[str]) -> str | None:
        link = self.path / "model"
        while link.is_symlink():
            checkpoint = link.resolve().parent
            fault = damage(checkpoint, parts)
            if fault is None or checkpoint == link.resolve().parent:  # otherwise training has replaced it meanwhile
                return fault
        return None

    def tell(self, bus: Bus) -> None:
        """Emit the warnings, once."""
        while self.warnings:
            bus.note(self.warnings.pop(0), "warning")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run for this process. Raises `RequestError` if another process is training it."""
        if not self.ours:  # whoever writes to it has the lock
            yield
            return
        with ExitStack() as held:
            try:
                held.enter_context(lock(self.path))
            except Taken as by:
                raise RequestError(f"run {self.path} is being trained by another process{by}") from None
            except OSError as error:
                raise AigcError(
                    f"run {self.path} cannot be locked ({error.strerror}); copy it to where it can be written to"
                ) from None
            sweep(self.path)
            for folder in (self.checkpoints, self.samples):
                if not folder.is_symlink():
                    sweep(folder)
            yield

    def check_files(self) -> None:
        """Raise `RequestError` for anything but files and folders in the run, besides the link `model`, before something is
        written or deleted there: in a stranger's run a link could lead anywhere, and a pipe be waited for forever."""
        for folder, folders, files in os.walk(self.path):
            for found in (Path(folder, name) for name in (*folders, *files)):
                mode = found.lstat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and found != self.path / "model":
                    what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder"
                    raise RequestError(
                        f"run {self.path}: {found.relative_to(self.path)} is {what}, and nothing outside a run is changed; "
                        "put a file or folder in its place"
                    )

    def locked(self) -> bool:
        return is_locked(self.path)


def check_name(name: str) -> str:
    if not re.fullmatch(r"[\w][\w.+-]*", name):
        raise RequestError(f"--run {name!r} is not a name: use letters, digits, '.', '_', '+' and '-'")
    return name


def create_run(runs_dir: Path, backend: str, name: str, record: dict[str, Any]) -> Run:
    """Create a run's folder. Raises `RequestError` if it exists or can't be created."""
    run = Run(
        runs_dir / backend / name,
        {"format": FORMAT, "backend": backend, "created": timestamp(), "status": "running", **record},
    )
    exists = RequestError(f"run {run.path} exists; resume it with --resume, or choose another --run name")
    if run.path.exists():
        raise exists
    for folder in (runs_dir, run.path.parent):
        sweep_abandoned(folder)
    try:
        with new_folder(run.path) as aside:
            (aside / run.checkpoints.name).mkdir()
            (aside / run.samples.name).mkdir()
            run.write(aside)
            ours = aside.stat().st_ino
        if run.path.stat().st_ino != ours:  # another process was faster
            raise exists
    except OSError as error:
        raise RequestError(f"run {run.path} cannot be created: {error.strerror}; choose another --runs-dir") from None
    return run


def open_run(path: Path) -> Run:
    if not (path / "run.json").exists():
        raise RequestError(f"{path} is not a run (it has no run.json); 'aigc runs' lists them")
    try:
        record = read_json(path / "run.json", finite=True)
        newer = record["format"] > FORMAT
        if not newer:
            _check_record(record)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise RequestError(f"{path} is not a run (its run.json cannot be read: {error})") from None
    if newer:
        raise RequestError(f"{path} was written by a newer aigc (run format {record['format']}); update aigc to open it")
    return Run(path, _with_paths(record, lambda settings: located(settings, path)))


def _check_record(record: Mapping[str, Any]) -> None:
    """Raise ValueError or the like for a record that no version of aigc writes."""
    for name in ("backend", "status", "created"):
        if not isinstance(record[name], str):
            raise ValueError(f"{name!r} is no text")
    datetime.fromisoformat(record["created"]).timestamp()
    for name, kind in TYPES.items():
        if not isinstance(record.get(name, kind()), kind):
            raise ValueError(f"{name!r} is no {'list' if kind is list else 'object'}")
    if not all(isinstance(plan, dict) for plan in record.get("earlier_plans", ())):
        raise ValueError("'earlier_plans' are no objects")
    data = record.get("data", {})
    if not isinstance(data.get("val"), dict | None):
        raise ValueError("'val' is no object")
    for part in (data, data.get("val") or {}):
        for name in ("location", "split", "kind"):
            if not isinstance(part.get(name, ""), str | None):
                raise ValueError(f"'data' has no text as its {name!r}")
    for name in ("steps", "seconds", "continued_from"):
        value = record.get(name)
        if value is not None and (not isinstance(value, int | float) or not math.isfinite(value)):
            raise ValueError(f"{name!r} is no number")


def _with_paths(record: Mapping[str, Any], change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A record with `change` applied to everything in it that holds paths."""
    changed = {name: change(record[name]) for name in ("plan", "data") if isinstance(record.get(name), Mapping)}
    earlier = {"earlier_plans": [change(plan) for plan in record["earlier_plans"]]} if "earlier_plans" in record else {}
    return {**record, **changed, **earlier}


def read_metrics(run: Run) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, without one that is still being written."""
    lines: list[dict[str, Any]] = []
    try:
        descriptor = os.open(run.metrics, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return lines
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LONGEST_METRICS:
            return lines
        while line := file.readline(LONGEST_LINE):
            with suppress(ValueError, RecursionError):
                value = json.loads(line)
                lines += [value] if isinstance(value, dict) else []
    return lines


def age(run: Run) -> float:
    """Seconds since the run was created."""
    created = datetime.fromisoformat(str(run.record["created"]))
    return time.time() - created.timestamp()


def timestamp() -> str:
    """Now, UTC, to the millisecond (runs sort by it)."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
