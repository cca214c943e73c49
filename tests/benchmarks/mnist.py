"""Nats per picture on binarised MNIST, against pythae's VAE and IWAE trained for the same time.

    python tests/benchmarks/mnist.py --mnist FOLDER [--pythae CHECKOUT] [--minutes 10] [--k 500] [--pictures 10000]

FOLDER has MNIST as Parquet, in the splits train and test. All models are trained on dynamically binarised digits and scored by
the same code: the importance-weighted bound with K draws on the test pictures, each binarised once, alike for all.
pythae trains with its own trainer, batch 128 and learning rate 1e-3, with its default MLP and with its network for MNIST, for as many
epochs as fit in the minutes (one is timed first).
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import aigc
from torch import Tensor

from aigc_cli.backends.picture_batches import to_unit
from aigc_cli.backends.vae.bound import importance_weighted
from aigc_cli.backends.vae.flow import StandardNormal
from aigc_cli.backends.vae.model import Posterior, load_pretrained
from aigc_cli.backends.vae.opened import binarised, keyed
from aigc_cli.data.pictures import PictureFormat, read_pictures


class Peer:
    """A model of pythae's, as `importance_weighted` takes one."""

    def __init__(self, model: Any) -> None:
        self.model, self.prior = model.eval(), StandardNormal()

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        out = self.model.encoder(x)
        return Posterior(out.embedding, out.log_covariance)

    def log_likelihood(self, x: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        probabilities = self.model.decoder(z).reconstruction.view_as(x)
        return -F.binary_cross_entropy(probabilities, x, reduction="none").flatten(1).sum(1)


def bound(model: Any, x: Tensor, k: int, seed: int) -> np.ndarray:
    parts = [
        -importance_weighted(model, some, k=k, generator=keyed("bound", seed, at)).log_likelihood.double().numpy()
        for at, some in enumerate(x.split(64))
    ]
    return np.concatenate(parts)


def train_peer(kind: str, network: str, pixels: Tensor, minutes: float, folder: Path) -> Any:
    from pythae.data.datasets import BaseDataset, DatasetOutput
    from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
    from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Binarised(BaseDataset):
        def __getitem__(self, index: int) -> Any:
            return DatasetOutput(data=self.data[index].bernoulli(), labels=self.labels[index])

    model_class, config_class = {"VAE": (VAE, VAEConfig), "IWAE": (IWAE, IWAEConfig)}[kind]
    settings = {"input_dim": (1, 28, 28), "latent_dim": 40, "reconstruction_loss": "bce"}
    if kind == "IWAE":
        settings["number_samples"] = 5
    config = config_class(**settings)
    torch.manual_seed(0)
    parts = {} if network == "MLP" else {"encoder": Encoder_Conv_VAE_MNIST(config), "decoder": Decoder_Conv_AE_MNIST(config)}
    model = model_class(config, **parts)

    def train(pixels: Tensor, epochs: int) -> float:
        options = BaseTrainerConfig(
            output_dir=str(folder), learning_rate=1e-3, num_epochs=epochs, per_device_train_batch_size=128, no_cuda=True
        )
        began = time.perf_counter()
        BaseTrainer(model, Binarised(pixels, torch.zeros(len(pixels))), None, options).train()
        return time.perf_counter() - began

    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    share = len(pixels) // 10
    epoch = 10 * train(pixels[:share], 1)
    model.load_state_dict(start)
    train(pixels, max(1, int(minutes * 60 / epoch)))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--pythae", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--k", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=10_000, help="of the test split")
    parser.add_argument("--run", help="score this run rather than train one")
    arguments = parser.parse_args()

    digits = PictureFormat(28, 28, "L")
    test = read_pictures(str(arguments.mnist), digits, split="test", progress=lambda *_: None)
    index = np.arange(min(arguments.pictures, len(test)))
    x = binarised(to_unit(torch.from_numpy(test.take(index))), index.tolist())

    def report(name: str, model: Any, seconds: float) -> None:
        nats = bound(model, x, arguments.k, 0)
        error = float(nats.std(ddof=1)) / math.sqrt(len(nats))
        print(
            f"{name:12} {seconds:7.1f} s   {nats.mean():.2f} ± {error:.2f} nats (K = {arguments.k}, n = {len(nats):,})",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run, seconds = arguments.run, 0.0
        if run is None:
            data = ["--data", arguments.mnist, "--binarise", "dynamic", "--minutes", arguments.minutes, "--runs-dir", work]
            made, seconds = aigc("train", "vae", *data)
            run = made["run"]
        report("aigc", load_pretrained(Path(run) / "model"), seconds)
        if arguments.pythae is not None:
            sys.path.insert(0, str(arguments.pythae / "src"))
            train = read_pictures(str(arguments.mnist), digits, split="train", progress=lambda *_: None)
            pixels = to_unit(torch.from_numpy(train.take(np.arange(len(train)))))
            for kind in ("VAE", "IWAE"):
                for network in ("MLP", "ConvNet"):
                    began = time.perf_counter()
                    model = train_peer(kind, network, pixels, arguments.minutes, work)
                    report(f"{kind} {network}", Peer(model), time.perf_counter() - began)


if __name__ == "__main__":
    main()
