"""What a backend is.

A fourth backend is one folder with a `Backend` value, named by one entry point:

    [project.entry-points."aigc.backends"]
    diffusion = "my_package.config:BACKEND"

The value and the options it names are free of torch; the implementation is imported when a command needs it.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from aigc_cli.engine.events import Bus
from aigc_cli.engine.meanings import Meanings
from aigc_cli.engine.run import Run
from aigc_cli.engine.settings import OUTPUT, CommandOptions
from aigc_cli.engine.trainable import Trainable
from aigc_cli.options import MORE, option

if TYPE_CHECKING:
    from aigc_cli.data.latents import Encoded
    from aigc_cli.data.latents_input import Latents
    from aigc_cli.data.pictures.output import Pixels


@dataclass(frozen=True)
class SampleOptions(CommandOptions):
    """What every `aigc sample BACKEND` has."""

    run: str | None = option(None, metavar="RUN", names="run", auto="the newest")
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
class PictureOutput(CommandOptions, ABC):
    """What every command has whose result is pictures."""

    out: str | None = option(None, metavar="DIR|FILE|-", panel=OUTPUT, auto="the folder samples/BACKEND-RUN")
    """A folder of pictures, one sheet (sheet.png, which enlarges small ones), an array (.npz), or a tar (.tar, '-' for standard
    output)."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite files that exist."""
    format: Literal["png", "jpeg", "webp"] | None = option(None, panel=OUTPUT, auto="png")
    """The format of the pictures in a folder or a tar; PNG and WebP are lossless."""

    @abstractmethod
    def stem(self, position: int) -> str:
        """The name, without its suffix, of the picture that comes at this position."""

    def columns(self, n: int) -> int:
        """How many of n pictures stand in a row of a sheet."""
        return math.isqrt(n - 1) + 1


@dataclass(frozen=True)
class PictureSampleOptions(PictureOutput, SampleOptions):
    """What `aigc sample BACKEND` has where samples are pictures."""

    n: int = option(16, min=1, short="-n")
    """How many pictures."""

    def stem(self, position: int) -> str:
        """seed-42-000003: a picture has one name, and another seed's has another."""
        return f"seed-{self.seed}-{position:06d}"

    def expected(self) -> int | None:
        """How many pictures there will be; None where only the data can tell."""
        return self.n


@dataclass(frozen=True)
class EncodeOptions(CommandOptions):
    """What every `aigc encode BACKEND` has."""

    run: str | None = option(None, metavar="RUN", names="run", auto="the newest")
    """The run to encode with: a name or a path."""
    data: str | None = option(None, metavar="SRC", auto="none: it must be given")
    """What to encode: a file, a folder, '-' for standard input, hf:OWNER/NAME, or demo:NAME."""
    out: str | None = option(None, metavar="FILE|-", panel=OUTPUT, auto="standard output")
    """Where the table goes: .parquet, .npz, .tsv or .jsonl."""
    format: Literal["npz", "parquet", "tsv", "jsonl"] | None = option(
        None, panel=OUTPUT, auto="from the suffix of --out, else tsv"
    )
    """The format of the table."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite a file that exists."""
    seed: int = option(0, min=0, max=2**63 - 1, panel=MORE)
    """For whatever is drawn."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Where to compute."""


@dataclass(frozen=True)
class DecodeOptions(PictureOutput):
    """What every `aigc decode BACKEND` has."""

    run: str | None = option(None, metavar="RUN", names="run", auto="the newest")
    """The run to decode with: a name or a path."""
    latents: str | None = option(None, metavar="FILE|-", short="--from", auto="none: it must be given")
    """What `aigc encode` wrote, or any table (.parquet, .npz, .npy, .tsv, .jsonl) of latent vectors; its column
    `latent` is taken, else `mean`."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Where to compute."""

    def stem(self, position: int) -> str:
        """decoded-000003."""
        return f"decoded-{position:06d}"


@dataclass(frozen=True)
class EvalOptions(CommandOptions):
    """What every `aigc eval BACKEND` has."""

    run: str | None = option(None, metavar="RUN", names="run", auto="the newest")
    """The run to measure: a name or a path."""
    data: str | None = option(None, metavar="SRC", auto="the half of the held-out data that chose nothing")
    """Data to measure on."""
    seed: int = option(0, min=0, max=2**63 - 1, panel=MORE)
    """For bootstrap intervals and whatever is drawn."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Where to compute."""


@dataclass(frozen=True)
class Sample:
    """One sample: what `--json` prints of it, and its text or its pixels (height, width, channels)."""

    record: Mapping[str, Any]
    text: str | None = None
    pixels: Pixels | None = None


@dataclass(frozen=True)
class Evaluation:
    """Measures by name (value, low, high, n and what stands beside them), and what they were measured on."""

    data: str
    measures: Mapping[str, Mapping[str, Any]]
    notes: list[str] = field(default_factory=list)


class Implementation(Trainable[Any, Any], Protocol):
    """The part of a backend that needs torch: what the engine trains with, and a method for each other verb in its options."""

    def sample(self, run: Run, options: Any, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Sample]:
        """Samples in order, each with its `seed` and `index` in its record; `options.seed` is never None here. One that comes
        as text is also handed to `piece`, as it grows, where that is given."""

    def evaluate(self, run: Run, options: Any, bus: Bus) -> Evaluation:
        """Measures of the run's model; with their uncertainty and sample size."""

    def encode(self, run: Run, options: Any, bus: Bus) -> Iterator[Encoded]:
        """The inputs in order, in chunks that all have the same columns: `mean` and `log_var` (n, d), `score` (n,), …"""

    def decode(self, run: Run, options: Any, latents: Latents, bus: Bus) -> Iterator[Sample]:
        """A sample for each latent vector, in order. RequestError where their width is not the model's."""


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
    meanings: Meanings = field(default_factory=Meanings)
    """What its measures mean, for tables, curves and the report page."""

    def load(self) -> Implementation:
        module, _, name = self.implementation.partition(":")
        implementation: Implementation = getattr(importlib.import_module(module), name)()
        return implementation
