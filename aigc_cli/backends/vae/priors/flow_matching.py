"""A prior learned by flow matching: an ordinary differential equation from noise to latents.

The velocity v(z_t, t) of the path z_t = (1 − t) u + t z from noise u ~ N(0, I) to a latent z is learned by regression (Lipman
et al. 2023, "Flow matching for generative modeling", eq. 23 with σ_min = 0), and solving dz/dt = v from t = 0 to 1 turns a
draw of u into one of z. Vahdat et al. (2021, "Score-based generative modeling in latent space") give a VAE such a prior.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_cli.backends.pictures.layers import NClasses
from aigc_cli.backends.vae.priors.flow import Prior
from aigc_cli.backends.vae.priors.velocity import VelocityTransformer
from aigc_cli.errors import RequestError

#: The share of training examples whose label is dropped, for guidance (Ho and Salimans 2022).
DROPPED = 0.1
#: The loss of a velocity of 0: the variance of z − u, for latents of variance 1.
UNTRAINED = 2.0

Velocity = Callable[[Tensor, Tensor], Tensor]


def flow_matching_loss(velocity: Velocity, z: Tensor, u: Tensor, t: Tensor) -> Tensor:
    """‖v(z_t, t) − (z − u)‖² per dimension, (B,), at z_t = (1 − t) u + t z (Lipman et al. 2023, eq. 23).

    Latents z and noise u are (B, …), times t (B,).
    """
    at = t.view(-1, *(1 for _ in z.shape[1:]))
    return (velocity(torch.lerp(u, z, at), t) - (z - u)).square().flatten(1).mean(1)


def logit_normal(n: int, device: torch.device) -> Tensor:
    """Times σ(ε), ε ~ N(0, 1), (n,): mostly the middle, where velocities are hardest to predict (Esser et al. 2024, eq. 19)."""
    return torch.randn(n, device=device).sigmoid()


def heun(velocity: Velocity, z: Tensor, begin: float, end: float, steps: int) -> Tensor:
    """Solve dz/dt = v(z, t) from t = `begin` to `end` by Heun's method in equal steps (second order; Karras et al. 2022)."""
    h = (end - begin) / steps
    for step in range(steps):
        now = torch.full((len(z),), begin + step * h, dtype=z.dtype, device=z.device)
        first = velocity(z, now)
        second = velocity(z + h * first, now + h)
        z = z + 0.5 * h * (first + second)
    return z


class FlowMatchingPrior(Prior):
    """The prior of a latent map (channels, height, width), whose latents are standardised for each channel.

    It has no density that could be computed exactly, so there is no `log_prob`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, shape: tuple[int, int, int], width: int, blocks: int, n_classes: NClasses = 0) -> None:
        super().__init__()
        channels, *sides = shape
        self.shape = shape
        self.velocity = VelocityTransformer(
            places=sides[0] * sides[1], channels=channels, width=width, blocks=blocks, n_classes=n_classes
        )
        #: The moments of latents for each channel; a standard deviation of 0 means that the prior isn't trained yet.
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.zeros(channels))
        #: Steps of the solver, each of two evaluations of the velocity, and the weight of classifier-free guidance.
        self.steps, self.guidance = 10, 1.0

    @property
    def started(self) -> bool:
        return bool(self.std.any())

    @torch.no_grad()
    def standardise(self, z: Tensor) -> None:
        """Take the moments from latents (n, latents)."""
        tokens = self._tokens(z).flatten(0, 1)
        self.mean.copy_(tokens.mean(0))
        self.std.copy_(tokens.std(0).clamp_min(1e-6))

    def loss(self, z: Tensor, labels: Tensor | None, u: Tensor, t: Tensor) -> Tensor:
        """The flow-matching loss of latents z and noise u (B, latents) at times t (B,), (B,)."""
        return flow_matching_loss(lambda z_t, t: self.velocity(z_t, t, labels), self._standardised(z), self._tokens(u), t)

    def inverse(self, u: Tensor, labels: Tensor | None = None) -> Tensor:
        z = heun(self._guided(labels), self._tokens(u), 0.0, 1.0, self.steps)
        return self._vector(self.mean + self._scale * z)

    def to_noise(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self._vector(heun(self._guided(labels), self._standardised(z), 1.0, 0.0, self.steps))

    def between(self, a: Tensor, b: Tensor, share: Tensor) -> Tensor:
        """On the great circle from a to b: a straight line would lead through noise of too small a norm (White 2016)."""
        angle = F.cosine_similarity(a, b, dim=-1).clamp(-1 + 1e-6, 1 - 1e-6).acos()
        return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the velocity, since it is called rather than `forward`."""
        self.velocity.compile(*args, **kwargs)

    def log_prob(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        raise RequestError("a prior learned by flow matching has no exact density; train with --objective likelihood for one")

    def _guided(self, labels: Tensor | None) -> Velocity:
        """v(z, t, label) + (w − 1) (v(z, t, label) − v(z, t)) for the guidance w (Ho and Salimans 2022, eq. 6)."""
        if labels is None or self.guidance == 1.0:
            return lambda z, t: self.velocity(z, t, labels)
        both = torch.cat((labels, torch.full_like(labels, -1)))

        def guided(z: Tensor, t: Tensor) -> Tensor:
            of_class, of_all = self.velocity(torch.cat((z, z)), torch.cat((t, t)), both).chunk(2)
            return torch.lerp(of_all, of_class, self.guidance)

        return guided

    @property
    def _scale(self) -> Tensor:
        """The standard deviations (channels,), 1 while they aren't known: then steps can be timed, and draws are of N(0, I)."""
        return torch.where(self.std > 0, self.std, 1.0)

    def _standardised(self, z: Tensor) -> Tensor:
        """(B, latents) to tokens (B, places, channels) of mean 0 and variance 1."""
        return (self._tokens(z) - self.mean) / self._scale

    def _tokens(self, z: Tensor) -> Tensor:
        """(B, latents), a map (channels, height, width) as a vector, to tokens (B, places, channels)."""
        return torch.unflatten(z, 1, (self.shape[0], -1)).transpose(1, 2)

    def _vector(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).flatten(1)


def without_some_labels(labels: Tensor) -> Tensor:
    """Labels (B,), a tenth of them replaced by −1 at random."""
    return labels.masked_fill(torch.rand(len(labels), device=labels.device) < DROPPED, -1)
