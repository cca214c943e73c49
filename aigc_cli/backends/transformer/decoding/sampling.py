"""How a token is drawn from logits (B, V): each rule is one short function and names its source."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Probabilities that together are less are near the least of float32, and not drawn by.
LEAST_WEIGHT = 1e-30


@dataclass(frozen=True)
class SamplingOptions:
    """How samples are drawn. The rules apply in the order of the fields; None or 1.0 leaves a rule out.

    A temperature of 0 takes the likeliest token. `max_tokens` None lets a sample run to the end of its
    document, or to the model's `longest`. `stop` are strings before the first of which a sample is cut.
    """

    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def as_they_are(self) -> bool:
        """Whether tokens are drawn by the model's own probabilities."""
        return self.repetition_penalty == self.temperature == 1 and self.top_k is self.top_p is self.min_p is None


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Makes the tokens that are there already, `seen` (B, V), less likely (Keskar et al. 2019, section 4.1).

    The paper divides the logit by the penalty, which would make a token with a negative logit more likely;
    such a logit is multiplied instead, as is usual since.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Leaves the k most likely tokens (Fan et al. 2018), and those that tie with the last of them."""
    if k >= logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[:, -1:], -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Leaves the fewest likeliest tokens whose probabilities sum to p or more (Holtzman et al. 2020)."""
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    more_likely = ordered.cumsum(dim=-1) - ordered
    dropped = torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, more_likely >= p)
    return logits.masked_fill(dropped, -math.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Leaves the tokens at least p times as likely as the likeliest one (Nguyen et al. 2024, section 3)."""
    if p <= 0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(p), -math.inf)


def inverse_cdf(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draws one token a row: the first one, in the order of ids, whose cumulative probability exceeds u.

    weights (B, V), probabilities or what is proportional to them; uniforms (B,) float32 in [0, 1). Returns ids (B,). Tokens of
    weight 0 are never drawn.
    """
    cdf = weights.cumsum(dim=-1)
    # u times the last entry is always below it, so an id is always found.
    return torch.searchsorted(cdf, uniforms[:, None] * cdf[:, -1:], right=True).squeeze(-1)


def next_tokens(logits: Tensor, options: SamplingOptions, seen: Tensor | None, uniforms: Tensor | None) -> Tensor:
    """The next token (B,) of each row, for logits (B, V) in float32.

    `seen` (B, V) is needed for a repetition penalty alone, and `uniforms` (B,) unless the temperature is 0.
    """
    if seen is not None:
        logits = penalise_repetition(logits, seen, options.repetition_penalty)
    if uniforms is None:
        return logits.argmax(dim=-1)
    if options.temperature != 1:
        logits = logits / options.temperature
    if options.top_k is not None:
        logits = keep_top_k(logits, options.top_k)
    if options.top_p is not None:
        logits = keep_top_p(logits, options.top_p)
    if options.min_p is not None:
        logits = keep_min_p(logits, options.min_p)
    return inverse_cdf(logits.softmax(dim=-1), uniforms)


def next_allowed_tokens(
    logits: Tensor, allowed: Tensor, options: SamplingOptions, seen: Tensor | None, uniforms: Tensor | None
) -> tuple[Tensor, list[float]]:
    """Like `next_tokens`, among those that `allowed` (B, V) has 1 and not 0 for; and the probability that these have together
    in each row, before any rule."""
    weights = logits.softmax(dim=-1) * allowed
    kept = weights.sum(dim=-1).tolist()
    if options.as_they_are and uniforms is not None and min(kept) > LEAST_WEIGHT:  # the same tokens, in half the time
        return inverse_cdf(weights, uniforms), kept
    return next_tokens(logits + allowed.log(), options, seen, uniforms), kept
