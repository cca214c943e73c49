"""An encoder and a decoder whose latents are a map alone, without a vector for the whole picture and without classes.

They are the first stage of `--objective samples`: the prior learns how the places of the map belong together, and the classes.
With `--codes` the map is quantised, and its prior is another model altogether.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.backends.pictures.layers import upsampled
from aigc_cli.backends.vae.codes.quantiser import quantise
from aigc_cli.backends.vae.networks import VAEConfig, halved, halvings, initialise, level, limited

#: The decoder's channels at full resolution, where it has only two small layers.
FINE = 16
#: Added to the mean square of features before they are divided by its root.
EPSILON = 1e-4


class MapEncoder(nn.Module):
    """From pictures (B, C, H, W) to the mean and log-variance of their latents, each (B, latents)."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.halve = halvings(config)
        self.levels = nn.ModuleList(level(config, i) for i in range(len(config.widths)))
        self.local = nn.Conv2d(config.widths[-1], self.outputs(config), 1)
        initialise(self)

    def outputs(self, config: VAEConfig) -> int:
        """The channels of the last layer."""
        return 2 * config.latent_map

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_var = self.local(F.silu(halved(x, self.halve, self.levels))).float().chunk(2, dim=1)
        return mean.flatten(1), limited(log_var.flatten(1))


class CodeEncoder(MapEncoder):
    """From pictures (B, C, H, W) to quantised latents (B, latents), each with a log-variance of −∞: they are certain.

    What is quantised is a projection of features whose root mean square is 1 at each place: otherwise they grow so much in the
    first steps that tanh saturates, and some codes are never used again.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        self.of_place = config.levels

    def outputs(self, config: VAEConfig) -> int:
        return config.latent_map

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = F.silu(halved(x, self.halve, self.levels)).float()
        h = self.local(h * (h.square().mean(1, keepdim=True) + EPSILON).rsqrt())
        z = quantise(h, self.of_place).flatten(1)
        return z, torch.full_like(z, -math.inf)


class MapDecoder(nn.Module):
    """From latents (B, latents) to pictures (B, channels_out, H, W), initially near 0."""

    def __init__(self, config: VAEConfig, first: Tensor) -> None:
        super().__init__()
        self.picture, self.sizes = (config.height, config.width), config.sizes[::-1]
        widths = config.widths[::-1]
        self.local = nn.Conv2d(config.latent_map, widths[0], 1)
        self.levels = nn.ModuleList(level(config, i) for i in reversed(range(len(widths))))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, fine, 1) for deep, fine in pairwise((*widths, FINE)))
        self.fine = nn.Conv2d(FINE, FINE, 3, padding=1)
        self.out = nn.Conv2d(FINE, len(first), 3, padding=1)
        initialise(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.levels[0](self.local(torch.unflatten(z, 1, (-1, *self.sizes[0]))))
        finer = [*self.sizes[1:], self.picture]
        for narrow, size, blocks in zip(self.narrow, finer, (*self.levels[1:], self.fine), strict=True):
            h = blocks(upsampled(narrow(F.silu(h)), size))
        params: Tensor = self.out(F.silu(h))
        return params
