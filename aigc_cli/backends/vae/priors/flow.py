"""The prior p(z): a standard normal, or a flow that learns the distribution of the encoder's latents.

A prior is an invertible map f from a latent z to u ~ N(0, I), so that log p(z) = log N(f(z); 0, I) + log |det ∂f/∂z|
(Dinh et al. 2017, RealNVP, eq. 2). z and u are (B, latent) float32; labels are (B,) int64, or None if the model has no classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.backends.pictures.layers import LabelEmbedding, NClasses
from aigc_cli.errors import RequestError


def log_normal(u: Tensor) -> Tensor:
    """log N(u; 0, I), (B,) in nats for u (B, n)."""
    return -0.5 * (u.square() + math.log(2 * math.pi)).sum(-1)


class Prior(nn.Module, ABC):
    @abstractmethod
    def to_noise(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """u = f(z)."""

    @abstractmethod
    def inverse(self, u: Tensor, labels: Tensor | None = None) -> Tensor:
        """z = f⁻¹(u): a draw from the prior if u is a draw from N(0, I)."""

    def between(self, a: Tensor, b: Tensor, share: Tensor) -> Tensor:
        """Points (n, latents) on the way from noise a to noise b, each (latents,), at shares (n, 1) of it."""
        return torch.lerp(a.expand(len(share), -1), b, share)

    @abstractmethod
    def log_prob(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(z), (B,) in nats. Raises `RequestError` for a prior whose density isn't known."""


class ExplicitPrior(Prior):
    """A prior with a density."""

    @abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """u = f(z), and log |det ∂f/∂z| (B,) in nats."""

    def to_noise(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        u: Tensor = self(z, labels)[0]
        return u

    def log_prob(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        u, log_det = self(z, labels)
        log_p: Tensor = log_normal(u) + log_det
        return log_p


class NoPrior(Prior):
    """The prior of codes, which another model learns. Every method raises `RequestError`."""

    def to_noise(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        raise self._error()

    def inverse(self, u: Tensor, labels: Tensor | None = None) -> Tensor:
        raise self._error()

    def log_prob(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        raise self._error()

    def _error(self) -> RequestError:
        return RequestError("this model has codes and no prior of its own: a Transformer learns one")


class StandardNormal(ExplicitPrior):
    """p(z) = N(0, I) for any label, as in the plain VAE (Kingma and Welling 2014)."""

    def forward(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z, z.new_zeros(len(z))

    def inverse(self, u: Tensor, labels: Tensor | None = None) -> Tensor:
        return u


class Coupling(nn.Module):
    """(a, b) → (b ⊙ exp(s(a)) + t(a), a): an affine coupling (RealNVP, eq. 4 and 5) that also swaps the halves.

    s is within ±2, so that even twenty layers don't scale beyond e^±20. Initially s = t = 0.
    """

    MAX_LOG_SCALE = 2.0

    def __init__(self, latent: int, width: int, n_classes: NClasses) -> None:
        super().__init__()
        kept = latent // 2
        self.halves = [kept, latent - kept]
        self.first = nn.Linear(kept, width)
        self.label = LabelEmbedding(n_classes, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, 2 * (latent - kept))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, b = z.split_with_sizes(self.halves, dim=-1)
        s, t = self._scale_and_shift(a, labels)
        return torch.cat((b * s.exp() + t, a), dim=-1), s.sum(-1)

    def inverse(self, u: Tensor, labels: Tensor | None = None) -> Tensor:
        b, a = u.split_with_sizes(self.halves[::-1], dim=-1)
        s, t = self._scale_and_shift(a, labels)
        return torch.cat((a, (b - t) * (-s).exp()), dim=-1)

    def _scale_and_shift(self, a: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        h = F.silu(self.label(self.first(a), labels))
        s, t = self.last(F.silu(self.second(h))).to(a.dtype).chunk(2, dim=-1)
        return self.MAX_LOG_SCALE * (s / self.MAX_LOG_SCALE).tanh(), t


class RealNVP(ExplicitPrior):
    """A chain of affine couplings (RealNVP). With an even number, both halves are changed equally often."""

    def __init__(self, *, latent: int, couplings: int, width: int, n_classes: NClasses = 0) -> None:
        super().__init__()
        self.couplings = nn.ModuleList([Coupling(latent, width, n_classes) for _ in range(couplings)])

    def forward(self, z: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_det = z.new_zeros(len(z))
        for coupling in self.couplings:
            z, change = coupling(z, labels)
            log_det = log_det + change
        return z, log_det

    def inverse(self, u: Tensor, labels: Tensor | None = None) -> Tensor:
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            u = coupling.inverse(u, labels)
        return u
