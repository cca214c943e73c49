"""Finding runs among all, and names for new ones. Free of torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from aigc_cli.engine.runs.run import DONE, RESUMABLE, Run, open_run
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean


def free_name(runs_dir: Path, stem: str) -> str:
    """The first of `stem-1`, `stem-2`, … that is not the name of a run of any backend."""
    stem = re.sub(r"[^\w.+-]+", "-", stem).strip("-.")[:64] or "run"
    taken = {path.name for path in runs_dir.glob(f"*/{stem}-*")}
    return next(name for number in range(1, len(taken) + 2) if (name := f"{stem}-{number}") not in taken)


def list_runs(runs_dir: Path, backend: str | None = None) -> list[Run]:
    """Every readable run, the newest first."""
    runs = []
    for file in runs_dir.glob(f"{backend or '*'}/[!.]*/run.json"):  # a leading dot means it is being deleted
        try:
            runs.append(open_run(file.parent))
        except RequestError:
            continue
    return sorted(runs, key=lambda run: (run.record["created"], run.name), reverse=True)


def find_run(runs_dir: Path, backend: str | None, wanted: str | None, *, resumable: bool = False) -> Run:
    """The run that `--run` names: a name, a path, or None for the newest (of `backend`, or of any). `resumable`: it is to be
    resumed, and of all runs the newest for which that is possible."""
    if wanted is None:
        for run in list_runs(runs_dir, backend):
            if not resumable or run.status in RESUMABLE:
                return run
        kind = f"{backend} " if backend else ""
        if resumable:
            if done := next((run for run in list_runs(runs_dir, backend) if run.status in DONE), None):
                raise RequestError(
                    f"no {kind}run to resume in {runs_dir}; the newest is {done.status}: to train it longer, "
                    f"{done.resume_command} --steps N, with more than its {done.record['plan']['steps']:,} steps"
                )
            raise RequestError(
                f"no {kind}run to resume in {runs_dir}; name one with --run, or start one without --resume: that also goes on "
                "with one that was interrupted before its own training began"
            )
        raise RequestError(f"no {kind}run in {runs_dir}; train one with: aigc train {backend or 'BACKEND'}")
    if os.sep in wanted or wanted in (".", ".."):
        run = open_run(Path(wanted))
    else:
        found = (file.parent for file in runs_dir.glob(f"{backend or '*'}/*/run.json"))
        matches = [path for path in found if path.name == wanted]
        if not matches:
            known = [run.name for run in list_runs(runs_dir, backend)]
            hint = "'aigc runs' lists them"
            if resumable:
                hint = "if it was interrupted before its own training began, the same command without --resume goes on"
            raise RequestError(f"no run {wanted!r} in {runs_dir / (backend or '')}; {hint}{did_you_mean(wanted, known)}")
        if len(matches) > 1:
            places = ", ".join(str(match) for match in sorted(matches))
            raise RequestError(f"{wanted!r} is the name of several runs; give a path: {places}")
        run = open_run(matches[0])
    if backend and run.backend != backend:
        raise RequestError(f"run {run.path} is a run of the {run.backend} backend, not {backend}")
    return run
