"""What a backend is.

A fourth backend is one folder with a `Backend` value, named by one entry point:

    [project.entry-points."aigc.backends"]
    diffusion = "my_package.config:BACKEND"

The value and its options are free of torch; the implementation is imported when a command needs it.
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from aigc_cli.engine.events import Bus
from aigc_cli.engine.meanings import Meanings
from aigc_cli.engine.runs.run import Run
from aigc_cli.engine.settings import OUTPUT, CommandOptions
from aigc_cli.engine.trainable import Trainable
from aigc_cli.options import MORE, option

if TYPE_CHECKING:
    from pathlib import Path

    from aigc_cli.data.latents import Codes, Encoded
    from aigc_cli.data.latents_input import Latents
    from aigc_cli.data.pictures.output import Pixels


@dataclass(frozen=True)
class OutputOptions(CommandOptions, ABC):
    """Options of every command whose result is samples, whatever kind of data they are."""

    out: str | None = option(None, metavar="FILE|DIR|-", panel=OUTPUT, auto="standard output for text")
    """Where to write the samples."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite a file that exists."""

    @abstractmethod
    def stem(self, position: int) -> str:
        """The file name, without suffix, of the sample at this position."""

    def columns(self, n: int) -> int:
        """The number of columns of a sheet of n samples."""
        return math.isqrt(n - 1) + 1


@dataclass(frozen=True)
class SampleOptions(OutputOptions):
    """Options of every `aigc sample BACKEND`."""

    run: str | None = option(None, metavar="RUN", names="run", auto="the newest")
    """The run to sample from: a name or a path."""
    n: int = option(1, min=1, short="-n")
    """Number of samples."""
    seed: int | None = option(None, min=0, max=2**63 - 1, auto="random, and printed")
    """Random seed. Sample i depends only on the seed and i."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Device to compute on."""
    devices: str = option("1", metavar="N|all", panel=MORE)
    """Devices that share the work (on a CPU, processes)."""

    def stem(self, position: int) -> str:
        """seed-42-000003: samples of different seeds have different names."""
        return f"seed-{self.seed}-{position:06d}"

    def expected(self) -> int | None:
        """The number of samples; None if it depends on the data."""
        return self.n


@dataclass(frozen=True)
class EncodeOptions(CommandOptions):
    """Options of every `aigc encode BACKEND`."""

    run: str | None = option(None, metavar="RUN", names="run", auto="the newest")
    """The run to encode with: a name or a path."""
    data: str | None = option(None, metavar="SRC", auto="required")
    """What to encode: a file, a folder, '-' for standard input, hf:OWNER/NAME, or demo:NAME."""
    out: str | None = option(None, metavar="FILE|-", panel=OUTPUT, auto="standard output")
    """Where to write the table: .parquet, .npz, .tsv or .jsonl."""
    format: Literal["npz", "parquet", "tsv", "jsonl"] | None = option(
        None, panel=OUTPUT, auto="from the suffix of --out, otherwise tsv"
    )
    """Format of the table."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite a file that exists."""
    seed: int = option(0, min=0, max=2**63 - 1, panel=MORE)
    """Seed of everything random."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Device to compute on."""


@dataclass(frozen=True)
class DecodeOptions(OutputOptions):
    """Options of every `aigc decode BACKEND`."""

    run: str | None = option(None, metavar="RUN", names="run", auto="the newest")
    """The run to decode with: a name or a path."""
    latents: str | None = option(None, metavar="FILE|-", short="--from", auto="required")
    """Latent vectors: the output of `aigc encode`, or any table (.parquet, .npz, .npy, .tsv, .jsonl) with a column `latent`,
    `mean` or `codes`."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Device to compute on."""

    def stem(self, position: int) -> str:
        """decoded-000003."""
        return f"decoded-{position:06d}"


