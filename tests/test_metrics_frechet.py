"""The Fréchet distance, against closed forms and the textbook's formula."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.pictures.frechet import frechet, frechet_distance


def test_gaussians_with_commuting_covariances() -> None:
    """There it is ‖μ₁ − μ₂‖² + Σ (σ₁ − σ₂)², in whatever basis."""
    draw = np.random.default_rng(0)
    turn = np.linalg.qr(draw.standard_normal((6, 6)))[0]
    a, b, shift = draw.uniform(0.1, 2, 6), draw.uniform(0.1, 2, 6), draw.standard_normal(6)
    found = frechet_distance(np.zeros(6), turn * a**2 @ turn.T, shift, turn * b**2 @ turn.T)
    assert found == pytest.approx((shift**2).sum() + ((a - b) ** 2).sum(), rel=1e-10)


def test_two_dimensions_in_closed_form() -> None:
    """tr (Σ₁Σ₂)^½ = √(tr Σ₁Σ₂ + 2 √det Σ₁Σ₂)."""
    a, b = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[0.5, -0.3], [-0.3, 3.0]])
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    assert frechet_distance([0, 1], a, [2, 1], b) == pytest.approx(4 + np.trace(a + b) - 2 * root, rel=1e-12)


def test_the_textbook_formula_on_the_same_points() -> None:
    """As pytorch-fid writes it, with a square root of the unsymmetric product of the covariances."""
    draw = np.random.default_rng(1)
    mix = draw.standard_normal((12, 12))
    a, b = draw.standard_normal((300, 12)) @ mix + 1, draw.gamma(2, size=(200, 12))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eig(cov_a @ cov_b)
    root = (vectors * np.sqrt(values.astype(complex))) @ np.linalg.inv(vectors)
    assert np.allclose(root @ root, cov_a @ cov_b)
    plain = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root.real)
    assert frechet(a, b).value == pytest.approx(plain, rel=1e-9)


def test_it_is_a_distance_of_distributions() -> None:
    draw = np.random.default_rng(2)
    a, b = draw.standard_normal((100, 5)), draw.standard_normal((80, 5)) * 2
    turn = np.linalg.qr(draw.standard_normal((5, 5)))[0]
    assert frechet(a, a).value == pytest.approx(0, abs=1e-6)
    assert frechet(a, b).value == pytest.approx(frechet(b, a).value, rel=1e-9)
    assert frechet(a @ turn + 3, b @ turn + 3).value == pytest.approx(frechet(a, b).value, rel=1e-9)
    assert frechet(3 * a, 3 * b).value == pytest.approx(9 * frechet(a, b).value, rel=1e-9)


def test_fewer_points_than_dimensions() -> None:
    """Singular covariances: exact where both sets lie in one line through a point each."""
    a, b = np.zeros((2, 30)), np.zeros((2, 30))
    a[:, 0], b[:, 0] = (-1, 1), (-3, 3)
    b[:, 1] = 5
    measure = frechet(a, b)
    assert measure.value == pytest.approx(25 + (np.sqrt(2) - np.sqrt(18)) ** 2, rel=1e-9)
    assert measure.extra["dimensions"] == 30 and measure.low is None


def test_one_feature() -> None:
    assert frechet([[0.0], [2.0]], [[5.0], [5.0]]).value == pytest.approx(16 + 2)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.7, 1.0), (0.0, 1.5)])
def test_the_interval_is_that_of_repeated_draws(shift: float, scale: float) -> None:
    draw = np.random.default_rng(3)
    found = [frechet(draw.standard_normal((300, 6)), draw.standard_normal((300, 6)) * scale + shift) for _ in range(60)]
    values = np.array([measure.value for measure in found])
    held = [
        measure.low <= values.mean() <= measure.high
        for measure in found
        if measure.low is not None and measure.high is not None
    ]
    width = np.mean([measure.high - measure.low for measure in found if measure.low is not None and measure.high is not None])
    assert np.mean(held) >= 0.85
    # No wider than it needs be: twice 2.1 standard deviations, and somewhat more where there is no difference.
    assert width < (2.4 if shift or scale > 1 else 4) * 2 * values.std()


def test_what_cannot_be_compared() -> None:
    points = np.zeros((5, 2))
    with pytest.raises(RequestError, match="at least two of each"):
        frechet(points, points[:1])
    with pytest.raises(AigcError, match="not finite"):
        frechet(points, points + np.inf)
    with pytest.raises(ValueError, match=r"\(5, 2\) and \(5, 3\)"):
        frechet(points, np.zeros((5, 3)))
