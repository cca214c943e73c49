"""Training a GAN: two networks that alternate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.gan.augment import Augmentation
from aigc_cli.backends.gan.clusters import k_means, nearest, some_thumbnails
from aigc_cli.backends.gan.config import GANPlan
from aigc_cli.backends.gan.diagnostics import concerns, outlook
from aigc_cli.backends.gan.loaded import pictures_of, seen
from aigc_cli.backends.gan.loss import OBJECTIVES
from aigc_cli.backends.gan.model import Discriminator, new_generator, save_pretrained
from aigc_cli.backends.gan.presets import fixed_strength, model_config
from aigc_cli.backends.gan.schedules import betas, gamma_factor, lr_factor
from aigc_cli.backends.gan.tile import latents, rolled
from aigc_cli.backends.pictures.adversarial import frozen, gradient_penalty
from aigc_cli.backends.pictures.batches import PictureBatches, at_once, labels_of, large_pictures
from aigc_cli.backends.pictures.choice import labels_in_turn
from aigc_cli.backends.pictures.options import first_sample
from aigc_cli.backends.pictures.words import said_of
from aigc_cli.data.pictures.dataset import PictureArrays, PictureDataset
from aigc_cli.data.pictures.output import encode_picture, sheet
from aigc_cli.engine.device import to_device
from aigc_cli.engine.learner import Batch, Concern, Learner, Loss, Phase, Preview
from aigc_cli.engine.settings import Plan
from aigc_cli.metrics.pictures.features import make_extractor
from aigc_cli.metrics.pictures.kernel_distance import kernel_distance

Index = NDArray[np.int64]

#: Evaluation: the most pictures computed at once, and the fewest and most samples drawn. And the samples of a preview.
EVAL_BATCH, LEAST_DRAWN, MOST_DRAWN, PREVIEWS = 128, 256, 1000, 64
#: Steps between adaptations of the augmentation, the share of the run in which its strength can go from 0 to 1, and the share
#: over which scores are averaged.
ADAPT_EVERY, ADAPT_SHARE, AVERAGED_SHARE = 8, 0.25, 0.05


class Given(NamedTuple):
    """What pictures are conditioned on: their labels (B,) and clusters (B,), each None if the model has none."""

    labels: Tensor | None
    clusters: Tensor | None

    def twice(self) -> Given:
        return Given(*(None if numbers is None else torch.cat((numbers, numbers)) for numbers in self))


class GANLearner(Learner):
    objective = "kd_random"

    def __init__(self, plan: GANPlan, data: PictureDataset, device: torch.device) -> None:
        self.plan, self.data, self.device = plan, data, device
        self.unit = data.things
        config = model_config(plan, data)
        strength = fixed_strength(plan.augment)
        self.adapting = strength is None
        self.generator = new_generator(config).to(device)
        self.discriminator = Discriminator(config).to(device)
        if config.n_clusters:
            self._find_clusters(config.n_clusters)
        self.augmentation = Augmentation(strength, data.changes).to(device)
        self.networks = {"discriminator": self.discriminator, "generator": self.generator}
        self.optimizers = {
            name: torch.optim.Adam(network.parameters(), plan.lr, betas=(0.0, 0.9), fused=True)
            for name, network in self.networks.items()
        }
        if self.adapting:  # its strength changes, so it is part of a checkpoint
            self.networks["augmentation"] = self.augmentation
        self.ema = {"generator": lambda step: max(1.0, plan.ema * step)}
        self.losses = OBJECTIVES[plan.objective]
        self.batches = PictureBatches(data.train, plan.batch_size, plan.seed, flip=plan.flip)
        self.steps_per_epoch = len(data.train) / plan.batch_size
        self.eval_items = min(len(data.select), MOST_DRAWN)
        self.order = np.random.default_rng(plan.seed).permutation(len(data.select))
        self.train_order = np.random.default_rng(plan.seed).permutation(len(data.train))
        self.extract = make_extractor("random", data.train.take(self.train_order[:MOST_DRAWN]), seed=plan.seed, device=device)
        self.features = np.empty((0, 0), np.float32)  # of the first held-out pictures in `order`

    # Training

    def batch(self, step: int) -> Batch:
        return self.batches(step)

    def phases(self, step: int, plan: Plan) -> Sequence[Phase]:
        every = self.plan.penalty_every
        gamma = self.plan.gamma * gamma_factor(step, plan, self.plan.gamma_last)
        weight = every * gamma if step % every == 0 else 0.0
        settings = {"betas": betas(step, plan)}
        return [
            Phase("discriminator", partial(self.discriminator_loss, penalty_weight=weight), settings=settings),
            Phase("generator", self.generator_loss, settings=settings),
        ]

    def lr_factor(self, step: int, plan: Plan) -> float:
        return lr_factor(step, plan)

    def discriminator_loss(self, batch: Batch, *, penalty_weight: float) -> Loss:
        """The objective plus, unless its weight is 0, γ (R1 + R2) on the pictures before augmentation."""
        real, given = self._seen(batch)
        with torch.no_grad():
            fake = self.drawn(len(real), given)
        pictures = torch.cat((real, fake)).requires_grad_(penalty_weight > 0)
        if penalty_weight:  # compiled networks can't be differentiated twice
            scores = self.discriminator.forward(self.augmentation.forward(pictures), *given.twice())
        else:
            scores = self.scores(pictures, given.twice())
        real_scores, fake_scores = scores.chunk(2)
        loss = self.losses.discriminator(real_scores, fake_scores)
        if penalty_weight:
            loss = loss + penalty_weight * 2 * gradient_penalty(scores, pictures)  # a mean over real and generated pictures
        return Loss(loss, {"margin": (real_scores - fake_scores).detach().mean()})

    def generator_loss(self, batch: Batch) -> Loss:
        real, given = self._seen(batch)
        with frozen(self.discriminator):
            with torch.no_grad():
                real_scores = self.scores(real, given)
            fake_scores = self.scores(self.drawn(len(real), given), given)
        return Loss(self.losses.generator(real_scores, fake_scores))

    def drawn(self, n: int, given: Given) -> Tensor:
        """Generated pictures (n, channels, height, width) in about [-1, 1]."""
        z = latents(self.generator.config, n, device=self.device)
        x: Tensor = self.generator(self.generator.with_clusters(z, given.clusters), given.labels)
        return rolled(x) if self.plan.tile else x

    def scores(self, x: Tensor, given: Given) -> Tensor:
        """The discriminator's scores of the pictures after augmentation."""
        scores: Tensor = self.discriminator(self.augmentation(x), *given)
        return scores

    def labels(self, labels: Tensor) -> Tensor | None:
        return labels if self.plan.conditional else None

    def after_step(self, step: int, batch: Batch, plan: Plan) -> None:
        """Count the clusters, and adapt the augmentation to how far the discriminator scores training pictures above held-out
        ones."""
        if self.generator.clusters is not None:
            clusters = self.discriminator.clusters_of(seen(batch["pixels"]))
            assert clusters is not None
            counts = F.one_hot(clusters, len(self.generator.shares)).sum(0)  # bincount would wait for the device
            self.generator.shares.lerp_(counts / len(clusters), 1 / (step + 2))  # the mean of all batches and the first shares
        if not self.adapting or step % ADAPT_EVERY:
            return
        rng, n = np.random.default_rng((self.plan.seed, step, 2)), len(batch["pixels"])
        with torch.no_grad():
            # Not the batch's pictures: the discriminator has just learned them, which raises their scores.
            train, held_out = (
                self._margins(arrays, rng.integers(len(arrays), size=n)) for arrays in (self.data.train, self.data.select)
            )
        share = ADAPT_EVERY / plan.steps  # of the run, between two adaptations
        self.augmentation.adapt(
            train,
            held_out,
            step=share / ADAPT_SHARE,
            weight=min(1.0, share / AVERAGED_SHARE),
            n_held_out=len(self.data.select),
            target=self.plan.augment_target,
        )

    # Evaluation

    def evaluate(self, items: int) -> dict[str, float]:
        """The kernel distance to the first `items` shuffled held-out pictures and, if known, its standard error; the ratio of
        the samples' variance to the pictures'; and how far training and held-out pictures score above samples."""
        index = self.order[:items]
        reference = self._reference(index)
        chunks = self._chunks(np.resize(index, max(items, LEAST_DRAWN)))
        features = np.concatenate([*self.each(chunks, self._features_of_drawn)])
        distance, error = kernel_distance(features, reference, same_second=True)  # as at every evaluation
        train, held_out = (
            torch.cat([*self.each(self._chunks(some), partial(self._margins, arrays))]).mean()
            for arrays, some in ((self.data.train, self.train_order[:items]), (self.data.select, index))
        )
        measures = {
            "kd_random": distance,
            "spread": float(features.var(0).sum() / max(reference.var(0).sum(), 1e-9)),
            "margin_train": float(train),
            "margin_held_out": float(held_out),
            "augmentation": float(self.augmentation.strength),
        }
        return measures | ({"kd_error": error} if math.isfinite(error) else {})

    def _features_of_drawn(self, index: Index) -> NDArray[np.float32]:
        """The features of samples that are given what some held-out pictures are."""
        _, given = self._some(self.data.select, index)
        return self.extract(pictures_of(self.drawn(len(index), given)))

    def _margins(self, arrays: PictureArrays, index: Index) -> Tensor:
        """How far some pictures score above samples that are given the same (b,). Only such pairs are compared in training, so
        the scores of other labels and clusters may be higher or lower by any number."""
        pictures, given = self._some(arrays, index)
        return self.scores(pictures, given) - self.scores(self.drawn(len(index), given), given)

    def noise(self, measures: Mapping[str, float]) -> float:
        return measures.get("kd_error", 0.0)

    def _reference(self, index: Index) -> NDArray[np.float32]:
        """The features of some held-out pictures; a single picture is repeated, so that there are at least two."""
        if len(self.features) < max(len(index), 2):
            pictures = (self.data.select.take(some) for some in self._chunks(np.resize(index, max(len(index), 2))))
            self.features = np.concatenate([self.extract(pixels) for pixels in pictures])
        return self.features[: max(len(index), 2)]

    def _chunks(self, index: Index) -> Iterator[Index]:
        """The index in chunks of as many pictures as are computed at once."""
        batch = at_once(math.prod(self.data.train.shape), EVAL_BATCH)
        return (index[at : at + batch] for at in range(0, len(index), batch))

    def _some(self, arrays: PictureArrays, index: Index) -> tuple[Tensor, Given]:
        """Some pictures as the networks' input, and what they are conditioned on."""
        batch = {"pixels": torch.from_numpy(arrays.take(index)), "labels": labels_of(arrays, index)}
        return self._seen(to_device(batch, self.device))

    def _seen(self, batch: Batch) -> tuple[Tensor, Given]:
        """A batch's pictures as the networks' input, and what they are conditioned on."""
        x = seen(batch["pixels"])
        return x, Given(self.labels(batch["labels"]), self.discriminator.clusters_of(x))

    def _find_clusters(self, n: int) -> None:
        points = some_thumbnails(self.data.train, self.plan.seed)
        centres = k_means(points, n, self.plan.seed)
        counts = torch.bincount(nearest(points, centres), minlength=n)
        self.discriminator.centres.copy_(centres)
        self.generator.shares.copy_(counts / len(points))

    def preview(self) -> Preview:
        """Samples of the same latents every time, cycling through the classes."""
        random = torch.Generator().manual_seed(self.plan.seed)
        z = latents(self.generator.config, PREVIEWS, generator=random)
        z = self.generator.with_clusters(z, self.generator.drawn_clusters(PREVIEWS, random))
        labels = labels_in_turn(self.data.classes, PREVIEWS).to(self.device)
        pictures = [
            picture
            for some in self._chunks(np.arange(PREVIEWS))
            for picture in pictures_of(self.generator(z[some].to(self.device), self.labels(labels[some])))
        ]
        side = math.isqrt(PREVIEWS)
        return Preview(".png", encode_picture(sheet(pictures, side), ".png"), grid=(side, side))

    def save_model(self, folder: Path) -> None:
        save_pretrained(self.generator, folder)

    # Descriptions and advice

    def describe(self) -> str:
        c = self.generator.config
        generator, discriminator = (
            sum(p.numel() for p in network.parameters()) / 1e6 for network in (self.generator, self.discriminator)
        )
        clusters = f"{c.n_clusters} clusters, " if c.n_clusters else ""
        return (
            f"generator with {generator:.2f} M parameters, discriminator with {discriminator:.2f} M, {c.describe()}, "
            f"{c.latent} latents{' at each place of the last' if c.tile else ''}, {clusters}{self.plan.objective}"
        )

    def concerns(self, history: Sequence[Mapping[str, Any]]) -> Mapping[str, Concern]:
        found = concerns(history, adapting=self.adapting)
        return {name: replace(of, text=said_of(self.data.one, [of.text])[0]) for name, of in found.items()}

    def expectation(self, plan: Plan) -> str | None:
        return large_pictures(self.data, plan.steps * self.plan.batch_size)

    def first_sample(self) -> str:
        return first_sample(self.data.classes if self.plan.conditional else ())

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        return said_of(self.data.one, outlook(history))
