"""How much information each latent of a variational autoencoder carries, and how many latents are active.

The posterior of example i is N(mean[i], diag(exp(log_var[i]))); both arrays have shape (n, latents).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure

ACTIVE = 0.01
MAX_MIXTURE = 2000
_CHUNK = 1 << 18


def rate_per_latent(means: ArrayLike, log_var: ArrayLike) -> NDArray[np.float64]:
    """KL(q(z_j | x_i) ‖ N(0, 1)) in nats, shape (n, latents): Kingma and Welling (2014), appendix B.

    The sum over latents is the rate of a model whose prior is N(0, I). Under any other prior, a flow's say,
    the rate is not a sum over latents: use `information_per_latent`.
    """
    mu, lv = _posterior(means, log_var)
    return 0.5 * (mu**2 + np.expm1(lv) - lv)


def information_per_latent(means: ArrayLike, log_var: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """log q(z_j | x_i) − log q(z_j) in nats at a draw of each posterior, shape (min(n, 2000), latents).

    q(z_j) = 1/n Σₖ q(z_j | x_k) is the aggregate posterior, so the mean over examples estimates the mutual
    information of z_j and x, whatever the prior (Hoffman and Johnson, 2016, "ELBO Surgery"). It is below the
    mean of `rate_per_latent` by KL(q(z_j) ‖ N(0, 1)). The sum over latents double-counts information that they share.
    The estimate is too low when the truth is near log n: n examples can't tell apart more than log n nats.
    The cost grows with n², so at most 2,000 randomly drawn examples are used.
    """
    mu, lv = _posterior(means, log_var)
    rng = np.random.default_rng(seed)
    if len(mu) > MAX_MIXTURE:
        drawn = rng.choice(len(mu), MAX_MIXTURE, replace=False)
        mu, lv = mu[drawn], lv[drawn]
    noise = rng.standard_normal(mu.shape)
    z = mu + np.exp(0.5 * lv) * noise
    precision, own = np.exp(-0.5 * lv), -0.5 * (noise**2 + lv)
    information = np.empty_like(z)
    step = max(1, _CHUNK // len(z))
    for j in range(z.shape[1]):
        for start in range(0, len(z), step):
            i = slice(start, start + step)
            each = -0.5 * (((z[i, j, None] - mu[:, j]) * precision[:, j]) ** 2 + lv[:, j])
            # The example itself is in the mixture, so the mean is at least 1/n and no maximum has to be subtracted.
            information[i, j] = -np.log(np.exp(each - own[i, j, None]).mean(axis=1))
    return information


def active_units(means: ArrayLike, *, threshold: float = ACTIVE) -> Measure:
    """The number of latents whose posterior mean varies: Var_x E[z_j | x] > 0.01.

    Burda et al. (2016), "Importance Weighted Autoencoders", section 5.2. The threshold is meant for latents of
    about unit scale, as under a normal prior. The interval counts the latents whose variance is
    above the threshold by 1.96 of its standard errors, and those that are not below it by as much.

    Raises `RequestError` for fewer than two examples.
    """
    mu = finite(means)
    n = len(mu)
    if n < 2:
        raise RequestError("active units need at least two examples")
    squares = (mu - mu.mean(axis=0)) ** 2
    variance = squares.sum(axis=0) / (n - 1)
    error = squares.std(axis=0) / np.sqrt(n)  # of a variance: √((μ₄ − σ⁴) / n)
    value, low, high = (float(np.count_nonzero(variance + shift * error > threshold)) for shift in (0, -1.96, 1.96))
    return Measure(value, low, high, n, "latents", {"of": mu.shape[1], "threshold": threshold})


def _posterior(means: ArrayLike, log_var: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mu, lv = finite(means), finite(log_var)
    if mu.shape != lv.shape:
        raise ValueError(f"means and log-variances of one shape: got {mu.shape} and {lv.shape}")
    return mu, lv


def finite(latents: ArrayLike) -> NDArray[np.float64]:
    """Latents (n, latents) as float64. Raises `AigcError` where one is not finite."""
    values = np.asarray(latents, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"latents have shape (n, latents): got {values.shape}")
    if not np.isfinite(values).all():
        raise AigcError("some latents are not finite numbers, so they cannot be measured")
    return values
