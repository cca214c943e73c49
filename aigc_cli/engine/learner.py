"""What the engine trains: any number of networks and optimisers, and a training step in phases.

A language model's step has one phase. A GAN's has two:

    phases = (Phase("discriminator", self.discriminator_loss), Phase("generator", self.generator_loss))

For each phase, the engine zeroes the gradients, differentiates, accumulates over micro-batches, clips, checks for non-finite
values and steps the optimiser. It doesn't know what the networks are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from aigc_cli.engine.device import seed_everything
from aigc_cli.engine.processes.sharing import shared
from aigc_cli.engine.schedule import warmup_stable_decay
from aigc_cli.engine.settings import Plan

Batch = dict[str, Tensor]
HalfLife: TypeAlias = float | Callable[[int], float]
Part = TypeVar("Part")
Result = TypeVar("Result")


def split(batch: Batch, parts: int) -> Iterator[Batch]:
    """Split a batch into `parts` of nearly equal size."""
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
    """One optimiser's update within a training step."""

    optimizer: str
    loss: Callable[..., Loss]
    max_grad_norm: float | None = None
    #: The limit as a multiple of the median norm of this optimiser's latest gradients, if no fixed limit is known.
    max_grad_ratio: float | None = None
    #: Optimiser settings for this step, besides the learning rate: {"betas": (0.0, 0.95)}.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Means over items (n,) that the loss needs of the whole batch, from the same draws as the loss. Where a batch is computed
    #: in parts, they are passed to `loss` as `of_batch`.
    over_batch: Callable[[Batch], Tensor] | None = None


@dataclass(frozen=True)
class Concern:
    """A problem during training: a text for the user, and whether to undo it by continuing from the best weights so far at half
    the learning rate."""

    text: str
    undo: bool = False


@dataclass(frozen=True)
class Preview:
    """A sample of the current model: a file for `samples/`, and its text if it is text. A sheet of pictures has a `grid` of
    (rows, columns)."""

    suffix: str
    content: bytes
    text: str = ""
    grid: tuple[int, int] = (1, 1)


#: Advice for a model that was still improving.
MORE_TRAINING = "train a new run with more --minutes, or this one with --resume and more --steps"


class Learner(ABC):
    """Networks, their optimisers, and everything the engine needs to train them."""

    networks: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    #: Networks that the engine keeps an exponential moving average of, with the half-life in steps, or a function from the step
    #: to it. The averages are evaluated, previewed and saved as the model.
    ema: Mapping[str, HalfLife] = {}
    #: The measure in `evaluate`'s result that chooses the best checkpoint; lower is better.
    objective: str
    #: What `count` counts, for the displayed rate ("tokens", "pictures").
    unit: str
    #: Steps in which every training example is seen once; None if unknown.
    steps_per_epoch: float | None = None
    #: The most held-out examples that `evaluate` can use.
    eval_items: int
    #: Where the stages of training begin, as shares of the steps. The steps of a stage cost about the same, and only the last
    #: stage is stopped when it no longer improves.
    stages: Sequence[float] = (0.0,)
    #: Seeds the draws of the parts of an evaluation; set by the engine where devices may share them.
    part_seed: int | None = None

    @abstractmethod
    def batch(self, step: int) -> Batch:
        """The batch of `step`, on the CPU, examples along each tensor's first dimension: a pure function of (seed, step)."""

    @abstractmethod
    def phases(self, step: int, plan: Plan) -> Sequence[Phase]:
        """The phases of this step, in order; `plan` has the number of steps, for schedules."""

    @abstractmethod
    def evaluate(self, items: int) -> dict[str, float]:
        """Measures on the first `items` held-out examples, the same ones every time."""

    @abstractmethod
    def save_model(self, folder: Path) -> None:
        """Write the model that `sample`, `eval` and other tools open, config.json included, into an empty folder."""

    def each(self, parts: Iterable[Part], work: Callable[[Part], Result]) -> Iterator[Result]:
        """`work` of each part of an evaluation, in order. Where devices may share them, each part has draws of its own."""

        def drawn(numbered: tuple[int, Part]) -> Result:
            if self.part_seed is not None:
                seed_everything(self.part_seed, "part", numbered[0])
            return work(numbered[1])

        for _, result in shared(enumerate(parts), drawn):
            yield result
        if self.part_seed is not None:
            seed_everything(self.part_seed, "after all parts")

    def stage_start(self, stage: int, steps: int) -> int:
        """The first step of a stage in a plan of this many steps."""
        return min(round(self.stages[stage] * steps), steps - 1)

    def set_training(self, training: bool) -> None:
        for network in self.networks.values():
            network.train(training)

    def count(self, batch: Batch) -> int:
        """Items in a batch (on the CPU): what the mean loss is taken over."""
        return len(next(iter(batch.values())))

    def lr_factor(self, step: int, plan: Plan) -> float:
        """The factor on every optimiser's peak learning rate at this step."""
        return warmup_stable_decay(step, plan.steps, plan.warmup, plan.cooldown)

    def after_step(self, step: int, batch: Batch, plan: Plan) -> None:  # noqa: B027
        """Updates other than by gradients. They must depend only on the networks, the batch and (seed, step), and their state
        must be in a network's buffers."""

    def noise(self, measures: Mapping[str, float]) -> float:
        """The standard error of the objective among `evaluate`'s measures, if known. Smaller improvements don't count."""
        return 0.0

    def concerns(self, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Concern]:
        """Problems by name, judged from the lines of metrics.jsonl so far. Called at every evaluation; each problem is
        reported, and undone if it asks for that, when it first appears."""
        return {}

    def preview(self) -> Preview | None:
        """A sample of the current model, from the same draws every time."""
        return None

    def useful_steps(self) -> int | None:
        """The steps after which a small dataset has nothing more to teach; None for a large one."""
        return None

    def expectation(self, plan: Plan) -> str | None:
        """A line for the user before training about what so many steps can give, if that is worth saying."""
        return None

    def describe(self) -> str:
        """The networks in a few words: "4 layers of width 128, 0.9 M parameters"."""
        total = sum(p.numel() for network in self.networks.values() for p in network.parameters())
        return f"{total / 1e6:.2f} M parameters"

    def first_sample(self) -> str:
        """Arguments for `aigc sample BACKEND --run RUN` to get first samples, quoted for a shell."""
        return "-n 4"

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        """What would improve the model, judged from the lines of metrics.jsonl; shown when training ends."""
        return []
