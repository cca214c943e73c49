"""Whether samples have the classes of the data in the same proportions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.jackknife import GROUPS, bounds, groups, standard_error


def class_shares(samples: ArrayLike, held_out: ArrayLike, names: Sequence[str], *, seed: int = 0) -> Measure:
    """The total variation distance ½ Σ |p − q| of two sets' class proportions: 0 if they agree, 1 if they share no class.

    samples: (m,) and held_out: (n,) class numbers below len(names). They should come from one classifier, so that it errs
    in both alike. `shares` and `held_out` are the shares by name. The distance of samples is above that of their
    distributions: it compares with one between sets of the same sizes. The interval leaves out a twentieth of both sets in
    turn, drawn by `seed`; there is none for fewer than 40 in a set.

    Raises `RequestError` where a set is empty.
    """
    sets = [np.asarray(numbers, dtype=np.int64) for numbers in (samples, held_out)]
    n = min(map(len, sets))
    if n == 0:
        raise RequestError("class proportions need at least one sample and one held-out picture")

    def shares(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(numbers, minlength=len(names)) / len(numbers)

    def distance(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
        return 0.5 * float(np.abs(shares(first) - shares(second)).sum())

    value, low, high = distance(*sets), None, None
    if n >= 2 * GROUPS:
        drawn = [groups(len(numbers), seed=seed) for numbers in sets]
        without = [distance(*(numbers[group != g] for numbers, group in zip(sets, drawn, strict=True))) for g in range(GROUPS)]
        low, high = bounds(value, standard_error(without))
    by_name = [dict(zip(names, shares(numbers).round(6).tolist(), strict=True)) for numbers in sets]
    extra = {"shares": by_name[0], "held_out": by_name[1]}
    return Measure(value, None if low is None else max(0.0, low), None if high is None else min(1.0, high), n, extra=extra)
