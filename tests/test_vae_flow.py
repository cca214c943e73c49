"""The flow against autograd's Jacobian, its own inverse, and quadrature."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from aigc_cli.backends.vae.priors.flow import Prior, RealNVP, StandardNormal


def make_flow(latent: int, couplings: int = 5, n_classes: int = 0, scale: float = 0.3) -> RealNVP:
    """A flow all of whose weights matter, in float64."""
    torch.manual_seed(latent)
    flow = RealNVP(latent=latent, couplings=couplings, width=16, n_classes=n_classes).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=scale)
    return flow


def conditions(n_classes: int, rows: int) -> Tensor | None:
    return torch.arange(rows) % (n_classes + 1) - 1 if n_classes else None


@pytest.mark.parametrize("latent", [2, 5, 8])
@pytest.mark.parametrize("n_classes", [0, 3])
def test_the_log_determinant_is_that_of_the_jacobian(latent: int, n_classes: int) -> None:
    flow = make_flow(latent, n_classes=n_classes)
    z = torch.randn(6, latent, dtype=torch.float64)
    labels = conditions(n_classes, len(z))
    _, log_det = flow(z, labels)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow(z, labels)[0].sum(0), z)  # (latent, B, latent)
    assert isinstance(jacobian, Tensor)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian.transpose(0, 1)).logabsdet)
    assert log_det.abs().max() > 0.1


@pytest.mark.parametrize("latent", [2, 5, 8])
@pytest.mark.parametrize("n_classes", [0, 3])
def test_the_inverse_undoes_the_flow(latent: int, n_classes: int) -> None:
    flow = make_flow(latent, couplings=12, n_classes=n_classes, scale=0.1)
    z = 3 * torch.randn(50, latent, dtype=torch.float64)
    labels = conditions(n_classes, len(z))
    torch.testing.assert_close(flow.inverse(flow(z, labels)[0], labels), z)
    torch.testing.assert_close(flow(flow.inverse(z, labels), labels)[0], z)


@pytest.mark.parametrize("prior", [StandardNormal(), RealNVP(latent=6, couplings=4, width=8, n_classes=2)])
def test_a_prior_begins_as_the_standard_normal(prior: Prior) -> None:
    z = torch.randn(7, 6)
    labels = torch.arange(7) % 3 - 1
    u, log_det = prior(z, labels)
    torch.testing.assert_close(u, z)
    torch.testing.assert_close(log_det, torch.zeros(7))
    torch.testing.assert_close(prior.log_prob(z, labels), Normal(0, 1).log_prob(z).sum(1))
    torch.testing.assert_close(prior.inverse(z, labels), z)


def test_the_density_integrates_to_one_and_draws_follow_it() -> None:
    flow = make_flow(2, couplings=4, scale=0.25)
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = flow.log_prob(grid).exp() * (axis[1] - axis[0]) ** 2
        assert mass.sum().item() == pytest.approx(1, abs=1e-3)
        n = 40_000
        draws = flow.inverse(torch.randn(n, 2, dtype=torch.float64))
    for statistic in (lambda z: z[:, 0], lambda z: z[:, 1], lambda z: (z[:, 0] * z[:, 1]).tanh()):
        expected, drawn = (mass * statistic(grid)).sum(), statistic(draws)
        assert abs(drawn.mean() - expected) < 4 * drawn.std() / math.sqrt(n)


def test_scales_are_bounded_and_a_deep_flow_does_not_overflow() -> None:
    flow = RealNVP(latent=40, couplings=20, width=32)
    for sign in (-1, 1):
        for coupling in flow.couplings:
            with torch.no_grad():
                coupling.last.bias.fill_(sign * 1e6)
                coupling.last.bias[20:] = 0
        z = (100 * torch.randn(8, 40)).requires_grad_()
        log_p = flow.log_prob(z)
        log_p.sum().backward()
        assert torch.isfinite(log_p).all()
        assert z.grad is not None and torch.isfinite(z.grad).all()


def test_every_class_has_its_own_density() -> None:
    flow = make_flow(4, n_classes=3)
    z = torch.randn(1, 4, dtype=torch.float64).expand(4, -1)
    log_p = flow.log_prob(z, torch.tensor([-1, 0, 1, 2]))
    assert len({round(value, 6) for value in log_p.tolist()}) == 4
