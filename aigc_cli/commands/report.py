"""`aigc report`: a run as one page of HTML, which needs nothing else to be read."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from aigc_cli import __version__
from aigc_cli.backends.base import Backend, Evaluation
from aigc_cli.backends.registry import backends
from aigc_cli.commands.flags import command
from aigc_cli.commands.output import is_stream, output
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import RESUMABLE, Run, find_run, read_metrics
from aigc_cli.engine.settings import OUTPUT, CommandOptions
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.files import check_file, write_text
from aigc_cli.options import MORE, Given, build, fields_of, option
from aigc_cli.ui.progress import progress
from aigc_cli.ui.report import Frame, Measured, Origin, Picture, Report, Setting, png, render

#: Previews in the page, at most, in number and in bytes.
MOST_FRAMES, MOST_BYTES = 40, 6 << 20
#: Characters of a preview that is text, at most.
MOST_TEXT = 5000


@dataclass(frozen=True)
class ReportOptions(CommandOptions):
    run: str | None = option(None, metavar="RUN", names="run", argument=True, recorded=False)
    """A run's name or path; without one, the newest run."""
    eval: bool = option(True)
    """Measure the run's model first, as `aigc eval` does by default."""
    out: str | None = option(None, metavar="FILE|-", panel=OUTPUT, auto="report.html in the run")
    """Where the page goes."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite a file that exists."""
    seed: int = option(0, min=0, max=2**63 - 1, panel=MORE)
    """For bootstrap intervals and whatever is drawn in measuring."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Where to compute."""


def add(app: typer.Typer) -> None:
    help = "Write a run's curves, samples, measures and settings as one page of HTML."
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
        page = render(_gather(target, options, bus))
    if own:  # a link in its place is replaced, not followed: a stranger's run overwrites nothing
        write_text(path, page)
    else:
        with output(options.out, force=options.force) as file:
            file.write(page.encode("utf-8"))
    if options.json:
        typer.echo(json.dumps({"version": 1, "path": str(path), "run": str(target.path)}, ensure_ascii=False))
    elif options.out != "-":
        typer.echo(str(path))


def _gather(run: Run, options: ReportOptions, bus: Bus) -> Report:
    """Everything that the page says of the run."""
    backend = backends().get(run.backend)
    measured, reason = _measured(run, backend, options, bus) if options.eval else (None, "--no-eval was given.")
    frames, left_out = _frames(run)
    return Report(
        name=run.name,
        status=run.status,
        summary=backend.summary if backend else "",
        record=run.record,
        metrics=read_metrics(run),
        frames=frames,
        frames_left_out=left_out,
        measured=measured,
        not_measured=reason,
        settings=_settings(run, backend),
        commands=_commands(run, backend),
        written=f"Written by aigc {__version__} on {time.strftime('%d %B %Y')} of a run of {run.record['created'][:10]}.",
    )


def _measured(run: Run, backend: Backend | None, options: ReportOptions, bus: Bus) -> tuple[Measured | None, str]:
    """What `aigc eval` finds with its default settings; or None, and why it can't be found."""
    kind = backend.options.get("eval") if backend else None
    if backend is None or kind is None:
        return None, f"the {run.backend} backend {'is not installed' if backend is None else 'measures nothing'}."
    if options.device != "auto":
        from aigc_cli.engine.device import resolve_device

        resolve_device(options.device)  # one that isn't there is a wrong request, and no property of the run
    fields = fields_of(kind)
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "copies.png"
        wanted: dict[str, Any] = {
            "run": str(run.path),
            "runs_dir": options.runs_dir,
            "seed": options.seed,
            "device": options.device,
            "copies": str(sheet),
        }
        try:
            run.require_model()
            asked = kind(**{name: value for name, value in wanted.items() if name in fields})
            evaluation = backend.load().evaluate(run, asked, bus)
        except Exception as error:  # whatever is wrong with the data or the model, the rest of the page is right
            return None, _why_not(error, options, bus)
        return _found(evaluation, png(sheet.read_bytes()) if sheet.is_file() else None), ""


