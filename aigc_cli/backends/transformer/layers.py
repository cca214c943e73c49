"""The operations of the network that have a formula of their own, each in the form that is fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# On a CPU, storing the scores is faster than the kernel that doesn't, up to this many scores (64 MiB).
MOST_STORED = 2**24


def attention_reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention by its definition: softmax(QKᵀ/√d_k)V (Vaswani et al. 2017, eq. 1).

    q (…, T, d_k), k (…, S, d_k), v (…, S, d_v), mask (…, T, S) true for keys to attend to. Returns (…, T, d_v). `attention`
    computes the same, but faster.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, -math.inf).softmax(dim=-1) @ v


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of q (B, H, T, D) to k and v (B, H_kv, S, D), where H is a multiple of H_kv.

    `bias` (B or 1, 1, T, S) is added to the scores: 0 for keys to attend to, otherwise -∞, with at least one 0 per query. None
    is causal for T = S, and unmasked for T = 1. Returns (B, H, T, D).
    """
    batch, n_heads, length, head_dim = q.shape
    n_kv_heads, n_keys = k.shape[1:3]
    if q.device.type != "cpu" or batch * n_heads * length * n_keys > MOST_STORED:
        grouped = n_heads != n_kv_heads
        mask = None if bias is None else bias.to(q.dtype)
        causal = bias is None and length > 1
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=grouped)
    if bias is None and length > 1:
        bias = causal_bias(length, 0, q.device)
    # Query heads that share a key head are rows of one matrix product.
    rows = (q * head_dim**-0.5).reshape(batch * n_kv_heads, -1, head_dim)
    scores = torch.bmm(rows, k.flatten(0, 1).transpose(1, 2))
    if bias is not None:
        scores = (scores.view(batch, n_heads, length, n_keys) + bias).view(scores.shape)
    weights = scores.softmax(dim=-1)
    return torch.bmm(weights.to(v.dtype), v.flatten(0, 1)).view(q.shape)


def dropout(x: Tensor, rate: float) -> Tensor:
    """Variational dropout (Gal & Ghahramani 2016): for x (B, T, D), a share `rate` of each row's D channels is set to 0, the
    same ones at every position, and the others are scaled up. Drawing a mask for every position would take a third of a step
    on a CPU."""
    keep = torch.empty(x.shape[0], 1, x.shape[-1], device=x.device, dtype=x.dtype)
    return x * keep.bernoulli_(1 - rate).div_(1 - rate)


def causal_bias(length: int, past: int, device: torch.device) -> Tensor:
    """The causal bias (1, 1, T, past + T) for T tokens after `past` tokens."""
    bias = torch.full((1, 1, length, past + length), -math.inf, device=device)
    return bias.triu_(past + 1)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) · weight over the last dimension, in float32 inside (Zhang & Sennrich 2019, eq. 4).

    x (…, D), weight (D) or (…, D). Returns x's shape and type.
    """
    if x.device.type != "cpu":
        return (F.rms_norm(x.float(), weight.shape[-1:], eps=eps) * weight).to(x.dtype)
    if torch.is_grad_enabled():
        apply: Callable[..., Tensor] = _RMSNorm.apply
        return apply(x.float(), weight, eps).to(x.dtype)
    if x.dtype == torch.float32:
        return x * _inverse_rms(x, eps) * weight
    return (x * _inverse_rms(x.float(), eps) * weight).to(x.dtype)


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` over the last dimension, computed by `rms_norm`."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.eps is not None
        return rms_norm(x, self.weight, self.eps)


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()


class _RMSNorm(torch.autograd.Function):
    """The same with its gradient written out, which on a CPU takes a third of the time of torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = _inverse_rms(x, eps)
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, scale, weight = ctx.saved_tensors
        grad_weight = (grads[0] * unit).sum_to_size(weight.shape)
        grad_unit = grads[0] * weight
        along = (grad_unit * unit).mean(dim=-1, keepdim=True)
        return torch.addcmul(grad_unit, unit, along, value=-1).mul_(scale), grad_weight, None


def bare(layer: nn.Module) -> bool:
    """Whether to call a linear layer or a norm only applies its weight: it was not replaced (by an adapter, say), and no hook
    waits for the call."""
    hooks = (layer._forward_pre_hooks, layer._forward_hooks, layer._backward_pre_hooks, layer._backward_hooks)
    return type(layer) in (nn.Linear, RMSNorm) and not any(hooks)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, eq. 34): turns each pair (x_i, x_{i+D/2}) by its position times θ_i.

    x (B, T, H, D); cos and sin ((B,) T, 1, D) as `rotary_tables` gives them. Returns x's shape and type.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin).to(x.dtype)


def rotary_tables(context: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """The cosines and the sines (context, D) of each position's angles, the first half of the sines negative."""
    frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.arange(context, dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)
