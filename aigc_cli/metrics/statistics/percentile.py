"""The percentile of a score among reference scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import RequestError


def percentile(scores: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """The percentage of the reference scores that lie below each score, 0 to 100. Shape of `scores`.

    An equal reference score counts half, so that the reference scores among themselves have a mean of 50.
    The resolution is 100 / (number of reference scores). NaN stays NaN.

    scores: any shape; reference: shape (n,). Raises `RequestError` if there are no reference scores,
    `ValueError` if one is NaN.
    """
    values, ordered = np.asarray(scores, dtype=np.float64), np.sort(np.asarray(reference, dtype=np.float64))
    if ordered.size == 0:
        raise RequestError("there is nothing to compare with: the reference data is empty")
    if np.isnan(ordered[-1]):  # NaN sorts last
        raise ValueError("a reference score is NaN")
    ranks = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.where(np.isnan(values), np.nan, 50 * ranks / ordered.size)
