"""The part of a backend that the engine trains with. Free of torch at import."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aigc_cli.engine.events import Bus
from aigc_cli.engine.settings import Plan, TrainOptions

if TYPE_CHECKING:
    import torch

    from aigc_cli.engine.learner import Learner

Options = TypeVar("Options", bound=TrainOptions, contravariant=True)
AnyPlan = TypeVar("AnyPlan", bound=Plan)


@dataclass(frozen=True)
class Example:
    """An example of the training data."""

    which: str  # "longest"
    content: str  # a text, or a picture's name
    about: str = ""  # "1,204 characters"

    @property
    def heading(self) -> str:
        """ "longest (1,204 characters)"."""
        return self.which + (f" ({self.about})" if self.about else "")


@dataclass(frozen=True)
class Machine:
    """The resources that a plan can use."""

    device: torch.device
    threads: int
    flops: float  # float32 operations per second, measured on a matrix product
    seconds: float  # the budget of the run
    memory: int | None = None  # bytes available on the device; None if unknown


@dataclass(frozen=True)
class Prepared:
    """A data source as arrays, in whatever form the backend uses, with the run's record of it."""

    arrays: Any
    options: Any  # that read the same data again, even from standard input or a Hub dataset that moves on
    info: dict[str, Any]
    notes: Sequence[str]
    stem: str  # names the run
    cached: bool  # whether nothing had to be prepared; if so, opening the data counts towards the budget
    keep: Path | None = None  # a copy of standard input, to be moved into the run
    examples: Callable[[], Sequence[Example]] = tuple  # a few, for `--dry-run`


class Trainable(Protocol[Options, AnyPlan]):
    """The part of a backend that the engine trains with."""

    name: str

    def prepare(self, options: Options, bus: Bus) -> Prepared:
        """Open the data source. Raises `RequestError` if it is unsuitable."""

    def changed(self, info: dict[str, Any]) -> list[str]:
        """How the source differs from the one that a run recorded as `info`, a line each."""

    def plan(self, options: Options, data: Prepared, machine: Machine) -> tuple[AnyPlan, list[str]]:
        """A complete plan (see `Plan.of`), and the reasons for the user. The numbers of steps and evaluations, which follow
        from the measured speed, are provisional."""

    def read_plan(self, record: Mapping[str, Any]) -> AnyPlan:
        """The plan recorded in a run (see `Plan.read`)."""

    def learner(self, plan: AnyPlan, data: Prepared, device: torch.device) -> Learner:
        """Freshly initialised networks and optimisers; identical for identical plans."""
