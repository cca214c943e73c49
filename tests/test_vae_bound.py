"""The loss and the bounds against models whose likelihood is known: probabilistic PCA, and quadrature over two latents."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from aigc_cli.backends.vae.bound import Bounds, importance_weighted
from aigc_cli.backends.vae.loss import kl, negative_elbo
from aigc_cli.backends.vae.model import VAE, Posterior
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.backends.vae.priors.flow import Prior, RealNVP, StandardNormal


class LinearVAE(nn.Module):
    """x ~ N(Wz + μ, σ²I) and z ~ N(0, I), with an encoder that is linear as well."""

    def __init__(self, size: int, latent: int) -> None:
        super().__init__()
        self.prior: Prior = StandardNormal()
        self.w = nn.Parameter(torch.randn(size, latent) / math.sqrt(latent))
        self.mu = nn.Parameter(torch.zeros(size))
        self.log_sigma = nn.Parameter(torch.zeros(()))
        self.to_mean = nn.Linear(size, latent)
        self.log_var = nn.Parameter(torch.zeros(latent))

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        mean = self.to_mean(x - self.mu)
        return Posterior(mean, self.log_var.expand_as(mean))

    def log_likelihood(self, x: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return Normal(z @ self.w.T + self.mu, self.log_sigma.exp()).log_prob(x).sum(1)

    def log_evidence(self, x: Tensor) -> Tensor:
        covariance = self.w @ self.w.T + (2 * self.log_sigma).exp() * torch.eye(len(self.w))
        return MultivariateNormal(self.mu, covariance).log_prob(x)

    @torch.no_grad()
    def set_exact_posterior(self) -> None:
        """N(M⁻¹Wᵀ(x − μ), σ²M⁻¹) with M = WᵀW + σ²I (Tipping and Bishop 1999, eq. 7), diagonal for orthogonal columns."""
        variance = (2 * self.log_sigma).exp()
        m = self.w.T @ self.w + variance * torch.eye(self.w.shape[1])
        self.to_mean.weight.copy_(torch.linalg.solve(m, self.w.T))
        self.to_mean.bias.zero_()
        self.log_var.copy_((variance / m.diag()).log())


def generators(n: int) -> list[torch.Generator]:
    """One for each of n examples."""
    return [torch.Generator().manual_seed(i) for i in range(n)]


@pytest.fixture
def ppca() -> LinearVAE:
    torch.manual_seed(0)
    model = LinearVAE(size=7, latent=3)
    with torch.no_grad():
        model.w.copy_(torch.linalg.qr(torch.randn(7, 3)).Q * torch.tensor([2.0, 1.0, 0.3]))
        model.mu.copy_(torch.randn(7))
        model.log_sigma.fill_(-0.7)
    model.set_exact_posterior()
    return model


@torch.no_grad()
def test_with_the_exact_posterior_every_weight_is_the_evidence(ppca: LinearVAE) -> None:
    x = 2 * torch.randn(11, 7)
    expected = ppca.log_evidence(x)
    one = importance_weighted(ppca, x, k=1)
    torch.testing.assert_close(one.log_likelihood, expected, atol=1e-4, rtol=1e-5)
    many = importance_weighted(ppca, x, k=50)
    torch.testing.assert_close(many.log_likelihood, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(many.elbo, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(many.effective_samples, torch.full((11,), 50.0), atol=0.01, rtol=0)
    torch.testing.assert_close(many.elbo, -(many.rate + many.distortion), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_a_wrong_posterior_loses_its_divergence_from_the_exact_one(ppca: LinearVAE) -> None:
    """ELBO = log p(x) − KL(q ‖ p(z|x)), whatever q."""
    x = torch.randn(5, 7)
    exact = copy.deepcopy(ppca).encode(x)
    ppca.to_mean.weight.mul_(0.9)
    ppca.log_var.add_(0.3)
    q = ppca.encode(x)
    gap = kl_divergence(normal(q), normal(exact)).sum(1)
    bounds = importance_weighted(ppca, x, k=20_000, generators=generators(len(x)))
    torch.testing.assert_close(bounds.elbo, ppca.log_evidence(x) - gap, atol=0.03, rtol=0)
    torch.testing.assert_close(bounds.log_likelihood, ppca.log_evidence(x), atol=0.03, rtol=0)
    torch.testing.assert_close(bounds.rate, kl_divergence(normal(q), Normal(0.0, 1.0)).sum(1), atol=0.06, rtol=0)
    assert (bounds.effective_samples < 19_000).all() and (bounds.effective_samples > 1000).all()


def test_a_trained_linear_vae_reaches_the_optimum_of_ppca() -> None:
    """The ELBO of a linear VAE has its maximum where pPCA's likelihood has (Lucas et al. 2019), and there they are equal."""
    torch.manual_seed(1)
    size, latent = 6, 2
    x = torch.randn(1000, latent) @ torch.tensor([[2.0, 1, 0, -1, 0.5, 0], [0, 1, -1, 0.5, 0, 1]]) + 0.5 * torch.randn(
        1000, size
    )
    variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    noise = variances[latent:].mean()
    log_det = variances[:latent].log().sum() + (size - latent) * noise.log()
    optimum = -0.5 * (size * math.log(2 * math.pi) + log_det + size)  # Tipping and Bishop 1999, eq. 4 at its maximum
    model = LinearVAE(size, latent)
    steps = 1500
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        negative_elbo(model, x).loss.backward()
        optimizer.step()
        schedule.step()
    bounds = importance_weighted(model, x, k=100, rows=100_000)
    assert model.log_evidence(x).mean().item() == pytest.approx(optimum.item(), abs=0.01)
    assert bounds.elbo.mean().item() == pytest.approx(optimum.item(), abs=0.02)
    assert model.log_sigma.exp().item() == pytest.approx(noise.sqrt().item(), rel=0.02)


