"""Presets: the sizes of a backend's model, each for a range of budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from aigc_cli.engine.settings import TrainOptions

#: Nominal floating-point operations per second of a CPU core or a GPU, for decisions that must not depend on a measurement.
NOMINAL_FLOPS = {"cpu": 5e10, "cuda": 1e14, "mps": 2e12}


@dataclass(frozen=True)
class Preset:
    """A size, for budgets of up to `flops` floating-point operations in total."""

    name: str
    flops: float


def nominal_budget(options: TrainOptions) -> float:
    """The budget in floating-point operations. It depends only on the minutes, the type of device and the threads, so it is the
    same every time."""
    minutes = options.minutes or 10.0
    kind = options.device.partition(":")[0]
    return NOMINAL_FLOPS[kind] * ((options.threads or 1) if kind == "cpu" else 1) * minutes * 60


AnyPreset = TypeVar("AnyPreset", bound=Preset)


def preset_for(presets: Sequence[AnyPreset], flops: float, name: str | None = None) -> AnyPreset:
    """The preset called `name`; without a name, the first whose range includes the budget. Presets are ordered by size."""
    if name is not None:
        return next(preset for preset in presets if preset.name == name)
    return next(preset for preset in presets if flops <= preset.flops)
