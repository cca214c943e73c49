"""Sampling a token from logits (B, V): a short function for each rule, with its source."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: Smaller total weights are too close to float32's smallest number to sample from.
LEAST_WEIGHT = 1e-30


@dataclass(frozen=True)
class SamplingOptions:
    """How samples are drawn. Rules apply in the order of the fields; None or 1.0 turns a rule off.

    A temperature of 0 picks the likeliest token. Without `max_tokens`, a sample runs to the end of its document, or to the
    model's `longest`. A sample is cut before the first occurrence of a string of `stop`.
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
        """Whether tokens are drawn with the model's own probabilities."""
        return self.repetition_penalty == self.temperature == 1 and self.top_k is self.top_p is self.min_p is None


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens that have occurred, `seen` (B, V), less likely (Keskar et al. 2019, section 4.1).

    The paper divides logits by the penalty, which would make tokens with negative logits more likely; as is common, these are
    multiplied instead.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k likeliest tokens (Fan et al. 2018), and those that tie with the last of them."""
    if k >= logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(k).values[:, -1:], -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the smallest set of likeliest tokens whose total probability is at least p (Holtzman et al. 2020)."""
    ordered, order = logits.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    more_likely = ordered.cumsum(dim=-1) - ordered
    dropped = torch.empty_like(order, dtype=torch.bool).scatter_(-1, order, more_likely >= p)
    return logits.masked_fill(dropped, -math.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep the tokens at least p times as likely as the likeliest one (Nguyen et al. 2024, section 3)."""
    if p <= 0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(p), -math.inf)


def inverse_cdf(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Draw a token per row: the first one, in the order of ids, whose cumulative probability exceeds u.

    weights (B, V) are proportional to probabilities; uniforms (B,) float32 in [0, 1). Returns ids (B,). Tokens of weight 0 are
    never drawn.
    """
    cdf = weights.cumsum(dim=-1)
    if cdf.device.type != "cpu":
        cdf = rising(cdf, weights)
    # u times the last entry is always below the last entry, so an id is always found.
    return torch.searchsorted(cdf, uniforms[:, None] * cdf[:, -1:], right=True).squeeze(-1)


def rising(cdf: Tensor, weights: Tensor) -> Tensor:
    """Cumulative weights (B, V) without the rounding by which sums that a GPU computes in parallel go down, or go up where a
    weight is 0. Otherwise a token that must not be drawn is drawn now and then (pytorch/pytorch issue 4858)."""
    return cdf.where(weights > 0, 0).cummax(dim=-1).values


def next_tokens(logits: Tensor, options: SamplingOptions, seen: Tensor | None, uniforms: Tensor | None) -> Tensor:
    """The next token (B,) of each row, for logits (B, V) in float32.

    `seen` (B, V) is only needed for a repetition penalty, and `uniforms` (B,) unless the temperature is 0.
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
    """Like `next_tokens`, but only among tokens with 1 in `allowed` (B, V). Also returns their total probability per row,
    before any rule."""
    weights = logits.softmax(dim=-1) * allowed
    kept = weights.sum(dim=-1).tolist()
    if options.as_they_are and uniforms is not None and min(kept) > LEAST_WEIGHT:  # the same tokens, in half the time
        return inverse_cdf(weights, uniforms), kept
    return next_tokens(logits + allowed.log(), options, seen, uniforms), kept
