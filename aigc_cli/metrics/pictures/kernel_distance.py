"""The kernel distance between two sets of pictures, by their features."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.jackknife import GROUPS, bounds, groups, standard_error

_CHUNK = 1 << 20  # kernel values held at once: 8 MiB an array


class Estimate(NamedTuple):
    """A value and its standard error, which is NaN for fewer than 40 points a set."""

    value: float
    standard_error: float


def kernel_distance(x: ArrayLike, y: ArrayLike, *, seed: int = 0, same_second: bool = False) -> Estimate:
    """The squared MMD of Bińkowski et al. (2018), "Demystifying MMD GANs", section 4; x: (m, d), y: (n, d).

    The kernel is k(x, y) = (x·y / d + 1)³ and the estimate the unbiased one (Gretton et al., 2012, eq. 3), over all pairs:
    what the usual mean over random subsets of 1,000 tends to as they grow in number. Being unbiased, its expectation does
    not depend on the sizes of the sets, and it is below zero half of the time where their distributions are equal.

    The standard error leaves out a twentieth of both sets in turn; `seed` draws the twentieths. With `same_second` it leaves
    out only points of x: the error of a comparison of several sets with the same y.
    Time: O((m + n)² d); 0.2 s on a core for 2,000 points of 192 features in each set.

    Raises `RequestError` for a set of fewer than two points, `AigcError` where a point is not finite.
    """
    first, second = (np.asarray(points, dtype=np.float64) for points in (x, y))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"two sets of points (n, d): got {first.shape} and {second.shape}")
    if min(len(first), len(second)) < 2:
        raise RequestError("a distance between two sets of pictures needs at least two of each")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise AigcError("some pictures have features that are not finite numbers, so there is no distance between them")
    first_group, second_group = (np.eye(GROUPS)[groups(len(points), seed=seed)] for points in (first, second))
    within_first = _sums(first, first_group, first, first_group, itself=True)
    within_second = _sums(second, second_group, second, second_group, itself=True)
    across = _sums(first, first_group, second, second_group)

    def mmd2(kept: NDArray[np.float64], of_second: NDArray[np.float64]) -> float:
        """Of the groups where `kept`, or `of_second`, each of shape (GROUPS,), is 1 rather than 0."""
        m, n = kept @ first_group.sum(axis=0), of_second @ second_group.sum(axis=0)
        within = kept @ within_first @ kept / (m * (m - 1)) + of_second @ within_second @ of_second / (n * (n - 1))
        return float(within - 2 * (kept @ across @ of_second) / (m * n))

    everything = np.ones(GROUPS)
    few = min(len(first), len(second)) < 2 * GROUPS
    parts = [everything - left_out for left_out in np.eye(GROUPS)]
    error = math.nan if few else standard_error([mmd2(kept, everything if same_second else kept) for kept in parts])
    return Estimate(mmd2(everything, everything), error)


def kd(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Measure:
    """`kernel_distance` with its 95 % interval; `n` is the size of the smaller set."""
    value, error = kernel_distance(x, y, seed=seed)
    low, high = bounds(value, error)
    return Measure(value, low, high, min(len(np.asarray(x)), len(np.asarray(y))))


def _sums(
    x: NDArray[np.float64],
    x_group: NDArray[np.float64],
    y: NDArray[np.float64],
    y_group: NDArray[np.float64],
    *,
    itself: bool = False,
) -> NDArray[np.float64]:
    """Σ k over the points of x in one group and of y in another, for each two groups: (GROUPS, GROUPS).

    x_group: (m, GROUPS), 1 where a point is in a group; with `itself`, x and y are one set, and no point meets itself.
    """
    sums = np.zeros((GROUPS, GROUPS))
    step = max(1, _CHUNK // len(y))
    for start in range(0, len(x), step):
        kernel = x[start : start + step] @ y.T
        kernel /= x.shape[1]
        kernel += 1
        kernel *= kernel * kernel
        if itself:
            kernel[np.arange(len(kernel)), np.arange(start, start + len(kernel))] = 0
        sums += x_group[start : start + step].T @ (kernel @ y_group)
    return sums
