"""Measures of sounds: silence, clipping, and the inception score of a classifier."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_cli.errors import RequestError
from aigc_cli.metrics.pictures.inception_score import inception_score
from aigc_cli.metrics.sounds.peaks import clipped, peak, silent


def test_silence_is_60_decibels_below_the_loudest_real_sound() -> None:
    real = [0.2, 0.5]
    found = silent([0.0, 0.5 * 0.00099, 0.5 * 0.00101, 0.3], real)
    assert found.value == 0.5 and found.n == 4
    assert found.low is not None and found.high is not None and 0 < found.low < 0.5 < found.high < 1
    assert silent([0.0, 0.1], [0.0]).value == 0.5  # beside real silence, only silence is silent


def test_what_goes_beyond_one_would_be_clipped() -> None:
    assert clipped([0.2, 1.0, 1.001, 3.0]).value == 0.5
    with pytest.raises(RequestError):
        clipped([])


def test_a_peak_is_the_largest_magnitude_of_all_channels() -> None:
    assert peak(np.array([[0.1, -0.7], [0.3, 0.2]])) == 0.7
    assert peak(np.zeros((0, 1))) == 0


def test_a_sure_classifier_of_even_classes_scores_their_number() -> None:
    even = np.eye(10)[np.arange(200) % 10]
    assert inception_score(even).value == pytest.approx(10, rel=1e-6)
    assert inception_score(np.tile(np.eye(10)[0], (100, 1))).value == pytest.approx(1)
    assert inception_score(np.full((100, 10), 0.1)).value == pytest.approx(1)


def test_the_score_is_that_of_the_formula() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])
    q = p.mean(0)
    expected = np.exp(np.mean([sum(a * np.log(a / b) for a, b in zip(row, q, strict=True)) for row in p]))
    measure = inception_score(p)
    assert measure.value == pytest.approx(expected) and measure.low is None and measure.n == 3


def test_the_interval_covers_the_score_of_many_more_samples() -> None:
    random = np.random.default_rng(0)
    p = random.dirichlet([0.3] * 5, 4000)
    truth = inception_score(p).value
    inside = 0
    for seed in range(40):
        found = inception_score(p[random.choice(len(p), 400, replace=False)], seed=seed)
        assert found.low is not None and found.high is not None
        inside += found.low <= truth <= found.high
    assert inside >= 34
