"""`aigc runs`: list, show, path. Reads run.json and metrics.jsonl only, so it is quick."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from aigc_cli.commands.flags import command
from aigc_cli.engine.run import Run, find_run, list_runs, read_metrics
from aigc_cli.engine.settings import CommandOptions
from aigc_cli.options import Given, build, option
from aigc_cli.ui.tables import table
from aigc_cli.ui.text import one_line, printable, sparkline


@dataclass(frozen=True)
class OneRun(CommandOptions):
    run: str | None = option(None, metavar="RUN", argument=True, recorded=False)
    """A run's name or path; without one, the newest run."""


def add(app: typer.Typer) -> None:
    group = typer.Typer(help="List runs, show one, or print its path.", invoke_without_command=True)

    everything = command(CommandOptions, show_list, "list", "Every run, the newest first.")

    def listing(context: typer.Context, **flags: Any) -> None:
        if context.invoked_subcommand is None:
            everything(**flags)

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    flags = inspect.signature(everything).parameters.values()
    listing.__signature__ = inspect.Signature([context, *flags])  # type: ignore[attr-defined]
    listing.__annotations__ = {"context": typer.Context, **everything.__annotations__}
    group.callback()(listing)
    group.command("list")(everything)
    for name, run, help in (
        ("show", show_run, "What was asked, what was decided and why, and how it went."),
        ("path", show_path, "The run's directory."),
    ):
        group.command(name)(command(OneRun, run, name, help))
    app.add_typer(group, name="runs")


def show_list(given: Mapping[str, Given]) -> None:
    options = build(CommandOptions, given)
    rows = [summary(run) for run in list_runs(Path(options.runs_dir))]
    if options.json:
        typer.echo(json.dumps({"version": 1, "runs": rows}, ensure_ascii=False))
        return
    head = ["name", "backend", "status", "steps", "best", "data", "created"]
    cells = [[_cell(row[column]) for column in head] for row in rows]
    if sys.stdout.isatty():
        typer.echo(table(head, cells))
    else:
        typer.echo("\n".join("\t".join(row) for row in [head, *cells]))


def summary(run: Run) -> dict[str, Any]:
    """A run as one row, from run.json alone."""
    record = run.record
    best = record.get("best") or {}
    measure = next((f"{name} {value:.4g}" for name, value in best.items() if name != "step"), None)
    return {
        "name": run.name,
        "backend": run.backend,
        "status": run.status,
        "steps": record.get("steps"),
        "best": measure,
        "data": record["data"].get("location"),
        "created": record["created"],
        "path": str(run.path),
    }


def show_run(given: Mapping[str, Given]) -> None:
    options = build(OneRun, given)
    run = find_run(Path(options.runs_dir), None, options.run)
    if options.json:
        typer.echo(json.dumps(run.record | {"path": str(run.path), "status": run.status}, ensure_ascii=False))
        return
    record, lines = run.record, [f"{key}\t{_cell(value)}" for key, value in summary(run).items()]
    lines += [f"reason\t{reason}" for reason in record.get("reasons", [])]
    lines += [f"{key}\t{_cell(value)}" for key, value in record["plan"].items() if value is not None]
    trained = [line for line in read_metrics(run) if line.get("event") == "trained"]
    for name in dict.fromkeys(key for line in trained for key in line if key.endswith("loss")):
        losses = [line[name] for line in trained if name in line]
        lines.append(f"{name}\t{losses[0]:.4g} {sparkline(losses, 40)} {losses[-1]:.4g}")
    typer.echo("\n".join(printable(line, keep="\t") for line in lines))


def show_path(given: Mapping[str, Given]) -> None:
    options = build(OneRun, given)
    typer.echo(str(find_run(Path(options.runs_dir), None, options.run).path))


def _cell(value: Any) -> str:
    return "" if value is None else printable(one_line(str(value)))
