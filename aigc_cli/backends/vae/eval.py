"""`aigc eval vae`: the likelihood of held-out pictures, the information in the latents, and the quality of reconstructions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.pictures.batches import to_bytes
from aigc_cli.backends.pictures.loaded import dataset_of, evaluation_pictures, keyed, quality_of
from aigc_cli.backends.pictures.quality import stacked
from aigc_cli.backends.pictures.words import said_of
from aigc_cli.backends.vae.bound import BOUNDS, Bounds
from aigc_cli.backends.vae.codes.measures import code_measures
from aigc_cli.backends.vae.config import Eval, Sample, Train
from aigc_cli.backends.vae.encode import LABEL_ADVICE, Index, Posteriors, bounded, encoded, joined, posteriors
from aigc_cli.backends.vae.loaded import Loaded
from aigc_cli.backends.vae.sample import from_prior, sample_pictures
from aigc_cli.data.pictures.dataset import PictureArrays, PictureDataset
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.latents.information import active_units, information_per_latent
from aigc_cli.metrics.latents.mig import mig
from aigc_cli.metrics.latents.mmd import mmd2
from aigc_cli.metrics.pictures.reconstruction import psnr, ssim
from aigc_cli.metrics.statistics.bootstrap import Measure, mean, median

#: The most pictures for comparing latents with the prior, whose cost is quadratic.
MMD_PICTURES = 2000


def evaluation(run: Run, options: Eval, bus: Bus) -> Evaluation:
    """Every measure of the run's model, each held-out picture counted once."""
    loaded = Loaded.of(run, options.device)
    options = replace(options, batch_size=loaded.at_once(options.batch_size))
    dataset, told = _own(run, options, bus)
    arrays, name, of_data = evaluation_pictures(loaded, dataset, options, bus)
    of_data += told
    notes: list[str] = []
    averaged = f"measured with the moving average of the weights (half-life {loaded.plan.ema:g} steps)"
    if loaded.codes:
        measures = code_measures(loaded, dataset, arrays, options, bus)
        if options.copies is not None:
            notes.append("no sheet of copies: the run's codes have no samples")
        return Evaluation(name, {key: measure.to_json() for key, measure in measures.items()}, [*of_data, *notes, averaged])
    of_samples: dict[str, Measure] = {}
    if dataset is not None:
        of_samples, notes = _samples(run, loaded, dataset, arrays, options, bus)
    index = loaded.usable(arrays)
    if not len(index):
        loaded.require_labels(arrays, name, LABEL_ADVICE)
    if len(index) < len(arrays):
        notes.append(
            f"likelihood, latents and reconstructions use {len(index):,} of {len(arrays):,} pictures: the others have no "
            "label, but the model was trained only on labelled pictures"
        )
    with torch.inference_mode():
        measures = {}
        if loaded.explicit:
            bounds, table = _bounds(loaded, arrays, index, options, bus)
            measures = _likelihood(bounds, loaded, options)
        else:
            notes.append("no likelihood: the run was trained with --objective samples")
            table = encoded(loaded, arrays, index, options.batch_size)
        measures |= _latents(loaded, arrays, index, table, options)
        measures |= _reconstruction(loaded, arrays, index, options)
    measures |= of_samples
    notes.append(averaged)
    return Evaluation(
        name, {key: measure.to_json() for key, measure in measures.items()}, [*of_data, *said_of(loaded.one, notes)]
    )


def _own(run: Run, options: Eval, bus: Bus) -> tuple[PictureDataset | None, list[str]]:
    """The run's own data: required without --data, and used if available to compare samples with."""
    try:
        return dataset_of(run, Train, bus) if options.data is None or options.n else None, []
    except RequestError as error:
        if options.data is None:
            raise
        return None, [f"samples are not measured: {error}"]


def _samples(
    run: Run, loaded: Loaded, dataset: PictureDataset, arrays: PictureArrays, options: Eval, bus: Bus
) -> tuple[dict[str, Measure], list[str]]:
    """Measures of what `aigc sample vae` draws; of several labels, in the proportions of the training pictures."""
    asked = Sample(n=options.n, seed=options.seed, device=options.device, batch_size=options.batch_size)
    if isinstance(loaded.classes, Mapping):  # combinations that are rare or missing must not count as much as others
        among = np.random.default_rng(options.seed).integers(len(dataset.train), size=options.n)
        numbers = loaded.numbers_of(loaded.labels_of(dataset.train, among), options.n)
        samples = stacked(from_prior(loaded, asked, numbers))
    else:
        samples = stacked(sample_pictures(run, asked, bus))
    return quality_of(loaded, samples, dataset, arrays, options, options.seed, bus)


