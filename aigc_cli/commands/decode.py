"""`aigc decode BACKEND`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aigc_cli.backends.base import Sample
from aigc_cli.backends.registry import backends
from aigc_cli.commands.destinations import kind_of, write_samples
from aigc_cli.commands.lines import Piece
from aigc_cli.commands.run_choice import FirstNotes, trained_run
from aigc_cli.engine.events import Bus
from aigc_cli.errors import RequestError
from aigc_cli.options import Given, build


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options: Any = build(backend.options["decode"], given)
    if options.latents is None:
        raise RequestError("name the latent vectors to decode with --from: a file, or '-' for standard input")
    target = trained_run(options, name)
    from aigc_cli.data.latents_input import read_latents

    latents = read_latents(options.latents)

    def draw(bus: Bus, _: Piece | None) -> Iterator[Sample]:
        return FirstNotes(options, target, bus).before(backend.load().decode(target, options, latents, bus))

    write_samples(target, kind_of(target, backend), options, len(latents.names), draw)