@dataclass(frozen=True)
class EvalOptions(CommandOptions):
    """Options of every `aigc eval BACKEND`."""

    run: str | None = option(None, metavar="RUN", names="run", auto="the newest")
    """The run to evaluate: a name or a path."""
    data: str | None = option(None, metavar="SRC", auto="the held-out data that chose no checkpoint")
    """Data to evaluate on."""
    seed: int = option(0, min=0, max=2**63 - 1, panel=MORE)
    """Seed of bootstrap intervals and samples."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Device to compute on."""
    devices: str = option("1", metavar="N|all", panel=MORE)
    """Devices that share the work (on a CPU, processes)."""


@dataclass(frozen=True)
class Sample:
    """One sample: its record for `--json`, and its content, which the kind of data that the run learned from knows how to
    write: text, pixels (height, width, channels) uint8, …"""

    record: Mapping[str, Any]
    content: Any


@dataclass(frozen=True)
class Evaluation:
    """Measures by name (value, low, high, n and reference figures), and the data they were measured on."""

    data: str
    measures: Mapping[str, Mapping[str, Any]]
    notes: list[str] = field(default_factory=list)
    examples: Sequence[Mapping[str, str | bytes]] = ()
    """Unseen examples, each beside what the model makes of it, for `aigc report`: by the same titles, a text or the content of
    a PNG file."""


class Codec(Protocol):
    """Pictures, or what is read as pictures, to discrete codes and back. It needs torch, and comes from
    `aigc_cli.backends.codecs.open_codec`."""

    n_codes: int
    """Codes are 0 … n_codes − 1."""
    grid: tuple[int, int]
    """Rows and columns of a picture's codes, which are read row by row."""
    data: Mapping[str, Any]
    """What its pictures are, as run.json records it: the `kind` of data, their `format`, and what else the kind reads them
    by."""

    def encode(self, pixels: Pixels) -> Codes:
        """The codes (n, rows · columns) of pictures (n, height, width, channels), computed in batches of a fixed size: the same
        for a picture in any company, up to rare ties."""

    def decode(self, codes: Codes) -> Pixels:
        """The pictures (n, height, width, channels) of codes (n, rows · columns). RequestError for codes that don't exist."""

    def save(self, folder: Path) -> None:
        """Write a whole copy, which `open_codec` opens."""


class Implementation(Trainable[Any, Any], Protocol):
    """The part of a backend that needs torch: what the engine trains with, and a method for each other verb."""

    def sample(self, run: Run, options: Any, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Sample]:
        """Samples in order, each with its `seed` and `index` in its record; `options.seed` is never None here. If `piece` is
        given, text is also passed to it as it is generated."""

    def evaluate(self, run: Run, options: Any, bus: Bus) -> Evaluation:
        """Measures of the run's model, with their uncertainty and sample size."""

    def encode(self, run: Run, options: Any, bus: Bus) -> Iterator[Encoded]:
        """The encoded inputs in order, in chunks with the same columns: `mean` and `log_var` (n, d), `score` (n,), …"""

    def decode(self, run: Run, options: Any, latents: Latents, bus: Bus) -> Iterator[Sample]:
        """One sample per latent vector, in order. RequestError if their width is not the model's."""


@dataclass(frozen=True)
class Backend:
    """A backend: everything about it that doesn't need torch."""

    name: str
    summary: str
    demo: str
    """The data that `train` uses without --data."""
    options: Mapping[str, type[CommandOptions]]
    """Verb -> options. The backend lacks verbs that are absent."""
    implementation: str
    """`module:Class`, imported when a command needs it."""
    kinds: tuple[str, ...]
    """The kinds of data it learns from, by name; the first is assumed for runs that don't record theirs."""
    meanings: Meanings = field(default_factory=Meanings)
    """What its measures mean, for tables, curves and the report page."""
    codec: str | None = None
    """`module:function`, which opens a run's model as a codec: function(folder, device) -> Codec. RequestError if the folder is
    not a whole codec."""
    codec_options: Mapping[str, Any] = field(default_factory=dict)
    """What its options of `train` must be so that the run is a codec."""

    def load(self) -> Implementation:
        implementation: Implementation = imported(self.implementation)()
        return implementation


def imported(target: str) -> Any:
    """What `module:name` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
