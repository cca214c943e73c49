"""Whether two samples come from one distribution: the maximum mean discrepancy, with a permutation null."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure

MAX_POINTS = 5000
PERMUTATIONS = 500
_KERNELS = 5
_MEDIAN_POINTS = 1000
_ROUNDING = 1e-12  # the kernel is at most 1, so equal statistics differ by less
_CHUNK = 1 << 21  # kernel values held at once: 16 MiB an array


def mmd2(
    x: ArrayLike, y: ArrayLike, *, permutations: int = PERMUTATIONS, max_points: int = MAX_POINTS, seed: int = 0
) -> Measure:
    """The unbiased MMD² of Gretton et al. (2012), "A Kernel Two-Sample Test", eq. 3; x: (m, d), y: (n, d).

    The kernel is the mean of five Gaussian ones, exp(−‖a − b‖² / 2σ²), with σ a quarter, a half, one, two and
    four times the median distance in the pooled sample, so the measure does not change when all points are
    shifted, rotated or scaled together. It is unbiased: for equal distributions it is 0 on average, and so
    negative more often than not.

    `extra` holds what random relabelling of the pooled points gives: `null_95`, the 95th percentile of MMD², and
    `p_value`, the share of relabellings with at least the observed MMD², the observed one among them (Phipson
    and Smyth, 2010). There is no interval: resampled points would repeat, and equal points count as agreement.

    More than `max_points` points of a sample are thinned at random to as many; `n` is the size of the smaller
    sample used. Memory: some 100 MB; time: O((m + n)² · permutations), a few seconds at 5,000 points each.

    Raises `RequestError` for a sample of fewer than two points, `AigcError` where a point is not finite.
    """
    rng = np.random.default_rng(seed)
    first, second = (_thin(np.asarray(points, dtype=np.float64), max_points, rng) for points in (x, y))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"two samples of points (n, d): got {first.shape} and {second.shape}")
    m, n = len(first), len(second)
    if min(m, n) < 2:
        raise RequestError("a distance between two samples needs at least two points of each")
    pool = np.concatenate([first, second])
    if not np.isfinite(pool).all():
        raise AigcError("some points are not finite numbers, so there is no distance between the samples")
    pool -= pool.mean(axis=0)  # distances are taken through norms, which cancel badly far from the origin
    median = _median_distance(pool, rng)
    in_first = np.zeros((m + n, 1 + permutations))
    in_first[:m, 0] = 1
    for column in in_first.T[1:]:
        column[rng.permutation(m + n)[:m]] = 1
    statistics = _statistics(pool, median, in_first)
    observed, null = statistics[0], statistics[1:]
    extra = {
        "p_value": (1 + np.count_nonzero(null >= observed - _ROUNDING)) / (1 + permutations),
        "null_95": float(np.quantile(null, 0.95)),
        "permutations": permutations,
        "median_distance": median,
    }
    return Measure(float(observed), None, None, min(m, n), extra=extra)


def _statistics(pool: NDArray[np.float64], median: float, in_first: NDArray[np.float64]) -> NDArray[np.float64]:
    """MMD² for each column of `in_first`, which is 1 for the points of one sample and 0 for the other's.

    With a such a column, K the kernel matrix without its diagonal and 1 the vector of ones, the sums in eq. 3
    are aᵀKa within the first sample, aᵀK1 − aᵀKa across and 1ᵀK1 − 2aᵀK1 + aᵀKa within the second. K is gone
    through once, a few rows at a time.
    """
    total = 0.0
    with_all: NDArray[np.float64] = np.zeros(in_first.shape[1])
    within_first = np.zeros_like(with_all)
    norms = (pool**2).sum(axis=1)
    step = max(1, _CHUNK // len(pool))
    for start in range(0, len(pool), step):
        rows = slice(start, start + step)
        kernel = _kernel(norms[rows, None] + norms - 2 * pool[rows] @ pool.T, median)
        kernel[np.arange(len(kernel)), np.arange(start, start + len(kernel))] = 0
        sums = kernel.sum(axis=1)
        total += sums.sum()
        with_all += sums @ in_first[rows]
        within_first += (in_first[rows] * (kernel @ in_first)).sum(axis=0)
    m = float(in_first[:, 0].sum())
    n = len(pool) - m
    within_second, across = total - 2 * with_all + within_first, with_all - within_first
    return within_first / (m * (m - 1)) + within_second / (n * (n - 1)) - 2 * across / (m * n)


def _kernel(squared: NDArray[np.float64], median: float) -> NDArray[np.float64]:
    """The mean of five Gaussian kernels. To halve σ is to raise to the fourth power, so one `exp` does for all."""
    width = median * 2 ** (_KERNELS // 2)
    gaussian = np.exp(np.maximum(squared, 0) / (-2 * width**2))
    kernel: NDArray[np.float64] = gaussian.copy()
    for _ in range(_KERNELS - 1):
        np.square(gaussian, out=gaussian)
        np.square(gaussian, out=gaussian)
        kernel += gaussian
    kernel /= _KERNELS
    return kernel


def _median_distance(pool: NDArray[np.float64], rng: np.random.Generator) -> float:
    """The median distance over pairs of at most a thousand points, drawn regardless of their sample."""
    points = _thin(pool, _MEDIAN_POINTS, rng)
    norms = (points**2).sum(axis=1)
    squared = np.maximum(norms[:, None] + norms - 2 * points @ points.T, 0)
    distances = np.sqrt(squared[np.triu_indices(len(points), 1)])
    # Where more than half of the points coincide the median says nothing, and where all do any scale will serve.
    return float(np.median(distances) or distances.mean() or 1.0)


def _thin(points: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return points if len(points) <= size else points[rng.choice(len(points), size, replace=False)]
