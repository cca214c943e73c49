"""Flow matching against Gaussians, whose velocity is known, and the solver against exact solutions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from aigc_cli.backends.vae.priors.flow_matching import (
    DROPPED,
    FlowMatchingPrior,
    flow_matching_loss,
    heun,
    logit_normal,
    without_some_labels,
)
from aigc_cli.errors import RequestError

MEAN, STD = 1.5, 0.4


def of_gaussian(z: Tensor, t: Tensor) -> Tensor:
    """E[z − u | z_t] for latents N(MEAN, STD²): the velocity with the smallest loss."""
    t = t[:, None]
    variance = (1 - t) ** 2 + (t * STD) ** 2
    return MEAN + (t * STD**2 - (1 - t)) / variance * (z - t * MEAN)


def make_prior(n_classes: int = 0) -> FlowMatchingPrior:
    """A prior all of whose weights matter, in float64."""
    torch.manual_seed(1)
    prior = FlowMatchingPrior(shape=(3, 2, 4), width=32, blocks=2, n_classes=n_classes).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    prior.standardise(2 + 3 * torch.randn(100, 24, dtype=torch.float64))
    return prior


def test_the_solver_maps_noise_to_the_gaussian_with_an_error_of_second_order() -> None:
    u = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    errors = [float((heun(of_gaussian, u, 0.0, 1.0, steps) - (MEAN + STD * u)).abs().max()) for steps in (16, 32)]
    assert errors[1] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)


def test_the_loss_is_smallest_at_the_conditional_expectation() -> None:
    torch.manual_seed(0)
    z, u = MEAN + STD * torch.randn(40_000, 1), torch.randn(40_000, 1)
    t = logit_normal(len(z), z.device)
    losses = [flow_matching_loss(lambda x, t, a=a: a + of_gaussian(x, t), z, u, t).mean() for a in (-0.1, 0.0, 0.1)]
    # Adding a to the best velocity adds a² to the loss.
    assert float(losses[0] - losses[1]) == pytest.approx(0.01, abs=0.004)
    assert float(losses[2] - losses[1]) == pytest.approx(0.01, abs=0.004)


def test_a_velocity_of_0_costs_2_for_standardised_latents() -> None:
    torch.manual_seed(0)
    z, u = torch.randn(5000, 4), torch.randn(5000, 4)
    loss = flow_matching_loss(lambda x, t: torch.zeros_like(x), z, u, logit_normal(len(z), z.device))
    assert loss.shape == (5000,)
    assert float(loss.mean()) == pytest.approx(2.0, abs=0.05)


def test_times_are_logit_normal() -> None:
    torch.manual_seed(0)
    t = logit_normal(20_000, torch.device("cpu"))
    assert float(t.logit().mean()) == pytest.approx(0, abs=0.03) and float(t.logit().std()) == pytest.approx(1, abs=0.03)


def test_an_untrained_prior_has_velocity_0_and_is_standard_normal() -> None:
    prior = FlowMatchingPrior(shape=(3, 2, 4), width=32, blocks=2)
    u = torch.randn(5, 24)
    assert not prior.started
    torch.testing.assert_close(prior.inverse(u), u)
    torch.testing.assert_close(prior.to_noise(u), u)


@pytest.mark.parametrize("n_classes", [0, 3])
def test_to_noise_undoes_the_inverse(n_classes: int) -> None:
    prior = make_prior(n_classes)
    prior.steps = 200
    labels = torch.tensor([0, 1, 2, -1]) if n_classes else None
    u = torch.randn(4, 24, dtype=torch.float64)
    z = prior.inverse(u, labels)
    assert float((z - u).abs().max().detach()) > 0.5
    torch.testing.assert_close(prior.to_noise(z, labels), u, rtol=0, atol=1e-3)


def test_latents_are_standardised_for_each_channel() -> None:
    prior = FlowMatchingPrior(shape=(3, 2, 4), width=32, blocks=1)
    scale = torch.tensor([1.0, 5.0, 0.1]).repeat_interleave(8)  # the vector is a map (3, 2, 4)
    prior.standardise(scale * torch.randn(500, 24) + 7)
    assert prior.started
    torch.testing.assert_close(prior.std, torch.tensor([1.0, 5.0, 0.1]), rtol=0.05, atol=0)
    torch.testing.assert_close(prior.mean, torch.full((3,), 7.0), rtol=0, atol=0.3)


def test_a_place_of_the_map_sees_every_other() -> None:
    prior = make_prior()
    z = torch.randn(1, 24, dtype=torch.float64, requires_grad=True)
    tokens = z.unflatten(1, (3, 8)).transpose(1, 2)
    prior.velocity(tokens, torch.tensor([0.5], dtype=torch.float64))[0, 0, 0].backward()
    assert z.grad is not None and int((z.grad != 0).sum()) == 24


def test_guidance_goes_beyond_the_class_and_at_0_ignores_it() -> None:
    prior = make_prior(n_classes=3)
    u, labels = torch.randn(6, 24, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    of_class = prior.inverse(u, labels)
    of_none = prior.inverse(u, torch.full_like(labels, -1))
    assert float((of_class - of_none).abs().max()) > 0.1
    prior.guidance = 0.0
    torch.testing.assert_close(prior.inverse(u, labels), of_none)
    prior.guidance = 2.0
    beyond = prior.inverse(u, labels)
    assert float(((beyond - of_class) * (of_class - of_none)).sum()) > 0


def test_the_way_between_two_draws_stays_among_draws() -> None:
    prior = FlowMatchingPrior(shape=(8, 8, 8), width=32, blocks=1)
    a, b = torch.randn(2, 512)
    way = prior.between(a, b, torch.linspace(0, 1, 5)[:, None])
    torch.testing.assert_close(way[0], a)
    torch.testing.assert_close(way[-1], b)
    assert all(abs(float(point.norm()) - math.sqrt(512)) < 2 for point in way)


def test_a_tenth_of_the_labels_is_dropped() -> None:
    torch.manual_seed(0)
    labels = without_some_labels(torch.arange(5).repeat(4000))
    dropped = labels == -1
    assert float(dropped.double().mean()) == pytest.approx(DROPPED, abs=0.01)
    assert torch.equal(labels[~dropped], torch.arange(5).repeat(4000)[~dropped])


def test_it_learns_a_distribution_with_two_modes() -> None:
    """Latents at ±1 in every channel: draws are near one of the two, half of them each."""
    torch.manual_seed(0)
    prior = FlowMatchingPrior(shape=(2, 1, 1), width=32, blocks=2)
    optimizer = torch.optim.Adam(prior.parameters(), 3e-3)

    def latents(n: int) -> Tensor:
        return (torch.randint(2, (n, 1)) * 2.0 - 1).expand(n, 2) + 0.05 * torch.randn(n, 2)

    prior.standardise(latents(1000))
    for _ in range(400):
        z = latents(128)
        optimizer.zero_grad()
        prior.loss(z, None, torch.randn_like(z), logit_normal(len(z), z.device)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        drawn = prior.inverse(torch.randn(500, 2))
    near = (drawn.abs() - 1).abs().max(1).values < 0.35
    assert float(near.double().mean()) > 0.9
    assert float((drawn[:, 0] * drawn[:, 1] > 0).double().mean()) > 0.95
    assert 0.3 < float((drawn[:, 0] > 0).double().mean()) < 0.7


def test_it_has_no_density() -> None:
    with pytest.raises(RequestError, match="--objective likelihood"):
        make_prior().log_prob(torch.zeros(1, 24))


def test_a_loss_before_the_moments_are_known_is_finite_so_that_steps_are_timed_whole() -> None:
    prior = FlowMatchingPrior(shape=(3, 2, 4), width=32, blocks=1)
    assert prior.loss(torch.randn(4, 24), None, torch.randn(4, 24), torch.rand(4)).isfinite().all()
