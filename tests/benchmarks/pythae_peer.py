"""Shared by the benchmarks against pythae: training one of its models for some minutes, and bounds on −log p."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc_cli.backends.pictures.loaded import keyed
from aigc_cli.backends.vae.bound import importance_weighted
from aigc_cli.backends.vae.loss import LatentVariableModel
from aigc_cli.backends.vae.model import Posterior
from aigc_cli.backends.vae.priors.flow import StandardNormal


def use(checkout: Path) -> None:
    """Make pythae's checkout importable."""
    sys.path.insert(0, str(checkout / "src"))


class Peer:
    """A pythae model for `importance_weighted`; `log_likelihood` defines the distribution around its reconstruction."""

    def __init__(self, model: Any, log_likelihood: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.model, self.prior, self.pixels = model.eval(), StandardNormal(), log_likelihood

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        out = self.model.encoder(x)
        return Posterior(out.embedding, out.log_covariance)

    def log_likelihood(self, x: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.pixels(self.model.decoder(z).reconstruction.view_as(x), x)


def nats(model: LatentVariableModel, x: Tensor, k: int, seconds: float) -> np.ndarray:
    """The bound on −log p (n,) with K draws, for as many pictures as fit in the time, but at least one batch of 64."""
    began, parts = time.perf_counter(), []
    for at, some in enumerate(x.split(64)):
        generators = [keyed("bound", 64 * at + i) for i in range(len(some))]
        parts.append(-importance_weighted(model, some, k=k, generators=generators).log_likelihood.double().numpy())
        if time.perf_counter() - began > seconds:
            break
    return np.concatenate(parts)


def line(name: str, seconds: float, values: np.ndarray, unit: str, k: int) -> str:
    """A row of the table: the mean with its standard error."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return f"{name:14} {seconds:7.1f} s   {values.mean():.4g} ± {error:.2g} {unit} (K = {k}, n = {len(values):,})"


def train(model: Any, pixels: Tensor, minutes: float, folder: Path, *, binarise: bool = False) -> float:
    """By pythae's own trainer (batch 128, learning rate 1e-3), for as many epochs as fit, one at least; returns the seconds.

    A tenth of an epoch is timed first; the model then starts afresh.
    """
    from pythae.data.datasets import BaseDataset, DatasetOutput
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Pictures(BaseDataset):
        def __getitem__(self, index: int) -> Any:
            x = self.data[index]
            return DatasetOutput(data=x.bernoulli() if binarise else x, labels=self.labels[index])

    def run(pixels: Tensor, epochs: int) -> float:
        options = BaseTrainerConfig(
            output_dir=str(folder), learning_rate=1e-3, num_epochs=epochs, per_device_train_batch_size=128, no_cuda=True
        )
        began = time.perf_counter()
        BaseTrainer(model, Pictures(pixels, torch.zeros(len(pixels))), None, options).train()
        return time.perf_counter() - began

    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    epoch = 10 * run(pixels[: len(pixels) // 10], 1)
    model.load_state_dict(start)
    epochs = max(1, int(minutes * 60 / epoch))
    if epoch > minutes * 60:  # not even one: as much of it as fits
        pixels = pixels[torch.randperm(len(pixels))[: int(len(pixels) * minutes * 60 / epoch)]]
    return run(pixels, epochs)
