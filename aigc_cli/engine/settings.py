"""The options that every verb, and every `train`, has, whatever the backend, and the plan that training follows. Free of
torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from aigc_cli.engine.schedule import default_warmup
from aigc_cli.options import EXPERT, MORE, option, rebuild, undecided

OUTPUT = "Output"
#: Steps of a plan whose number is still to be measured.
UNMEASURED = 10**9


@dataclass(frozen=True)
class CommandOptions:
    """What every command answers to."""

    config: str | None = option(None, metavar="FILE", panel=MORE, recorded=False)
    """Settings from a flat TOML file whose keys are the flags' names, or a run's run.json, which repeats that run."""
    runs_dir: str = option("runs", metavar="DIR", panel=OUTPUT, env="AIGC_RUNS", recorded=False)
    """Where runs live: DIR/BACKEND/NAME."""
    json: bool = option(False, panel=OUTPUT, recorded=False)
    """The result as JSON on standard output; progress as JSON Lines on standard error."""
    quiet: bool = option(False, panel=OUTPUT, short="-q", recorded=False)
    """Nothing on standard error but errors."""
    debug: bool = option(False, panel=OUTPUT, recorded=False)
    """The traceback of an error."""


@dataclass(frozen=True)
class TrainOptions(CommandOptions):
    """What every `aigc train BACKEND` has. None is decided by the plan."""

    data: str | None = option(None, metavar="SRC", auto="the built-in demo data, for one minute")
    """What to learn from: a file, a folder, '-' for standard input, hf:OWNER/NAME, or demo:NAME."""
    val: str | None = option(None, metavar="SRC", auto="a held-out slice of the data")
    """Data to choose the best checkpoint by."""
    run: str | None = option(None, metavar="NAME", names="run", recorded=False, auto="named after the data")
    """The run's name."""
    minutes: float | None = option(None, above=0, metavar="M", unit="minutes", auto="at most 10")
    """Make the best model this machine can in M minutes. With --steps, M only chooses the model's size."""
    steps: int | None = option(None, min=1, metavar="N", auto="from the minutes")
    """Train for exactly N steps."""
    resume: bool = option(False, recorded=False)
    """Go on with a run that was interrupted, or train a finished one longer (with a larger --steps)."""
    dry_run: bool = option(False, recorded=False)
    """Say what would be done (data, model, size, memory, steps, time) and begin no run; prepared data stay in the cache."""
    init_from: str | None = option(None, metavar="RUN", names="run", panel=MORE)
    """Start from another run's weights (fine-tuning)."""
    batch_size: int | None = option(None, min=1, panel=MORE, auto="from the model's size")
    """Examples in a step."""
    lr: float | None = option(None, above=0, panel=MORE, auto="from the model's size")
    """Peak learning rate of the main optimiser; the others scale with it."""
    seed: int = option(0, min=0, max=2**32 - 1, panel=MORE)
    """Everything random follows from it."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Where to compute."""
    precision: Literal["auto", "fp32", "bf16"] = option("auto", panel=MORE)
    """bf16 is autocast, where the device is fast at it."""
    compile: bool | None = option(None, panel=MORE, auto="where the run is long enough to earn it back")
    """Compile the networks with torch.compile."""
    matmul: Literal["auto", "default", "onednn"] = option("auto", panel=EXPERT)
    """The library of a CPU's float32 matrix products; auto takes oneDNN where it is the faster and as exact."""
    threads: int | None = option(None, min=1, panel=EXPERT, auto="the cores this process may use")
    """CPU threads. A run continues bit for bit only with the same number."""
    deterministic: bool = option(False, panel=EXPERT)
    """Deterministic kernels on a GPU, where a run is otherwise not repeated bit for bit (slower)."""
    micro_batch_size: int | None = option(None, min=1, panel=EXPERT, auto="as much as fits in memory")
    """Examples computed at once; gradients are accumulated over a batch."""
    warmup: int | None = option(None, min=0, panel=EXPERT, unit="steps", auto="a fiftieth of the steps, 10 to 200")
    """Steps over which the learning rate rises."""
    cooldown: float | None = option(None, min=0, max=1, panel=EXPERT, auto="the backend's")
    """The last share of the steps, over which the learning rate falls to 0."""
    eval_every: int | None = option(None, min=1, panel=EXPERT, unit="steps", auto="from the steps")
    """Steps between evaluations; each ends in a checkpoint."""
    eval_items: int | None = option(None, min=1, panel=EXPERT, auto="what costs under a twentieth of the time")
    """Held-out examples in such an evaluation."""
    log_every: int | None = option(None, min=1, panel=EXPERT, unit="steps", auto="from the steps")
    """Steps between lines of metrics.jsonl."""
    patience: int | None = option(None, min=1, panel=EXPERT, auto="5 when no budget was given")
    """Stop after this many evaluations without a better one."""
    checkpoint_seconds: float = option(60.0, above=0, panel=EXPERT, unit="seconds")
    """At most this much work is lost when the process is killed."""


@dataclass(frozen=True, kw_only=True)
class Plan(TrainOptions):
    """What training follows: the options with everything decided. None is left only where it means something: no `val`, no
    `minutes`, no `init_from`, no `patience`.

    A backend's plan narrows its own options in the same way: `class GANPlan(Plan, Train): latent: int`.
    """

    data: str
    steps: int
    batch_size: int
    micro_batch_size: int
    lr: float
    compile: bool
    threads: int
    warmup: int
    cooldown: float
    eval_every: int
    eval_items: int
    log_every: int

    def __post_init__(self) -> None:
        if open_still := undecided(self):
            raise ValueError(f"{type(self).__name__} leaves {', '.join(open_still)} undecided")

    @classmethod
    def of(cls, options: TrainOptions, **decided: Any) -> Self:
        """The plan of what was asked, and of what was `decided` where nothing was.

        Without a number of steps the schedule is provisional: the engine measures, and then makes another with `scheduled`.
        """
        asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
        settled = {"cooldown": 0.5, **decided} | {name: value for name, value in asked.items() if value is not None}
        settled.setdefault("micro_batch_size", settled.get("batch_size"))
        return cls(**asked | _schedule(options, options.steps or UNMEASURED, 1, 1) | settled)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """The plan that a run recorded. (Earlier versions left `micro_batch_size` open where it was the batch.)"""
        whole = record.get("micro_batch_size") or record.get("batch_size")
        return rebuild(cls, {**record, "micro_batch_size": whole})

    def scheduled(self, asked: TrainOptions, steps: int, evaluations: int, eval_items: int) -> Self:
        """The same for so many steps, with about so many evaluations, where what was asked says nothing else."""
        return dataclasses.replace(self, **_schedule(asked, steps, evaluations, eval_items))


def _schedule(asked: TrainOptions, steps: int, evaluations: int, eval_items: int) -> dict[str, Any]:
    """The step numbers at which things happen."""
    return {
        "steps": steps,
        "warmup": default_warmup(steps) if asked.warmup is None else asked.warmup,
        "eval_every": asked.eval_every or max(1, -(-steps // evaluations)),
        "eval_items": asked.eval_items or eval_items,
        "log_every": asked.log_every or max(1, min(100, steps // 100)),
    }