def _why_not(error: Exception, options: ReportOptions, bus: Bus) -> str:
    if options.debug:
        traceback.print_exception(error)
    reason = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, AigcError):
        reason = f"{type(error).__name__}: {reason}"
    bus.note(f"not measured: {reason}", "warning")
    return reason


def _found(evaluation: Evaluation, copies: Picture | None) -> Measured:
    return Measured(evaluation.data, evaluation.measures, evaluation.notes, copies)


def _frames(run: Run) -> tuple[list[Frame], int]:
    """The run's previews in order, or evenly chosen ones where they are many or large, and how many there are beside these.
    Links are left alone: a stranger's run shows its own files only."""
    found = {
        int(match[1]): path
        for path in run.samples.glob("step-*")
        if (match := re.fullmatch(r"step-(\d+)\.(png|txt)", path.name)) and path.is_file() and not path.is_symlink()
    }
    steps = sorted(step for step, path in found.items() if 0 < path.stat().st_size <= MOST_BYTES)
    if not steps:
        return [], 0
    largest = max(found[step].stat().st_size for step in steps)
    chosen = _evenly(steps, max(1, min(MOST_FRAMES, MOST_BYTES // largest)))
    frames = (_frame(step, found[step]) for step in chosen)
    shown = [frame for frame in frames if frame is not None]
    return shown, len(steps) - len(shown)


def _frame(step: int, path: Path) -> Frame | None:
    content = path.read_bytes()
    if path.suffix == ".txt":
        text = content.decode("utf-8", "replace")
        return Frame(step, text=text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + " …")
    picture = png(content)
    return None if picture is None else Frame(step, picture)


def _evenly(steps: list[int], most: int) -> list[int]:
    """At most so many of them, the last among them and, where there are two, the first."""
    if len(steps) <= most:
        return steps
    last = len(steps) - 1
    return [steps[last - round(i * last / max(1, most - 1))] for i in reversed(range(most))]


def _settings(run: Run, backend: Backend | None) -> list[Setting]:
    """Every setting that has a value: those that somebody asked for, those that the program decided, and the defaults."""
    asked, plan = ({**(run.record.get(key) or {})} for key in ("asked", "plan"))
    fields = fields_of(backend.options["train"]) if backend else {}
    found = []
    for name in dict.fromkeys([*plan, *asked]):
        want, have = asked.get(name), plan.get(name)
        if want is None and have is None:
            continue
        field = fields.get(name)
        origin = _origin(want, have, field.default if field else None)
        value = have if have is not None else want
        found.append(Setting("--" + name.replace("_", "-"), _in_words(value), origin, field.help if field else ""))
    return found


def _origin(asked: Any, planned: Any, default: Any) -> Origin:
    if asked is None or (asked == default and planned not in (None, asked)):
        return "decided"
    return "default" if asked == default else "asked for"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _commands(run: Run, backend: Backend | None) -> list[tuple[str, str]]:
    """What to type to go on, to use the model and to repeat the run: (what for, command)."""
    name = shlex.quote(run.backend)  # a stranger's run may say anything
    found = []
    if run.status in RESUMABLE:
        found.append(("Go on with it:", run.resume_command))
    verbs = backend.options if backend else {}
    if "sample" in verbs:
        found.append(("Draw samples:", f"aigc sample {name} --run {run.reference} -n 16 --seed 0"))
    if "eval" in verbs:
        found.append(("Measure it:", f"aigc eval {name} --run {run.reference} --seed 0"))
    again = re.sub(r"[^\w.+-]+", "-", run.name).strip("-.") or "run"
    config = shlex.quote(str(run.path / "run.json"))
    found.append(("Train it again, with the whole plan as it was:", f"aigc train {name} --config {config} --run {again}-again"))
    return found
