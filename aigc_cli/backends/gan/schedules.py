"""What changes in the course of training, as functions of the step and the plan alone (Huang et al. 2024, R3GAN, appendix).

At first the discriminator must follow a generator that changes fast: a high learning rate, short memory, a strong penalty. At
the end both settle. Every change is half a cosine over the cool-down, which is the whole run unless the plan says otherwise.
"""

from __future__ import annotations

import math

from aigc_cli.engine.schedule import cooldown_start
from aigc_cli.engine.settings import Plan

#: At the end of training, as a share of what it is at first.
LAST_LR = 0.1
#: Adam's second momentum, at first and at the end; there is no first one.
BETA2 = (0.9, 0.99)


def lr_factor(step: int, plan: Plan) -> float:
    """The factor on the learning rate: a linear warm-up, then the fall."""
    return min((step + 1) / (plan.warmup + 1), cosine(1.0, LAST_LR, settled(step, plan)))


def betas(step: int, plan: Plan) -> tuple[float, float]:
    """Adam's."""
    return 0.0, cosine(*BETA2, settled(step, plan))


def gamma_factor(step: int, plan: Plan, last: float) -> float:
    """The factor on the weight of the gradient penalties, which falls to `last` by equal shares rather than equal amounts."""
    return math.exp(cosine(0.0, math.log(last), settled(step, plan)))


def settled(step: int, plan: Plan) -> float:
    """The share of the cool-down that is over, in [0, 1)."""
    start = cooldown_start(plan.steps, plan.cooldown)
    return max(0, step - start) / max(1, plan.steps - start)


def cosine(first: float, last: float, share: float) -> float:
    """Half a cosine from `first`, at a share of 0, to `last`, at 1."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))
