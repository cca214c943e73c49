"""`aigc report`: a run as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from aigc_cli.commands.flags import command
from aigc_cli.commands.output import is_stream, output, print_path
from aigc_cli.engine.runs.finding import find_run
from aigc_cli.engine.settings import OUTPUT, CommandOptions
from aigc_cli.errors import RequestError
from aigc_cli.files import check_file, json_text, write_text
from aigc_cli.options import MORE, Given, build, option
from aigc_cli.ui.progress import progress


@dataclass(frozen=True)
class ReportOptions(CommandOptions):
    run: str | None = option(None, metavar="RUN", names="run", argument=True, recorded=False)
    """A run's name or path; by default the newest run."""
    eval: bool = option(True)
    """Evaluate the run first, as `aigc eval` does by default."""
    out: str | None = option(None, metavar="FILE|-", panel=OUTPUT, auto="report.html in the run's folder")
    """Where to write the page."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite a file that exists."""
    seed: int = option(0, min=0, max=2**63 - 1, panel=MORE)
    """Seed of bootstrap intervals and samples."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Device to compute on."""


def add(app: typer.Typer) -> None:
    help = "Write a run's samples, curves, measures and settings as one HTML page."
    app.command("report")(command(ReportOptions, run, "report", help))


def run(given: Mapping[str, Given]) -> None:
    options = build(ReportOptions, given)
    if options.out == "-" and options.json:
        raise RequestError("--json and --out - both want standard output; leave out one of them")
    target = find_run(Path(options.runs_dir), None, options.run)
    path = target.path / "report.html" if options.out is None else Path(options.out)
    own = path.name == "report.html" and path.parent.resolve() == target.path.resolve()
    if options.out != "-" and not is_stream(path):
        check_file(path, force=options.force or own)
    with progress(json_lines=options.json, quiet=options.quiet) as bus:
        from aigc_cli.commands.page import gather
        from aigc_cli.ui.report import render

        content = gather(target, bus, evaluate=options.eval, seed=options.seed, device=options.device, debug=options.debug)
        page = render(content)
    if own:  # replaces a link instead of following it: a stranger's run overwrites nothing
        write_text(path, page)
    else:
        with output(options.out, force=options.force) as file:
            file.write(page.encode("utf-8"))
    if options.json:
        typer.echo(json_text({"version": 1, "path": str(path), "run": str(target.path)}))
    elif options.out != "-":
        print_path(path)
