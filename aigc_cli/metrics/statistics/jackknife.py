"""The delete-a-group jackknife: intervals of statistics that are not means over units.

A bootstrap sample repeats units, and a distance between two samples takes repeats for structure: it is biased upward,
and its interval may not even hold the estimate. Leaving units out repeats none.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

GROUPS = 20
_STUDENT = 2.093  # the 97.5th percentile of Student's t with GROUPS − 1 degrees of freedom


def groups(n: int, *, seed: int = 0) -> NDArray[np.int64]:
    """The group from 0 to GROUPS − 1 of each of n units, drawn at random; sizes differ by one at most. Shape (n,)."""
    return np.random.default_rng(seed).permutation(n) % GROUPS


def standard_error(without: ArrayLike) -> float:
    """From the statistic without each group in turn, shape (GROUPS,): √((G − 1) / G · Σ (θ₋g − mean)²).

    Shao and Tu (1995), "The Jackknife and Bootstrap", section 2.3. For a statistic whose first-order term vanishes (the
    distance between two samples of one distribution) it is too large by a factor of about √2, on the safe side.
    """
    left = np.asarray(without, dtype=np.float64)
    return math.sqrt((len(left) - 1) * left.var())


def bounds(value: float, error: float) -> tuple[float | None, float | None]:
    """The 95 % interval of `value` with the standard error `error`; none if that is not finite."""
    if not math.isfinite(error):
        return None, None
    return value - _STUDENT * error, value + _STUDENT * error
