"""The networks of a VAE: a residual convolutional encoder and decoder around one latent vector (Kingma and Welling 2014).

A picture of any height and width is halved once a level, rounding up; the last level becomes one vector. The blocks are
pre-activation bottlenecks without normalisation (He et al. 2016; Child 2021, VDVAE). The picture's own resolution has no
blocks: most of the work is done where there are few places and many channels.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.backends.vae.flow import LabelEmbedding, Prior, RealNVP, StandardNormal, log_normal
from aigc_cli.backends.vae.likelihood import Bernoulli, Gaussian, Likelihood, LikelihoodName, MixtureOfLogistics
from aigc_cli.engine.network import load_network, save_network
from aigc_cli.errors import RequestError

MODEL_TYPE = "aigc-vae"
PriorName = Literal["flow", "normal"]


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """The shape of a VAE. Raises `RequestError` for one that no network has."""

    height: int
    width: int
    channels: int
    likelihood: LikelihoodName
    latent: int
    widths: tuple[int, ...]
    """Channels at each level; the first has half of the picture's height and width, the next a quarter."""
    blocks: tuple[int, ...]
    """Blocks at each level, in the encoder and again in the decoder."""
    vector_width: int
    vector_blocks: int
    prior: PriorName = "flow"
    couplings: int = 12
    flow_width: int = 128
    mixtures: int = 5
    n_classes: int = 0
    """Classes on which encoder, decoder and flow are conditioned; 0 for none."""

    def __post_init__(self) -> None:
        least = {"height": 1, "width": 1, "channels": 1, "latent": 2, "vector_width": 1, "vector_blocks": 0}
        least |= {"couplings": 1, "flow_width": 1, "mixtures": 1, "n_classes": 0}
        for name, minimum in least.items():
            if not at_least(minimum, getattr(self, name)):
                raise RequestError(f"{name} is {getattr(self, name)!r}; it must be an integer of at least {minimum}")
        if not self.widths or len(self.widths) != len(self.blocks):
            raise RequestError(f"widths {self.widths} and blocks {self.blocks} must have one number for each level")
        if not at_least(1, *self.widths) or not at_least(0, *self.blocks):
            raise RequestError(f"widths {self.widths} must be integers of at least 1 and blocks {self.blocks} of at least 0")
        for name, value, allowed in (
            ("likelihood", self.likelihood, get_args(LikelihoodName)),
            ("prior", self.prior, get_args(PriorName)),
        ):
            if value not in allowed:
                raise RequestError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each level."""
        divisors = [2 ** (level + 1) for level in range(len(self.widths))]
        return [(-(-self.height // d), -(-self.width // d)) for d in divisors]

    def to_json(self) -> dict[str, Any]:
        return {"model_type": MODEL_TYPE, **asdict(self)}

    @classmethod
    def from_json(cls, values: Any) -> VAEConfig:
        """Reads what `to_json` gives. Raises `RequestError` where it is something else."""
        fields: dict[str, Any] = dict(values) if isinstance(values, dict) else {}
        model_type = fields.pop("model_type", None)
        if model_type != MODEL_TYPE:
            raise RequestError(f"the model type is {model_type!r}; only {MODEL_TYPE!r} can be opened")
        try:
            return cls(**fields | {name: tuple(fields[name]) for name in ("widths", "blocks")})
        except (KeyError, TypeError) as error:
            raise RequestError(f"config.json lacks a value or has one of a wrong kind: {error}") from error


def at_least(minimum: int, *values: object) -> bool:
    return all(isinstance(value, int) and value >= minimum for value in values)


@dataclass(frozen=True, slots=True)
class Posterior:
    """q(z|x) = N(mean, diag(exp(log_var))); both are (B, latent) float32."""

    mean: Tensor
    log_var: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """z = μ + σ ⊙ ε for ε ~ N(0, I), (…, B, latent)."""
        return self.mean + (0.5 * self.log_var).exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x), (…, B) in nats."""
        return log_normal((z - self.mean) * (-0.5 * self.log_var).exp()) - 0.5 * self.log_var.sum(-1)


class Block(nn.Module):
    """x + W₃ ⋆ s(W₂ ⋆ s(W₁ ⋆ s(x))) with s = SiLU: 1×1, 3×3 and 1×1 convolutions, the middle ones on half of the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = -(-width // 2)
        self.reduce = nn.Conv2d(width, inner, 1)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1)
        self.last = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(F.silu(self.reduce(F.silu(x))))
        y: Tensor = x + self.last(F.silu(h))
        return y


class VectorBlock(nn.Module):
    """x + W₂ s(W₁ s(x)) with s = SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.last = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.last(F.silu(self.first(F.silu(x))))
        return y


def level(config: VAEConfig, index: int) -> nn.Sequential:
    return nn.Sequential(*(Block(config.widths[index]) for _ in range(config.blocks[index])))


def vector_blocks(config: VAEConfig) -> nn.Sequential:
    return nn.Sequential(*(VectorBlock(config.vector_width) for _ in range(config.vector_blocks)))


