"""p(x|z): what the decoder's output says of a picture.

Everywhere `x` is (B, C, H, W) float32 with all pixels in [0, 1]; a byte v stands there as v/255. `params` is the decoder's
output, (B, `channels_out`, H, W). Log-probabilities are in nats, summed over a picture's dimensions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LikelihoodName = Literal["bernoulli", "logistics", "gaussian"]


class Likelihood(nn.Module, ABC):
    """A distribution over pictures, given the decoder's output."""

    #: `log_prob` is the logarithm of a probability, not of a density: bits per dimension mean something.
    discrete: ClassVar[bool]
    #: Of the numbers that the decoder gives for a pixel, what they are to be at first: (channels_out,).
    first: Tensor

    @property
    def channels_out(self) -> int:
        """The numbers that the decoder gives for a pixel."""
        return len(self.first)

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x|z), (B,) float32 in nats."""

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """The expected picture, (B, C, H, W) float32 within [0, 1]."""

    @abstractmethod
    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A picture drawn from p(x|z), (B, C, H, W) float32 within [0, 1]. The generator is on the device of `params`."""


class Bernoulli(Likelihood):
    """Independent pixels that are 0 or 1; `params` are their logits.

    A grey x would give a cross-entropy, which is no likelihood: its pixels are to be drawn first.
    """

    discrete = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = torch.zeros(channels)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        logits = params.float()
        return (x * logits - F.softplus(logits)).flatten(1).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        return params.float().sigmoid()

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return torch.bernoulli(self.mean(params), generator=generator)


class Gaussian(Likelihood):
    """Independent pixels around `params` with one learned σ for all (Rybkin et al. 2021, σ-VAE, section 3).

    A density of x on the scale of [0, 1], so its nats can be negative, and unbounded: σ is kept above e⁻⁶, as there.
    """

    discrete = False
    LEAST_LOG_SIGMA = -6.0

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = torch.zeros(channels)
        self.raw_log_sigma = nn.Parameter(torch.tensor(-1.0))

    @property
    def log_sigma(self) -> Tensor:
        return self.LEAST_LOG_SIGMA + F.softplus(self.raw_log_sigma.float() - self.LEAST_LOG_SIGMA)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        errors = ((x - params.float()) / self.log_sigma.exp()).flatten(1)
        return -0.5 * errors.square().sum(1) - errors.shape[1] * (self.log_sigma + 0.5 * math.log(2 * math.pi))

    def mean(self, params: Tensor) -> Tensor:
        return params.float().clamp(0, 1)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn(params.shape, generator=generator, device=params.device)
        return (params.float() + self.log_sigma.exp() * noise).clamp(0, 1)


