"""Presets: the sizes that a backend's model comes in, each for a range of budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from aigc_cli.engine.settings import TrainOptions

#: What a CPU core or a GPU is taken to compute a second, where a decision must not depend on a measurement.
NOMINAL_FLOPS = {"cpu": 5e10, "cuda": 1e14, "mps": 2e12}


@dataclass(frozen=True)
class Preset:
    """A size. It suits budgets up to `flops` floating-point operations in all."""

    name: str
    flops: float


def nominal_budget(options: TrainOptions) -> float:
    """Floating-point operations within the minutes, told by them, the device and the threads alone: the same every time."""
    minutes = options.minutes or 10.0
    kind = options.device.partition(":")[0]
    return NOMINAL_FLOPS[kind] * ((options.threads or 1) if kind == "cpu" else 1) * minutes * 60


AnyPreset = TypeVar("AnyPreset", bound=Preset)


def preset_for(presets: Sequence[AnyPreset], flops: float, name: str | None = None) -> AnyPreset:
    """The named preset, else the smallest whose range the budget is in; they stand from the smallest to the largest."""
    if name is not None:
        return next(preset for preset in presets if preset.name == name)
    return next(preset for preset in presets if flops <= preset.flops)
