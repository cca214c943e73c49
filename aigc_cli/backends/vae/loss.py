"""The loss of a VAE: the negative evidence lower bound, rate plus distortion, in nats per example."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from aigc_cli.backends.vae.model import Posterior
from aigc_cli.backends.vae.priors.flow import Prior, StandardNormal


class LatentVariableModel(Protocol):
    """The interface of a model with latent variables. `x` is (B, …), z (B, latent), labels (B,) or None."""

    @property
    def prior(self) -> Prior: ...

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        """q(z|x)."""

    def log_likelihood(self, x: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x|z), (B,) in nats."""


class NegativeELBO(NamedTuple):
    """Means over a batch, scalars. `loss` is minimised; rate + distortion is the negative ELBO, for any β."""

    loss: Tensor
    rate: Tensor
    distortion: Tensor


def negative_elbo(
    model: LatentVariableModel,
    x: Tensor,
    labels: Tensor | None = None,
    *,
    beta: float = 1.0,
    free_bits: float = 0.0,
    of_batch: Tensor | None = None,
) -> NegativeELBO:
    """−L(θ, φ; x) = KL(q(z|x) ‖ p(z)) − E_q[log p(x|z)], with one draw of z (Kingma and Welling 2014, eq. 3).

    `beta` weights the rate (Higgins et al. 2017, eq. 4). The rate is clamped from below at `free_bits` nats per latent, so that
    it isn't reduced further (Kingma et al. 2016, eq. 15, with the whole latent vector as one group). `of_batch` is the rate of
    the whole batch, if `x` is a part of it.
    """
    posterior = model.encode(x, labels)
    z = posterior.sample(torch.randn_like(posterior.mean))
    rate = kl(posterior, model.prior, z, labels).mean()
    distortion = -model.log_likelihood(x, z, labels).mean()
    # Without free bits no clamping at all: an estimated rate may be negative.
    penalised = at_least(rate, free_bits * z.shape[1], of_batch) if free_bits else rate
    return NegativeELBO(beta * penalised + distortion, rate, distortion)


def at_least(rate: Tensor, least: float, of_batch: Tensor | None) -> Tensor:
    """The rate, or a constant where it is below `least`: that of the whole batch, (1,), if this is only a part of it."""
    return rate.clamp_min(least) if of_batch is None else torch.where(of_batch[0] >= least, rate, least)


def reconstruction_error(reconstruction: Tensor, x: Tensor) -> Tensor:
    """|d| + d² per value for the differences d of two pictures (B, C, H, W) on the scale [−1, 1], (B,).

    The absolute error keeps edges sharp; the square keeps rare large errors small.
    """
    d = 2 * (reconstruction - x)
    return (d.abs() + d.square()).flatten(1).mean(1)


def kl(posterior: Posterior, prior: Prior, z: Tensor, labels: Tensor | None = None) -> Tensor:
    """KL(q(z|x) ‖ p(z)), (B,) in nats: exact for a normal prior, and estimated from one draw z ~ q for a flow."""
    if isinstance(prior, StandardNormal):
        return kl_to_standard_normal(posterior).sum(-1)
    return posterior.log_prob(z) - prior.log_prob(z, labels)


def kl_to_standard_normal(posterior: Posterior) -> Tensor:
    """KL(q(z_i|x) ‖ N(0, 1)) = ½ (μ² + σ² − log σ² − 1) per latent (Kingma and Welling 2014, appendix B), (B, latent)."""
    return 0.5 * (posterior.mean.square() + posterior.log_var.exp() - posterior.log_var - 1)
