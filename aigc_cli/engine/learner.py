"""What the engine trains: any number of networks and optimisers, and a step made of phases.

A language model's step is one phase. A GAN's is two, which alternate:

    phases = (Phase("discriminator", self.discriminator_loss), Phase("generator", self.generator_loss))

The engine zeroes, differentiates, accumulates over micro-batches, clips, checks for non-finite values and steps, phase by
phase; it knows nothing of what the networks are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.optim import Optimizer

from aigc_cli.engine.schedule import warmup_stable_decay
from aigc_cli.engine.settings import Plan

Batch = dict[str, Tensor]
HalfLife: TypeAlias = float | Callable[[int], float]


def split(batch: Batch, parts: int) -> Iterator[Batch]:
    """A batch in `parts` of nearly equal size."""
    if parts == 1:
        yield batch
        return
    chunks = {name: tensor.tensor_split(parts) for name, tensor in batch.items()}
    for index in range(parts):
        yield {name: pieces[index] for name, pieces in chunks.items()}


@dataclass(frozen=True)
class Loss:
    """The mean loss of a micro-batch over its items (see `Learner.count`), and detached scalars to report."""

    mean: Tensor
    report: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """One optimiser's turn within a step."""

    optimizer: str
    loss: Callable[[Batch], Loss]
    max_grad_norm: float | None = None
    #: The same as a multiple of the median norm of this optimiser's last steps, where nobody can know what norm is large.
    max_grad_ratio: float | None = None
    #: What the optimiser is set to in this step, beside the learning rate: {"betas": (0.0, 0.95)}.
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Concern:
    """Something that looks wrong in a training: what to tell of it, and whether it is undone by going on with the best weights
    so far, at half the learning rate."""

    text: str
    undo: bool = False


@dataclass(frozen=True)
class Preview:
    """What the model makes now: a file for `samples/` and, where it can be read as such, its text. A sheet of pictures is a
    `grid` of so many rows and columns."""

    suffix: str
    content: bytes
    text: str = ""
    grid: tuple[int, int] = (1, 1)


#: What helps a model that was still becoming better.
MORE_TRAINING = "a new run with more --minutes would help, or this one with --resume and more --steps"


class Learner(ABC):
    """Networks in training, and all that the engine asks of them."""

    networks: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    #: Networks of which the engine keeps an exponential moving average, with the half-life in steps, or what gives it at a
    #: step. The averages are what is evaluated, previewed and saved as the model.
    ema: Mapping[str, HalfLife] = {}
    #: The measure in `evaluate`'s result by which the best checkpoint is chosen; lower is better.
    objective: str
    #: What `count` counts, for the rate shown to a person ("tokens", "pictures").
    unit: str
    #: Held-out examples that `evaluate` can use at most.
    eval_items: int

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of `step`, on the CPU, examples along each tensor's first dimension: a pure function of (seed, step)."""

    @abstractmethod
    def phases(self, step: int, plan: Plan) -> Sequence[Phase]:
        """The optimisers' turns in this step, in order; `plan` knows the number of steps, for what follows a schedule."""

    @abstractmethod
    def evaluate(self, items: int) -> dict[str, float]:
        """Measures on the first `items` held-out examples, always the same ones."""

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Write what `sample`, `eval` and other tools open into an empty folder (a config.json among it)."""

    def set_training(self, training: bool) -> None:
        for network in self.networks.values():
            network.train(training)

    def count(self, batch: Batch) -> int:
        """Items in a batch: what the mean loss is over. It is asked of the batch on the CPU."""
        return len(next(iter(batch.values())))

    def lr_factor(self, step: int, plan: Plan) -> float:
        """The factor on every optimiser's peak learning rate at a step."""
        return warmup_stable_decay(step, plan.steps, plan.warmup, plan.cooldown)

    def after_step(self, step: int, batch: Batch, plan: Plan) -> None:  # noqa: B027
        """What changes in a step otherwise than by gradients. It must follow from the networks, the batch and (seed, step), and
        be kept in a network's buffers."""

    def noise(self, measures: Mapping[str, float]) -> float:
        """How far the objective among `evaluate`'s measures may be off by chance: its standard error, where that is known.
        Smaller improvements are no progress."""
        return 0.0

    def concerns(self, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Concern]:
        """What looks wrong, by name, judged from metrics.jsonl's lines so far. Asked at every evaluation; each is told and seen
        to when it begins."""
        return {}

    def preview(self) -> Preview | None:
        """A look at what the model makes, the same draws every time."""
        return None

    def useful_steps(self) -> int | None:
        """Steps after which so little data has nothing more to teach; None where the data are plenty."""
        return None

    def describe(self) -> str:
        """The networks in a few words: "4 layers of width 128, 0.9 M parameters"."""
        total = sum(p.numel() for network in self.networks.values() for p in network.parameters())
        return f"{total / 1e6:.2f} M parameters"

    def first_sample(self) -> str:
        """What a person adds to `aigc sample BACKEND --run RUN` for a first look, as a shell reads it."""
        return "-n 4"

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        """What would make the model better, judged from metrics.jsonl's lines; said when training ends."""
        return []
