"""Advice about the training of a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aigc_cli.engine.learner import MORE_TRAINING


def advice(
    history: Sequence[Mapping[str, Any]],
    steps_per_epoch: float,
    *,
    objective: str = "bits_per_char",
    unit: str = "bits per character",
    data: str = "text",
) -> list[str]:
    """What would help most, judged from the held-out loss, which `objective` is in `unit`, and the number of epochs."""
    held_out = [(line["step"], line[objective]) for line in history if line.get("event") == "evaluated"]
    if len(held_out) < 3:
        return []
    best_step, best = min(held_out, key=lambda pair: pair[1])
    last_step, last = held_out[-1]
    epochs = last_step / steps_per_epoch
    if last > best * 1.01 and epochs < 2:
        return [f"the held-out loss rose from {best:.3f} to {last:.3f} after step {best_step}; try a smaller --lr"]
    if last > best * 1.01:
        return [
            f"the held-out loss was lowest at step {best_step} ({best:.3f} {unit}) and is {last:.3f} now: the {data} "
            f"was seen {epochs:.0f} times and is being memorised; more {data} would help most, then a smaller --preset or more "
            "--dropout; the best checkpoint was kept"
        ]
    if epochs > 20:
        return [f"the {data} was seen {epochs:.0f} times: more {data} would help more than more time"]
    if last > best or last > held_out[-2][1] * 0.999:
        return [f"the held-out loss levelled off at {best:.3f} {unit}; a larger --preset or more {data} would help"]
    return [f"the {data} was seen {epochs:.1f} times and the held-out loss was still falling; {MORE_TRAINING}"]
