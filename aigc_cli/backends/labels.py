"""Classes as a condition of a network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LabelEmbedding(nn.Module):
    """Adds a learned vector to h (B, width) for each row's label in 0 … n_classes − 1, or −1 for none. All are 0 at first.

    Without classes it adds nothing and takes no labels.
    """

    def __init__(self, n_classes: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.zeros(n_classes + 1, width)) if n_classes else None

    def forward(self, h: Tensor, labels: Tensor | None) -> Tensor:
        if self.vectors is None:
            return h
        assert labels is not None, "a conditional model needs labels"
        return h + F.embedding(labels.remainder(len(self.vectors)), self.vectors)
