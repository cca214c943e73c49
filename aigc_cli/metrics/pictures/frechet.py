"""The Fréchet distance between two sets of pictures, by their features."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.jackknife import GROUPS, bounds, groups, standard_error

Array = NDArray[np.float64]


def frechet_distance(mean_a: ArrayLike, cov_a: ArrayLike, mean_b: ArrayLike, cov_b: ArrayLike) -> float:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½): the squared 2-Wasserstein distance of two Gaussians, in float64.

    Dowson and Landau (1982), eq. 4; of pictures' features, Heusel et al. (2017), eq. 6. Means: (d,); covariances: (d, d).
    Σ₁Σ₂ has the eigenvalues of the symmetric Σ₁^½ Σ₂ Σ₁^½, so the trace is the sum of their roots, and is real and right
    for singular covariances too.
    """
    mu_a, sigma_a, mu_b, sigma_b = (np.asarray(moment, dtype=np.float64) for moment in (mean_a, cov_a, mean_b, cov_b))
    values, vectors = np.linalg.eigh(sigma_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    product = np.linalg.eigvalsh(root @ sigma_b @ root)
    distance = ((mu_a - mu_b) ** 2).sum() + np.trace(sigma_a) + np.trace(sigma_b) - 2 * np.sqrt(product.clip(0)).sum()
    return max(0.0, float(distance))  # rounding may leave less than nothing between equal Gaussians


def frechet(a: ArrayLike, b: ArrayLike, *, seed: int = 0) -> Measure:
    """`frechet_distance` of the sample moments of a: (m, d) and b: (n, d), with its 95 % interval.

    The distance between samples exceeds that of their distributions by about the distance between two samples of one
    distribution: compare it only with distances between sets of the same sizes. The interval is for the distance at these
    sizes. It leaves out a random twentieth of each set in turn (`seed`); there is none for fewer than 40 points per set.
    With no more points than `dimensions`, d, the covariances are singular and the excess is large.

    Raises `RequestError` for a set of fewer than two points, `AigcError` where a point is not finite.
    """
    sets = [np.asarray(points, dtype=np.float64) for points in (a, b)]
    if sets[0].ndim != 2 or sets[1].ndim != 2 or sets[0].shape[1] != sets[1].shape[1]:
        raise ValueError(f"two sets of points (n, d): got {sets[0].shape} and {sets[1].shape}")
    n = min(map(len, sets))
    if n < 2:
        raise RequestError("a distance between two sets of pictures needs at least two of each")
    if not all(np.isfinite(points).all() for points in sets):
        raise AigcError("some pictures have features that are not finite numbers, so there is no distance between them")
    value = frechet_distance(*_moments(sets[0]), *_moments(sets[1]))
    low, high = bounds(value, _error(sets, seed)) if n >= 2 * GROUPS else (None, None)
    return Measure(value, None if low is None else max(0.0, low), high, n, extra={"dimensions": sets[0].shape[1]})


def _moments(points: Array) -> tuple[Array, Array]:
    return points.mean(axis=0), np.atleast_2d(np.cov(points, rowvar=False))


def _error(sets: list[Array], seed: int) -> float:
    drawn = [groups(len(points), seed=seed) for points in sets]
    without = []
    for left_out in range(GROUPS):
        first, second = (_moments(points[group != left_out]) for points, group in zip(sets, drawn, strict=True))
        without.append(frechet_distance(*first, *second))
    return standard_error(without)
