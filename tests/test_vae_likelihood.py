"""The likelihoods against their definitions: sums of probabilities, reference formulas, enumeration and draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli as BernoulliDistribution
from torch.distributions import Normal

from aigc_cli.backends.vae.likelihood import Bernoulli, Gaussian, Likelihood, MixtureOfLogistics

BYTES = torch.arange(256) / 255


def of_each_byte(likelihood: Likelihood, params: Tensor) -> Tensor:
    """log p of the 256 grey pictures of one pixel, for params (1, channels_out, 1, 1)."""
    return likelihood.log_prob(params.expand(256, -1, 1, 1), BYTES.view(256, 1, 1, 1))


def reference_log_prob(likelihood: MixtureOfLogistics, params: Tensor, x: Tensor) -> Tensor:
    """PixelCNN++'s equations for one pixel, in float64: params (channels_out,), x (C,)."""
    k, c = likelihood.mixtures, likelihood.channels
    logits, means, log_scales, coefficients = params.double().split(likelihood.parts)
    means, scales = means.view(c, k), log_scales.view(c, k).clamp(-7, 7).exp()
    coefficients = coefficients.view(-1, k).tanh()
    y, delta = 2 * x.double() - 1, 1 / 255
    p = logits.softmax(0)
    for j in range(c):
        mean = means[j] + sum((coefficients[j * (j - 1) // 2 + i] * y[i] for i in range(j)), torch.zeros(k))
        upper = ((y[j] + delta - mean) / scales[j]).sigmoid() if x[j] < 1 else torch.ones(k)
        lower = ((y[j] - delta - mean) / scales[j]).sigmoid() if x[j] > 0 else torch.zeros(k)
        p = p * (upper - lower)
    return p.sum().log()


@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -3.0, 0.0, 5.0, 40.0])
@pytest.mark.parametrize("mean", [-30.0, -1.0, 0.1, 1.0, 4.0])
def test_probabilities_of_the_256_values_sum_to_one(log_scale: float, mean: float) -> None:
    likelihood = MixtureOfLogistics(channels=1, mixtures=2)
    params = torch.tensor([0.3, -0.5, mean, 0.2, log_scale, -2.0]).view(1, -1, 1, 1)
    log_p = of_each_byte(likelihood, params)
    assert torch.isfinite(log_p).all()
    assert log_p.logsumexp(0).item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_mixture_of_logistics_is_its_definition(channels: int) -> None:
    torch.manual_seed(0)
    likelihood = MixtureOfLogistics(channels, mixtures=3)
    params = torch.randn(40, likelihood.channels_out, 1, 1) - 0.5
    x = torch.randint(0, 256, (40, channels, 1, 1)) / 255
    x[:5], x[5:10] = 0, 1
    expected = torch.stack([reference_log_prob(likelihood, p.flatten(), v.flatten()) for p, v in zip(params, x, strict=True)])
    torch.testing.assert_close(likelihood.log_prob(params, x).double(), expected, rtol=1e-4, atol=1e-4)


def test_green_and_blue_summed_out_leave_the_probability_of_red() -> None:
    torch.manual_seed(1)
    colour, grey = MixtureOfLogistics(3, mixtures=2), MixtureOfLogistics(1, mixtures=2)
    params = torch.randn(1, colour.channels_out, 1, 1)
    params[:, 8:14] -= 2  # scales that the bins resolve
    logits, means, log_scales, _ = params.split(colour.parts, dim=1)
    pairs = torch.cartesian_prod(BYTES, BYTES)
    red = 77 / 255
    x = torch.cat((torch.full((len(pairs), 1), red), pairs), dim=1).view(-1, 3, 1, 1)
    log_p = colour.log_prob(params.expand(len(x), -1, 1, 1), x).logsumexp(0)
    alone = grey.log_prob(torch.cat((logits, means[:, :2], log_scales[:, :2]), dim=1), torch.full((1, 1, 1, 1), red))
    assert log_p.item() == pytest.approx(alone.item(), abs=1e-3)


def test_a_bin_far_from_every_component_has_a_finite_cost_and_gradient() -> None:
    likelihood = MixtureOfLogistics(3, mixtures=2)
    params = torch.zeros(2, likelihood.channels_out, 1, 1)
    params[:, 2:8] = torch.tensor([50.0, -50.0])[:, None, None, None]
    params[:, 8:14] = -100.0
    params.requires_grad_()
    log_p = likelihood.log_prob(params, torch.full((2, 3, 1, 1), 128 / 255))
    log_p.sum().backward()
    assert torch.isfinite(log_p).all() and (log_p < -1000).all()
    assert params.grad is not None and torch.isfinite(params.grad).all()
    assert (params.grad[0, 2:8] < 0).all() and (params.grad[1, 2:8] > 0).all()  # towards the bin


def test_probabilities_are_summed_over_the_dimensions_of_a_picture() -> None:
    torch.manual_seed(2)
    likelihood = MixtureOfLogistics(3, mixtures=2)
    params, x = torch.randn(2, likelihood.channels_out, 4, 3), torch.randint(0, 256, (2, 3, 4, 3)) / 255
    pixels = sum(
        likelihood.log_prob(params[:, :, i : i + 1, j : j + 1], x[:, :, i : i + 1, j : j + 1])
        for i in range(4)
        for j in range(3)
    )
    torch.testing.assert_close(likelihood.log_prob(params, x), pixels)


def test_the_mean_of_a_grey_pixel_is_that_of_its_256_probabilities() -> None:
    likelihood = MixtureOfLogistics(1, mixtures=2)
    for means, log_scales in (([-0.4, 0.6], [-3.0, -2.0]), ([-1.5, 0.9], [-1.0, 0.5]), ([5.0, -5.0], [-7.0, 3.0])):
        params = torch.tensor([0.4, -0.2, *means, *log_scales]).view(1, -1, 1, 1)
        expected = (of_each_byte(likelihood, params).exp() * BYTES).sum()
        torch.testing.assert_close(likelihood.mean(params).squeeze(), expected, atol=1e-3, rtol=0)


def test_drawn_bytes_have_the_probabilities_that_log_prob_gives() -> None:
    likelihood = MixtureOfLogistics(1, mixtures=3)
    params = torch.tensor([0.5, 0.0, -1.0, -1.1, 0.0, 0.8, -2.0, -3.5, -1.0]).view(1, -1, 1, 1)
    n = 200_000
    x = likelihood.sample(params.expand(1, -1, n, 1), torch.Generator().manual_seed(0)).flatten()
    v = (255 * x).round()
    torch.testing.assert_close(x, v / 255, rtol=0, atol=1e-6)
    counts = torch.bincount(v.long(), minlength=256).double()
    p = of_each_byte(likelihood, params).double().exp()
    chi_square = ((counts - n * p).square() / (n * p)).sum().item()
    assert chi_square < 255 + 5 * math.sqrt(2 * 255)


def test_drawn_colours_agree_with_the_mean_and_depend_on_the_channels_before() -> None:
    likelihood = MixtureOfLogistics(3, mixtures=1)
    #                       logit  means           log-scales        c_GR  c_BR  c_BG
    params = torch.tensor([0.0, 0.2, -0.1, 0.1, -2.5, -4.0, -4.0, 2.0, 0.0, -2.0]).view(1, -1, 1, 1)
    x = likelihood.sample(params.expand(1, -1, 50_000, 1), torch.Generator().manual_seed(0))[0, :, :, 0]
    torch.testing.assert_close(x.mean(1), likelihood.mean(params).flatten(), atol=2e-3, rtol=0)
    slope = torch.cov(x)[0, 1] / x[0].var()
    assert slope.item() == pytest.approx(math.tanh(2.0), abs=0.01)
    assert torch.corrcoef(x)[1, 2] < -0.9


@pytest.mark.parametrize("likelihood", [Bernoulli(3), Gaussian(3), MixtureOfLogistics(3, mixtures=2)])
def test_draws_repeat_and_all_pictures_lie_in_the_unit_interval(likelihood: Likelihood) -> None:
    torch.manual_seed(3)
    params = 3 * torch.randn(2, likelihood.channels_out, 5, 4)
    draws = [likelihood.sample(params, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    for x in (*draws, likelihood.mean(params)):
        assert x.shape == (2, 3, 5, 4) and x.dtype == torch.float32
        assert x.min() >= 0 and x.max() <= 1


def test_bernoulli_is_that_of_torch() -> None:
    torch.manual_seed(4)
    logits, x = 5 * torch.randn(3, 1, 4, 5), torch.randint(0, 2, (3, 1, 4, 5)).float()
    likelihood = Bernoulli(1)
    expected = BernoulliDistribution(logits=logits).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(logits, x), expected)
    extreme = likelihood.log_prob(torch.full((1, 1, 1, 1), 1e4), torch.zeros(1, 1, 1, 1))
    assert extreme.item() == -1e4


def test_gaussian_is_that_of_torch_and_its_best_sigma_is_the_rms_error() -> None:
    torch.manual_seed(5)
    likelihood = Gaussian(1)
    mean, x = torch.rand(6, 1, 4, 5), torch.rand(6, 1, 4, 5)
    expected = Normal(mean, likelihood.log_sigma.exp()).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(mean, x), expected)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=50)

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = -likelihood.log_prob(mean, x).mean()
        total.backward()
        return total

    optimizer.step(loss)
    assert likelihood.log_sigma.exp().item() == pytest.approx((x - mean).square().mean().sqrt().item(), rel=1e-3)
    with torch.no_grad():
        likelihood.raw_log_sigma.fill_(-1e3)
    assert likelihood.log_sigma.item() == pytest.approx(-6)


def test_which_likelihoods_are_of_values_and_which_of_densities() -> None:
    assert [kind.discrete for kind in (Bernoulli, MixtureOfLogistics, Gaussian)] == [True, True, False]
