"""Options that all commands, and all `train` commands, share, and the plan that training follows. Free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from aigc_cli.engine.schedule import default_warmup
from aigc_cli.errors import RequestError
from aigc_cli.options import EXPERT, MORE, option, rebuild, undecided

OUTPUT = "Output"
#: The number of steps of a plan before it is measured.
UNMEASURED = 10**9


@dataclass(frozen=True)
class CommandOptions:
    """Options of every command."""

    config: str | None = option(None, metavar="FILE", panel=MORE, recorded=False)
    """Read settings from a flat TOML file (keys are flag names), or from a run's run.json to repeat that run."""
    runs_dir: str = option("runs", metavar="DIR", panel=OUTPUT, env="AIGC_RUNS", recorded=False)
    """The folder of all runs: DIR/BACKEND/NAME."""
    json: bool = option(False, panel=OUTPUT, recorded=False)
    """Print the result as JSON on standard output, and progress as JSON Lines on standard error."""
    quiet: bool = option(False, panel=OUTPUT, short="-q", recorded=False)
    """Print only errors on standard error."""
    debug: bool = option(False, panel=OUTPUT, recorded=False)
    """Show the traceback of an error."""


@dataclass(frozen=True)
class TrainOptions(CommandOptions):
    """Options of every `aigc train BACKEND`. None means that the plan decides."""

    earlier: ClassVar[Mapping[str, Any]] = {}
    """What plans of earlier versions meant that don't record these options."""

    data: str | None = option(None, metavar="SRC", auto="the built-in demo data, for one minute")
    """Data to train on: a file, a folder, '-' for standard input, hf:OWNER/NAME, or demo:NAME."""
    val: str | None = option(None, metavar="SRC", auto="a held-out slice of the data")
    """Validation data, to choose the best checkpoint."""
    run: str | None = option(None, metavar="NAME", names="run", recorded=False, auto="named after the data")
    """The run's name."""
    minutes: float | None = option(None, above=0, metavar="M", unit="minutes", auto="at most 10")
    """Train the best model this machine can in M minutes. With --steps, M only sets the model's size."""
    steps: int | None = option(None, min=1, metavar="N", auto="from --minutes")
    """Train for exactly N steps."""
    resume: bool = option(False, recorded=False)
    """Resume an interrupted run, or train a finished one longer (with a larger --steps)."""
    dry_run: bool = option(False, recorded=False)
    """Print the plan (data, model, size, memory, steps, time) without training. Prepared data stays in the cache."""
    init_from: str | None = option(None, metavar="RUN", names="run", panel=MORE)
    """Start from another run's weights (fine-tuning)."""
    batch_size: int | None = option(None, min=1, panel=MORE, auto="from the model's size")
    """Examples per step."""
    lr: float | None = option(None, above=0, panel=MORE, auto="from the model's size")
    """Peak learning rate of the main optimiser; the others scale with it."""
    seed: int = option(0, min=0, max=2**32 - 1, panel=MORE)
    """Seed of everything random."""
    device: str = option("auto", metavar="auto|cpu|cuda|cuda:1|mps", panel=MORE)
    """Device to compute on."""
    precision: Literal["auto", "fp32", "bf16"] = option("auto", panel=MORE)
    """Precision of the computation; bf16 means autocast, and auto picks it if the device is fast at it."""
    devices: str = option("1", metavar="N|all", panel=MORE, recorded=False)
    """Devices to train on together (on a CPU, processes); a run can be resumed on any number of them."""
    compile: bool | None = option(None, panel=MORE, auto="if the run is long enough to pay off")
    """Compile the networks with torch.compile."""
    matmul: Literal["auto", "default", "onednn"] = option("auto", panel=EXPERT)
    """Library for float32 matrix products on a CPU; auto picks oneDNN if it is faster and as exact."""
    threads: int | None = option(None, min=1, max=1024, panel=EXPERT, auto="all cores this process may use")
    """CPU threads. A run resumes bit for bit only with the same number."""
    deterministic: bool = option(False, panel=EXPERT)
    """Use deterministic kernels on a GPU, so that runs repeat bit for bit (slower)."""
    shards: int | None = option(None, min=1, panel=EXPERT, auto="one for each device")
    """Parts of a batch that can be computed on different devices; at least as many as there are devices."""
    micro_batch_size: int | None = option(None, min=1, panel=EXPERT, auto="as many as fit in memory")
    """Examples computed at once; gradients are accumulated over the batch."""
    warmup: int | None = option(None, min=0, panel=EXPERT, unit="steps", auto="2 % of the steps, 10 to 200")
    """Steps over which the learning rate rises."""
    cooldown: float | None = option(None, min=0, max=1, panel=EXPERT, auto="set by the backend")
    """Share of the steps, at the end, over which the learning rate falls to 0."""
    eval_every: int | None = option(None, min=1, panel=EXPERT, unit="steps", auto="from --steps")
    """Steps between evaluations; each saves a checkpoint."""
    eval_items: int | None = option(None, min=1, panel=EXPERT, auto="as many as take under 5 % of the time")
    """Held-out examples per evaluation."""
    log_every: int | None = option(None, min=1, panel=EXPERT, unit="steps", auto="from --steps")
    """Steps between lines of metrics.jsonl."""
    patience: int | None = option(None, min=1, panel=EXPERT, auto="5 if no budget is given")
    """Stop after this many evaluations without improvement."""
    checkpoint_seconds: float = option(60.0, above=0, panel=EXPERT, unit="seconds")
    """Time between checkpoints: the most work lost when the process is killed."""

    @property
    def data_source(self) -> str:
        """What `--data` names. RequestError where nothing does: the engine fills in the demo data before it is asked for."""
        if self.data is None:
            raise RequestError("--data is missing: name a file, a folder, '-', hf:OWNER/NAME or demo:NAME")
        return self.data


