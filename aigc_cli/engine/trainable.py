"""The part of a backend that the engine trains with. Free of torch at import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


#: Of the data, for a person to look at before a run is begun.
EXAMPLES = 3


def spread_out(total: int, n: int) -> list[int]:
    """n numbers below `total`, or all where they are fewer, as far from one another as they can be."""
    n = min(n, total)
    return [i * total // n for i in range(n)]


@dataclass(frozen=True)
class Machine:
    """What the plan may count on."""

    device: torch.device
    threads: int
    flops: float  # float32 operations a second, measured on a matrix product
    seconds: float  # that the run may last
    memory: int | None = None  # bytes that the device has left; None where no system tells


@dataclass(frozen=True)
class Prepared:
    """A data source as arrays, in whatever form the backend likes, with what the run records of it."""

    arrays: Any
    options: Any  # as they read the same data again, whatever becomes of standard input or a name that moves
    info: dict[str, Any]
    notes: Sequence[str]
    stem: str  # names the run
    cached: bool  # nothing had to be made: the time belongs to the budget
    keep: Path | None = None  # standard input, spooled: it moves into the run
    examples: Sequence[str] = ()  # some of them, for a person to look at


class Trainable(Protocol[Options, AnyPlan]):
    """The part of a backend that the engine trains with."""

    name: str

    def prepare(self, options: Options, bus: Bus) -> Prepared:
        """Open the data source; RequestError where it is not fit."""

    def changed(self, info: dict[str, Any]) -> list[str]:
        """What differs now from the source that a run recorded as `info`, a line each."""

    def plan(self, options: Options, data: Prepared, machine: Machine) -> tuple[AnyPlan, list[str]]:
        """Everything decided (see `Plan.of`), and the reasons for the person. What follows from the measured speed, the
        numbers of steps and evaluations, is provisional."""

    def read_plan(self, record: Mapping[str, Any]) -> AnyPlan:
        """The plan that a run recorded (see `Plan.read`)."""

    def learner(self, plan: AnyPlan, data: Prepared, device: torch.device) -> Learner:
        """Freshly initialised networks and optimisers; the same for the same plan."""
