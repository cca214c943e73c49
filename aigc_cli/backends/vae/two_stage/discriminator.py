"""A discriminator of patches, which teaches the decoder the texture that errors per pixel blur (Isola et al. 2017, PatchGAN;
Rombach et al. 2022, latent diffusion, section 3.1)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """From pictures (B, C, H, W) in [0, 1] to a score for each patch of up to 38×38 pixels, (B, patches)."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.halve = nn.ModuleList(
            nn.Conv2d(fine, deep, 4, stride=2, padding=1) for fine, deep in pairwise((channels, *widths))
        )
        self.out = nn.Conv2d(widths[-1], 1, 3, padding=1)
        gain = nn.init.calculate_gain("leaky_relu", 0.2)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(
                    layer.weight, std=(1.0 if name in ("halve.0", "out") else gain) * layer.weight[0].numel() ** -0.5
                )
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        cast(Any, self).to(memory_format=torch.channels_last)  # PyTorch's own stubs lack it

    def forward(self, x: Tensor) -> Tensor:
        h = (2 * x - 1).contiguous(memory_format=torch.channels_last)
        for halve in self.halve:
            h = F.leaky_relu(halve(F.pad(h, (0, h.shape[3] % 2, 0, h.shape[2] % 2))), 0.2)
        scores: Tensor = self.out(h).flatten(1)
        return scores
