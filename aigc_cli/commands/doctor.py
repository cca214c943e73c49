"""`aigc doctor`: the hardware and software of this machine, what is wrong with them, and how to fix it."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import typer

from aigc_cli import __version__
from aigc_cli.commands.checks import Facts, Problem, Terminal, problems
from aigc_cli.commands.flags import command
from aigc_cli.engine.runs.finding import list_runs
from aigc_cli.engine.settings import CommandOptions
from aigc_cli.errors import first_line
from aigc_cli.files import bytes_of
from aigc_cli.machine import (
    Device,
    Folder,
    Torch,
    cpu_model,
    folder,
    graphics_cards,
    memory,
    packages,
    usable_cores,
)
from aigc_cli.options import MORE, Given, build, option
from aigc_cli.ui.progress import progress
from aigc_cli.ui.terminal import colours, writes_unicode
from aigc_cli.ui.text import one_line, printable

VARIABLES = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "CUDA_VISIBLE_DEVICES")
HELP = (
    "Check this machine: hardware, software, memory and disk space, what is wrong, and how to fix it.\n\n"
    "Exits with 1 only if something keeps aigc from working."
)

Row: TypeAlias = tuple[str, Any, str]
"""A name, its value for programs, and its text for people."""


@dataclass(frozen=True)
class DoctorOptions(CommandOptions):
    compile: bool = option(False, panel=MORE)
    """Also try torch.compile, which may take a minute."""
    threads: int | None = option(None, min=1, panel=MORE, auto="all cores this process may use")
    """CPU threads to measure with."""


def add(app: typer.Typer) -> None:
    app.command("doctor")(command(DoctorOptions, run, "doctor", HELP))


def run(given: Mapping[str, Given]) -> None:
    options = build(DoctorOptions, given)
    with progress(json_lines=options.json, quiet=options.quiet) as bus:
        bus.stage("checking this machine", 0, None)
        facts = gather(options)
    found = problems(facts)
    if options.json:
        typer.echo(json.dumps(as_json(facts, found)))
    elif sys.stdout.isatty():
        _say("\n".join(readable(facts, found)))
    else:
        lines = [(name, _plain(value)) for name, value, _ in rows(facts)]
        lines += [("fatal" if problem.fatal else "problem", problem.text) for problem in found]
        _say("\n".join(f"{name}\t{printable(one_line(text), keep='')}" for name, text in lines))
    if any(problem.fatal for problem in found):
        raise typer.Exit(1)


def gather(options: DoctorOptions) -> Facts:
    from aigc_cli.data.cache import cache_dir

    needed, extras = packages()
    runs_dir = Path(options.runs_dir)
    runs = list_runs(runs_dir)
    torch, devices = _torch(options)
    columns, lines = shutil.get_terminal_size()
    return Facts(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=needed,
        extras=extras,
        cpu=cpu_model(),
        cores=usable_cores(),
        environ={name: os.environ[name] for name in VARIABLES if name in os.environ},
        graphics_cards=graphics_cards(),
        torch=torch,
        devices=devices,
        memory=memory(),
        runs=folder(runs_dir),
        n_runs=len(runs),
        killed={
            str(run.path): run.resume_command for run in runs if run.record["status"] == "running" and run.status != "running"
        },
        cache=folder(cache) if (cache := cache_dir()) else Folder("no home folder", False, 0, 0),
        encodings={"standard_output": sys.stdout.encoding or "ascii", "file_names": sys.getfilesystemencoding()},
        terminal=Terminal(
            sys.stdout.isatty(), sys.stderr.isatty(), columns, lines, colours(os.environ), writes_unicode(sys.stdout)
        ),
    )


def _torch(options: DoctorOptions) -> tuple[Torch, list[Device]]:
    """PyTorch and its devices. A broken PyTorch is a finding, not a failure."""
    try:
        from aigc_cli.engine.planning.hardware import measure_hardware
    except Exception as error:  # a broken installation may raise anything
        return Torch(first_line(error)), []
    return measure_hardware(options.threads, compile=options.compile)


def as_json(facts: Facts, found: list[Problem]) -> dict[str, Any]:
    """What --json prints; documented in the README under Formats."""
    return {
        "version": 1,
        "versions": {"aigc": __version__, "python": facts.python, **facts.packages},
        "extras": facts.extras,
        "platform": facts.platform,
        "cpu": {"model": facts.cpu, "cores": facts.cores, "threads": facts.torch.threads},
        "graphics_cards": facts.graphics_cards,
        "devices": [dataclasses.asdict(device) for device in facts.devices],
        "torch": {"cuda": facts.torch.cuda, "rocm": facts.torch.rocm, "compiles": facts.torch.compiles},
        "memory": dataclasses.asdict(facts.memory),
        "runs": {**dataclasses.asdict(facts.runs), "n": facts.n_runs},
        "cache": dataclasses.asdict(facts.cache),
        "encodings": facts.encodings,
        "terminal": dataclasses.asdict(facts.terminal),
        "problems": [dataclasses.asdict(problem) for problem in found],
    }


def rows(facts: Facts) -> Iterator[Row]:
    """The facts one by one, in reading order."""
    yield "aigc", __version__, __version__
    yield "python", facts.python, facts.python
    for name, version in facts.packages.items():
        yield name, version, version or "not installed"
    for name, version in facts.extras.items():
        yield f"extra.{name}", version, version or "not installed (optional)"
    yield "platform", facts.platform, facts.platform
    yield "processor", facts.cpu, facts.cpu
    yield "cores", facts.cores, f"{facts.cores} usable"
    yield "threads", facts.torch.threads, str(facts.torch.threads)
    yield "graphics", ", ".join(facts.graphics_cards), ", ".join(facts.graphics_cards) or "no graphics card found"
    for device in facts.devices:
        held = f", {bytes_of(device.memory)}" if device.memory else ""
        speed = "does not compute" if device.gflops is None else f"{device.gflops:,g} GFLOP/s in {device.precision}"
        yield device.device, device.name, f"{device.name}{held}: {speed}"
        for part in ("memory", "precision", "gflops"):
            yield f"{device.device}.{part}", getattr(device, part), ""
    yield "torch.cuda", facts.torch.cuda or facts.torch.rocm, ""
    compiles = {True: "works", False: "does not work", None: "not tried (use --compile)"}[facts.torch.compiles]
    yield "torch.compile", facts.torch.compiles, compiles
    total, available = (None if n is None else bytes_of(n) for n in (facts.memory.total, facts.memory.available))
    limit = " allowed by the control group" if facts.memory.limited else ""
    yield "memory.available", facts.memory.available, f"{available or 'unknown'} of {total or 'unknown'}{limit}"
    yield "memory.total", facts.memory.total, ""
    for name, place, what in (("runs", facts.runs, f"{facts.n_runs:,} runs, "), ("cache", facts.cache, "")):
        yield name, place.path, f"{place.path}: {what}{bytes_of(place.bytes)}, {bytes_of(place.free)} free on disk"
        yield f"{name}.bytes", place.bytes, ""
        yield f"{name}.free", place.free, ""
    yield "runs.n", facts.n_runs, ""
    t = facts.terminal
    letters = "unicode" if t.unicode else "no unicode"
    yield "terminal", t.stdout and t.stderr, f"{t.columns} × {t.lines}, colours: {t.colours}, {letters}"
    for part in ("stdout", "stderr", "columns", "lines", "colours", "unicode"):
        yield f"terminal.{part}", getattr(t, part), ""


def readable(facts: Facts, found: list[Problem]) -> list[str]:
    """For people: the rows as text, then the problems."""
    said = [(name, text) for name, _, text in rows(facts) if text]
    widest = max(len(name) for name, _ in said)
    lines = [f"{name:<{widest}}  {printable(text, keep='')}" for name, text in said]
    if not found:
        return [*lines, "", "no problems found"]
    wrapper = textwrap.TextWrapper(
        facts.terminal.columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    worse = "✗" if facts.terminal.unicode else "X"
    said_of = (f"{worse if problem.fatal else '!'} {printable(problem.text, keep='')}" for problem in found)
    return [*lines, "", *map(wrapper.fill, said_of)]


def _say(text: str) -> None:
    """Print in whatever encoding standard output has: a wrong one is a finding, not a failure."""
    encoding = sys.stdout.encoding or "ascii"
    typer.echo(text.encode(encoding, "replace").decode(encoding))


def _plain(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
