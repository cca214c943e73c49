"""`aigc train BACKEND`."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from aigc_cli.backends.base import Backend
from aigc_cli.backends.registry import backends
from aigc_cli.commands.output import print_path
from aigc_cli.data import cache
from aigc_cli.engine import clock
from aigc_cli.engine.processes.launch import share_work, wanted
from aigc_cli.engine.runs.run import open_run
from aigc_cli.errors import RequestError
from aigc_cli.files import bytes_of, json_text
from aigc_cli.options import Given, build
from aigc_cli.ui.progress import next_steps, progress
from aigc_cli.ui.text import cut, duration, one_line, printable

if TYPE_CHECKING:
    from aigc_cli.engine.planning.dry_run import DryRun


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options: Any = build(backend.options["train"], given)
    if options.dry_run:
        _dry_run(backend, dataclasses.replace(options, shards=options.shards or wanted(options)))
        return
    share_work(options)
    clock.start()
    with progress(json_lines=options.json, quiet=options.quiet, meanings=backend.meanings) as bus:
        from aigc_cli.engine.train import train

        _own_compiled_code()
        result = train(backend.load(), options, given, backend.demo, bus)
        if not options.json:
            run = open_run(result.run)
            for line in next_steps(name, run.reference, run.first_sample):
                bus.note(line)
    if options.json:
        typer.echo(json.dumps(result.to_json()))
    else:
        print_path(result.run)


def _own_compiled_code() -> None:
    """Keep what torch.compile makes, and executes, in our cache. By itself it takes a folder of the shared temporary one, whose
    name is known, so that others can make it first and put code there."""
    if not os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache.compiled())


def _dry_run(backend: Backend, options: Any) -> None:
    if options.resume:
        raise RequestError("--dry-run is of a new run: leave out --resume")
    with progress(json_lines=options.json, quiet=options.quiet) as bus:
        from aigc_cli.engine.planning.dry_run import dry_run

        _own_compiled_code()
        found = dry_run(backend.load(), options, backend.demo, bus)
    if options.json:
        typer.echo(json_text(found.to_json()))
    else:
        told = found.reasons if options.quiet else ()  # else they stand above already
        lines = [*_lines(found), *(f"reason\t{reason}" for reason in told)]
        typer.echo("\n".join(printable(line, keep="\t") for line in lines))


def _lines(found: DryRun) -> list[str]:
    """What would be done, as lines `name<TAB>value`."""
    lines = [f"data\t{found.data.get('location', '')}"]
    for split, counts in found.data.get("splits", {}).items():
        lines.append(
            f"{split}\t"
            + ", ".join(f"{count:,} {unit.removesuffix('s') if count == 1 else unit}" for unit, count in counts.items())
        )
    width = shutil.get_terminal_size().columns - len("example ")
    examples = (printable(f"{example.heading}: {one_line(example.content)}") for example in found.examples)
    lines += [f"example\t{cut(example, width)}" for example in examples]
    return [
        *lines,
        f"model\t{found.model}",
        f"parameters\t{found.parameters:,}",
        f"device\t{found.device}",
        f"memory\t{bytes_of(found.memory)}",
        f"steps\t{found.steps:,}",
        f"time\t{duration(found.seconds)}",
    ]
