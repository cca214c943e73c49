"""The networks of a GAN: a residual generator and discriminator without normalisation, after R3GAN (Huang et al. 2024).

Each level halves a picture of any height and width, rounding up. There are no blocks at full resolution: most of the work is
done at low resolution with many channels. Pictures are (B, C, H, W) float32 with pixels in [-1, 1]; labels are (B,) int64 in
0 … n_classes − 1, or −1 for no label, (B, labels) if there are several, and None if the model has no classes.

Both networks may also be conditioned on clusters of the training pictures (see `clusters.py`). A latent then ends with a weight
for each cluster: 1 for the picture's cluster and 0 for the others, or a mixture on the way from one to another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.backends.gan.clusters import SIDE, nearest, thumbnails
from aigc_cli.backends.pictures.layers import Bottleneck, LabelEmbedding, class_vectors, embedded, upsampled
from aigc_cli.backends.pictures.networks import PictureNetworkConfig
from aigc_cli.engine.network import load_network, save_network

#: The slope of the leaky ReLU, whose second derivative is 0 almost everywhere, which makes gradient penalties cheap.
SLOPE = 0.2
#: The generator's channels at full resolution, where it has only one small layer.
FINE = 16


@dataclass(frozen=True, kw_only=True)
class GANConfig(PictureNetworkConfig):
    """The shape of a GAN. `vector_width` is the width of the vector between a latent and the first level, and between the last
    level and the score.

    With `tile`, the generator makes textures: its latent is a map of vectors, and pictures of any size wrap at their edges.
    """

    model_type = "aigc-gan"
    least: ClassVar[Mapping[str, int]] = {**PictureNetworkConfig.least, "n_clusters": 0}

    tile: bool = False
    n_clusters: int = 0
    """The number of clusters that the networks are conditioned on; 0 for none."""

    @property
    def cell(self) -> int:
        """The side in pixels of what one place of the last level covers."""
        return int(2 ** len(self.widths))

    def to_json(self) -> dict[str, Any]:
        """Without `tile` and `n_clusters` unless they are set: other runs have the same files as those of earlier versions."""
        return {name: value for name, value in super().to_json().items() if name not in ("tile", "n_clusters") or value}


def activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


class Block(Bottleneck):
    """x + W₃ ⋆ a(W₂ ⋆ a(W₁ ⋆ x))."""

    def __init__(self, width: int) -> None:
        super().__init__(width, activate)

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def level(config: GANConfig, index: int) -> nn.Sequential:
    return nn.Sequential(*(Block(config.widths[index]) for _ in range(config.blocks[index])))


def initialise(network: nn.Module) -> None:
    """Variance-preserving weights (He et al. 2015) and biases of 0.

    Blocks start as the identity. Their inner weights are scaled by L^(−1/4) for L blocks of three layers, so that the first
    steps change the network as much as if there were a single block (Zhang et al. 2019, Fixup).
    """
    gain = nn.init.calculate_gain("leaky_relu", SLOPE)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # All layers but the first follow an activation, or precede one inside a block.
            scale = 1.0 if name == "first" else gain
            nn.init.normal_(layer.weight, std=scale * layer.weight[0].numel() ** -0.5)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    for block in blocks:
        with torch.no_grad():
            block.reduce.weight *= len(blocks) ** -0.25
            block.conv.weight *= len(blocks) ** -0.25
            block.last.weight.zero_()


class Generator(nn.Module):
    """From latents (B, latent + n_clusters) to pictures (B, C, H, W) with pixels in about [-1, 1]."""

    shares: Tensor  # (n_clusters,) the clusters' shares of the training pictures

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        self.sizes = config.sizes[::-1]
        widths = (*config.widths[::-1], FINE)
        self.first, from_vector = self.entry(config.latent, config.vector_width, widths[0])
        self.label = LabelEmbedding(config.n_classes, config.vector_width)
        self.from_vector = from_vector
        self.levels = nn.ModuleList(level(config, i) for i in reversed(range(len(config.widths))))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, fine, 1) for deep, fine in pairwise(widths))
        self.fine = nn.Conv2d(FINE, FINE // 2, 3, padding=1)
        self.out = nn.Conv2d(FINE // 2, config.channels, 3, padding=1)
        initialise(self)
        self.clusters = None
        if config.n_clusters:
            self.clusters = nn.Parameter(torch.zeros(config.n_clusters, config.vector_width))
            self.register_buffer("shares", torch.full((config.n_clusters,), 1 / config.n_clusters))
        cast(Any, self).to(memory_format=torch.channels_last)  # PyTorch's own stubs lack it

    def entry(self, latent: int, vector_width: int, width: int) -> tuple[nn.Module, nn.Module]:
        """The layers from a latent to the vector, and from it to the deepest level of `width` channels."""
        return nn.Linear(latent, vector_width), nn.Linear(vector_width, width * math.prod(self.sizes[0]))

    def drawn_clusters(self, n: int, random: torch.Generator) -> Tensor | None:
        """Random clusters (n,) in their shares, on the CPU; None if the model has none."""
        return None if self.clusters is None else torch.multinomial(self.shares.cpu(), n, replacement=True, generator=random)

    def with_clusters(self, z: Tensor, clusters: Tensor | None) -> Tensor:
        """Latents (B, latent) ~ N(0, I) of pictures of these clusters (B,), as the input (B, latent + n_clusters)."""
        if clusters is None:
            return z
        return torch.cat((z, F.one_hot(clusters, self.config.n_clusters).to(z.dtype)), dim=1)

    def deepest(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """The input (B, C, h, w) of the deepest level."""
        h = self.label(self.first(z[:, : self.config.latent]), labels)
        if self.clusters is not None:
            h = h + z[:, self.config.latent :] @ self.clusters
        return activate(self.from_vector(activate(h))).view(len(z), *self.sizes[0], -1).permute(0, 3, 1, 2)

    def upsampled(self, h: Tensor, size: tuple[int, int]) -> Tensor:
        return upsampled(h, size)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        first, *others = self.levels
        h = first(self.deepest(z, labels))
        finer = [*self.sizes[1:], (self.config.height, self.config.width)]
        for narrow, size, blocks in zip(self.narrow, finer, (*others, self.fine), strict=True):
            h = blocks(self.upsampled(narrow(activate(h)), size))
        x: Tensor = self.out(activate(h))
        return x.float()


class TileGenerator(Generator):
    """From maps of latents (B, latent, h, w) ~ N(0, I) to textures (B, C, h·cell, w·cell) that wrap at their edges, on which
    no place is special (Jetchev et al. 2016, spatial GAN). All convolutions and upsampling wrap: shifting the map shifts the
    texture."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__(config)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                layer.padding_mode = "circular"

    def entry(self, latent: int, vector_width: int, width: int) -> tuple[nn.Module, nn.Module]:
        return nn.Conv2d(latent, vector_width, 1), nn.Conv2d(vector_width, width, 3, padding=1)

    def deepest(self, z: Tensor, labels: Tensor | None) -> Tensor:
        h = self.first(z.contiguous(memory_format=torch.channels_last))
        h = h + self.label(h.new_zeros(h.shape[:2]), labels)[:, :, None, None]
        return activate(self.from_vector(activate(h)))

    def upsampled(self, h: Tensor, size: tuple[int, int]) -> Tensor:
        """Twice as high and wide, whatever the size in training was."""
        h = F.interpolate(F.pad(h, (1, 1, 1, 1), mode="circular"), scale_factor=2.0, mode="bilinear")
        return h[:, :, 2:-2, 2:-2].contiguous(memory_format=torch.channels_last)


