"""`aigc encode BACKEND`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigc_cli.backends.base import EncodeOptions
from aigc_cli.backends.registry import backends
from aigc_cli.commands.destinations import print_lines
from aigc_cli.commands.output import announced, output
from aigc_cli.commands.run_choice import FirstNotes, trained_run
from aigc_cli.errors import RequestError
from aigc_cli.options import Given, build
from aigc_cli.ui.progress import progress

_SUFFIXES = {".npz": "npz", ".parquet": "parquet", ".tsv": "tsv", ".jsonl": "jsonl"}


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options: Any = build(backend.options["encode"], given)
    if options.data is None:
        raise RequestError("name what to encode with --data: a file, a folder, or '-' for standard input")
    target = trained_run(options, name)
    format = _format(options)
    with progress(json_lines=options.json, quiet=options.quiet) as bus, output(options.out, force=options.force) as stream:
        from aigc_cli.data.latents import write_latents

        encoded = FirstNotes(options, target, bus).before(backend.load().encode(target, options, bus))
        n = write_latents(stream, format, announced(encoded, bus, stream))
    if options.out not in (None, "-"):
        print_lines([{"path": options.out, "n": n}], as_json=options.json)


def _format(options: EncodeOptions) -> str:
    """The format of the table, from --format, --json or the suffix; RequestError where they disagree or tell nothing."""
    if options.out is None or options.out == "-":
        if options.json and options.format not in (None, "jsonl"):
            raise RequestError(f"--json writes JSON Lines to standard output; leave out --format {options.format}")
        if options.format in ("npz", "parquet") and sys.stdout.isatty():
            raise RequestError(f"--format {options.format} is not for a terminal; pipe it on, or name a file with --out")
        return options.format or ("jsonl" if options.json else "tsv")
    told = _SUFFIXES.get(Path(options.out).suffix.lower())
    if told and options.format and told != options.format:
        raise RequestError(f"--out {options.out} is no {options.format} by its suffix; leave out --format")
    format = options.format or told
    if format is None:
        raise RequestError(f"--out {options.out}: its suffix is none of {' '.join(_SUFFIXES)}; say which with --format")
    return format
