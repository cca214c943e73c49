"""Schedules of the learning rate, Adam's β₂ and γ, as functions of step and plan (Huang et al. 2024, R3GAN, appendix).

At first the generator changes fast, and the discriminator needs a high learning rate, a short memory and a strong penalty to
follow. At the end both settle. Every schedule is half a cosine over the cool-down, by default the whole run.
"""

from __future__ import annotations

import math

from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.settings import Plan

#: The final learning rate, as a share of the peak.
LAST_LR = 0.1
#: Adam's β₂, at the start and at the end; β₁ is 0.
BETA2 = (0.9, 0.99)


def lr_factor(step: int, plan: Plan) -> float:
    """The factor on the learning rate: a linear warm-up, then a cosine decay to LAST_LR."""
    return min((step + 1) / (plan.warmup + 1), cosine(1.0, LAST_LR, settled(step, plan)))


def betas(step: int, plan: Plan) -> tuple[float, float]:
    """Adam's β₁ and β₂."""
    return 0.0, cosine(*BETA2, settled(step, plan))


def gamma_factor(step: int, plan: Plan, last: float) -> float:
    """The factor on the weight of the gradient penalties, which falls to `last` on a logarithmic scale."""
    return math.exp(cosine(0.0, math.log(last), settled(step, plan)))


def settled(step: int, plan: Plan) -> float:
    """The share of the cool-down that is over, in [0, 1)."""
    start = cooldown_start(plan.steps, plan.cooldown)
    return max(0, step - start) / max(1, plan.steps - start)


def cosine(first: float, last: float, share: float) -> float:
    """Half a cosine from `first` at a share of 0 to `last` at 1."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))
