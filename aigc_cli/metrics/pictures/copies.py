"""How many samples are copies of training pictures, by the distances of their features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.proportion import proportion

PERCENTILE = 1.0
_CHUNK = 1 << 22  # products held at once: 16 MiB an array


@dataclass(frozen=True)
class Copies:
    """The `proportion` of m samples that are copies, and for each of them its nearest training picture and how far that is."""

    proportion: Measure
    nearest: NDArray[np.int64]  # (m,) numbers of training pictures
    distance: NDArray[np.float64]  # (m,)

    def worst(self, count: int) -> NDArray[np.int64]:
        """The numbers of the samples that are nearest to a training picture, nearest first. At most `count`."""
        return np.argsort(self.distance, kind="stable")[:count]


def copies(samples: ArrayLike, training: ArrayLike, held_out: ArrayLike) -> Copies:
    """Samples as close to a training picture as the closest of 100 held-out pictures is.

    A sample counts whose distance to its nearest training picture is at most the 1st percentile of held-out pictures'
    distances to theirs; so about 1 % of new pictures count, and all copies. Meehan et al. (2020), "A
    Non-Parametric Test to Detect Data-Copying in Generative Models", compare the same distances. All are features: samples
    (m, d), training (t, d), held_out (h, d). `floor` is the proportion of the held-out pictures themselves, `threshold`
    the distance, `training` the number t: with fewer training pictures, copies go unnoticed.

    With fewer than 100 held-out pictures the threshold is about their smallest distance.
    Time: O((m + h) t d), in float32. Raises `RequestError` where a set is empty, `AigcError` where a number is not finite.
    """
    sets = [np.asarray(points, dtype=np.float32) for points in (samples, training, held_out)]
    if any(points.ndim != 2 or points.shape[1] != sets[0].shape[1] for points in sets):
        raise ValueError(f"three sets of points (n, d): got {', '.join(str(points.shape) for points in sets)}")
    if not all(map(len, sets)):
        raise RequestError("copies need samples, training pictures and held-out pictures")
    if not all(np.isfinite(points).all() for points in sets):
        raise AigcError("some pictures have features that are not finite numbers, so copies can't be found")
    nearest, distance = nearest_neighbours(sets[0], sets[1])
    usual = nearest_neighbours(sets[2], sets[1])[1]
    threshold = float(np.percentile(usual, PERCENTILE))
    measure = proportion(distance <= threshold)
    return Copies(
        measure.beside(floor=proportion(usual <= threshold), threshold=threshold, training=len(sets[1])), nearest, distance
    )


def nearest_neighbours(x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each point of x, (m, d), the number of the nearest of y, (n, d), and the distance. Both (m,).

    Found through norms in float32, which may take one of two that are all but equally near for the other; the
    distance is then computed from the difference, so that of equal points it is 0.
    """
    origin = y.mean(axis=0)
    x, y = x - origin, y - origin  # norms cancel badly far from the origin
    half_squares = 0.5 * (y**2).sum(axis=1)
    nearest = np.empty(len(x), dtype=np.int64)
    step = max(1, _CHUNK // len(y))
    for start in range(0, len(x), step):
        products = x[start : start + step] @ y.T
        products -= half_squares
        nearest[start : start + step] = products.argmax(axis=1)
    difference = x.astype(np.float64) - y[nearest]
    distance: NDArray[np.float64] = np.sqrt((difference**2).sum(axis=1))
    return nearest, distance
