"""`aigc decode BACKEND`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigc_cli.backends.registry import backends
from aigc_cli.commands.output import announced
from aigc_cli.commands.pictures import picture_writer, previewed, print_lines
from aigc_cli.commands.run_choice import FirstNotes, trained_run
from aigc_cli.errors import RequestError
from aigc_cli.options import Given, build
from aigc_cli.ui.progress import progress


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options: Any = build(backend.options["decode"], given)
    if options.latents is None:
        raise RequestError("name the latent vectors to decode with --from: a file, or '-' for standard input")
    target = trained_run(options, name)
    from aigc_cli.data.latents_input import read_latents

    latents = read_latents(options.latents)
    write = picture_writer(options, Path("samples", f"{name}-{target.name}"), len(latents.names))
    with previewed(options) as passing, progress(json_lines=options.json, quiet=options.quiet) as bus:
        samples = passing(FirstNotes(options, target, bus).before(backend.load().decode(target, options, latents, bus)))
        print_lines(announced(write(samples), bus, sys.stdout), as_json=options.json)
