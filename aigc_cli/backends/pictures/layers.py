"""Layers that the GAN and the VAE share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NClasses: TypeAlias = int | tuple[int, ...]
"""The number of classes, or that of each of several labels."""


def class_vectors(n_classes: NClasses, width: int) -> nn.Parameter | None:
    """A vector for each class and one for no label, (n_classes + 1, width), those of several labels below one another.
    Initialised to 0. None without classes."""
    rows = sum(n + 1 for n in n_classes) if isinstance(n_classes, tuple) else n_classes and n_classes + 1
    return nn.Parameter(torch.zeros(rows, width)) if rows else None


def embedded(labels: Tensor, vectors: Tensor, n_classes: NClasses) -> Tensor:
    """The vectors (B, width) of labels (B,), or the sum of those of several labels (B, labels)."""
    if not isinstance(n_classes, tuple):
        return F.embedding(labels.remainder(len(vectors)), vectors)
    tables = vectors.split_with_sizes([n + 1 for n in n_classes])
    found = [F.embedding(label.remainder(len(of)), of) for label, of in zip(labels.unbind(1), tables, strict=True)]
    return torch.stack(found).sum(0)


class LabelEmbedding(nn.Module):
    """Adds a learned vector to h (B, width) for each row's label, 0 … n_classes − 1, or −1 for no label. Initialised to 0.

    Of several labels (B, labels) it adds the sum of their vectors. Without classes it adds nothing and takes no labels. A
    vector for −1 is trained only by unlabelled examples.
    """

    def __init__(self, n_classes: NClasses, width: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.vectors = class_vectors(n_classes, width)

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        if self.vectors is None:
            return h
        assert labels is not None, "a conditional model needs labels"
        return h + embedded(labels, self.vectors, self.n_classes)

    @property
    def takes_unlabelled(self) -> bool:
        """Whether the vector for −1 was trained; it isn't if every training example has a label. A vector that never got a
        gradient is exactly 0, which neither the optimiser nor weight decay nor averaging changes. Of several labels, some are
        always dropped in training."""
        return self.vectors is None or isinstance(self.n_classes, tuple) or bool(self.vectors[-1].any())


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
