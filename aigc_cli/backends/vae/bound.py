"""The importance-weighted bound on log p(x), and related quantities, for evaluation. The training loss is in `loss.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from aigc_cli.backends.pictures.batches import VALUES
from aigc_cli.backends.vae.loss import LatentVariableModel
from aigc_cli.backends.vae.model import Posterior


@dataclass(frozen=True)
class Bounds:
    """Bounds for each example, from the same K draws of z: (B,) float32, all but the last in nats."""

    log_likelihood: Tensor
    """log (1/K) Σ w_k. Its expectation is at most log p(x), and rises with K."""
    elbo: Tensor
    """(1/K) Σ log w_k: the bound for K = 1 with less variance; −(rate + distortion)."""
    rate: Tensor
    """(1/K) Σ log q(z_k|x)/p(z_k), which estimates KL(q(z|x) ‖ p(z))."""
    distortion: Tensor
    """−(1/K) Σ log p(x|z_k)."""
    effective_samples: Tensor
    """(Σ w_k)² / Σ w_k²: from 1, if one draw outweighs all others, to K, if q is the exact posterior (Kong 1992)."""


#: The names of the bounds.
BOUNDS = tuple(field.name for field in fields(Bounds))


@torch.no_grad()
def importance_weighted(
    model: LatentVariableModel,
    x: Tensor,
    labels: Tensor | None = None,
    *,
    k: int,
    posterior: Posterior | None = None,
    rows: int | None = None,
    generators: Sequence[torch.Generator] | None = None,
) -> Bounds:
    """The bounds with w_k = p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x) (Burda et al. 2016, eq. 8).

    `posterior` is q(z|x), if already known. Draws are decoded in chunks of at most `rows` rows (but at least the batch); `rows`
    changes the result only by rounding. With `generators`, one per example on the CPU, an example's draws are the same in any
    batch and on any device.
    """
    posterior = posterior or model.encode(x, labels)
    batch, latent = posterior.mean.shape
    rows = rows or min(1024, VALUES // x[0].numel())
    at_once = max(1, rows // batch)
    terms: list[tuple[Tensor, Tensor, Tensor]] = []
    for first in range(0, k, at_once):
        draws = min(at_once, k - first)
        if generators is None:
            noise = torch.randn(draws, batch, latent)
        else:
            noise = torch.stack([torch.stack([torch.randn(latent, generator=g) for g in generators]) for _ in range(draws)])
        z = posterior.sample(noise.to(posterior.mean.device))
        every_x, every_label = repeated(x, draws), None if labels is None else repeated(labels, draws)
        log_prior = model.prior.log_prob(z.flatten(0, 1), every_label)
        log_likelihood = model.log_likelihood(every_x, z.flatten(0, 1), every_label)
        terms.append((posterior.log_prob(z), log_prior.view(draws, batch), log_likelihood.view(draws, batch)))
    log_q, log_prior, log_likelihood = (torch.cat(parts) for parts in zip(*terms, strict=True))
    log_w = log_likelihood + log_prior - log_q
    return Bounds(
        log_likelihood=log_w.logsumexp(0) - math.log(k),
        elbo=log_w.mean(0),
        rate=(log_q - log_prior).mean(0),
        distortion=-log_likelihood.mean(0),
        effective_samples=(2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp(),
    )


def repeated(tensor: Tensor, times: int) -> Tensor:
    """(times · B, …) from (B, …)."""
    return tensor.repeat(times, *(1 for _ in tensor.shape[1:]))