def small_vae(prior: str, n_classes: int = 0) -> VAE:
    torch.manual_seed(2)
    config = VAEConfig(
        height=5,
        width=4,
        channels=1,
        likelihood="bernoulli",
        latent=2,
        widths=(8,),
        blocks=(1,),
        vector_width=16,
        vector_blocks=1,
        prior=prior,  # type: ignore[arg-type]
        couplings=4,
        flow_width=8,
        n_classes=n_classes,
    )
    model = VAE(config).eval()
    with torch.no_grad():
        for parameter in [*model.decoder.parameters(), *model.prior.parameters()]:
            parameter.add_(torch.randn_like(parameter), alpha=0.15)
    return model


@pytest.mark.parametrize("prior", ["normal", "flow"])
@pytest.mark.parametrize("n_classes", [0, 3])
@torch.no_grad()
def test_the_bound_at_large_k_is_the_integral_over_the_latents(prior: str, n_classes: int) -> None:
    model = small_vae(prior, n_classes)
    x = torch.randint(0, 2, (4, 1, 5, 4)).float()
    labels = torch.tensor([0, 2, -1, 1]) if n_classes else None
    axis = torch.linspace(-9, 9, 181)
    grid = torch.cartesian_prod(axis, axis)
    for row in range(len(x)):
        label = None if labels is None else labels[row].expand(len(grid))
        terms = model.log_likelihood(x[row].expand(len(grid), -1, -1, -1), grid, label) + model.prior.log_prob(grid, label)
        expected = terms.logsumexp(0) + 2 * (axis[1] - axis[0]).log()
        one = None if labels is None else labels[row : row + 1]
        bounds = importance_weighted(model, x[row : row + 1], one, k=20_000, generators=generators(1))
        assert bounds.effective_samples > 1000
        standard_error = (1 / bounds.effective_samples - 1 / 20_000).sqrt().item()
        assert bounds.log_likelihood.item() == pytest.approx(expected.item(), abs=4 * standard_error + 1e-3)
        assert bounds.elbo.item() < expected.item() - 0.05


