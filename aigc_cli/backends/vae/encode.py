"""`aigc encode vae`: the latents of pictures, and how unusual each picture is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.pictures.choice import Numbers, named
from aigc_cli.backends.pictures.loaded import dataset_of, keyed, read_pictures_for
from aigc_cli.backends.vae.bound import BOUNDS, Bounds, importance_weighted
from aigc_cli.backends.vae.codes.verbs import encoded_codes
from aigc_cli.backends.vae.config import Encode, Train
from aigc_cli.backends.vae.loaded import Loaded
from aigc_cli.backends.vae.model import Posterior
from aigc_cli.data.latents import Encoded
from aigc_cli.data.pictures.dataset import PictureArrays
from aigc_cli.engine.events import Bus
from aigc_cli.engine.processes.sharing import shared
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.percentile import percentile

#: The number of held-out pictures that scores are ranked among.
REFERENCES = 500

#: Advice for pictures without labels, if the model needs labels.
LABEL_ADVICE = "name the column of classes with --label, or use a subfolder per class"

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Posteriors:
    """The posteriors of n pictures, each (n, latent)."""

    mean: NDArray[np.float32]
    log_var: NDArray[np.float32]


@torch.inference_mode()
def encode_pictures(run: Run, options: Encode, bus: Bus) -> Iterator[Encoded]:
    """Encode pictures, one row each: `label` if the model has classes, `label_NAME` for each of several labels; `score`, the
    bound on −log p(x) in nats from --k draws; `bits_per_dim` if pixels are discrete; `percentile`, the percentage of held-out
    pictures with a lower score; `mean` and `log_var`. A model without a likelihood (--objective samples) has no scores. With
    --codes, rows have `codes` instead."""
    loaded = Loaded.of(run, options.device)
    options = replace(options, batch_size=loaded.at_once(options.batch_size))
    assert options.data is not None
    arrays = read_pictures_for(loaded, options.data, options, bus)
    for note in arrays.notes:
        bus.note(note)
    loaded.require_labels(arrays, options.data, LABEL_ADVICE)
    if loaded.codes:
        yield from encoded_codes(loaded, arrays)
        return
    if not loaded.explicit:
        bus.note("no scores: the run was trained with --objective samples, so its model has no likelihood")
        for index, _, posterior, _ in posteriors(loaded, arrays, options.batch_size):
            yield _rows(loaded, arrays, index, posterior, {})
        return
    reference = _reference(run, loaded, options, bus)
    for index, posterior, bounds in bounded(loaded, arrays, options.batch_size, options.k, options.seed):
        score = -bounds.log_likelihood.cpu().double().numpy()
        columns = {"score": score}
        if loaded.model.likelihood.discrete:
            columns["bits_per_dim"] = score / loaded.dimensions / math.log(2)
        if reference is not None:
            columns["percentile"] = percentile(score, reference)
        yield _rows(loaded, arrays, index, posterior, columns)


def _rows(
    loaded: Loaded, arrays: PictureArrays, index: Index, posterior: Posterior, columns: dict[str, NDArray[np.float64]]
) -> Encoded:
    """Rows with these columns, and the posterior last, because it is wide."""
    numbers = loaded.numbers_of(loaded.labels_of(arrays, index), len(index))
    named_rows = [named(of, loaded.classes) for of in numbers]
    labels = {column: [row[column] for row in named_rows] for column in named_rows[0]}
    wide = {"mean": posterior.mean.cpu().numpy(), "log_var": posterior.log_var.cpu().numpy()}
    return Encoded([arrays.names[i] for i in index.tolist()], columns | wide, labels)


def _reference(run: Run, loaded: Loaded, options: Encode, bus: Bus) -> NDArray[np.float64] | None:
    """The scores of held-out pictures that chose no checkpoint; None if the data is gone."""
    try:
        arrays = held_out(run, bus)
    except RequestError as error:
        bus.note(f"no percentiles: {error}", "warning")
        return None
    usable = loaded.usable(arrays)
    chosen = usable[np.random.default_rng(0).permutation(len(usable))[:REFERENCES]]
    scores = []
    for at, (_, _, bounds) in enumerate(bounded(loaded, arrays, options.batch_size, options.k, options.seed, chosen)):
        scores.append(-bounds.log_likelihood.cpu().double().numpy())
        bus.stage(f"scoring held-out {loaded.things}", min((at + 1) * options.batch_size, len(chosen)), len(chosen))
    return np.concatenate(scores)


def held_out(run: Run, bus: Bus) -> PictureArrays:
    """The held-out pictures that chose no checkpoint."""
    return dataset_of(run, Train, bus).report


def batched(arrays: PictureArrays, index: Index, batch_size: int) -> Iterator[tuple[Index, Tensor]]:
    for at in range(0, len(index), batch_size):
        some = index[at : at + batch_size]
        yield some, torch.from_numpy(arrays.take(some))


def posteriors(
    loaded: Loaded, arrays: PictureArrays, batch_size: int, index: Index | None = None, label: Numbers | None = None
) -> Iterator[tuple[Index, Tensor | None, Posterior, Tensor]]:
    """In batches: the indices of pictures, their labels (their own, or `label` for all), their posteriors, and the pictures as
    the model's input (n, channels, height, width)."""
    for some, pixels in batched(arrays, np.arange(len(arrays)) if index is None else index, batch_size):
        x = loaded.seen(pixels, some.tolist())
        labels = loaded.labels_of(arrays, some) if label is None else loaded.labels_from([label] * len(some))
        yield some, labels, loaded.model.encode(x, labels), x


def encoded(loaded: Loaded, arrays: PictureArrays, index: Index, batch_size: int) -> Posteriors:
    return joined([posterior for _, _, posterior, _ in posteriors(loaded, arrays, batch_size, index)])


def joined(found: Sequence[Posterior]) -> Posteriors:
    mean, log_var = (torch.cat(parts).cpu().numpy() for parts in ([p.mean for p in found], [p.log_var for p in found]))
    return Posteriors(mean, log_var)


def bounded(
    loaded: Loaded, arrays: PictureArrays, batch_size: int, k: int, seed: int, index: Index | None = None
) -> Iterator[tuple[Index, Posterior, Bounds]]:
    """In batches: the indices of pictures, their posteriors, and their bounds from k draws."""

    def of_batch(batch: tuple[Index, Tensor | None, Posterior, Tensor]) -> list[Tensor]:
        some, labels, posterior, x = batch
        generators = [keyed("bound", seed, i) for i in some.tolist()]
        bounds = importance_weighted(loaded.model, x, labels, k=k, posterior=posterior, generators=generators)
        return [getattr(bounds, name) for name in BOUNDS]

    for (some, _, posterior, _), bounds in shared(posteriors(loaded, arrays, batch_size, index), of_batch):
        yield some, posterior, Bounds(*bounds)
