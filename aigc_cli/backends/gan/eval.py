"""`aigc eval gan`: the quality, variety and novelty of samples, and whether the discriminator memorised its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.gan.config import Eval, Train
from aigc_cli.backends.gan.loaded import Loaded, load_discriminator, seen
from aigc_cli.backends.gan.model import Discriminator
from aigc_cli.backends.gan.sample import Draw, drawn, latent, shift
from aigc_cli.backends.pictures.loaded import dataset_of, evaluation_pictures, quality_of
from aigc_cli.backends.pictures.quality import stacked
from aigc_cli.backends.pictures.words import said_of
from aigc_cli.data.pictures.dataset import PictureArrays, PictureDataset
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.metrics.statistics.bootstrap import Measure, mean

#: The most training, held-out and sampled pictures each that the discriminator scores.
SCORED = 2000


def evaluation(run: Run, options: Eval, bus: Bus) -> Evaluation:
    """Every measure of the run's generator and its discriminator."""
    loaded = Loaded.of(run, options.device)
    options = replace(options, batch_size=loaded.at_once(options.batch_size))
    dataset = dataset_of(run, Train, bus)
    arrays, name, of_data = evaluation_pictures(loaded, dataset, options, bus)
    samples = stacked(drawn(loaded, _draws(loaded, dataset, options, options.n), options.batch_size))
    measures, notes = quality_of(loaded, samples, dataset, arrays, options, options.seed, bus)
    discriminator = load_discriminator(run.model, loaded.generator)
    if discriminator is None:
        notes.append("no margin: the checkpoint has no discriminator, or a damaged one")
    elif not len(loaded.usable(arrays)):
        notes.append("no margin: the pictures have no labels, but the model was trained only on labelled pictures")
    else:
        measures["margin"] = _margin(loaded, discriminator.to(loaded.device), dataset, arrays, options)
    if loaded.classes:
        notes.append("samples have the class proportions of the training pictures")
    notes.append(f"measured with the generator's moving average (half-life {loaded.plan.ema:g} of the steps)")
    return Evaluation(
        name, {key: measure.to_json() for key, measure in measures.items()}, [*of_data, *said_of(loaded.one, notes)]
    )


def _draws(loaded: Loaded, dataset: PictureDataset, options: Eval, n: int) -> Iterator[Draw]:
    """The first n pictures of a seed, with classes in the training pictures' proportions."""
    among = np.random.default_rng(options.seed).integers(len(dataset.train), size=n)
    numbers = loaded.numbers_of(loaded.labels_of(dataset.train, among), n)
    for index, of in enumerate(numbers):
        yield Draw(latent(loaded, options.seed, index), of, {}, shift(loaded, options.seed, index))


@torch.inference_mode()
def _margin(
    loaded: Loaded, discriminator: Discriminator, dataset: PictureDataset, held_out: PictureArrays, options: Eval
) -> Measure:
    """How far held-out pictures score above samples of the same labels and cluster, in nats, with the same for training
    pictures as `train`. If these are far apart, the discriminator has memorised the training pictures."""

    def margins(arrays: PictureArrays) -> NDArray[np.float64]:
        usable = loaded.usable(arrays)
        chosen = usable[np.random.default_rng(options.seed).permutation(len(usable))[:SCORED]]
        starts = range(0, len(chosen), options.batch_size)
        return np.concatenate([above(arrays, chosen[at : at + options.batch_size], at) for at in starts])

    def above(arrays: PictureArrays, some: NDArray[np.int64], start: int) -> NDArray[np.float64]:
        x, labels = seen(torch.from_numpy(arrays.take(some)).to(loaded.device)), loaded.labels_of(arrays, some)
        clusters, n = discriminator.clusters_of(x), loaded.generator.config.latent
        draws = []
        for index, numbers in enumerate(loaded.numbers_of(labels, len(some)), start):
            z = latent(loaded, options.seed, index)
            if clusters is not None:
                z = loaded.generator.with_clusters(z[None, :n], clusters[index - start, None].cpu())[0]
            draws.append(Draw(z, numbers, {}, shift(loaded, options.seed, index)))
        fake = np.stack([sample.content for sample in drawn(loaded, draws, len(draws))])
        real, other = (
            discriminator(pictures, labels, clusters) for pictures in (x, seen(torch.from_numpy(fake).to(loaded.device)))
        )
        found: NDArray[np.float64] = (real - other).cpu().double().numpy()
        return found

    of_held_out, of_train = (mean(margins(arrays), unit="nats", seed=options.seed) for arrays in (held_out, dataset.train))
    return of_held_out.beside(train=of_train)
