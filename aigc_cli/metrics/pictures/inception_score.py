"""The inception score: whether a classifier is sure about each sample, and finds all classes among them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.jackknife import GROUPS, bounds, groups, standard_error

_LEAST = 1e-12  # of a probability


def inception_score(probabilities: ArrayLike, *, seed: int = 0) -> Measure:
    """exp E KL(p(y|x) ‖ p(y)), p(y) being the mean of p(y|x) (Salimans et al. 2016, section 4): from 1, where all samples look
    alike to the classifier, to the number of classes, where it is sure of each and finds them all equally often.

    probabilities: (n, classes). Among all n at once, not in ten parts. The interval leaves out a twentieth in turn, drawn by
    `seed`; there is none for fewer than 40. Raises `RequestError` if there are no samples.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if not len(p):
        raise RequestError("an inception score needs at least one sample")
    value, low, high = _score(p), None, None
    if len(p) >= 2 * GROUPS:
        group = groups(len(p), seed=seed)
        low, high = bounds(value, standard_error([_score(p[group != g]) for g in range(GROUPS)]))
    classes = p.shape[1]
    return Measure(value, None if low is None else max(1.0, low), None if high is None else min(classes, high), len(p))


def _score(p: NDArray[np.float64]) -> float:
    p = np.maximum(p, _LEAST)
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))
