"""How well a model predicts held-out text: bits per character and per byte, and perplexity.

All three divide a total cost, −log p in nats, by a total length. The cost of a document is that of all its
tokens and of its end; the length is that of the normalised text, so that models with different tokenizers can
be compared. The arrays have one entry per unit: a document, or a segment if there is only one long document.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums


def bits_per_char(nats: ArrayLike, chars: ArrayLike, *, seed: int = 0) -> Measure:
    """Σ nats / (ln 2 · Σ characters). A character is a Unicode scalar value: `len(text)`.

    nats, chars: shape (units,). The interval is `ratio_of_sums`'s. Raises `RequestError` if there is no text.
    """
    if not np.any(chars):
        raise RequestError("there is nothing to measure: the data has no text in it")
    return ratio_of_sums(np.asarray(nats) / math.log(2), chars, unit="bits/char", seed=seed)


def bits_per_byte(nats: ArrayLike, utf8_bytes: ArrayLike, *, seed: int = 0) -> Measure:
    """Σ nats / (ln 2 · Σ bytes), the text written in UTF-8; comparable across scripts.

    nats, utf8_bytes: shape (units,). The interval is `ratio_of_sums`'s.
    """
    return ratio_of_sums(np.asarray(nats) / math.log(2), utf8_bytes, unit="bits/byte", seed=seed)


def perplexity(nats: ArrayLike, tokens: ArrayLike, *, seed: int = 0) -> Measure:
    """exp(Σ nats / Σ tokens), the ends of documents counted among the tokens (Jelinek et al., 1977).

    nats, tokens: shape (units,). Comparable only between models with the same tokenizer.
    """
    return ratio_of_sums(nats, tokens, seed=seed).map(_exp, unit="per token")


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 709 else math.inf