@dataclass(frozen=True, kw_only=True)
class Plan(TrainOptions):
    """What training follows: the options with everything decided. Only options for which None means something may be None:
    `val`, `minutes`, `init_from` and `patience`.

    A backend narrows its own options in the same way: `class GANPlan(Plan, Train): latent: int`.
    """

    data: str
    steps: int
    batch_size: int
    micro_batch_size: int
    shards: int
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
        """The given options, completed with what was `decided`.

        Without a number of steps the schedule is provisional: the engine measures, then replaces it by `scheduled`.
        """
        asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
        settled = {"cooldown": 0.5, "shards": 1, **decided} | {
            name: value for name, value in asked.items() if value is not None
        }
        settled.setdefault("micro_batch_size", settled.get("batch_size"))
        return cls(**asked | _schedule(options, options.steps or UNMEASURED, 1, 1) | settled)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """The plan recorded in a run. (Earlier versions left `micro_batch_size` open if it was the batch size.) Raises
        `RequestError` for an incomplete plan."""
        whole = record.get("micro_batch_size") or record.get("batch_size")
        try:
            return rebuild(cls, {"shards": 1, **cls.earlier, **record, "micro_batch_size": whole})
        except ValueError as error:
            raise RequestError(f"the plan in the run's run.json is incomplete: {error}; start a new run") from None

    def scheduled(self, asked: TrainOptions, steps: int, evaluations: int, eval_items: int) -> Self:
        """The same plan with this many steps and about this many evaluations, unless the options say otherwise."""
        return dataclasses.replace(self, **_schedule(asked, steps, evaluations, eval_items))


def _schedule(asked: TrainOptions, steps: int, evaluations: int, eval_items: int) -> dict[str, Any]:
    """The number of steps, and everything that follows from it."""
    return {
        "steps": steps,
        "warmup": default_warmup(steps) if asked.warmup is None else asked.warmup,
        "eval_every": asked.eval_every or max(1, -(-steps // evaluations)),
        "eval_items": asked.eval_items or eval_items,
        "log_every": asked.log_every or max(1, min(100, steps // 100)),
    }
