"""A proportion of units, with an interval that holds for none and for all of them too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure

_Z = 1.959964  # the 97.5th percentile of the standard normal


def proportion(true: ArrayLike) -> Measure:
    """The proportion of units, shape (n,), that are true, with the 95 % interval of Wilson (1927).

    Unlike a bootstrap interval it is not empty for 0 of n units: it then ends at 3.84 / (n + 3.84).
    Raises `RequestError` if there are no units.
    """
    counted = np.asarray(true, dtype=bool)
    n = counted.size
    if n == 0:
        raise RequestError("there is nothing to measure: there are no units")
    p = float(counted.mean())
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return Measure(p, max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half)), n)