def _bounds(loaded: Loaded, arrays: PictureArrays, index: Index, options: Eval, bus: Bus) -> tuple[Bounds, Posteriors]:
    parts, found = [], []
    for _, posterior, bounds in bounded(loaded, arrays, options.batch_size, options.k, options.seed, index):
        parts.append(bounds)
        found.append(posterior)
        bus.stage("evaluating", min(len(parts) * options.batch_size, len(index)), len(index))
    return Bounds(*(torch.cat([getattr(part, name) for part in parts]) for name in BOUNDS)), joined(found)


def _likelihood(bounds: Bounds, loaded: Loaded, options: Eval) -> dict[str, Measure]:
    """Upper bounds on −log p(x) in nats per picture: from K draws (`nll`), and from one (`−elbo` = `rate` + `distortion`)."""

    def measure(values: torch.Tensor, unit: str = f"nats/{loaded.one}") -> Measure:
        return mean(values.cpu().double().numpy(), unit=unit, seed=options.seed)

    ess = measure(bounds.effective_samples, "draws")
    nll = measure(-bounds.log_likelihood)
    n = len(bounds.log_likelihood)
    error = float(bounds.log_likelihood.cpu().double().std()) / math.sqrt(n) if n > 1 else math.nan
    measures = {
        "nll": nll.beside(k=options.k, standard_error=error, effective_samples=ess.value),
        "elbo": measure(bounds.elbo),
        "rate": measure(bounds.rate),
        "distortion": measure(bounds.distortion),
    }
    if loaded.model.likelihood.discrete:
        measures["bits_per_dim"] = nll.map(lambda nats: nats / loaded.dimensions / math.log(2), "bits/dim")
    return measures


def _latents(loaded: Loaded, arrays: PictureArrays, index: Index, table: Posteriors, options: Eval) -> dict[str, Measure]:
    if len(index) < 2:
        return {}
    if not np.isfinite(table.mean).all() or not np.isfinite(table.log_var).all():
        raise AigcError("the model's latents are not finite: training diverged; train a new run with a smaller --lr")
    information = information_per_latent(table.mean, table.log_var, seed=options.seed)
    together = mean(information.sum(1), unit="nats", seed=options.seed)
    measures = {
        "active_units": active_units(table.mean),
        "information": together.beside(per_latent=information.mean(0).round(4)),
    }
    if loaded.explicit:
        measures["mmd"] = _mmd(loaded, table, loaded.labels_of(arrays, index), options)
    if arrays.factors:
        measures["mig"] = mig(table.mean, {key: values[index] for key, values in arrays.factors.items()}, seed=options.seed)
    return measures


def _mmd(loaded: Loaded, table: Posteriors, labels: torch.Tensor | None, options: Eval) -> Measure:
    """MMD between draws from the aggregate posterior, one per picture, and as many from the prior, in the space where the prior
    (of a picture's own class, if there are classes) is N(0, I)."""
    n = min(len(table.mean), MMD_PICTURES)
    chosen = np.random.default_rng(options.seed).permutation(len(table.mean))[:n]
    noise = torch.randn(n, table.mean.shape[1], generator=keyed("posterior", options.seed)).numpy()
    z = torch.from_numpy(table.mean[chosen] + np.exp(0.5 * table.log_var[chosen]) * noise).to(loaded.device)
    u = loaded.model.prior.to_noise(z, None if labels is None else labels[torch.from_numpy(chosen)]).cpu().numpy()
    prior = torch.randn(u.shape, generator=keyed("prior", options.seed)).numpy()
    return mmd2(u, prior, seed=options.seed)


def _reconstruction(loaded: Loaded, arrays: PictureArrays, index: Index, options: Eval) -> dict[str, Measure]:
    """PSNR and SSIM of the expected picture for the posterior mean, given the picture's own label."""
    ratios, similarities = [], []
    for _, labels, posterior, x in posteriors(loaded, arrays, options.batch_size, index):
        pictures = np.stack(loaded.pictures(posterior.mean, labels))
        ratios.append(psnr(to_bytes(x), pictures))
        similarities.append(ssim(to_bytes(x), pictures))
    return {
        "psnr": median(np.concatenate(ratios), unit="dB", seed=options.seed).beside(statistic="median"),
        "ssim": mean(np.concatenate(similarities), unit="", seed=options.seed),
    }
