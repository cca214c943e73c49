"""The velocity network of a flow-matching prior: a diffusion transformer over the places of a latent map.

Blocks are those of DiT (Peebles and Xie 2023, "Scalable diffusion models with transformers", adaLN-Zero): attention and a
feed-forward layer on normalised tokens, each scaled, shifted and gated by a vector of the time and the class. Every gate starts
at 0, so the initial velocity is 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.backends.pictures.layers import LabelEmbedding, NClasses

#: The width of an attention head, and the number of frequencies that a time is described by.
HEAD, FREQUENCIES = 32, 64


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """(1 + scale) ⊙ LayerNorm(x) + shift for tokens x (B, N, width) and vectors (B, 1, width)."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)


def time_features(t: Tensor) -> Tensor:
    """cos and sin of t (B,) in [0, 1] at geometrically spaced frequencies, (B, 2 · FREQUENCIES)."""
    exponents = torch.arange(FREQUENCIES, device=t.device, dtype=t.dtype) / FREQUENCIES
    angles = 1000 * t[:, None] * torch.exp(-math.log(10_000) * exponents)
    return torch.cat((angles.cos(), angles.sin()), dim=1)


class TransformerBlock(nn.Module):
    """x + g₁ ⊙ Attention(x), then x + g₂ ⊙ MLP(x), both on modulated tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, dim=-1)
        x = torch.addcmul(x, gate1, self._attend(modulated(x, shift1, scale1)))
        hidden = F.gelu(self.widen(modulated(x, shift2, scale2)), approximate="tanh")
        return torch.addcmul(x, gate2, self.narrow(hidden))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Normalised queries and keys keep the logits bounded at high learning rates (Henry et al. 2020).
        q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        y: Tensor = self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y


class VelocityTransformer(nn.Module):
    """v(z_t, t, label): tokens (B, N, channels), times (B,) in [0, 1] and labels (B,) to velocities (B, N, channels)."""

    def __init__(self, *, places: int, channels: int, width: int, blocks: int, n_classes: NClasses) -> None:
        super().__init__()
        self.first = nn.Linear(channels, width)
        self.position = nn.Parameter(0.02 * torch.randn(places, width))
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.label = LabelEmbedding(n_classes, width)
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(blocks))
        self.modulation = nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, channels)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear):
                zero = name == "last" or name.endswith("modulation")
                nn.init.zeros_(layer.weight) if zero else nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        condition = F.silu(self.label(self.time(time_features(t)), labels))
        h = self.first(z) + self.position
        for block in self.blocks:
            h = block(h, condition)
        shift, scale = self.modulation(condition)[:, None].chunk(2, dim=-1)
        v: Tensor = self.last(modulated(h, shift, scale)).to(z.dtype)
        return v

    def matrices(self) -> list[nn.Parameter]:
        """The weights inside the blocks, which are matrices between hidden layers."""
        return [parameter for parameter in self.blocks.parameters() if parameter.ndim == 2]
