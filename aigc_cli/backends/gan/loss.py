"""GAN objectives, each a loss for the discriminator and one for the generator.

A score is a logit: σ(D(x)) is the discriminator's probability that x is real. Scores are (B,), losses are scalars in nats, and
expectations are means over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from aigc_cli.backends.pictures.adversarial import relativistic_discriminator, relativistic_generator

ObjectiveName = Literal["r3", "minimax", "non-saturating", "hinge"]


class Objective(NamedTuple):
    """The losses of the discriminator and the generator, as functions of the scores of real and generated pictures."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def minimax_value(real: Tensor, fake: Tensor) -> Tensor:
    """V(D, G) = E[log D(x)] + E[log(1 − D(G(z)))] (Goodfellow et al. 2014, eq. 1)."""
    return F.logsigmoid(real).mean() + F.logsigmoid(-fake).mean()


def minimax_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """−V(D, G): the discriminator maximises the value, the generator minimises it."""
    return -minimax_value(real, fake)


def non_saturating_generator(real: Tensor, fake: Tensor) -> Tensor:
    """−E[log D(G(z))] (Goodfellow et al. 2014, section 3)."""
    return -F.logsigmoid(fake).mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))] (Lim and Ye 2017; Miyato et al. 2018, eq. 16)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(real: Tensor, fake: Tensor) -> Tensor:
    """−E[D(G(z))] (Lim and Ye 2017; Miyato et al. 2018, eq. 17)."""
    return -fake.mean()


OBJECTIVES: dict[ObjectiveName, Objective] = {
    "r3": Objective(relativistic_discriminator, relativistic_generator),
    "minimax": Objective(minimax_discriminator, minimax_value),
    "non-saturating": Objective(minimax_discriminator, non_saturating_generator),
    "hinge": Objective(hinge_discriminator, hinge_generator),
}
