"""Measures of pictures and latents against closed forms, plain implementations and known laws."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.latents.information import active_units, information_per_latent, rate_per_latent
from aigc_cli.metrics.latents.mig import mig
from aigc_cli.metrics.latents.mmd import mmd2
from aigc_cli.metrics.pictures.pooling import box_means_by_products
from aigc_cli.metrics.pictures.reconstruction import psnr, ssim
from aigc_cli.metrics.statistics.bootstrap import Measure, mean
from aigc_cli.metrics.statistics.percentile import percentile

C1, C2 = 0.01**2, 0.03**2
Floats = NDArray[np.float64]


def pictures(n: int, height: int, width: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)


# PSNR


def test_psnr_by_hand() -> None:
    black, white = np.zeros((1, 4, 6, 3), np.uint8), np.full((1, 4, 6, 3), 255, np.uint8)
    assert psnr(black, white).tolist() == [0.0]
    assert psnr(black, black + 1) == pytest.approx(20 * math.log10(255))
    one = black.copy()
    one[0, 2, 3, 1] = 255  # one of 72 values wrong by the whole range
    assert psnr(black, one) == pytest.approx(10 * math.log10(72))
    assert psnr(np.full((1, 4, 6, 3), 0.5), np.full((1, 4, 6, 3), 0.4)) == pytest.approx(20)


def test_equal_pictures() -> None:
    x = pictures(3, 13, 17, 3)
    assert psnr(x, x).tolist() == [math.inf] * 3
    assert ssim(x, x).tolist() == [1.0] * 3


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_each_picture_is_measured_alone(measure: Callable[..., Floats]) -> None:
    x, y = pictures(300, 20, 25, 3, seed=1), pictures(300, 20, 25, 3, seed=2)  # more than are held at once
    together = measure(x, y)
    assert together.shape == (300,)
    assert together[[0, 86, 87, 299]] == pytest.approx([measure(x[[i]], y[[i]])[0] for i in (0, 86, 87, 299)], abs=1e-12)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_bytes_and_floats_are_the_same_pictures(measure: Callable[..., Floats]) -> None:
    x, y = pictures(2, 15, 12, 4, seed=1), pictures(2, 15, 12, 4, seed=2)
    expected = measure(x, y)
    assert measure(x, y / 255) == pytest.approx(expected)
    assert measure((x / 255).astype(np.float32), y) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_what_is_no_picture_is_refused(measure: Callable[..., Floats]) -> None:
    x = pictures(2, 12, 12, 1)
    with pytest.raises(ValueError, match="two sets of"):
        measure(x, x[:1])
    with pytest.raises(ValueError, match=r"\[0, 1\]: got 0.0 to 255.0"):
        measure(x, np.where(x < 128, 0.0, 255.0))  # floats on the scale of bytes
    with pytest.raises(ValueError, match=r"\[0, 1\]: got nan"):
        measure(x, np.full(x.shape, np.nan))
    with pytest.raises(ValueError, match="not int64"):
        measure(x, x.astype(np.int64))


# SSIM


def plain_ssim(x: Floats, y: Floats) -> float:
    """Equations 13 to 17 of Wang et al. for one channel (height, width), window by window."""
    height, width = min(11, x.shape[0]), min(11, x.shape[1])
    i, j = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    w = np.exp(-(i[:, None] ** 2 + j**2) / (2 * 1.5**2))
    w /= w.sum()
    values = []
    for top, left in itertools.product(range(x.shape[0] - height + 1), range(x.shape[1] - width + 1)):
        a, b = x[top : top + height, left : left + width], y[top : top + height, left : left + width]
        mu_a, mu_b = (w * a).sum(), (w * b).sum()
        var_a, var_b = (w * (a - mu_a) ** 2).sum(), (w * (b - mu_b) ** 2).sum()
        covariance = (w * (a - mu_a) * (b - mu_b)).sum()
        values.append((2 * mu_a * mu_b + C1) * (2 * covariance + C2) / ((mu_a**2 + mu_b**2 + C1) * (var_a + var_b + C2)))
    return float(np.mean(values))


@pytest.mark.parametrize(("height", "width"), [(11, 11), (19, 14), (28, 28), (11, 40), (8, 8), (3, 20), (1, 1), (2, 1)])
def test_ssim_equals_the_plain_one(height: int, width: int) -> None:
    x = pictures(2, height, width, 3, seed=1)
    y = (0.6 * x + 0.4 * pictures(2, height, width, 3, seed=2)).astype(np.uint8)
    expected = [np.mean([plain_ssim(a[..., c] / 255, b[..., c] / 255) for c in range(3)]) for a, b in zip(x, y, strict=True)]
    assert ssim(x, y) == pytest.approx(expected, abs=1e-9)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 16), st.integers(1, 16))
@settings(max_examples=50, deadline=None)
def test_ssim_of_constant_pictures_is_luminance_alone(a: float, b: float, height: int, width: int) -> None:
    value = ssim(np.full((1, height, width, 1), a), np.full((1, height, width, 1), b))
    assert value == pytest.approx((2 * a * b + C1) / (a**2 + b**2 + C1), abs=1e-9)


def test_ssim_does_not_depend_on_order_or_direction() -> None:
    x, y = pictures(4, 18, 23, 3, seed=1), pictures(4, 18, 23, 3, seed=2)
    value = ssim(x, y)
    assert ssim(y, x) == pytest.approx(value)
    assert ssim(x[:, ::-1], y[:, ::-1]) == pytest.approx(value)
    assert ssim(x.transpose(0, 2, 1, 3), y.transpose(0, 2, 1, 3)) == pytest.approx(value)
    assert ssim(x[..., [2, 0, 1]], y[..., [2, 0, 1]]) == pytest.approx(value)


def test_ssim_orders_damage_and_knows_a_negative() -> None:
    x = np.tile(0.5 + 0.4 * np.sin(np.arange(32) / 2)[:, None, None], (1, 1, 32, 1))
    noise = np.random.default_rng(0).normal(size=x.shape)
    damaged = [ssim(x, np.clip(x + s * noise, 0, 1))[0] for s in (0.01, 0.05, 0.2)]
    assert 1 > damaged[0] > damaged[1] > damaged[2] > 0
    board = 0.5 + 0.4 * (-1.0) ** np.indices((1, 32, 32, 1)).sum(axis=0)  # every window has mean 0.5 and variance 0.4²
    assert ssim(board, 1 - board)[0] == pytest.approx((C2 - 2 * 0.4**2) / (C2 + 2 * 0.4**2), abs=1e-3)
    # A shift of brightness and a noise of the same squared error: the shift keeps the structure.
    assert ssim(x, x + 0.05)[0] > ssim(x, np.clip(x + 0.05 * noise, 0, 1))[0]


def test_a_measure_of_many_pictures_has_an_interval() -> None:
    x = pictures(50, 12, 12, 1)
    y = x // 2
    measure = mean(psnr(x, y), unit="dB")
    assert measure.low is not None and measure.high is not None
    assert measure.low < measure.value < measure.high and measure.n == 50


# Latents


def test_rate_is_the_kl_divergence() -> None:
    rng = np.random.default_rng(0)
    means, log_var = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    posterior = torch.distributions.Normal(torch.tensor(means), torch.tensor(log_var / 2).exp())
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    np.testing.assert_allclose(rate_per_latent(means, log_var), expected.numpy(), rtol=1e-6)
    assert not rate_per_latent(np.zeros((2, 2)), np.zeros((2, 2))).any()


def test_information_of_a_gaussian_channel() -> None:
    # z = x + noise: I(x; z) = ½ log(1 + signal / noise). The second latent ignores x, the third has units of its own.
    rng = np.random.default_rng(1)
    means = rng.normal(size=(2000, 3)) * [2, 0, 300]
    log_var = np.broadcast_to(np.log([0.25, 1, 90.0**2]), means.shape)
    nats = information_per_latent(means, log_var)
    assert nats.shape == (2000, 3)
    expected = [0.5 * math.log1p(4 / 0.25), 0, 0.5 * math.log1p((300 / 90) ** 2)]
    assert nats.mean(axis=0) == pytest.approx(expected, abs=0.05)  # three standard errors of some 0.7 / √2000
    assert not nats[:, 1].any()


def test_information_is_at_most_log_n() -> None:
    means = 1000.0 * np.arange(50)[:, None]
    assert information_per_latent(means, np.zeros((50, 1))) == pytest.approx(np.full((50, 1), math.log(50)))


def test_information_of_many_examples_is_taken_from_some() -> None:
    rng = np.random.default_rng(2)
    means = rng.normal(size=(7000, 1))
    nats = information_per_latent(means, np.full((7000, 1), math.log(0.5)))
    assert nats.shape == (2000, 1)
    assert nats.mean() == pytest.approx(0.5 * math.log(3), abs=0.05)


def test_the_rate_is_information_and_mismatch() -> None:
    # With means N(1, 2²) and σ² = 1/4 the aggregate posterior is N(1, 4.25): KL(q(z|x) ‖ p) = I + KL(q(z) ‖ p) on average.
    means = 1 + 2 * np.random.default_rng(3).normal(size=(2000, 1))
    log_var = np.full((2000, 1), math.log(0.25))
    mismatch = 0.5 * (1 + 4.25 - 1 - math.log(4.25))
    difference = rate_per_latent(means, log_var).mean() - information_per_latent(means, log_var).mean()
    assert difference == pytest.approx(mismatch, abs=0.25)  # three standard errors of ½ mean(μ²): 0.07


def test_active_units() -> None:
    rng = np.random.default_rng(4)
    means = rng.normal(size=(5000, 5)) * [1, 0.2, 0.1, 0.05, 0]  # variances 1, 0.04, 0.01, 0.0025, 0
    measure = active_units(means + 7)
    # The third is on the line: it is counted at one end of the interval and not at the other.
    assert (measure.low, measure.high) == (2, 3) and measure.value in (2, 3)
    assert measure.n == 5000 and measure.extra["of"] == 5
    assert active_units(means, threshold=0.5).value == 1


def test_active_units_by_hand() -> None:
    # Variances with n − 1: 0.02 and 0.005.
    measure = active_units([[0.1, 0.05], [-0.1, -0.05]])
    assert (measure.value, measure.low, measure.high) == (1, 1, 1)
    with pytest.raises(RequestError, match="at least two"):
        active_units([[1.0, 2.0]])


# The mutual information gap


def grid(*sizes: int) -> NDArray[np.int64]:
    """Every combination of factors with these numbers of values, once: (n, factors), independent exactly."""
    return np.array(list(itertools.product(*map(range, sizes))))


def by_name(factors: NDArray[np.int64] | Floats) -> dict[str, NDArray[np.int64] | Floats]:
    return {f"factor {k}": column for k, column in enumerate(factors.T)}


def test_mig_is_1_on_the_factors_themselves() -> None:
    factors = grid(3, 8, 20, 2)
    measure = mig(factors, by_name(factors))
    assert measure.value == pytest.approx(1) and measure.low == pytest.approx(1) and measure.high == pytest.approx(1)
    assert [gap.extra["latent"] for gap in measure.extra["factors"].values()] == [0, 1, 2, 3]
    # In another order, on other scales, and with a latent that says nothing.
    latents = np.column_stack([np.zeros(len(factors)), -5.0 * factors[:, 3], 1e-3 * factors[:, 0] + 40, factors[:, [2, 1]]])
    measure = mig(latents, by_name(factors))
    assert measure.value == pytest.approx(1)
    assert [gap.extra["latent"] for gap in measure.extra["factors"].values()] == [2, 4, 3, 1]


def test_mig_is_1_on_continuous_factors_themselves() -> None:
    side = np.linspace(-1, 1, 200)
    factors = np.array(list(itertools.product(side, side)))
    assert mig(factors, by_name(factors)).value == pytest.approx(1)


def test_a_continuous_factor_is_cut_into_20_equal_bins() -> None:
    values = np.arange(100)
    assert mig((values // 5)[:, None], {"v": values / 7}).value == pytest.approx(1)
    assert mig((values // 10)[:, None], {"v": values / 7}).value == pytest.approx(math.log(10) / math.log(20))


def test_mig_is_0_on_shuffled_factors() -> None:
    rng = np.random.default_rng(5)
    latents = rng.normal(size=(10_000, 10))
    factors = {"shape": rng.integers(3, size=10_000), "place": rng.uniform(size=10_000)}
    measure = mig(latents, factors)
    assert 0 <= measure.value < 0.005
    few = mig(latents[:300], {name: values[:300] for name, values in factors.items()})
    assert 0 <= few.value < 0.05


def test_mig_is_0_if_two_latents_are_redundant() -> None:
    factors = grid(4, 5)
    assert mig(factors[:, [0, 1, 0, 1]], by_name(factors)).value == pytest.approx(0)
    # A rotation by 45 degrees spreads both factors over both latents.
    turned = np.column_stack([factors[:, 0] + factors[:, 1], factors[:, 0] - factors[:, 1]])
    assert 0 <= mig(turned, by_name(factors)).value < 0.05


def test_mig_by_hand() -> None:
    # v has 4 values in 2 bits; z_0 tells its upper bit and z_1 nothing: the gap is 1 bit of 2.
    v = np.arange(4).repeat(2)
    latents = np.column_stack([v // 2, np.tile([0, 1], 4)])
    measure = mig(latents, {"v": v})
    assert measure.value == pytest.approx(0.5)
    assert mig(latents[:, :1], {"v": v}).value == pytest.approx(0.5)  # a single latent has no rival
    # And 50/50 with a factor that nothing tells of, beside a constant that is left out.
    both = mig(latents[:, :1].repeat(2, 0), {"v": v.repeat(2), "w": np.tile([0, 1], 8), "c": np.ones(16, int)})
    assert both.value == pytest.approx(0.25)
    assert set(both.extra["factors"]) == {"v", "w"}


def test_mig_has_the_documented_bias() -> None:
    rng = np.random.default_rng(6)
    v = np.arange(10).repeat(100)
    gaps = [mig(np.column_stack([v, rng.uniform(size=1000)]), {"v": v}).value for _ in range(50)]
    assert np.mean(gaps) == pytest.approx(1 - 19 * 9 / 2000 / math.log(10), abs=0.005)


def test_the_interval_of_the_mig_covers_the_truth() -> None:
    # z tells a fair coin v rightly with probability 0.9: I = log 2 − H(0.9), of log 2.
    truth = 1 + (0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(100):
        v = rng.integers(2, size=400)
        measure = mig((v ^ (rng.uniform(size=400) < 0.1))[:, None], {"v": v}, seed=trial)
        assert measure.low is not None and measure.high is not None
        covered += measure.low <= truth <= measure.high
    assert 88 <= covered <= 100  # 0.95 ± 3 standard errors


def test_mig_is_written_as_json() -> None:
    factors = grid(3, 2)
    written = json.loads(json.dumps(mig(factors, by_name(factors)).to_json(), allow_nan=False))
    assert written["n"] == 6 and written["bins"] == 20
    assert written["factors"]["factor 1"]["latent"] == 1


def test_mig_of_nothing() -> None:
    latents = np.zeros((4, 2))
    with pytest.raises(RequestError, match="no factor varies in this data"):
        mig(latents, {})
    with pytest.raises(RequestError, match="no factor varies in this data"):
        mig(latents, {"shape": np.ones(4, int)})
    with pytest.raises(RequestError, match=r"the factor 'a\\nb' has a value that is not a finite number"):
        mig(latents, {"a\nb": [0.5, np.nan, 0.1, 0.2]})
    with pytest.raises(ValueError, match="'shape' has shape"):
        mig(latents, {"shape": np.ones(3, int)})


def test_latents_that_are_not_finite_are_refused() -> None:
    bad = np.array([[0.0], [np.inf]])
    for measure in (
        lambda: active_units(bad),
        lambda: mig(bad, {"v": [0, 1]}),
        lambda: mmd2(bad, bad),
        lambda: rate_per_latent(bad, bad),
    ):
        with pytest.raises(AigcError, match="not finite numbers"):
            measure()


# The maximum mean discrepancy


def plain_mmd2(x: Floats, y: Floats, median: float) -> float:
    def k(a: Floats, b: Floats) -> float:
        squared = float(((a - b) ** 2).sum())
        return float(np.mean([math.exp(-squared / (2 * (median * scale) ** 2)) for scale in (0.25, 0.5, 1, 2, 4)]))

    m, n = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


@pytest.mark.parametrize(("m", "n"), [(12, 12), (2, 9), (15, 4), (2, 2)])
def test_mmd_equals_the_plain_one(m: int, n: int) -> None:
    rng = np.random.default_rng(m)
    x, y = rng.normal(size=(m, 3)), rng.normal(size=(n, 3)) + 0.5
    measure = mmd2(x, y, permutations=20)
    pool = np.concatenate([x, y])
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(pool, 2)]
    assert measure.extra["median_distance"] == pytest.approx(np.median(distances))
    assert measure.value == pytest.approx(plain_mmd2(x, y, measure.extra["median_distance"]))
    assert measure.n == min(m, n)


@pytest.mark.parametrize("seed", range(6))
def test_the_null_is_that_of_every_relabelling(seed: int) -> None:
    # Six points have 20 relabellings, which come in pairs of one value, so the null's law can be written down.
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(3, 2)) + 1
    measure = mmd2(x, y, permutations=5000)
    pool = np.concatenate([x, y])
    every = []
    for chosen in itertools.combinations(range(6), 3):
        others = [i for i in range(6) if i not in chosen]
        every.append(plain_mmd2(pool[list(chosen)], pool[others], measure.extra["median_distance"]))
    assert measure.extra["p_value"] == pytest.approx(np.mean(np.array(every) >= measure.value - 1e-9), abs=0.02)
    assert np.isclose(measure.extra["null_95"], every).any()


def test_mmd_of_more_points_than_a_block_has_rows() -> None:
    rng = np.random.default_rng(13)
    x, y = rng.normal(size=(1600, 2)), rng.normal(size=(1700, 2))
    measure = mmd2(x, y, permutations=2)
    squared = ((pool := np.concatenate([x, y]))[:, None] - pool) ** 2 @ np.ones(2)
    scales = 2 * (measure.extra["median_distance"] * np.array([0.25, 0.5, 1, 2, 4])) ** 2
    kernel = sum(np.exp(-squared / scale) for scale in scales) / 5 * (1 - np.eye(3300))
    within = kernel[:1600, :1600].sum() / (1600 * 1599) + kernel[1600:, 1600:].sum() / (1700 * 1699)
    assert measure.value == pytest.approx(within - 2 * kernel[:1600, 1600:].mean(), abs=1e-10)


def test_mmd_of_two_gaussians() -> None:
    # E k for a − b ~ N(δ, 2I) and a Gaussian kernel of width s: (s² / (s² + 2))^(d/2) · exp(−‖δ‖² / 2(s² + 2)).
    rng = np.random.default_rng(9)
    d, n, shift = 4, 2500, 0.7  # more points than one block of the kernel matrix has rows
    x, y = rng.normal(size=(n, d)), rng.normal(size=(n, d))
    y[:, 0] += shift
    measure = mmd2(x, y, permutations=100)
    widths = (measure.extra["median_distance"] * np.array([0.25, 0.5, 1, 2, 4])) ** 2
    expected = np.mean(2 * (widths / (widths + 2)) ** (d / 2) * (1 - np.exp(-(shift**2) / (2 * (widths + 2)))))
    assert measure.value == pytest.approx(expected, rel=0.1)
    assert measure.extra["p_value"] == 1 / 101
    assert measure.value > 10 * measure.extra["null_95"] > 0


def test_equal_distributions_differ_in_1_of_20_tests() -> None:
    rng = np.random.default_rng(10)
    measures = [mmd2(rng.normal(size=(30, 2)), rng.normal(size=(20, 2)), permutations=99, seed=i) for i in range(300)]
    p = np.array([measure.extra["p_value"] for measure in measures])
    values = np.array([measure.value for measure in measures])
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(300)  # unbiased
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 300))
    assert np.mean(p) == pytest.approx(0.505, abs=3 * math.sqrt(1 / 12 / 300))
    above = np.mean([measure.value > measure.extra["null_95"] for measure in measures])
    assert above == pytest.approx(0.05, abs=0.045)


def test_mmd_sees_more_than_means() -> None:
    rng = np.random.default_rng(11)
    normal = rng.normal(size=(800, 2))
    ring = rng.normal(size=(800, 2))
    ring *= math.sqrt(2) / np.linalg.norm(ring, axis=1, keepdims=True)  # the same mean and covariance
    assert mmd2(normal, ring, permutations=100).extra["p_value"] == 1 / 101


def test_mmd_does_not_depend_on_place_turn_or_scale() -> None:
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=(60, 3)), rng.normal(size=(50, 3)) * 1.5
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    measure = mmd2(x, y)
    moved = mmd2(1e-3 * x @ turn + 1e4, 1e-3 * y @ turn + 1e4)
    assert moved.value == pytest.approx(measure.value, abs=1e-5)
    assert moved.extra["p_value"] == pytest.approx(measure.extra["p_value"], abs=0.01)
    assert mmd2(y, x).value == pytest.approx(measure.value)
    assert mmd2(x, y) == measure


def test_points_that_coincide() -> None:
    same = mmd2(np.ones((5, 2)), np.ones((4, 2)))
    assert same.value == pytest.approx(0, abs=1e-12) and same.extra["p_value"] == 1
    apart = mmd2(np.zeros((30, 2)), np.full((10, 2), 1.0))  # more than half of the distances are 0
    assert apart.value > 0.1 and apart.extra["p_value"] < 0.01


def test_large_samples_are_thinned() -> None:
    x = np.repeat([[0.0], [1.0]], 300, axis=0)  # in order of a class: the first 100 would not do
    measure = mmd2(x, np.tile([[0.0], [1.0]], (80, 1)), max_points=100, permutations=200)
    assert measure.n == 100
    assert measure.extra["p_value"] > 0.01


def test_samples_that_cannot_be_compared() -> None:
    with pytest.raises(RequestError, match="at least two points"):
        mmd2(np.zeros((1, 2)), np.zeros((5, 2)))
    with pytest.raises(ValueError, match="two samples of points"):
        mmd2(np.zeros((4, 2)), np.zeros((4, 3)))


# Percentiles


def test_percentiles_by_hand() -> None:
    assert percentile([0, 1, 1.5, 2, 9, np.nan, -np.inf, np.inf], [3, 1, 2, 2]) == pytest.approx(
        [0, 12.5, 25, 50, 100, np.nan, 0, 100], nan_ok=True
    )


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30))
def test_reference_scores_among_themselves_have_a_mean_of_50(reference: list[int]) -> None:
    own = percentile(reference, reference)
    assert own.mean() == pytest.approx(50)
    assert np.array_equal(own.argsort(kind="stable"), np.argsort(reference, kind="stable"))


def test_percentiles_of_nothing() -> None:
    assert percentile([], [1.0]).size == 0
    with pytest.raises(RequestError, match="the reference data is empty"):
        percentile([1.0], [])
    with pytest.raises(ValueError, match="NaN"):
        percentile([1.0], [1.0, np.nan])


def test_measures_are_plain_numbers() -> None:
    rng = np.random.default_rng(13)
    for measure in (mmd2(rng.normal(size=(9, 2)), rng.normal(size=(9, 2))), active_units(rng.normal(size=(9, 2)))):
        assert isinstance(measure, Measure)
        json.dumps(measure.to_json(), allow_nan=False)


@pytest.mark.parametrize(("size", "grid"), [((28, 28), (16, 16)), ((7, 9), (4, 4)), ((5, 16), (16, 4))])
def test_means_over_boxes_are_the_same_by_matrix_products(size: tuple[int, int], grid: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    torch.testing.assert_close(box_means_by_products(x, grid), torch.nn.functional.adaptive_avg_pool2d(x, grid))
