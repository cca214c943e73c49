"""What a backend is.

A fourth backend is one folder with a `Backend` value, named by one entry point:

    [project.entry-points."aigc.backends"]
    diffusion = "my_package.config:BACKEND"

The value and the options it names are free of torch; the implementation is imported when a command needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.engine.settings import OUTPUT, CommandOptions
from aigc_cli.engine.trainable import Trainable
from aigc_cli.options import MORE, option


@dataclass(frozen=True)
class SampleOptions(CommandOptions):
    """What every `aigc sample BACKEND` has."""

    run: str | None = option(None, metavar="RUN", auto="the newest")
    """The run to sample from: a name or a path."""
    n: int = option(1, min=1, short="-n")
    """How many samples."""
    seed: int | None = option(None, min=0, max=2**63 - 1, auto="random, and told")
    """Sample i depends on the seed and i alone."""
    out: str | None = option(None, metavar="FILE|DIR|-", panel=OUTPUT, auto="standard output for text")
    """Where the samples go."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite a file that exists."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Where to compute."""


@dataclass(frozen=True)
class EvalOptions(CommandOptions):
    """What every `aigc eval BACKEND` has."""

    run: str | None = option(None, metavar="RUN", auto="the newest")
    """The run to measure: a name or a path."""
    data: str | None = option(None, metavar="SRC", auto="the half of the held-out data that chose nothing")
    """Data to measure on."""
    seed: int = option(0, min=0, max=2**63 - 1, panel=MORE)
    """For bootstrap intervals and whatever is drawn."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Where to compute."""


@dataclass(frozen=True)
class Sample:
    """One sample: what `--json` prints of it, and its text, or a file's suffix and content."""

    record: Mapping[str, Any]
    text: str | None = None
    file: tuple[str, bytes] | None = None


@dataclass(frozen=True)
class Evaluation:
    """Measures by name (value, low, high, n and what stands beside them), and what they were measured on."""

    data: str
    measures: Mapping[str, Mapping[str, Any]]
    notes: list[str] = field(default_factory=list)


class Implementation(Trainable[Any], Protocol):
    """The part of a backend that needs torch: what the engine trains with, and how to sample and to measure."""

    def sample(self, run: Run, options: Any, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Sample]:
        """Samples in order. One that comes as text is also handed to `piece`, as it grows, where that is given."""

    def evaluate(self, run: Run, options: Any, bus: Bus) -> Evaluation:
        """Measures of the run's model; with their uncertainty and sample size."""


@dataclass(frozen=True)
class Backend:
    """A backend, as far as it can be told without torch."""

    name: str
    summary: str
    demo: str
    """The SRC that `train` uses without --data."""
    options: Mapping[str, type[CommandOptions]]
    """Verb -> options. A verb that is absent is one that this backend lacks."""
    implementation: str
    """`module:Class`, imported when a command needs it."""

    def load(self) -> Implementation:
        module, _, name = self.implementation.partition(":")
        implementation: Implementation = getattr(importlib.import_module(module), name)()
        return implementation
