"""The default learning rate schedule. It follows steps, never the clock, so that a resumed run gets the same values.

`Learner.lr_factor` chooses the schedule: by default `warmup_stable_decay`. A backend may override it, as
`backends/gan/schedules.py` does.
"""

from __future__ import annotations


def warmup_stable_decay(step: int, steps: int, warmup: int, cooldown: float) -> float:
    """The factor on the peak learning rate at `step` (0-based): a linear warm-up over `warmup` steps, then constant, then over
    the last `cooldown` share of `steps` a linear decay that would reach 0 one step after the last (Hu et al. 2024, arXiv
    2404.06395)."""
    decay_from = cooldown_start(steps, cooldown)
    rising = (step + 1) / (warmup + 1)
    falling = (steps - step) / (steps - decay_from + 1)
    return min(1.0, rising, falling)


def default_warmup(steps: int) -> int:
    """2 % of the steps, at least 10 and at most 200, but never more than a quarter of them."""
    return min(max(10, steps // 50), 200, steps // 4)


def cooldown_start(steps: int, cooldown: float) -> int:
    """The first step of the cool-down; a longer run continues from the state before it."""
    return steps - round(steps * cooldown)
