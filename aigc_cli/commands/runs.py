"""`aigc runs`: list, show, path, rm, prune. Reads only run.json and metrics.jsonl, so it is fast."""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from aigc_cli.commands.flags import command
from aigc_cli.commands.output import print_path
from aigc_cli.engine.runs.finding import find_run, list_runs
from aigc_cli.engine.runs.removal import prune, remove
from aigc_cli.engine.runs.run import DONE, Run, age, read_metrics
from aigc_cli.engine.settings import CommandOptions
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.files import bytes_of, json_text, size_of
from aigc_cli.options import Given, build, option
from aigc_cli.ui.curves import Curves
from aigc_cli.ui.tables import table
from aigc_cli.ui.text import one_line, printable, span, sparkline


@dataclass(frozen=True)
class OneRun(CommandOptions):
    run: str | None = option(None, metavar="RUN", names="run", argument=True, recorded=False)
    """A run's name or path; by default the newest run."""


@dataclass(frozen=True)
class SomeRuns(CommandOptions):
    names: tuple[str, ...] = option((), metavar="RUN…", names="run", argument=True, recorded=False)
    """Names or paths of runs."""
    yes: bool = option(False, short="-y", recorded=False)
    """Don't ask for confirmation."""


def add(app: typer.Typer) -> None:
    group = typer.Typer(help="List runs, show one, print its path, or free disk space.", invoke_without_command=True)

    everything = command(CommandOptions, show_list, "list", "List all runs, newest first.")

    def listing(context: typer.Context, **flags: Any) -> None:
        if context.invoked_subcommand is None:
            everything(**flags)

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    flags = inspect.signature(everything).parameters.values()
    listing.__signature__ = inspect.Signature([context, *flags])  # type: ignore[attr-defined]
    listing.__annotations__ = {"context": typer.Context, **everything.__annotations__}
    group.callback()(listing)
    group.command("list")(everything)
    for name, options, run, help in (
        ("show", OneRun, show_run, "Show a run's settings, plan, reasons and curves."),
        ("path", OneRun, show_path, "Print a run's folder."),
        ("rm", SomeRuns, remove_runs, "Delete runs."),
        (
            "prune",
            SomeRuns,
            prune_runs,
            "Delete checkpoints of finished runs (of all if none is named), keeping the best weights.",
        ),
    ):
        group.command(name)(command(options, run, name, help))
    app.add_typer(group, name="runs")


def show_list(given: Mapping[str, Given]) -> None:
    options = build(CommandOptions, given)
    found = list_runs(Path(options.runs_dir))
    rows = [summary(run) for run in found]
    if options.json:
        typer.echo(json_text({"version": 1, "runs": rows}))
        return
    if sys.stdout.isatty():
        for run, row in zip(found, rows, strict=True):
            row |= {"data": Path(str(row["data"] or "")).name, "age": span(age(run)), "size": bytes_of(row["bytes"])}
        head = ["name", "backend", "status", "steps", "best", "data", "age", "size"]
        widths = {column: 2 + max(len(_cell(row[column])) for row in [*rows, {column: column}]) for column in head}
        for column in ("data", "size", "age"):  # dispensable, if a row would take two lines
            if sum(widths[column] for column in head) - 2 > shutil.get_terminal_size().columns:
                head.remove(column)
        typer.echo(table(head, [[_cell(row[column]) for column in head] for row in rows]))
    else:
        head = ["name", "backend", "status", "steps", "best", "data", "created", "bytes"]
        typer.echo("\n".join("\t".join(line) for line in [head, *([_cell(row[column]) for column in head] for row in rows)]))


def summary(run: Run) -> dict[str, Any]:
    """A run as one row."""
    record = run.record
    best = record.get("best") or {}
    measured = (f"{name} {value:.4g}" for name, value in best.items() if name != "step" and isinstance(value, int | float))
    return {
        "name": run.name,
        "backend": run.backend,
        "status": run.status,
        "steps": run.steps,
        "best": next(measured, None),
        "data": record.get("data", {}).get("location"),
        "created": record["created"],
        "bytes": size_of(run.path),
        "path": str(run.path),
    }


def show_run(given: Mapping[str, Given]) -> None:
    options = build(OneRun, given)
    run = find_run(Path(options.runs_dir), None, options.run)
    if options.json:
        typer.echo(json_text({"version": 1} | run.record | {"path": str(run.path), "status": run.status}))
        return
    record, lines = run.record, [f"{key}\t{_cell(value)}" for key, value in summary(run).items()]
    lines += [f"reason\t{reason}" for reason in record.get("reasons", [])]
    lines += [f"plan.{key}\t{_cell(value)}" for key, value in record.get("plan", {}).items() if value is not None]
    lines += [f"{name}\t{values[0]:.4g} {sparkline(values, 40)} {values[-1]:.4g}" for name, values in curves(run).items()]
    lines += [f"sample\t{path}" for path in sorted(run.samples.glob("step-*"))[-1:]]
    typer.echo("\n".join(printable(line, keep="\t") for line in lines))


def curves(run: Run) -> dict[str, list[float]]:
    """The losses, and the measure that chose the best checkpoint, over steps."""
    found, best = Curves(read_metrics(run)), run.record.get("best") or {}
    shown = {name: points for name, points in found.trained.items() if name.endswith("loss")}
    shown |= {name: points for name, points in found.evaluated.items() if name in best}
    return {name: [value for _, value in points] for name, points in shown.items()}


def show_path(given: Mapping[str, Given]) -> None:
    options = build(OneRun, given)
    path = str(find_run(Path(options.runs_dir), None, options.run).path)
    if options.json:
        typer.echo(json_text({"version": 1, "path": path}))
    else:
        print_path(path)


def remove_runs(given: Mapping[str, Given]) -> None:
    options = build(SomeRuns, given)
    if not options.names:
        raise RequestError("name the runs to remove; 'aigc runs' lists them")
    _free(options, _named(options), "remove", remove)


def prune_runs(given: Mapping[str, Given]) -> None:
    options = build(SomeRuns, given)
    runs = _named(options) or [
        run for run in list_runs(Path(options.runs_dir)) if run.record["status"] in DONE and not run.record.get("pruned")
    ]
    _free(options, runs, "prune (they can't be trained longer afterwards)", prune)


def _named(options: SomeRuns) -> list[Run]:
    """Each run once, in the given order. RequestError for a wrong name, before anything is done."""
    runs = {run.path.resolve(): run for name in options.names for run in [find_run(Path(options.runs_dir), None, name)]}
    return list(runs.values())


def _free(options: SomeRuns, runs: Sequence[Run], what: str, free: Callable[[Run], int]) -> None:
    """Do it after confirmation, and print the paths on standard output and the freed space on standard error."""
    if runs and not options.yes:
        if not sys.stdin.isatty():
            raise RequestError("can't ask for confirmation without a terminal; add --yes")
        for run in runs:
            typer.echo(f"{printable(str(run.path), keep='')}  {bytes_of(size_of(run.path))}", err=True)
        if not typer.confirm(f"{what}?", err=True):
            raise AigcError("nothing was changed")
    freed = 0
    for run in runs:
        freed += free(run)
        if not options.json:
            print_path(run.path)
    if options.json:
        typer.echo(json_text({"version": 1, "runs": [str(run.path) for run in runs], "bytes": freed}))
    elif not options.quiet:
        typer.echo(f"{bytes_of(freed)} freed", err=True)


def _cell(value: Any) -> str:
    return "" if value is None else printable(one_line(str(value)), keep="")
