"""p(x|z): the distribution over pictures that the decoder's output parametrises.

`x` is always (B, C, H, W) float32 with pixels in [0, 1]; a byte v becomes v/255. `params` is the decoder's output,
(B, `channels_out`, H, W). Log-probabilities are in nats, summed over a picture's dimensions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.errors import RequestError

LikelihoodName = Literal["bernoulli", "logistics", "gaussian", "picture"]


class Likelihood(nn.Module, ABC):
    """A distribution over pictures, given the decoder's output."""

    #: Whether `log_prob` is the log of a probability rather than a density, so that bits per dimension are meaningful.
    discrete: ClassVar[bool]
    #: The initial parameters of every pixel, (channels_out,).
    first: Tensor

    @property
    def channels_out(self) -> int:
        """The number of parameters per pixel."""
        return len(self.first)

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x|z), (B,) float32 in nats. Raises `RequestError` if `params` are no distribution."""

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """The expected picture, (B, C, H, W) float32 within [0, 1]."""

    @abstractmethod
    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw a picture from p(x|z), (B, C, H, W) float32 within [0, 1]. The generator must be on the device of `params`."""


class Bernoulli(Likelihood):
    """Independent pixels that are 0 or 1; `params` are their logits.

    For a grey x this would be a cross-entropy, not a likelihood, so grey pixels must be binarised first.
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

    A density on the scale [0, 1], so negative log-likelihoods can be negative, and would be unbounded if σ weren't kept above
    e⁻⁶, as in the paper.
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


class Picture(Likelihood):
    """One picture rather than a distribution: `params` are its pixels on the scale [−1, 1]."""

    discrete = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = torch.zeros(channels)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        raise RequestError("this model has no likelihood of pictures; train with --objective likelihood for one")

    def mean(self, params: Tensor) -> Tensor:
        return (0.5 + 0.5 * params.float()).clamp(0, 1)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.mean(params)


class MixtureOfLogistics(Likelihood):
    """A mixture of K discretised logistics for bytes (Salimans et al. 2017, PixelCNN++, eq. 2 and 3).

    On the scale y = 2x − 1, the byte v has the bin [2v/255 − 1 − δ, 2v/255 − 1 + δ] with δ = 1/255. The first bin extends to −∞
    and the last to ∞, so that the 256 probabilities sum to 1. The channels of a pixel share the mixture component, and the mean
    of channel j depends linearly on the earlier channels: μ_j + Σ_{i<j} c_ji y_i.
    """

    discrete = True
    HALF_BIN = 1 / 255
    LOG_SCALES = (-7.0, 7.0)
    FIRST_LOG_SCALE = -2.0  # a scale of 1/7 of the range [−1, 1]; saves hundreds of steps against starting from the whole range

    def __init__(self, channels: int, mixtures: int) -> None:
        super().__init__()
        self.channels, self.mixtures = channels, mixtures
        #: The numbers of logits, means, log-scales and coefficients per pixel.
        self.parts = [mixtures * n for n in (1, channels, channels, channels * (channels - 1) // 2)]
        offsets = (0.0, 0.0, self.FIRST_LOG_SCALE, 0.0)
        self.first = torch.cat([torch.full((n,), offset) for n, offset in zip(self.parts, offsets, strict=True)])

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        y = 2 * x - 1
        first, last = x < 0.5 * self.HALF_BIN, x > 1 - 0.5 * self.HALF_BIN
        far = 1e9  # beyond all of the probability mass
        lower, upper = y - self.HALF_BIN - far * first, y + self.HALF_BIN + far * last
        inner = (~(first | last)).float()
        logits, means, log_scales, coefficients = self._split(params)
        log_p = logits.log_softmax(1)
        for j in range(self.channels):
            mean = self._given_before(means, coefficients, y.unsqueeze(2), j)
            inverse = (-log_scales[:, j]).exp()
            a, b = (upper[:, j, None] - mean) * inverse, (lower[:, j, None] - mean) * inverse
            # σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b−a)) avoids the difference of nearly equal numbers, even for bins far out.
            log_gap = (-torch.expm1(-2 * self.HALF_BIN * inverse)).log()
            log_p = log_p + inner[:, j, None] * log_gap - F.softplus(-a) - F.softplus(b)
        return log_p.logsumexp(1).flatten(1).sum(1)

    def mean(self, params: Tensor) -> Tensor:
        """The mixture of the components' means after clipping to [−1, 1].

        The mean of a clipped logistic is −1 + ∫ P(Y > t) dt = −1 + s·(softplus((μ + 1)/s) − softplus((μ − 1)/s)). Earlier
        channels enter by their means, which is exact if no channel that depends on them is clipped.
        """
        logits, means, log_scales, coefficients = self._split(params)
        y = torch.zeros_like(means)
        for j in range(self.channels):
            mean, scale = self._given_before(means, coefficients, y, j), log_scales[:, j].exp()
            y[:, j] = scale * (F.softplus((mean + 1) / scale) - F.softplus((mean - 1) / scale)) - 1
        return (0.5 + 0.5 * (logits.softmax(1).unsqueeze(1) * y).sum(2)).clamp(0, 1)

    def sample(self, params: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw pixels from the 256 values v/255 with the probabilities of `log_prob`."""
        logits, means, log_scales, coefficients = self._split(params)
        uniforms = torch.rand(len(params), self.channels + 1, *params.shape[2:], generator=generator, device=params.device)
        uniforms = uniforms.clamp(2**-24, 1 - 2**-24)
        # Inverse transform sampling, of the component and then of each channel's logistic.
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
        """The components' means (B, K, H, W) of channel j, given the earlier channels of y (B, C, 1 or K, H, W)."""
        mean = means[:, j]
        for i in range(j):
            mean = mean + coefficients[:, j * (j - 1) // 2 + i] * y[:, i]
        return mean
