"""`aigc eval BACKEND`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import typer

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.registry import backends
from aigc_cli.commands.destinations import kind_of
from aigc_cli.commands.run_choice import FirstNotes, trained_run
from aigc_cli.engine.meanings import Meanings
from aigc_cli.engine.processes.launch import follows, share_work
from aigc_cli.engine.runs.run import Run
from aigc_cli.files import json_text
from aigc_cli.options import Given, build
from aigc_cli.ui.progress import progress
from aigc_cli.ui.tables import measures_table
from aigc_cli.ui.text import printable

COLUMNS = ("value", "low", "high", "n")


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options: Any = build(backend.options["eval"], given)
    share_work(options)
    if follows() and getattr(options, "copies", None) is not None:  # another process writes the sheet
        options = dataclasses.replace(options, copies=None)
    target = trained_run(options, name)
    with progress(json_lines=options.json, quiet=options.quiet) as bus:
        evaluation = backend.load().evaluate(target, options, bus)
        FirstNotes(options, target, bus, *evaluation.notes).emit()
        if sys.stdout.isatty():
            bus.note(f"to see what each measure means: aigc report {target.reference}")
    typer.echo(_shown(evaluation, target, backend.meanings.said_of(kind_of(target, backend).one), options.json))


def _shown(evaluation: Evaluation, run: Run, meanings: Meanings, as_json: bool) -> str:
    if as_json:
        head = {"version": 1, "run": str(run.path), "data": evaluation.data}
        return json_text(head | dict(evaluation.measures))
    if sys.stdout.isatty():
        return measures_table(evaluation.measures, meanings, f"{run.path} on {evaluation.data}")
    lines = ["\t".join(("metric", *COLUMNS))]
    for name, measure in evaluation.measures.items():
        lines.append(_line(name, measure))
        lines += [_line(f"{name}.{key}", other) for key, other in meanings.beside(measure).items()]
    return "\n".join(lines)


def _line(name: str, measure: Mapping[str, Any]) -> str:
    return "\t".join([printable(name, keep=""), *(_cell(measure.get(column)) for column in COLUMNS)])


def _cell(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.6g}"
