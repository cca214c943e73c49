"""Fidelity and variety apart: precision, recall, density and coverage, by the nearest neighbours of pictures' features."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, mean
from aigc_cli.metrics.statistics.proportion import proportion

K = 5
_CHUNK = 1 << 21  # distances held at once: 16 MiB an array
_NOTHING = 1e-12  # of the points' own squares: a squared distance below this is rounding
_CLOSED = 1 + 1e-9  # so that a point on a ball's surface is in it, whatever the rounding


class Manifold:
    """The manifold of a set of pictures: the union of closed balls around their features, each to its k-th nearest neighbour.

    Kynkäänniemi et al. (2019), "Improved Precision and Recall Metric for Assessing Generative Models", eq. 1. A
    point is not its own neighbour. `points` is (n, d), `squared_radii` (n,).

    Time: O(n² d). Raises `RequestError` for fewer than k + 1 points, `AigcError` if one is not finite.
    """

    def __init__(self, points: ArrayLike, *, k: int = K) -> None:
        self.points, self.k = np.asarray(points, dtype=np.float64), k
        if self.points.ndim != 2:
            raise ValueError(f"points (n, d): got {self.points.shape}")
        if len(self.points) <= k:
            raise RequestError(
                f"the {k} nearest neighbours of a picture need at least {k + 1} pictures, not {len(self.points)}"
            )
        if not np.isfinite(self.points).all():
            raise AigcError("some pictures have features that are not finite numbers, so they have no neighbours")
        self.squared_radii = np.empty(len(self.points))
        for rows, squared in _squared_distances(self.points, self.points):
            squared[np.arange(len(squared)), np.arange(len(self.points))[rows]] = np.inf
            self.squared_radii[rows] = np.partition(squared, k - 1, axis=1)[:, k - 1]


def manifold(real: Manifold, generated: Manifold, *, seed: int = 0) -> dict[str, Measure]:
    """Four measures, each a mean over pictures with an interval over those pictures, the other set held fixed.

    - `precision`: the share of generated pictures in the real manifold (Kynkäänniemi et al., 2019, eq. 2).
    - `recall`: the share of real pictures in the generated manifold.
    - `density`: the number of real pictures' balls that a generated one lies in, over k, so that it can be above 1 (Naeem et
      al., 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", eq. 3).
    - `coverage`: the share of real pictures with a generated one in their ball (eq. 4); for n of each from one distribution
      it is 1 − 2⁻ᵏ on average, as n grows.

    All depend on the sizes of the sets, and are comparable only for equal sizes. Time: O(m n d); memory: 100 MB or so.
    """
    entered = np.zeros(len(generated.points))
    recalled, covered = np.empty(len(real.points), dtype=bool), np.empty(len(real.points), dtype=bool)
    for rows, squared in _squared_distances(real.points, generated.points):
        inside = squared <= real.squared_radii[rows, None] * _CLOSED
        entered += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (squared <= generated.squared_radii * _CLOSED).any(axis=1)
    return {
        "precision": proportion(entered > 0),
        "recall": proportion(recalled),
        "density": mean(entered / real.k, seed=seed),
        "coverage": proportion(covered),
    }


def _squared_distances(x: NDArray[np.float64], y: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Some rows of x at a time, and their squared distances to all of y: (rows, n)."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"two sets of points (n, d): got {x.shape} and {y.shape}")
    x_squares, y_squares = (x**2).sum(axis=1), (y**2).sum(axis=1)
    step = max(1, _CHUNK // len(y))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        squares = x_squares[rows, None] + y_squares
        squared = x[rows] @ y.T
        squared *= -2
        squared += squares
        squared[squared < _NOTHING * squares] = 0
        yield rows, squared
