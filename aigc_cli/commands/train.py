"""`aigc train BACKEND`."""

from __future__ import annotations

import json
from collections.abc import Mapping

import typer

from aigc_cli.backends.registry import backends
from aigc_cli.engine.run import open_run
from aigc_cli.options import Given, build
from aigc_cli.ui.progress import next_steps, progress


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options = build(backend.options["train"], given)
    with progress(json_lines=options.json, quiet=options.quiet) as bus:
        from aigc_cli.engine.session import train

        result = train(backend.load(), backend.options["train"], given, backend.demo, bus)
        if not options.json:
            for line in next_steps(name, open_run(result.run).reference):
                bus.note(line)
    typer.echo(json.dumps(result.to_json()) if options.json else str(result.run))
