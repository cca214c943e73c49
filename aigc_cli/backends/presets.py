"""Presets: the sizes that a backend's model comes in, each for a range of budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Preset:
    """A size. It suits budgets up to `flops` floating-point operations in all."""

    name: str
    flops: float


AnyPreset = TypeVar("AnyPreset", bound=Preset)


def preset_for(presets: Sequence[AnyPreset], flops: float, name: str | None = None) -> AnyPreset:
    """The named preset, else the smallest whose range the budget is in; they stand from the smallest to the largest."""
    if name is not None:
        return next(preset for preset in presets if preset.name == name)
    return next(preset for preset in presets if flops <= preset.flops)
