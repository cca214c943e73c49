"""The shape of a VAE, and its encoder and decoder around one latent vector (Kingma and Welling 2014).

Each level halves a picture of any height and width, rounding up; the last level becomes one vector. Blocks are pre-activation
bottlenecks without normalisation (He et al. 2016; Child 2021, VDVAE). There are no blocks at full resolution: most of the work
is done at low resolution with many channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.backends.pictures.layers import Bottleneck, LabelEmbedding
from aigc_cli.backends.pictures.networks import PictureNetworkConfig
from aigc_cli.backends.vae.codes.quantiser import check_levels
from aigc_cli.backends.vae.likelihood import LikelihoodName
from aigc_cli.errors import RequestError

PriorName = Literal["flow", "normal", "matching", "none"]


@dataclass(frozen=True, kw_only=True)
class VAEConfig(PictureNetworkConfig):
    """The shape of a VAE. Raises `RequestError` for an invalid shape."""

    model_type = "aigc-vae"
    sequences = (*PictureNetworkConfig.sequences, "levels")
    least: ClassVar[Mapping[str, int]] = {
        **PictureNetworkConfig.least,
        "latent": 0, "latent_map": 0, "vector_blocks": 0, "couplings": 1, "flow_width": 1, "mixtures": 1,
    }  # fmt: skip

    likelihood: LikelihoodName
    vector_blocks: int
    latent_map: int = 0
    """Latents at each position of the last level, for local detail, besides `latent` for the whole picture."""
    prior: PriorName = "flow"
    """`matching` is a prior of the map alone, by flow matching, and needs `latent` = 0. `none` is for codes."""
    couplings: int = 12
    """Couplings of a flow, or transformer blocks of a prior learned by flow matching."""
    flow_width: int = 128
    """Width of the prior's hidden layers."""
    mixtures: int = 1
    levels: tuple[int, ...] = ()
    """Levels of each latent at a position of the map, which make its code; none for continuous latents."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, allowed in (
            ("likelihood", self.likelihood, get_args(LikelihoodName)),
            ("prior", self.prior, get_args(PriorName)),
        ):
            if value not in allowed:
                raise RequestError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
        if self.levels:
            check_levels(self.levels)
        if (self.prior == "none") != bool(self.levels):
            raise RequestError(
                f"prior is {self.prior} and levels are {self.levels}; the prior is 'none' for codes, and only then"
            )
        if self.levels and (self.latent or self.latent_map != len(self.levels)):
            raise RequestError(
                f"latent is {self.latent} and latent_map {self.latent_map}; codes of {len(self.levels)} levels need 0 and that"
            )
        if self.prior == "matching" and (self.latent or not self.latent_map):
            raise RequestError(
                f"latent is {self.latent} and latent_map {self.latent_map}; a prior of a map needs 0 and at least 1"
            )
        if self.prior in ("flow", "normal") and self.latent < 2:
            raise RequestError(f"latent is {self.latent}; it must be an integer of at least 2")

    @property
    def parts(self) -> list[int]:
        """The lengths of the latent vector's two parts: for the whole picture, and for the map."""
        return [self.latent, self.latent_map * math.prod(self.sizes[-1])]

    @property
    def latents(self) -> int:
        """The length of the latent vector."""
        return sum(self.parts)

    @property
    def n_codes(self) -> int:
        """How many codes there are for a position; 1 for continuous latents."""
        return math.prod(self.levels)

    @property
    def of_map(self) -> tuple[int, int, int]:
        """The shape of the latent map: channels, height, width."""
        return (self.latent_map, *self.sizes[-1])


class Block(Bottleneck):
    """x + W₃ ⋆ s(W₂ ⋆ s(W₁ ⋆ s(x))) with s = SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__(width, F.silu)

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(F.silu(x))


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
    """Variance-preserving weights of variance 1/fan-in (LeCun et al. 1998) and biases of 0.

    Residual branches are scaled so that their sum is as large as a single one, whatever their number (in the spirit of Fixup,
    Zhang et al. 2019), and the output starts small.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    branches = sum(name.endswith(".last") for name in layers)
    for name, layer in layers.items():
        share = branches if name.endswith(".last") else 3 if name == "out" else 1
        nn.init.normal_(layer.weight, std=(share * layer.weight[0].numel()) ** -0.5)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


