"""The kernel distance, against loops over pairs and what is known of it."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.pictures.kernel_distance import kd, kernel_distance


def by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """The formula as it is written: means over pairs, none of a point with itself."""

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    def within(points: np.ndarray) -> float:
        n = len(points)
        return sum(k(points[i], points[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    across = sum(k(a, b) for a in x for b in y) / (len(x) * len(y))
    return within(x) + within(y) - 2 * across


@pytest.mark.parametrize(("m", "n"), [(2, 2), (7, 12), (45, 61)])
def test_it_is_the_mean_over_pairs(m: int, n: int) -> None:
    draw = np.random.default_rng(m)
    x, y = draw.standard_normal((m, 5)), draw.standard_normal((n, 5)) + 0.3
    assert kernel_distance(x, y).value == pytest.approx(by_pairs(x, y), rel=1e-9, abs=1e-12)


def test_sets_that_take_several_chunks() -> None:
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((1500, 3)), draw.standard_normal((1300, 3)) * 1.2
    kx, ky, kxy = ((a @ b.T / 3 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    plain = (kx.sum() - np.trace(kx)) / (1500 * 1499) + (ky.sum() - np.trace(ky)) / (1300 * 1299) - 2 * kxy.mean()
    assert kernel_distance(x, y).value == pytest.approx(plain, rel=1e-9)


def test_random_subsets_of_it_average_to_it() -> None:
    """Which is how others compute it: the mean over subsets has the same expectation."""
    draw = np.random.default_rng(1)
    x, y = draw.standard_normal((300, 4)), draw.standard_normal((300, 4)) + 0.5
    some = [kernel_distance(x[draw.permutation(300)[:100]], y[draw.permutation(300)[:100]]).value for _ in range(200)]
    assert np.mean(some) == pytest.approx(kernel_distance(x, y).value, abs=4 * np.std(some) / np.sqrt(200))


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_it_is_unbiased_and_its_error_is_that_of_repeated_draws(shift: float) -> None:
    draw = np.random.default_rng(2)
    found = [kernel_distance(draw.standard_normal((200, 4)), draw.standard_normal((200, 4)) + shift) for _ in range(200)]
    values, errors = np.array(found).T
    # Gaussian moments: k = Σ (3 choose r) (x·y / d)^r, so MMD² is a sum over the differences of moments of order r.
    mean = np.full(4, shift)
    second = np.outer(mean, mean)
    eye = np.eye(4)
    third = np.einsum("i,j,k", mean, mean, mean) + sum(
        np.einsum(f"{a},{b}{c}->ijk", mean, eye) for a, b, c in ("ijk", "jik", "kij")
    )
    exact = 3 * (mean**2).sum() / 4 + 3 * (second**2).sum() / 16 + (third**2).sum() / 64
    assert values.mean() == pytest.approx(exact, abs=4 * values.std() / np.sqrt(200))
    # Where there is no difference the first-order term vanishes, and the jackknife errs on the safe side.
    assert 0.85 < np.sqrt((errors**2).mean()) / values.std() < (1.2 if shift else 1.7)


def test_against_the_same_second_set_the_error_is_that_of_draws_of_the_first() -> None:
    draw = np.random.default_rng(0)
    y = draw.normal(0.3, 1, (60, 4))
    found = [kernel_distance(draw.normal(0, 1, (400, 4)), y, same_second=True) for _ in range(60)]
    values, errors = np.array(found).T
    assert 0.8 < np.sqrt((errors**2).mean()) / values.std() < 1.25
    assert errors.mean() < kernel_distance(draw.normal(0, 1, (400, 4)), y).standard_error / 1.5


def test_the_interval_holds_the_truth_and_the_order_of_points_does_not_matter() -> None:
    draw = np.random.default_rng(3)
    x, y = draw.standard_normal((400, 4)), draw.standard_normal((300, 4)) + 0.5
    measure = kd(x, y)
    assert measure.low is not None and measure.high is not None
    assert measure.low < measure.value < measure.high and measure.n == 300
    assert kd(x[::-1], y).value == pytest.approx(measure.value, rel=1e-9)
    assert kd(y, x).value == pytest.approx(measure.value, rel=1e-9)
    assert kd(x, y) == measure


def test_few_points_have_a_value_and_no_interval() -> None:
    x = np.random.default_rng(4).standard_normal((39, 3))
    assert kd(x, x + 1).low is None and np.isnan(kernel_distance(x, x + 1).standard_error)


def test_what_cannot_be_compared() -> None:
    points = np.zeros((5, 2))
    with pytest.raises(RequestError, match="at least two of each"):
        kernel_distance(points[:1], points)
    with pytest.raises(AigcError, match="not finite"):
        kernel_distance(points, points + np.nan)
    with pytest.raises(ValueError, match=r"\(5, 2\) and \(5, 3\)"):
        kernel_distance(points, np.zeros((5, 3)))
