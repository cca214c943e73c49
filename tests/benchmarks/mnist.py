"""Nats per picture on binarised MNIST, against pythae's VAE and IWAE trained for the same time.

    python tests/benchmarks/mnist.py --mnist FOLDER [--pythae CHECKOUT] [--peers VAE IWAE] [--minutes 10] [--k 500]

FOLDER has MNIST as Parquet, with the splits train and test. All models are trained on dynamically binarised digits and scored by
the same code: the importance-weighted bound with K draws on the test pictures, binarised once in the same way for all. pythae uses
its own trainer, batch size 128 and learning rate 1e-3, with its default MLP and its network for MNIST. The network that is better
after a tenth of the minutes then gets all of them (--both: both do). A peer is scored on as many test pictures as fit in
--score-minutes; the table says how many.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pythae_peer as peer
import torch
import torch.nn.functional as F
from common import aigc
from torch import Tensor

from aigc_cli.backends.pictures.batches import to_unit
from aigc_cli.backends.vae.loaded import binarised
from aigc_cli.backends.vae.model import load_pretrained
from aigc_cli.data.pictures.dataset import PictureFormat, read_pictures

KINDS = ("VAE", "IWAE")
NETWORKS = ("MLP", "ConvNet")


def log_bernoulli(probabilities: Tensor, x: Tensor) -> Tensor:
    return -F.binary_cross_entropy(probabilities, x, reduction="none").flatten(1).sum(1)


def peer_model(kind: str, network: str) -> Any:
    from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig
    from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST

    settings = {"input_dim": (1, 28, 28), "latent_dim": 40, "reconstruction_loss": "bce"}
    model_class, config = (VAE, VAEConfig(**settings)) if kind == "VAE" else (IWAE, IWAEConfig(**settings, number_samples=5))
    torch.manual_seed(0)
    if network == "MLP":
        return model_class(config)
    return model_class(config, encoder=Encoder_Conv_VAE_MNIST(config), decoder=Decoder_Conv_AE_MNIST(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, required=True)
    parser.add_argument("--pythae", type=Path)
    parser.add_argument("--peers", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--k", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=10_000, help="of the test split")
    parser.add_argument("--run", help="score this run rather than train one; 'none' for neither")
    parser.add_argument("--runs-dir", help="keep the run here")
    parser.add_argument("--both", action="store_true")
    parser.add_argument("--score-minutes", type=float, default=3.0)
    arguments = parser.parse_args()

    digits = PictureFormat(28, 28, "L")
    test = read_pictures(str(arguments.mnist), digits, split="test", progress=lambda *_: None)
    index = np.arange(min(arguments.pictures, len(test)))
    x = binarised(to_unit(torch.from_numpy(test.take(index))), index.tolist())

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run, seconds = arguments.run, 0.0
        if run is None:
            data = ["--data", arguments.mnist, "--binarise", "dynamic", "--runs-dir", arguments.runs_dir or work]
            made, seconds = aigc("train", "vae", *data, "--minutes", arguments.minutes)
            run = made["run"]
        if run != "none":
            values = peer.nats(load_pretrained(Path(run) / "model"), x, arguments.k, float("inf"))
            print(peer.line("aigc", seconds, values, "nats", arguments.k), flush=True)
        if arguments.pythae is None:
            return
        peer.use(arguments.pythae)
        train = read_pictures(str(arguments.mnist), digits, split="train", progress=lambda *_: None)
        pixels = to_unit(torch.from_numpy(train.take(np.arange(len(train)))))

        def trained(kind: str, network: str, minutes: float, k: int, score_minutes: float) -> float:
            model = peer_model(kind, network)
            seconds = peer.train(model, pixels, minutes, work, binarise=True)
            values = peer.nats(peer.Peer(model, log_bernoulli), x, k, 60 * score_minutes)
            print(peer.line(f"{kind} {network}", seconds, values, "nats", k), flush=True)
            return float(values.mean())

        for kind in arguments.peers:
            chosen = NETWORKS
            if not arguments.both:
                tried = {network: trained(kind, network, arguments.minutes / 10, 20, 0.2) for network in NETWORKS}
                chosen = (min(tried, key=lambda network: tried[network]),)
            for network in chosen:
                trained(kind, network, arguments.minutes, arguments.k, arguments.score_minutes)


if __name__ == "__main__":
    main()
