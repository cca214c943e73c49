"""What the latents of a variational autoencoder hold: nats in each, how many are in use, and which factor is where.

The posterior of example i is N(mean[i], diag(exp(log_var[i]))); both arrays have shape (n, latents).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, mean, ratio_of_sums

ACTIVE = 0.01
BINS = 20
MAX_MIXTURE = 2000
_CHUNK = 1 << 18


def rate_per_latent(means: ArrayLike, log_var: ArrayLike) -> NDArray[np.float64]:
    """KL(q(z_j | x_i) ‖ N(0, 1)) in nats, shape (n, latents): Kingma and Welling (2014), appendix B.

    The sum over latents is the rate of a model whose prior is N(0, I). Under any other prior, a flow's say,
    the rate is no sum over latents: use `information_per_latent`.
    """
    mu, lv = _posterior(means, log_var)
    return 0.5 * (mu**2 + np.expm1(lv) - lv)


def information_per_latent(means: ArrayLike, log_var: ArrayLike, *, seed: int = 0) -> NDArray[np.float64]:
    """log q(z_j | x_i) − log q(z_j) in nats at a draw of each posterior, shape (min(n, 2000), latents).

    q(z_j) = 1/n Σₖ q(z_j | x_k) is the aggregate posterior, so the mean over examples estimates the mutual
    information of z_j and x, whatever the prior (Hoffman and Johnson, 2016, "ELBO Surgery"). It is below the
    mean of `rate_per_latent` by KL(q(z_j) ‖ N(0, 1)). The sum over latents counts twice what two of them share.
    It comes out too low where the truth is near log n: no n examples can tell more than log n nats apart.
    The cost grows with n², so at most 2,000 examples are used, drawn at random.
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
            # The example itself is in the mixture, so the mean is at least 1/n and needs no shift by a maximum.
            information[i, j] = -np.log(np.exp(each - own[i, j, None]).mean(axis=1))
    return information


def active_units(means: ArrayLike, *, threshold: float = ACTIVE) -> Measure:
    """The number of latents whose posterior mean varies: Var_x E[z_j | x] > 0.01.

    Burda et al. (2016), "Importance Weighted Autoencoders", section 5.2. The threshold is meant for latents of
    about unit scale, which a normal prior gives them. The interval counts the latents whose variance is
    above the threshold by 1.96 of its standard errors, and those that are not below it by as much.

    Raises `RequestError` for fewer than two examples.
    """
    mu = _finite(means)
    n = len(mu)
    if n < 2:
        raise RequestError("active units are counted over at least two examples")
    squares = (mu - mu.mean(axis=0)) ** 2
    variance = squares.sum(axis=0) / (n - 1)
    error = squares.std(axis=0) / np.sqrt(n)  # of a variance: √((μ₄ − σ⁴) / n)
    value, low, high = (float(np.count_nonzero(variance + shift * error > threshold)) for shift in (0, -1.96, 1.96))
    return Measure(value, low, high, n, "latents", {"of": mu.shape[1], "threshold": threshold})


def mig(latents: ArrayLike, factors: Mapping[str, ArrayLike], *, bins: int = BINS, seed: int = 0) -> Measure:
    """The mutual information gap of Chen et al. (2018), "Isolating Sources of Disentanglement in VAEs", eq. 6.

    For each factor v, (I(z_a; v) − I(z_b; v)) / H(v), where z_a tells most of v and z_b second most (nothing,
    where there is one latent); then the mean over factors. It is 1 where each factor has a latent to itself, and
    0 where none stands out. As in Locatello et al. (2019), "Challenging Common Assumptions in the Unsupervised
    Learning of Disentangled Representations", latents are posterior means, cut into 20 bins of equal width.
    A floating factor is cut likewise; an integer one is taken as it is, and can reach 1 only with no more
    values than bins. A factor that does not vary is left out.

    latents: shape (n, latents); factors: name -> shape (n,). `extra["factors"]` has each factor's own gap and the
    number of its `latent`, z_a. The units of the intervals are examples; z_a and z_b are held fixed.

    Bias: information from counts is too high by about (bins − 1)(values − 1) / 2n nats where there is none
    (Miller, 1955): 0.09 for 20 bins, 10 values and 1,000 examples. Two useless latents share that bias, and
    what is left of it in their gap is small and positive: 0.01 or less from 300 examples on.
    Beside a z_a that knows v, a useless z_b lowers the gap by its bias over H(v): 0.04 in that example.

    Raises `RequestError` where no factor varies or a factor is not finite.
    """
    codes = np.stack([_cut(column, bins) for column in _finite(latents).T])
    gaps: dict[str, Measure] = {}
    linear = []
    for name, values in factors.items():
        factor = _factor(name, values, codes.shape[1], bins)
        surprisal = -np.log(np.bincount(factor)[factor] / factor.size)
        if not surprisal.any():
            continue
        information = _pointwise_information(codes, factor)
        ranked = information.mean(axis=1).argsort()[::-1]
        ahead = information[ranked[0]] - (information[ranked[1]] if ranked.size > 1 else 0)
        gap = ratio_of_sums(ahead, surprisal, seed=seed)
        gaps[name] = gap.beside(latent=int(ranked[0]))
        # The gap is a ratio of means: this is its linear expansion in the examples, with the same mean.
        linear.append(gap.value + (ahead - gap.value * surprisal) / surprisal.mean())
    if not gaps:
        raise RequestError("there is no mutual information gap to measure: no factor varies in this data")
    return mean(np.mean(linear, axis=0), seed=seed).beside(bins=bins, factors=gaps)


def _pointwise_information(codes: NDArray[np.int64], factor: NDArray[np.int64]) -> NDArray[np.float64]:
    """log p(z_j, v) / (p(z_j) p(v)) of each example from counts, shape (latents, n): its mean is I(z_j; v)."""
    share = np.bincount(factor)[factor] / factor.size
    joint = codes * (factor.max() + 1) + factor
    return np.stack([np.log(np.bincount(both)[both] / np.bincount(z)[z] / share) for z, both in zip(codes, joint, strict=True)])


def _cut(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """The bin of each value; where there are no more than `bins` different values, each is its own."""
    different, index = np.unique(values, return_inverse=True)
    if different.size <= bins:
        return index
    edges = np.linspace(different[0], different[-1], bins + 1)
    return np.searchsorted(edges[1:-1], values, side="right")


def _factor(name: str, values: ArrayLike, n: int, bins: int) -> NDArray[np.int64]:
    factor = np.asarray(values)
    if factor.shape != (n,):
        raise ValueError(f"one value an example: the factor {name!r} has shape {factor.shape} for {n} examples")
    if np.issubdtype(factor.dtype, np.integer):
        return np.unique(factor, return_inverse=True)[1]
    if not np.isfinite(factor).all():
        raise RequestError(
            f"the factor {name!r} has a value that is not a finite number: give every row one, or leave the column out"
        )
    return _cut(factor.astype(np.float64), bins)


def _posterior(means: ArrayLike, log_var: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    mu, lv = _finite(means), _finite(log_var)
    if mu.shape != lv.shape:
        raise ValueError(f"means and log-variances of one shape: got {mu.shape} and {lv.shape}")
    return mu, lv


def _finite(latents: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(latents, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"latents have shape (n, latents): got {values.shape}")
    if not np.isfinite(values).all():
        raise AigcError(
            "the model gave latents that are not finite numbers: it has diverged; train it with a smaller learning rate"
        )
    return values
