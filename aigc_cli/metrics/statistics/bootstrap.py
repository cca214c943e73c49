"""`Measure`, a number with its uncertainty, and bootstrap intervals over units.

A unit is what was drawn independently: a document, a sample, a picture. The characters of a document are not
independent, so an interval over characters would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import RequestError

LEVEL = 0.95
RESAMPLES = 2000
_CHUNK = 1 << 20  # resampled units held at once: 8 MiB an array


@dataclass(frozen=True)
class Measure:
    """A number with its 95 % interval.

    `low` and `high` bound the interval and are None if there is none (a single unit, a maximum). `n` is the number
    of units. `unit` is the unit of measurement ("bits/char"). `extra` holds what belongs next to the number:
    reference figures such as `human`, `floor` or `baseline` (a `Measure` or a plain value), the settings that
    define it, and how much data was used.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    unit: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def beside(self, **extra: Any) -> Measure:
        """The same number with more figures in `extra`."""
        return replace(self, extra={**self.extra, **extra})

    def map(self, increasing: Callable[[float], float], unit: str) -> Measure:
        """The measure on another scale: percentile intervals are equivariant under increasing functions."""
        low, high = (None if bound is None else increasing(bound) for bound in (self.low, self.high))
        return replace(self, value=increasing(self.value), low=low, high=high, unit=unit)

    def to_json(self) -> dict[str, Any]:
        """The object `{"value", "low", "high", "n"}`, then `unit` and `extra`; non-finite numbers are null."""
        numbers: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high, "n": self.n}
        if self.unit:
            numbers["unit"] = self.unit
        return {key: _plain(value) for key, value in {**numbers, **self.extra}.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Measure):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def ratio_of_sums(numerator: ArrayLike, denominator: ArrayLike, *, unit: str = "", seed: int = 0) -> Measure:
    """Σ numerator / Σ denominator over units, with the percentile bootstrap interval of Efron (1979).

    Both arrays have shape (units,) and are resampled together, so that long documents have the weight
    they have in the ratio. The numerator may be a difference: the nats of one model minus those of another give a
    paired comparison of the two. The same arrays and seed give the same interval.

    Raises `RequestError` if the denominator is 0, `ValueError` when the arrays differ in length.
    """
    top = np.asarray(numerator, dtype=np.float64)
    bottom = np.asarray(denominator, dtype=np.float64)
    if top.ndim != 1 or top.shape != bottom.shape:
        raise ValueError(f"one number a unit in each array: got shapes {top.shape} and {bottom.shape}")
    if not bottom.sum() > 0:
        raise RequestError("there is nothing to measure: there are no units")
    low, high = _interval(top.size, seed, lambda drawn: _ratio(top[drawn].sum(1), bottom[drawn].sum(1)))
    return Measure(float(top.sum() / bottom.sum()), low, high, top.size, unit)


def mean(values: ArrayLike, *, unit: str = "", seed: int = 0) -> Measure:
    """The mean over units, shape (units,), with its percentile bootstrap interval."""
    numbers = np.asarray(values, dtype=np.float64)
    return ratio_of_sums(numbers, np.ones_like(numbers), unit=unit, seed=seed)


def median(values: ArrayLike, *, unit: str = "", seed: int = 0) -> Measure:
    """The median over units, shape (units,), with its percentile bootstrap interval."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0:
        raise RequestError("there is nothing to measure: there are no units")
    low, high = _interval(numbers.size, seed, lambda drawn: np.median(numbers[drawn], axis=1))
    return Measure(float(np.median(numbers)), low, high, numbers.size, unit)


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    # A resample of only empty documents has no ratio, and is left out of the percentiles.
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _interval(
    n: int, seed: int, statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]]
) -> tuple[float | None, float | None]:
    """Percentiles over resamples of n units of `statistic`, from indices (resamples, n) to (resamples,)."""
    if n < 2:
        return None, None
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // n)
    parts = [statistic(rng.integers(n, size=(min(rows, RESAMPLES - done), n))) for done in range(0, RESAMPLES, rows)]
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(np.concatenate(parts), [tail, 100 - tail])
    return float(low), float(high)
