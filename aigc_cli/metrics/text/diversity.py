"""How varied a set of texts is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.text.matching import Queries
from aigc_cli.metrics.text.symbols import number_words


def distinct_n(texts: Sequence[str], n: int) -> Measure:
    """The number of distinct word n-grams over the number of all n-grams in the texts.

    Li et al. (2016), "A Diversity-Promoting Objective Function for Neural Conversation Models". It falls as
    texts are added, so it is comparable only between sets of one size. For the same reason a bootstrap, which
    repeats texts, would bias it; the interval is value ± 1.96 standard errors by the jackknife over texts, which
    errs on the wide side (Efron and Stein, 1981).

    Raises `RequestError` if no text has n words.
    """
    hashes, owner = Queries(number_words(texts)[0]).ngrams(n)
    if hashes.size == 0:
        raise RequestError(f"there is nothing to measure: no text is {n} words long")
    _, gram = np.unique(hashes, return_inverse=True)
    different = int(gram.max()) + 1
    first, last = np.full(different, len(texts)), np.full(different, -1)
    np.minimum.at(first, gram, owner)
    np.maximum.at(last, gram, owner)
    value = different / hashes.size
    # Without text i there are fewer n-grams, by its own, and fewer distinct ones, by those in no other text.
    own = np.bincount(owner, minlength=len(texts))
    only = np.bincount(first[first == last], minlength=len(texts))
    if own.max() == hashes.size:
        return Measure(value, None, None, len(texts))
    without = (different - only) / (hashes.size - own)
    error = math.sqrt((len(texts) - 1) * without.var())
    return Measure(value, max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error), len(texts))