class MixtureOfLogistics(Likelihood):
    """A mixture of K discretised logistics for bytes (Salimans et al. 2017, PixelCNN++, eq. 2 and 3).

    On the scale y = 2x − 1 the byte v has the bin [2v/255 − 1 − δ, 2v/255 − 1 + δ], δ = 1/255, where the first reaches down
    to −∞ and the last up to ∞: the 256 probabilities sum to 1. The channels of a pixel share the choice of the
    component, and the mean of its channel j depends linearly on the channels before: μ_j + Σ_{i<j} c_ji y_i.
    """

    discrete = True
    HALF_BIN = 1 / 255
    LOG_SCALES = (-7.0, 7.0)
    FIRST_LOG_SCALE = -2.0  # a seventh of the range from −1 to 1: hundreds of steps nearer to the end than the whole

    def __init__(self, channels: int, mixtures: int) -> None:
        super().__init__()
        self.channels, self.mixtures = channels, mixtures
        #: Logits, means, log-scales and coefficients of a pixel.
        self.parts = [mixtures * n for n in (1, channels, channels, channels * (channels - 1) // 2)]
        offsets = (0.0, 0.0, self.FIRST_LOG_SCALE, 0.0)
        self.first = torch.cat([torch.full((n,), offset) for n, offset in zip(self.parts, offsets, strict=True)])

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        y = 2 * x - 1
        first, last = x < 0.5 * self.HALF_BIN, x > 1 - 0.5 * self.HALF_BIN
        far = 1e9  # an end so far out that nothing is left beyond it
        lower, upper = y - self.HALF_BIN - far * first, y + self.HALF_BIN + far * last
        inner = (~(first | last)).float()
        logits, means, log_scales, coefficients = self._split(params)
        log_p = logits.log_softmax(1)
        for j in range(self.channels):
            mean = self._given_before(means, coefficients, y.unsqueeze(2), j)
            inverse = (-log_scales[:, j]).exp()
            a, b = (upper[:, j, None] - mean) * inverse, (lower[:, j, None] - mean) * inverse
            # σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b−a)): no difference of nearly equal numbers, however far out the bin lies.
            log_gap = (-torch.expm1(-2 * self.HALF_BIN * inverse)).log()
            log_p = log_p + inner[:, j, None] * log_gap - F.softplus(-a) - F.softplus(b)
        return log_p.logsumexp(1).flatten(1).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        """The mixture of the components' means after clipping to [−1, 1].

        That of a clipped logistic is −1 + ∫ P(Y > t) dt = −1 + s·(softplus((μ + 1)/s) − softplus((μ − 1)/s)). A channel before
        enters with its own mean, which is exact where nothing is clipped off the channels that depend on it.
        """
        logits, means, log_scales, coefficients = self._split(params)
        y = torch.zeros_like(means)
        for j in range(self.channels):
            mean, scale = self._given_before(means, coefficients, y, j), log_scales[:, j].exp()
            y[:, j] = scale * (F.softplus((mean + 1) / scale) - F.softplus((mean - 1) / scale)) - 1
        return (0.5 + 0.5 * (logits.softmax(1).unsqueeze(1) * y).sum(2)).clamp(0, 1)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Every pixel is one of the 256 values v/255, with the probability that `log_prob` gives it."""
        logits, means, log_scales, coefficients = self._split(params)
        uniforms = torch.rand(len(params), self.channels + 1, *params.shape[2:], generator=generator, device=params.device)
        uniforms = uniforms.clamp(2**-24, 1 - 2**-24)
        # The inverse of the cumulative distribution, for the component and then for each channel's logistic.
        beyond = logits.softmax(1).cumsum(1) < uniforms[:, :1]
        component = beyond.sum(1, keepdim=True).clamp_max(self.mixtures - 1).unsqueeze(1)
        chosen = [part.take_along_dim(component, dim=2) for part in (means, log_scales, coefficients)]
        y = torch.zeros_like(chosen[0])
        for j in range(self.channels):
            mean, scale = self._given_before(chosen[0], chosen[2], y, j), chosen[1][:, j].exp()
            v = 127.5 * (mean + scale * uniforms[:, j + 1, None].logit() + 1)
            y[:, j] = v.round().clamp(0, 255) / 127.5 - 1
        return 0.5 + 0.5 * y.squeeze(2)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (B, K, H, W), means and log-scales (B, C, K, H, W), coefficients (B, C(C−1)/2, K, H, W) within (−1, 1)."""
        logits, *rest = params.float().contiguous().split_with_sizes(self.parts, dim=1)
        means, log_scales, coefficients = (
            torch.unflatten(part, 1, (part.shape[1] // self.mixtures, self.mixtures)) for part in rest
        )
        return logits, means, log_scales.clamp(*self.LOG_SCALES), coefficients.tanh()

    @staticmethod
    def _given_before(means: Tensor, coefficients: Tensor, y: Tensor, j: int) -> Tensor:
        """The components' means (B, K, H, W) of channel j, given the channels before it of y (B, C, 1 or K, H, W)."""
        mean = means[:, j]
        for i in range(j):
            mean = mean + coefficients[:, j * (j - 1) // 2 + i] * y[:, i]
        return mean
