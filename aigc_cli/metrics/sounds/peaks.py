"""Whether sounds are silent, or louder than a file can hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.proportion import proportion

SILENT = 60.0
"""dB below the loudest real sound."""


def peak(wave: ArrayLike) -> float:
    """The largest magnitude of a sound (samples, channels)."""
    return float(np.abs(np.asarray(wave)).max(initial=0.0))


def silent(peaks: ArrayLike, real: ArrayLike) -> Measure:
    """The share of sounds with these peaks, (n,), that are more than 60 dB softer than the loudest of the real ones, (m,).

    Raises `RequestError` if there are no sounds.
    """
    loudest = float(_numbers(real).max(initial=0.0))
    return proportion(_numbers(peaks) <= loudest * 10 ** (-SILENT / 20))


def clipped(peaks: ArrayLike) -> Measure:
    """The share of sounds with these peaks, (n,), that go beyond ±1: they'd be clipped in a file, unless they are made softer.

    Raises `RequestError` if there are no sounds.
    """
    return proportion(_numbers(peaks) > 1)


def _numbers(peaks: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(peaks, dtype=np.float64)
