"""Layers that the GAN and the VAE share."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LabelEmbedding(nn.Module):
    """Adds a learned vector to h (B, width) for each row's label, 0 … n_classes − 1, or −1 for no label. Initialised to 0.

    Without classes it adds nothing and takes no labels. The vector for −1 is trained only by unlabelled examples.
    """

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.zeros(n_classes + 1, width)) if n_classes else None

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        if self.vectors is None:
            return h
        assert labels is not None, "a conditional model needs labels"
        return h + F.embedding(labels.remainder(len(self.vectors)), self.vectors)

    @property
    def takes_unlabelled(self) -> bool:
        """Whether the vector for −1 was trained; it isn't if every training example has a label. A vector that never got a
        gradient is exactly 0, which neither the optimiser nor weight decay nor averaging changes."""
        return self.vectors is None or bool(self.vectors[-1].any())


class Bottleneck(nn.Module):
    """W₃ ⋆ a(W₂ ⋆ a(W₁ ⋆ x)) for an activation a: 1×1, 3×3 and 1×1 convolutions with half of the channels in between."""

    def __init__(self, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        inner = -(-width // 2)
        self.activation = activation
        self.reduce = nn.Conv2d(width, inner, 1)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1)
        self.last = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(self.activation(self.reduce(x)))
        y: Tensor = self.last(self.activation(h))
        return y


def upsampled(h: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsample h by 2 and crop it to `size`. Bilinear, because repeated or rearranged pixels would leave a grid pattern in even
    areas, which minutes of training don't remove."""
    h = F.interpolate(h, scale_factor=2.0, mode="bilinear")[:, :, : size[0], : size[1]]
    return h.contiguous(memory_format=torch.channels_last)
