"""The adversarial loss and the gradient penalty of R3GAN, which the GAN and the VAE share.

A score is a logit: σ(D(x)) is the discriminator's probability that x is real. Losses are scalars in nats, and expectations are
means over the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E[softplus(−(D(x) − D(G(z))))]: real and generated pictures in pairs (Huang et al. 2024, R3GAN, eq. 2, as a loss)."""
    return F.softplus(-(real - fake)).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """E[softplus(−(D(G(z)) − D(x)))] (Jolicoeur-Martineau 2019; Huang et al. 2024)."""
    return F.softplus(-(fake - real)).mean()


def gradient_penalty(scores: Tensor, pictures: Tensor) -> Tensor:
    """½ E‖∇D(x)‖² for the scores (B,) of pictures (B, C, H, W) that require gradients. The result is differentiable.

    This is R1 on real pictures and R2 on generated ones (Mescheder et al. 2018, eq. 9 and 10), without the factor γ. A
    picture's score must not depend on other pictures of the batch.
    """
    (gradients,) = torch.autograd.grad(scores.sum(), pictures, create_graph=True)
    return 0.5 * gradients.square().sum((1, 2, 3)).mean()


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within the context, the network's parameters get no gradient."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