def initialise(network: nn.Module) -> None:
    """Weights of variance 1/fan-in (LeCun et al. 1998) keep a signal's size, and biases are 0.

    The sum of all residual branches is as large as one of them would be, whatever their number (Zhang et al. 2019, Fixup, in
    spirit), and the output starts small.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    branches = sum(name.endswith(".last") for name in layers)
    for name, layer in layers.items():
        share = branches if name.endswith(".last") else 3 if name == "out" else 1
        nn.init.normal_(layer.weight, std=(share * layer.weight[0].numel()) ** -0.5)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


class Encoder(nn.Module):
    """From a picture (B, C, H, W) to the mean and log-variance of its latent, each (B, latent)."""

    #: |log σ²| stays below it, so that neither σ nor 1/σ overflows.
    MAX_LOG_VAR = 12.0

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        inputs = (config.channels, *config.widths)
        self.halve = nn.ModuleList(nn.Conv2d(fine, deep, 3, stride=2, padding=1) for fine, deep in pairwise(inputs))
        self.levels = nn.ModuleList(level(config, i) for i in range(len(config.widths)))
        self.to_vector = nn.Linear(config.widths[-1] * math.prod(config.sizes[-1]), config.vector_width)
        self.label = LabelEmbedding(config.n_classes, config.vector_width)
        self.vector = vector_blocks(config)
        self.out = nn.Linear(config.vector_width, 2 * config.latent)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = (2 * x - 1).contiguous(memory_format=torch.channels_last)
        for halve, blocks in zip(self.halve, self.levels, strict=True):
            h = blocks(halve(h))
        h = self.to_vector(F.silu(h.permute(0, 2, 3, 1).flatten(1)))
        h = self.vector(self.label(h, labels))
        mean, log_var = self.out(F.silu(h)).float().chunk(2, dim=-1)
        return mean, self.MAX_LOG_VAR * (log_var / self.MAX_LOG_VAR).tanh()


class Decoder(nn.Module):
    """From a latent (B, latent) to the likelihood's parameters (B, channels_out, H, W)."""

    def __init__(self, config: VAEConfig, channels_out: int) -> None:
        super().__init__()
        self.picture, self.sizes = (config.height, config.width), config.sizes[::-1]
        widths = config.widths[::-1]
        self.first = nn.Linear(config.latent, config.vector_width)
        self.label = LabelEmbedding(config.n_classes, config.vector_width)
        self.vector = vector_blocks(config)
        self.from_vector = nn.Linear(config.vector_width, widths[0] * math.prod(self.sizes[0]))
        self.levels = nn.ModuleList(level(config, i) for i in reversed(range(len(widths))))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, fine, 1) for deep, fine in pairwise(widths))
        # The last doubling: the parameters of four pixels at each place (Shi et al. 2016, sub-pixel convolution).
        # They begin alike, or pictures would begin as checkerboards (Aitken et al. 2017).
        self.out = nn.Conv2d(widths[-1], 4 * channels_out, 3, padding=1)
        with torch.no_grad():
            for values in (self.out.weight, self.out.bias):
                assert values is not None
                values.copy_(values[::4].repeat_interleave(4, dim=0))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.vector(self.label(self.first(z), labels))
        h = self.from_vector(F.silu(h))
        h = self.levels[0](h.unflatten(1, (*self.sizes[0], -1)).permute(0, 3, 1, 2))
        for narrow, blocks, size in zip(self.narrow, self.levels[1:], self.sizes[1:], strict=True):
            h = blocks(F.interpolate(narrow(h), size))
        h = F.pixel_shuffle(self.out(F.silu(h)), 2)
        return h[:, :, : self.picture[0], : self.picture[1]]


class VAE(nn.Module):
    """x → q(z|x), z → p(x|z), and p(z). x is (B, C, H, W) with pixels in [0, 1], labels (B,) int64 or None."""

    prior: Prior

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.likelihood = likelihood_of(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config, self.likelihood.channels_out)
        self.prior = prior_of(config)
        initialise(self.encoder)
        initialise(self.decoder)
        cast(Any, self).to(memory_format=torch.channels_last)  # PyTorch's own stubs lack it

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        """q(z|x)."""
        return Posterior(*self.encoder(x, labels))

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The parameters (B, channels_out, H, W) of p(x|z), which `likelihood` understands."""
        params: Tensor = self.decoder(z, labels)
        return params

    def log_likelihood(self, x: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x|z), (B,) in nats."""
        return self.likelihood.log_prob(self.decode(z, labels), x)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the parts: they are what is called."""
        for part in (self.encoder, self.decoder, self.prior):
            part.compile(*args, **kwargs)


def likelihood_of(config: VAEConfig) -> Likelihood:
    if config.likelihood == "bernoulli":
        return Bernoulli(config.channels)
    if config.likelihood == "gaussian":
        return Gaussian(config.channels)
    return MixtureOfLogistics(config.channels, config.mixtures)


def prior_of(config: VAEConfig) -> Prior:
    if config.prior == "normal":
        return StandardNormal()
    return RealNVP(latent=config.latent, couplings=config.couplings, width=config.flow_width, n_classes=config.n_classes)


def save_pretrained(model: VAE, folder: Path) -> None:
    """Writes config.json and model.safetensors (float32)."""
    save_network(model, model.config.to_json(), folder)


def load_pretrained(folder: Path) -> VAE:
    """Reads what `save_pretrained` wrote, on the CPU and in evaluation mode.

    Raises `RequestError` where the folder is not a whole model of this architecture.
    """
    return load_network(folder, VAEConfig.from_json, VAE)