@torch.no_grad()
def test_the_bound_does_not_fall_with_k() -> None:
    """One bound of K draws is at least the mean of K/k bounds of k draws each, when they share their draws."""
    model = small_vae("flow")
    x = torch.randint(0, 2, (16, 1, 5, 4)).float()

    def mean_bound(k: int) -> Tensor:
        own = generators(len(x))
        parts = [importance_weighted(model, x, k=k, generators=own).log_likelihood for _ in range(64 // k)]
        return torch.stack(parts).mean(0)

    bounds = torch.stack([mean_bound(k) for k in (1, 4, 16, 64)])
    assert (bounds.diff(dim=0) > -1e-5).all()
    assert (bounds[-1] > bounds[0] + 0.01).all()


@torch.no_grad()
def test_an_example_s_bound_does_not_depend_on_its_batch() -> None:
    model = small_vae("flow")
    x = torch.randint(0, 2, (5, 1, 5, 4)).float()
    whole = importance_weighted(model, x, k=10, generators=generators(5))
    part = importance_weighted(model, x[2:4], k=10, rows=4, generators=generators(5)[2:4])
    torch.testing.assert_close(part.log_likelihood, whole.log_likelihood[2:4])


@torch.no_grad()
def test_rows_bound_the_memory_and_change_nothing() -> None:
    model = small_vae("flow", n_classes=2)
    x, labels = torch.randint(0, 2, (3, 1, 5, 4)).float(), torch.tensor([0, 1, -1])
    decoded: list[int] = []
    hook = model.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(len(output)))

    def bounds(rows: int) -> Bounds:
        decoded.clear()
        return importance_weighted(model, x, labels, k=10, rows=rows, generators=generators(3))

    whole = bounds(1000)
    assert decoded == [30]
    for rows, expected in ((12, [12, 12, 6]), (1, [3] * 10)):
        parts = bounds(rows)
        assert decoded == expected
        for name, value in vars(whole).items():
            torch.testing.assert_close(getattr(parts, name), value, msg=name)
    hook.remove()


def normal(posterior: Posterior) -> Normal:
    return Normal(posterior.mean, (0.5 * posterior.log_var).exp())


@dataclass
class FixedModel:
    """A model of one posterior, for the loss's own arithmetic."""

    posterior: Posterior
    prior: Prior

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        return self.posterior

    def log_likelihood(self, x: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return -(x - z).square().sum(1)


def some_posterior() -> Posterior:
    torch.manual_seed(5)
    return Posterior(torch.randn(6, 4), torch.randn(6, 4))


def test_a_posterior_is_a_normal_distribution() -> None:
    posterior = some_posterior()
    noise = torch.randn(3, 6, 4)
    z = posterior.sample(noise)
    torch.testing.assert_close(z, normal(posterior).mean + normal(posterior).stddev * noise)
    torch.testing.assert_close(posterior.log_prob(z), normal(posterior).log_prob(z).sum(-1))


def test_kl_has_the_closed_form_of_torch_and_the_mean_of_its_draws() -> None:
    posterior = some_posterior()
    closed = kl(posterior, StandardNormal(), torch.empty(0))
    torch.testing.assert_close(closed, kl_divergence(normal(posterior), Normal(0.0, 1.0)).sum(1))
    n = 4000
    flow = RealNVP(latent=4, couplings=2, width=8)  # at its beginning the standard normal, but its KL is estimated
    estimates = torch.stack([kl(posterior, flow, z) for z in posterior.sample(torch.randn(n, 6, 4))])
    assert ((estimates.mean(0) - closed).abs() < 4 * estimates.std(0) / math.sqrt(n)).all()


def test_beta_weighs_the_rate_and_free_bits_bound_it_in_the_loss_alone() -> None:
    model = FixedModel(some_posterior(), StandardNormal())
    x = torch.randn(6, 4)

    def terms(beta: float, free_bits: float) -> tuple[float, float, float]:
        torch.manual_seed(6)
        loss, rate, distortion = negative_elbo(model, x, beta=beta, free_bits=free_bits)
        return loss.item(), rate.item(), distortion.item()

    loss, rate, distortion = terms(1.0, 0.0)
    assert rate == pytest.approx(kl_divergence(normal(model.posterior), Normal(0.0, 1.0)).sum(1).mean().item())
    assert loss == pytest.approx(rate + distortion)
    assert terms(0.25, 0.0) == pytest.approx((0.25 * rate + distortion, rate, distortion))
    assert terms(1.0, rate / 4 - 0.1) == pytest.approx((loss, rate, distortion))  # 4 latents: already above it
    assert terms(2.0, 10.0) == pytest.approx((2 * 40 + distortion, rate, distortion))


def test_an_estimated_rate_below_zero_is_not_clamped() -> None:
    wide = Posterior(torch.zeros(6, 4), torch.full((6, 4), 0.3))
    model = FixedModel(wide, RealNVP(latent=4, couplings=2, width=8))
    below = 0
    for seed in range(20):
        torch.manual_seed(seed)
        loss, rate, distortion = negative_elbo(model, torch.randn(6, 4))
        assert loss.item() == pytest.approx((rate + distortion).item())
        below += int(rate < 0)
    assert below > 3
