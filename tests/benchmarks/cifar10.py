"""Bits per dimension on CIFAR-10, against pythae's ResNet VAE trained for the same time.

    python tests/benchmarks/cifar10.py --cifar10 FOLDER [--pythae CHECKOUT] [--minutes 20] [--k 20]

FOLDER has CIFAR-10 as Parquet, with the splits train and test. Both models are scored by the same code: the importance-weighted
bound with K draws on the 8-bit test pictures. pythae's network for CIFAR-10 (latent 256, squared error) is trained with pythae's own
trainer, batch size 128 and learning rate 1e-3. Its pixels are modelled as discretised Gaussians around its reconstruction, with
the σ that best fits its residuals on the training pictures.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pythae_peer as peer
import torch
from common import aigc
from torch import Tensor

from aigc_cli.backends.pictures.batches import to_unit
from aigc_cli.backends.vae.model import load_pretrained
from aigc_cli.data.pictures.dataset import PictureFormat, read_pictures

BITS = 3 * 32 * 32 * math.log(2)


class DiscretisedGaussian:
    """log of the probability of each byte under N(mean, σ²), summed over a picture; the first and last bins are open."""

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def __call__(self, mean: Tensor, x: Tensor) -> Tensor:
        mean, x, half = mean.double(), x.double(), 0.5 / 255
        above, below = ((x + side - mean) / self.sigma for side in (half, -half))
        above, below = torch.where(x > 1 - half, math.inf, above), torch.where(x < half, -math.inf, below)
        # Φ(above) − Φ(below), in the half where this isn't a difference of numbers near 1.
        mirrored = above + below > 0
        low, high = torch.where(mirrored, -above, below), torch.where(mirrored, -below, above)
        probability = torch.special.ndtr(high) - torch.special.ndtr(low)
        return probability.clamp_min(1e-300).log().flatten(1).sum(1).float()


@torch.no_grad()
def fitted_sigma(model: Any, pixels: Tensor) -> float:
    """The root mean square of x − decoder(z), z drawn from q(z|x)."""
    squares = []
    for x in pixels.split(128):
        out = model.encoder(x)
        z = out.embedding + (0.5 * out.log_covariance).exp() * torch.randn_like(out.embedding)
        squares.append((x - model.decoder(z).reconstruction).square().mean())
    return float(torch.stack(squares).mean().sqrt())


def peer_model() -> Any:
    from pythae.models import VAE, VAEConfig
    from pythae.models.nn.benchmarks.cifar import Decoder_ResNet_AE_CIFAR, Encoder_ResNet_VAE_CIFAR

    config = VAEConfig(input_dim=(3, 32, 32), latent_dim=256, reconstruction_loss="mse")
    torch.manual_seed(0)
    return VAE(config, encoder=Encoder_ResNet_VAE_CIFAR(config), decoder=Decoder_ResNet_AE_CIFAR(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--pythae", type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=10_000, help="of the test split")
    parser.add_argument("--run", help="score this run rather than train one; 'none' for neither")
    parser.add_argument("--runs-dir", help="keep the run here")
    arguments = parser.parse_args()

    colour = PictureFormat(32, 32, "RGB")
    test = read_pictures(str(arguments.cifar10), colour, split="test", progress=lambda *_: None)
    x = to_unit(torch.from_numpy(test.take(np.arange(min(arguments.pictures, len(test))))))

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run, seconds = arguments.run, 0.0
        if run is None:
            where = ["--runs-dir", arguments.runs_dir or work]
            made, seconds = aigc("train", "vae", "--data", arguments.cifar10, "--minutes", arguments.minutes, *where)
            run = made["run"]
        if run != "none":
            values = peer.nats(load_pretrained(Path(run) / "model"), x, arguments.k, math.inf) / BITS
            print(peer.line("aigc", seconds, values, "bits/dim", arguments.k), flush=True)
        if arguments.pythae is None:
            return
        peer.use(arguments.pythae)
        train = read_pictures(str(arguments.cifar10), colour, split="train", progress=lambda *_: None)
        pixels = to_unit(torch.from_numpy(train.take(np.arange(len(train)))))
        model = peer_model()
        seconds = peer.train(model, pixels, arguments.minutes, work)
        sigma = fitted_sigma(model.eval(), pixels[:2000])
        values = peer.nats(peer.Peer(model, DiscretisedGaussian(sigma)), x, arguments.k, 300) / BITS
        print(peer.line(f"VAE σ={sigma:.4f}", seconds, values, "bits/dim", arguments.k), flush=True)


if __name__ == "__main__":
    main()
