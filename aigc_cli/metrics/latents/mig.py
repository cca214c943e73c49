"""The mutual information gap: whether each factor of the data has a latent of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aigc_cli.errors import RequestError
from aigc_cli.metrics.latents.information import finite
from aigc_cli.metrics.statistics.bootstrap import Measure, mean, ratio_of_sums

BINS = 20


def mig(latents: ArrayLike, factors: Mapping[str, ArrayLike], *, bins: int = BINS, seed: int = 0) -> Measure:
    """The mutual information gap of Chen et al. (2018), "Isolating Sources of Disentanglement in VAEs", eq. 6.

    For each factor v, (I(z_a; v) − I(z_b; v)) / H(v), where z_a is the latent most informative of v and z_b the
    second most (0 if there is only one latent); then the mean over factors. It is 1 if each factor has a latent to
    itself, and 0 if none stands out. As in Locatello et al. (2019), "Challenging Common Assumptions in the Unsupervised
    Learning of Disentangled Representations", latents are posterior means, cut into 20 bins of equal width.
    A floating-point factor is binned likewise; an integer one is used as is, and can reach 1 only with no more
    values than bins. A constant factor is left out.

    latents: shape (n, latents); factors: name -> shape (n,). `extra["factors"]` has each factor's own gap and the
    number of its `latent`, z_a. The units of the intervals are examples; z_a and z_b are held fixed.

    Bias: information estimated from counts is too high by about (bins − 1)(values − 1) / 2n nats when there is none
    (Miller, 1955): 0.09 for 20 bins, 10 values and 1,000 examples. Two useless latents share that bias, and
    what is left of it in their gap is small and positive: 0.01 or less from 300 examples on.
    Next to a z_a that determines v, a useless z_b lowers the gap by its bias over H(v): 0.04 in that example.

    Raises `RequestError` if no factor varies or a factor is not finite.
    """
    codes = np.stack([_cut(column, bins) for column in finite(latents).T])
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
    frequency = np.bincount(factor)[factor] / factor.size
    joint = codes * (factor.max() + 1) + factor
    pairs = zip(codes, joint, strict=True)
    return np.stack([np.log(np.bincount(both)[both] / np.bincount(z)[z] / frequency) for z, both in pairs])


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
            f"the factor {name!r} has a value that is not a finite number: give every row a number, or leave the column out"
        )
    return _cut(factor.astype(np.float64), bins)
