"""Intervals against closed forms and known laws; the likelihood measures against hand-computed values."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, mean, median, ratio_of_sums
from aigc_cli.metrics.text.likelihood import bits_per_byte, bits_per_char, perplexity


def test_interval_of_a_mean_is_the_normal_one_on_a_large_sample() -> None:
    values = np.random.default_rng(1).exponential(size=4000)
    measure = mean(values)
    half = 1.96 * values.std(ddof=1) / math.sqrt(values.size)
    assert measure.value == pytest.approx(values.mean())
    assert measure.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert measure.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_of_a_ratio_is_the_delta_methods_on_a_large_sample() -> None:
    rng = np.random.default_rng(2)
    length = rng.integers(5, 200, size=4000)
    cost = 3.0 * length + rng.normal(scale=20, size=length.size)
    measure = ratio_of_sums(cost, length)
    residual = cost - measure.value * length
    half = 1.96 * residual.std(ddof=1) / (math.sqrt(length.size) * length.mean())
    assert measure.value == cost.sum() / length.sum()
    assert measure.low == pytest.approx(measure.value - half, abs=0.1 * half)
    assert measure.high == pytest.approx(measure.value + half, abs=0.1 * half)


def test_the_interval_covers_the_truth_19_times_in_20() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        measure = mean(rng.normal(loc=7, size=60), seed=trial)
        assert measure.low is not None and measure.high is not None
        covered += measure.low <= 7 <= measure.high
    assert 180 <= covered <= 198  # 0.95 ± 3 standard errors, less the percentile interval's known shortfall


def test_median_of_a_known_law() -> None:
    values = np.random.default_rng(4).uniform(size=2001)
    measure = median(values)
    half = 1.96 * 0.5 / math.sqrt(values.size)  # standard error 1 / (2 f(m) √n), and the density f is 1
    assert measure.value == np.median(values)
    assert measure.low is not None and measure.high is not None
    assert measure.high - measure.low == pytest.approx(2 * half, rel=0.3)


def test_chunks_do_not_change_the_law() -> None:
    # More units than a chunk holds at once, so every resample is its own chunk.
    n = (1 << 20) // 2000 * 3
    values = np.random.default_rng(5).normal(size=n)
    measure = mean(values)
    assert measure.low is not None and measure.high is not None
    assert measure.high - measure.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(n), rel=0.1)


def test_same_seed_same_interval() -> None:
    values = np.arange(50.0)
    assert mean(values, seed=1) == mean(values, seed=1)
    assert mean(values, seed=1) != mean(values, seed=2)


def test_a_difference_is_compared_in_pairs() -> None:
    rng = np.random.default_rng(6)
    chars = rng.integers(20, 80, size=500)
    one = chars * rng.normal(3, 1, size=500)  # documents differ far more than the two models do
    other = one - 0.05 * chars + rng.normal(scale=1, size=500)
    difference = ratio_of_sums(one - other, chars)
    assert difference.low is not None and difference.high is not None
    assert 0 < difference.low < 0.05 < difference.high < 0.1
    alone = ratio_of_sums(one, chars)
    assert alone.low is not None and alone.low < ratio_of_sums(other, chars).value


def test_one_unit_has_no_interval() -> None:
    assert ratio_of_sums([6.0], [3.0]) == Measure(2.0, None, None, 1)
    assert median([4.0]) == Measure(4.0, None, None, 1)


def test_constant_ratio_has_an_interval_of_no_width() -> None:
    measure = ratio_of_sums([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (measure.value, measure.low, measure.high, measure.n) == (2.0, 2.0, 2.0, 3)


def test_empty_documents_cost_but_have_no_length() -> None:
    measure = ratio_of_sums([1.0, 1.0], [0.0, 2.0])
    assert measure.value == 1.0
    # The second document twice gives 1/2, one of each gives 1, the first twice has no length and is left out.
    assert (measure.low, measure.high) == (0.5, 1.0)


@pytest.mark.parametrize("chars", [[], [0.0, 0.0]])
def test_nothing_to_measure(chars: list[float]) -> None:
    with pytest.raises(RequestError, match="nothing to measure"):
        bits_per_char(np.zeros(len(chars)), chars)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one number a unit"):
        ratio_of_sums([1.0, 2.0], [1.0])


def test_likelihood_by_hand() -> None:
    nats = np.log([2.0**6, 2.0**10])
    assert bits_per_char(nats, [3, 5]).value == pytest.approx(2)  # 16 bits over 8 characters
    assert bits_per_byte(nats, [9, 15]).value == pytest.approx(2 / 3)
    measure = perplexity(nats, [4, 4])  # 16 bits over 8 tokens
    assert measure.value == pytest.approx(4)
    assert measure.low == pytest.approx(2 ** (6 / 4)) and measure.high == pytest.approx(2 ** (10 / 4))


def test_uniform_model_over_an_alphabet_has_its_size_as_perplexity() -> None:
    tokens = np.array([3, 40, 7])
    assert perplexity(tokens * math.log(50), tokens).value == pytest.approx(50)


def test_json() -> None:
    human = Measure(0.5, None, None, 3)
    measure = Measure(math.inf, 1.0, math.nan, 3, "bits/char", {"order": np.int64(4)}).beside(human=human)
    assert json.loads(json.dumps(measure.to_json(), allow_nan=False)) == {
        "value": None,
        "low": 1.0,
        "high": None,
        "n": 3,
        "unit": "bits/char",
        "order": 4,
        "human": {"value": 0.5, "low": None, "high": None, "n": 3},
    }