#: The limit of |log σ²|, so that neither σ nor 1/σ overflows.
MAX_LOG_VAR = 12.0


def limited(log_var: Tensor) -> Tensor:
    return MAX_LOG_VAR * (log_var / MAX_LOG_VAR).tanh()


def halvings(config: VAEConfig) -> nn.ModuleList:
    inputs = (config.channels, *config.widths)
    return nn.ModuleList(nn.Conv2d(fine, deep, 3, stride=2, padding=1) for fine, deep in pairwise(inputs))


def halved(x: Tensor, halve: nn.ModuleList, levels: nn.ModuleList) -> Tensor:
    """Pictures (B, C, H, W) down to the last level, (B, widths[-1], *sizes[-1])."""
    h = (2 * x - 1).contiguous(memory_format=torch.channels_last)
    for half, blocks in zip(halve, levels, strict=True):
        h = blocks(half(h))
    return h


class Encoder(nn.Module):
    """From pictures (B, C, H, W) to the mean and log-variance of their latents, each (B, latents)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.halve = halvings(config)
        self.levels = nn.ModuleList(level(config, i) for i in range(len(config.widths)))
        self.to_vector = nn.Linear(config.widths[-1] * math.prod(config.sizes[-1]), config.vector_width)
        self.label = LabelEmbedding(config.n_classes, config.vector_width)
        self.vector = vector_blocks(config)
        self.out = nn.Linear(config.vector_width, 2 * config.latent)
        self.local = nn.Conv2d(config.widths[-1], 2 * config.latent_map, 1) if config.latent_map else None
        initialise(self)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        places = F.silu(halved(x, self.halve, self.levels))
        h = self.to_vector(places.permute(0, 2, 3, 1).flatten(1))
        h = self.vector(self.label(h, labels))
        mean, log_var = self.out(F.silu(h)).float().chunk(2, dim=1)
        if self.local is not None:
            there = self.local(places).float().chunk(2, dim=1)
            mean, log_var = (
                torch.cat((of_all, of_map.flatten(1)), 1) for of_all, of_map in zip((mean, log_var), there, strict=True)
            )
        return mean, limited(log_var)


class Decoder(nn.Module):
    """From latents (B, latents) to the likelihood's parameters (B, channels_out, H, W), which are initially near `first`."""

    def __init__(self, config: VAEConfig, first: Tensor) -> None:
        super().__init__()
        self.picture, self.sizes = (config.height, config.width), config.sizes[::-1]
        widths = config.widths[::-1]
        self.parts = config.parts
        self.shared = nn.Linear(config.latent, config.vector_width)
        self.local = nn.Conv2d(config.latent_map, widths[0], 1) if config.latent_map else None
        self.label = LabelEmbedding(config.n_classes, config.vector_width)
        self.vector = vector_blocks(config)
        self.from_vector = nn.Linear(config.vector_width, widths[0] * math.prod(self.sizes[0]))
        self.levels = nn.ModuleList(level(config, i) for i in reversed(range(len(widths))))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, fine, 1) for deep, fine in pairwise(widths))
        # The last upsampling: the parameters of four pixels at each position (Shi et al. 2016, sub-pixel convolution).
        self.out = nn.Conv2d(widths[-1], 4 * len(first), 3, padding=1)
        initialise(self)
        with torch.no_grad():  # equal for the four pixels, to avoid checkerboards (Aitken et al. 2017)
            self.out.weight.copy_(self.out.weight[::4].repeat_interleave(4, dim=0))
            self.out.bias.copy_(first.repeat_interleave(4))  # type: ignore[union-attr]

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        of_all, of_map = z.split_with_sizes(self.parts, dim=1)
        h = self.vector(self.label(self.shared(of_all), labels))
        h = torch.unflatten(self.from_vector(F.silu(h)), 1, (*self.sizes[0], -1)).permute(0, 3, 1, 2)
        if self.local is not None:
            h = h + self.local(torch.unflatten(of_map, 1, (-1, *self.sizes[0])))
        h = self.levels[0](h)
        for narrow, blocks, size in zip(self.narrow, self.levels[1:], self.sizes[1:], strict=True):
            h = blocks(F.interpolate(narrow(h), size))
        h = F.pixel_shuffle(self.out(F.silu(h)), 2)
        return h[:, :, : self.picture[0], : self.picture[1]]
