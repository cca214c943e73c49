"""The loss of a language model: the mean of -log p(x_t | x_1 … x_{t-1}), in nats per token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.data.text.dataset import TokenArrays
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer

IGNORED = -100
CHUNK = 2**22  # logits computed at once (16 MiB): few enough for the processor's caches


def cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The mean of -log softmax(hidden · headᵀ)[target] over the targets, in nats per token, and the number of targets.

    hidden (…, d), head (V, d), targets (…) int64, with -100 for no target; weights (…) float32 of the targets, 1 by default.
    Both results are scalars. Logits are computed and dropped in chunks of rows, so that a large vocabulary takes little memory.
    """
    n_targets = (targets != IGNORED).sum()
    apply: Callable[..., Tensor] = _CrossEntropy.apply
    of_rows = None if weights is None else weights.flatten()
    return apply(hidden.flatten(0, -2), head, targets.flatten(), n_targets, of_rows), n_targets


class _CrossEntropy(torch.autograd.Function):
    """Computes the gradients in the forward pass, while a chunk's logits are available (Hsu et al. 2024, section 3).

    With z = hidden · headᵀ and p = softmax(z), the gradient of -log p[target] with respect to z is p - onehot(target).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, n_targets: Tensor, weights: Tensor | None) -> Tensor:
        scale = 1 / n_targets.clamp(min=1)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        needs_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        grad_hidden, grad_head = torch.empty_like(hidden), torch.zeros_like(head)
        rows = max(1, CHUNK // head.shape[0])
        for start in range(0, len(targets), rows):
            h, target = hidden[start : start + rows], targets[start : start + rows]
            counted = target != IGNORED
            index = target.where(counted, 0)[:, None]
            log_p = F.linear(h, head).float().log_softmax(dim=-1)
            of_target = log_p.gather(1, index)[:, 0].where(counted, 0)
            weight = counted if weights is None else weights[start : start + rows].where(counted, 0)
            total -= (of_target if weights is None else of_target * weight).sum()
            if needs_gradient:
                grad_z = log_p.exp_().scatter_add_(1, index, torch.full_like(log_p[:, :1], -1))
                grad_z *= (weight * scale)[:, None]
                grad_z = grad_z.to(h.dtype)
                grad_hidden[start : start + rows] = grad_z @ head
                grad_head += grad_z.t() @ h
        ctx.save_for_backward(grad_hidden, grad_head)
        return total * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_hidden, grad_head = ctx.saved_tensors
        return grad_hidden * grads[0], grad_head * grads[0], None, None, None


@torch.no_grad()
def hidden_nats(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """The cost of each target (B, T) in nats, from the preceding hidden states (B, T, d) and the output matrix head (V, d)."""
    rows = max(1, CHUNK // head.shape[0])
    nats = [
        F.cross_entropy(F.linear(h, head).float(), target, ignore_index=IGNORED, reduction="none")
        for h, target in zip(torch.split(hidden.flatten(0, -2), rows), torch.split(targets.flatten(), rows), strict=True)
    ]
    return torch.cat(nats).view_as(targets)


def spelling_nats(arrays: TokenArrays, tokenizer: Tokenizer) -> NDArray[np.float64] | None:
    """The cost of spelling each token (N,) in nats, 0 for all but unknown words; None if the tokenizer has none."""
    if arrays.unknown is None or tokenizer.spelling is None:
        return None
    spelling = np.zeros(len(arrays.tokens))
    spelling[arrays.unknown.at] = [tokenizer.spelling.nats(word) for word in arrays.unknown.words()]
    return spelling