def new_generator(config: GANConfig) -> Generator:
    """A freshly initialised generator."""
    return TileGenerator(config) if config.tile else Generator(config)


class Discriminator(nn.Module):
    """From pictures (B, C, H, W) to scores (B,), higher for pictures that look more real.

    With classes, the score includes ⟨e(label), h(x)⟩ (Miyato and Koyama 2018, projection discriminator), and with clusters
    ⟨e(cluster), h(x)⟩.
    """

    centres: Tensor  # (n_clusters, C · SIDE²) of the clusters, as thumbnails

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        # A 4×4 kernel with stride 2 covers every pixel equally often. A 3×3 kernel doesn't, and its gradient, from which the
        # generator learns, would have a grid pattern.
        self.first = nn.Conv2d(config.channels, config.widths[0], 4, stride=2, padding=1)
        self.widen = nn.ModuleList(nn.Conv2d(fine, deep, 1) for fine, deep in pairwise(config.widths))
        self.levels = nn.ModuleList(level(config, i) for i in range(len(config.widths)))
        self.to_vector = nn.Linear(config.widths[-1] * math.prod(config.sizes[-1]), config.vector_width)
        self.out = nn.Linear(config.vector_width, 1)
        initialise(self)
        self.classes = class_vectors(config.n_classes, config.vector_width)
        self.by_cluster = None
        if config.n_clusters:
            self.by_cluster = nn.Parameter(torch.zeros(config.n_clusters, config.vector_width))
            self.register_buffer("centres", torch.zeros(config.n_clusters, config.channels * SIDE**2))
        cast(Any, self).to(memory_format=torch.channels_last)  # PyTorch's own stubs lack it

    def clusters_of(self, x: Tensor) -> Tensor | None:
        """The clusters (B,) of pictures; None if the model has none."""
        return None if self.by_cluster is None else nearest(thumbnails(x), self.centres)

    def forward(self, x: Tensor, labels: Tensor | None = None, clusters: Tensor | None = None) -> Tensor:
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        h = self.levels[0](self.first(x.contiguous(memory_format=torch.channels_last)))
        for widen, blocks in zip(self.widen, self.levels[1:], strict=True):
            h = blocks(widen(F.avg_pool2d(activate(h), 2, ceil_mode=True)))
        h = activate(self.to_vector(activate(h).permute(0, 2, 3, 1).flatten(1)))
        scores: Tensor = self.out(h).squeeze(1)
        if self.classes is not None:
            assert labels is not None, "a conditional model needs labels"
            scores = scores + (h * embedded(labels, self.classes, self.config.n_classes)).sum(1)
        if self.by_cluster is not None:
            assert clusters is not None, "a model with clusters needs the pictures' clusters"
            scores = scores + (h * F.embedding(clusters, self.by_cluster)).sum(1)
        return scores.float()


def save_pretrained(generator: Generator, folder: Path) -> None:
    """Write config.json and model.safetensors (float32)."""
    save_network(generator, generator.config.to_json(), folder)


def load_pretrained(folder: Path) -> Generator:
    """Load what `save_pretrained` wrote, on the CPU and in evaluation mode.

    Raises `RequestError` if the folder is not a complete model of this architecture.
    """
    return load_network(folder, GANConfig.from_json, new_generator)
