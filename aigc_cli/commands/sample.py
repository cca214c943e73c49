"""`aigc sample BACKEND`."""

from __future__ import annotations

import dataclasses
import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from aigc_cli.backends.base import Sample
from aigc_cli.backends.registry import backends
from aigc_cli.commands.destinations import kind_of, write_samples
from aigc_cli.commands.lines import Piece
from aigc_cli.commands.run_choice import FirstNotes, trained_run
from aigc_cli.engine.events import Bus
from aigc_cli.engine.processes.launch import agreed, follows, share_work, wanted
from aigc_cli.errors import RequestError
from aigc_cli.options import Given, build


def run(name: str, given: Mapping[str, Given]) -> None:
    backend = backends()[name]
    options: Any = build(backend.options["sample"], given)
    if getattr(options, "stream", False) and wanted(options) > 1:
        raise RequestError("--stream shows texts as they grow, on one device; leave out --devices")
    share_work(options)
    target = trained_run(options, name)
    kind = kind_of(target, backend)
    if "n" not in given:
        options = dataclasses.replace(options, n=kind.n_samples)
    notes = []
    if options.seed is None:
        options = dataclasses.replace(options, seed=agreed(secrets.randbits(32)))
        notes = [f"seed {options.seed}"]

    def draw(bus: Bus, piece: Piece | None) -> Iterator[Sample]:
        first_notes = FirstNotes(options, target, bus, *notes)

        def told(text: str) -> None:
            assert piece is not None
            first_notes.emit()
            piece(text)

        return first_notes.before(backend.load().sample(target, options, bus, None if piece is None else told))

    if follows():  # another process writes them
        deque(draw(Bus(), None), maxlen=0)
        return
    write_samples(target, kind, options, options.expected(), draw)
