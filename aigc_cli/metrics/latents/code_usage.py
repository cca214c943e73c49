"""How many of the possible codes are used, and how evenly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.jackknife import GROUPS, bounds, groups, standard_error


def codes_in_use(codes: NDArray[np.int64], n_codes: int) -> Measure:
    """The number of different codes among those (n, places) of n pictures, `of` all that are possible. It grows with n."""
    return Measure(float(len(np.unique(codes))), None, None, len(codes), "codes", {"of": n_codes})


def code_entropy(codes: NDArray[np.int64], n_codes: int, *, seed: int = 0) -> Measure:
    """The entropy of a code, wherever it is in a picture, in bits: −Σ p log₂ p for the shares p of the codes (n, places) of n
    pictures; at `most` log₂ of the number of possible codes.

    Too low where n · places is not many times the number of codes. The interval leaves out a random twentieth of the pictures
    in turn; there is none for fewer than 40.
    """
    drawn = groups(len(codes), seed=seed)
    counts = np.stack([np.bincount(codes[drawn == group].ravel(), minlength=n_codes) for group in range(GROUPS)])
    total = counts.sum(axis=0)
    value = _entropy(total)
    error = math.nan if len(codes) < 2 * GROUPS else standard_error([_entropy(total - left_out) for left_out in counts])
    low, high = bounds(value, error)
    return Measure(value, low, high, len(codes), "bits/code", {"most": math.log2(n_codes)})


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # not -0
