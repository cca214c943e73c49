"""Precision, recall, density and coverage, and copies, on points laid out by hand and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.pictures.class_shares import class_shares
from aigc_cli.metrics.pictures.copies import copies, nearest_neighbours
from aigc_cli.metrics.pictures.manifold import Manifold, manifold
from aigc_cli.metrics.statistics.proportion import proportion


def on_a_line(*places: float) -> np.ndarray:
    return np.array(places, dtype=np.float64)[:, None]


def figures(real: np.ndarray, generated: np.ndarray, k: int) -> dict[str, float]:
    return {name: measure.value for name, measure in manifold(Manifold(real, k=k), Manifold(generated, k=k)).items()}


def test_radii_reach_the_kth_neighbour() -> None:
    points = on_a_line(0, 1, 3, 7)
    assert Manifold(points, k=1).squared_radii.tolist() == [1, 1, 4, 16]
    assert Manifold(points, k=3).squared_radii.tolist() == [49, 36, 16, 49]


def test_points_laid_out_by_hand() -> None:
    # Balls with k = 1: of real ones [-1, 1], [0, 2], [8, 12], [8, 12]; of generated ones [-0.5, 1.5], [0.5, 2.5], [-80.5, 0.5].
    real, generated = on_a_line(0, 1, 10, 12), on_a_line(0.5, 1.5, -40)
    found = figures(real, generated, 1)
    # 0.5 is in two real balls, 1.5 in one, -40 in none.
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["density"] == pytest.approx(3 / 3)
    # Of the real ones 0 and 1 have a generated one in their balls, and are in one of theirs.
    assert found["coverage"] == pytest.approx(2 / 4)
    assert found["recall"] == pytest.approx(2 / 4)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_plain_loops(k: int) -> None:
    draw = np.random.default_rng(k)
    real, generated = draw.standard_normal((40, 3)), draw.standard_normal((30, 3)) * 0.7 + 0.5

    def radius(points: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(points - points[i], axis=1))[k]

    inside = np.array([[np.linalg.norm(r - g) <= radius(real, i) for g in generated] for i, r in enumerate(real)])
    inside_generated = np.array(
        [[np.linalg.norm(r - g) <= radius(generated, j) for j, g in enumerate(generated)] for r in real]
    )
    assert figures(real, generated, k) == pytest.approx(
        {
            "precision": inside.any(0).mean(),
            "recall": inside_generated.any(1).mean(),
            "density": inside.sum() / (k * len(generated)),
            "coverage": inside.any(1).mean(),
        }
    )


def test_two_sets_of_one_distribution_and_sets_that_take_several_chunks() -> None:
    draw = np.random.default_rng(0)
    real, generated = Manifold(draw.standard_normal((1600, 4))), Manifold(draw.standard_normal((1600, 4)))
    found = manifold(real, generated)
    assert found["density"].value == pytest.approx(1, abs=0.1)
    # The expectation that Naeem et al. (2020) give in eq. 10.
    n, k = 1600, 5
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    assert found["coverage"].value == pytest.approx(expected, abs=0.02)
    for measure in found.values():
        assert measure.n == 1600 and measure.low is not None and measure.low <= measure.value <= measure.high


def test_the_real_pictures_themselves_and_far_ones() -> None:
    real = np.random.default_rng(1).standard_normal((60, 5))
    same = figures(real, real.copy(), 5)
    assert same == pytest.approx({"precision": 1, "recall": 1, "coverage": 1, "density": 6 / 5})
    assert set(figures(real, real + 100, 5).values()) == {0}
    one = np.repeat(real[:1], 60, axis=0)
    collapsed = figures(real, one, 5)
    assert collapsed["precision"] == 1 and collapsed["recall"] == pytest.approx(1 / 60) and collapsed["coverage"] < 0.5


def test_what_has_no_neighbours() -> None:
    with pytest.raises(RequestError, match="need at least 6 pictures, not 5"):
        Manifold(np.zeros((5, 2)))
    with pytest.raises(AigcError, match="not finite"):
        Manifold(np.full((7, 2), np.nan))
    with pytest.raises(ValueError, match=r"\(7, 2\) and \(7, 3\)"):
        manifold(Manifold(np.zeros((7, 2))), Manifold(np.zeros((7, 3))))


def test_nearest_neighbours_far_from_the_origin() -> None:
    draw = np.random.default_rng(2)
    points = (draw.standard_normal((500, 6)) + 100).astype(np.float32)
    queries = (draw.standard_normal((200, 6)) + 100).astype(np.float32)
    nearest, distance = nearest_neighbours(queries, points)
    every = np.linalg.norm(queries[:, None].astype(np.float64) - points, axis=2)
    assert np.array_equal(nearest, every.argmin(1)) and np.allclose(distance, every.min(1), rtol=1e-4)
    again, none = nearest_neighbours(points, points)
    assert np.array_equal(again, np.arange(500)) and not none.any()


def test_copies_are_what_is_nearer_than_new_pictures_are() -> None:
    draw = np.random.default_rng(3)
    training, held_out, new = (draw.standard_normal((1000, 8)) for _ in range(3))
    memory = training[:300] + draw.normal(0, 0.01, (300, 8))
    found = copies(np.concatenate([new[:700], memory]), training, held_out)
    assert found.proportion.value == pytest.approx(0.3 + 0.7 * 0.01, abs=0.01) and found.proportion.n == 1000
    assert found.proportion.extra["floor"].value == pytest.approx(0.01, abs=0.002)
    worst = found.worst(300)
    assert set(worst) == set(range(700, 1000)) and np.array_equal(found.nearest[worst], worst - 700)
    assert copies(training, training, held_out).proportion.value == 1
    assert copies(new, training, held_out).proportion.value < 0.03
    assert copies(new + 50, training, held_out).proportion.value == 0


def test_the_floor_of_copies_is_high_if_unseen_pictures_are_copies_too() -> None:
    training = np.random.default_rng(4).standard_normal((50, 3))
    found = copies(training, training, training[:20])
    assert found.proportion.value == 1 and found.proportion.extra["floor"].value == 1


def test_copies_of_nothing() -> None:
    points = np.zeros((5, 2))
    with pytest.raises(RequestError, match="copies need samples, training pictures and held-out pictures"):
        copies(points, points[:0], points)
    with pytest.raises(AigcError, match="not finite"):
        copies(points, points, points + np.inf)
    with pytest.raises(ValueError, match="three sets"):
        copies(points, np.zeros((5, 3)), points)


def test_a_share_s_interval_is_wilson_s() -> None:
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29, by the score method without correction.
    for count, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        measure = proportion(np.arange(n) < count)
        assert measure.value == count / n and measure.n == n
        assert (measure.low, measure.high) == pytest.approx((low, high), abs=5e-5)
    assert proportion([True] * 20).high == 1
    with pytest.raises(RequestError, match="there are no units"):
        proportion([])


def test_shares_of_classes() -> None:
    samples, held_out = np.repeat([0, 1, 2], [50, 50, 0]), np.repeat([0, 1, 2], [50, 25, 25])
    found = class_shares(samples, held_out, ["a", "b", "c"])
    assert found.value == pytest.approx(0.25) and found.n == 100
    assert found.extra == {"shares": {"a": 0.5, "b": 0.5, "c": 0.0}, "held_out": {"a": 0.5, "b": 0.25, "c": 0.25}}
    assert found.low is not None and 0 <= found.low < 0.25 < found.high <= 1
    assert class_shares(samples[:10], held_out, ["a", "b", "c"]).low is None
    assert class_shares(held_out, held_out[::-1], ["a", "b", "c"]).value == 0


def test_the_interval_of_shares_is_that_of_repeated_draws() -> None:
    draw = np.random.default_rng(5)
    p, q = [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]
    found = [class_shares(draw.choice(3, 300, p=p), draw.choice(3, 300, p=q), "abc") for _ in range(60)]
    values = np.array([measure.value for measure in found])
    held = [
        measure.low <= values.mean() <= measure.high
        for measure in found
        if measure.low is not None and measure.high is not None
    ]
    assert len(held) == 60 and np.mean(held) >= 0.85
