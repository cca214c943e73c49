"""What people would pick instead: a diffusion model, flow matching with the same U-Net, a GAN and a VAE, each trained for some minutes
and sampled, with the settings of their packages and examples where these have any.

    pip install denoising-diffusion-pytorch torchcfm pythae        and a checkout of pytorch/examples for DCGAN

A peer trains on the same pictures as aigc. It leaves its weights and what it decided in a folder, from which it samples in another
process.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from pictures import Data, Pixels
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aigc_cli.backends.pictures.batches import to_bytes, to_unit

Shape = tuple[int, int, int]
"""Channels, height, width."""

AT_ONCE = 100  # samples
#: The widths that a U-Net may have: the largest with which it sees so many pictures in the minutes, by a few timed steps.
WIDTHS, SEEN = (64, 32, 16), 150_000
BATCH, LEARNING_RATE = 32, 2e-4
#: Evaluations of the network for a sample: steps of DDIM, and twice the steps of Heun's method.
EVALUATIONS = 80


class Peer(Protocol):
    def train(self, data: Data, minutes: float, folder: Path) -> dict[str, Any]:
        """Train for the minutes, but at least a step. Returns what it decided, which `sample` gets, and counts."""

    def sample(self, shape: Shape, folder: Path, decided: dict[str, Any]) -> Iterator[Pixels]:
        """Pictures without an end, in chunks."""


def shape_of(data: Data) -> Shape:
    return data.format.channels, data.format.height, data.format.width


def batches(data: Data, size: int, end: float) -> Iterator[Tensor]:
    """Whole batches of epochs until time `end`, at least one: (size, channels, height, width) from 0 to 1."""
    while True:
        for index in torch.randperm(len(data.train)).split(size):
            if len(index) == min(size, len(data.train)):
                yield to_unit(torch.from_numpy(data.train.take(index.numpy()))).contiguous()
                if time.perf_counter() > end:
                    return


class UNetPeer:
    """The U-Net of denoising-diffusion-pytorch, trained as its `Trainer` does (Adam, clipped gradients, a moving average of 0.995
    every tenth step), in batches of 32 and with twice its learning rate, for the short time."""

    def train(self, data: Data, minutes: float, folder: Path) -> dict[str, Any]:
        from ema_pytorch import EMA

        end, steps, shape = time.perf_counter() + 60 * minutes, 0, shape_of(data)
        torch.manual_seed(0)
        width = self._width(data, minutes, shape)
        network = self.network(width, shape)
        loss_of, optimizer = self.loss(network), torch.optim.Adam(network.parameters(), LEARNING_RATE, betas=(0.9, 0.99))
        average = EMA(network, beta=0.995, update_every=10)
        for x in batches(data, BATCH, end):
            self._step(loss_of, network, optimizer, x)
            average.update()
            steps += 1
        save_file(average.ema_model.state_dict(), folder / "weights.safetensors")
        parameters = sum(weights.numel() for weights in network.parameters() if weights.requires_grad)
        return {"width": width, "parameters": parameters, "steps": steps, "pictures": steps * BATCH}

    def _width(self, data: Data, minutes: float, shape: Shape) -> int:
        x = next(batches(data, BATCH, 0.0))
        for width in WIDTHS[:-1]:
            network = self.network(width, shape)
            loss_of, optimizer = self.loss(network), torch.optim.Adam(network.parameters())
            self._step(loss_of, network, optimizer, x)
            began = time.perf_counter()
            for _ in range(2):
                self._step(loss_of, network, optimizer, x)
            if 60 * minutes / ((time.perf_counter() - began) / 2) * BATCH >= SEEN:
                return width
        return WIDTHS[-1]

    @staticmethod
    def _step(loss_of: Callable[[Tensor], Tensor], network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
        optimizer.zero_grad()
        loss_of(x).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    def network(self, width: int, shape: Shape) -> nn.Module:
        from denoising_diffusion_pytorch import Unet

        multiples = (1, 2, 4, 8) if min(shape[1:]) >= 64 else (1, 2, 4)
        unet: nn.Module = Unet(width, dim_mults=multiples, channels=shape[0])
        return unet

    def restored(self, shape: Shape, folder: Path, decided: dict[str, Any]) -> nn.Module:
        network = self.network(decided["width"], shape)
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        return network.eval()

    def loss(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        raise NotImplementedError


class Diffusion(UNetPeer):
    """Ho et al. (2020), with the package's prediction of v and schedule of noise; sampled by DDIM."""

    def _diffusion(self, network: nn.Module, size: tuple[int, int]) -> Any:
        from denoising_diffusion_pytorch import GaussianDiffusion

        return GaussianDiffusion(network, image_size=size, sampling_timesteps=EVALUATIONS)

    def loss(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        made: dict[tuple[int, int], Any] = {}

        def loss(x: Tensor) -> Tensor:
            size = (x.shape[2], x.shape[3])
            if size not in made:
                made[size] = self._diffusion(network, size)
            value: Tensor = made[size](x)
            return value

        return loss

    def sample(self, shape: Shape, folder: Path, decided: dict[str, Any]) -> Iterator[Pixels]:
        diffusion = self._diffusion(self.restored(shape, folder, decided), shape[1:])
        while True:
            with torch.inference_mode():
                yield to_bytes(diffusion.sample(batch_size=AT_ONCE))


class FlowMatching(UNetPeer):
    """Lipman et al. (2023), by torchcfm's matcher; sampled by Heun's method."""

    def loss(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

        matcher = ConditionalFlowMatcher(sigma=0.0)

        def loss(x: Tensor) -> Tensor:
            x = 2 * x - 1
            t, between, velocity = matcher.sample_location_and_conditional_flow(torch.randn_like(x), x)
            return F.mse_loss(network(between, 1000 * t), velocity)

        return loss

    def sample(self, shape: Shape, folder: Path, decided: dict[str, Any]) -> Iterator[Pixels]:
        network, steps = self.restored(shape, folder, decided), EVALUATIONS // 2
        times = torch.linspace(0, 1, steps + 1)
        while True:
            x = torch.randn(AT_ONCE, *shape)
            with torch.inference_mode():
                for start, end in pairwise(times):
                    first = network(x, 1000 * start.expand(AT_ONCE))
                    second = network(x + (end - start) * first, 1000 * end.expand(AT_ONCE))
                    x = x + (end - start) * (first + second) / 2
                yield to_bytes((x + 1) / 2)


class DCGAN:
    """PyTorch's example, from a checkout of pytorch/examples: 64×64 pictures, batches of 64, Adam with learning rate 2e-4 and β₁
    0.5, binary cross-entropy. Samples are drawn as there, 64 at a time with statistics of the batch, and reduced to the size of
    the data."""

    NOISE, SIDE, BATCH = 100, 64, 64

    def __init__(self, checkout: Path) -> None:
        self.path = checkout / "dcgan" / "main.py"

    def _definitions(self, channels: int) -> dict[str, Any]:
        """Generator, Discriminator and weights_init. Importing the example would train, so only these are executed."""
        tree = ast.parse(self.path.read_text())
        tree.body = [node for node in tree.body if getattr(node, "name", "") in ("Generator", "Discriminator", "weights_init")]
        names = {"torch": torch, "nn": nn, "nc": channels, "nz": self.NOISE, "ngf": 64, "ndf": 64}
        exec(compile(tree, str(self.path), "exec"), names)
        return names

    def networks(self, channels: int, device: torch.device) -> tuple[nn.Module, nn.Module, list[torch.optim.Optimizer]]:
        """Generator and discriminator, and their optimisers."""
        example = self._definitions(channels)
        both = [example[name](1).apply(example["weights_init"]).to(device) for name in ("Generator", "Discriminator")]
        return *both, [torch.optim.Adam(network.parameters(), 2e-4, betas=(0.5, 0.999)) for network in both]

    def step(
        self, generator: nn.Module, discriminator: nn.Module, optimizers: list[torch.optim.Optimizer], real: Tensor
    ) -> None:
        is_real, is_fake = torch.ones(len(real), device=real.device), torch.zeros(len(real), device=real.device)
        discriminator.zero_grad()
        F.binary_cross_entropy(discriminator(real), is_real).backward()
        fake = generator(torch.randn(len(real), self.NOISE, 1, 1, device=real.device))
        F.binary_cross_entropy(discriminator(fake.detach()), is_fake).backward()
        optimizers[1].step()
        generator.zero_grad()
        F.binary_cross_entropy(discriminator(fake), is_real).backward()
        optimizers[0].step()

    def train(self, data: Data, minutes: float, folder: Path) -> dict[str, Any]:
        end, steps = time.perf_counter() + 60 * minutes, 0
        torch.manual_seed(0)
        generator, discriminator, optimizers = self.networks(data.format.channels, torch.device("cpu"))
        for x in batches(data, self.BATCH, end):
            real = F.interpolate(x, (self.SIDE, self.SIDE), mode="bilinear", antialias=True) * 2 - 1
            self.step(generator, discriminator, optimizers, real)
            steps += 1
        save_file(generator.state_dict(), folder / "weights.safetensors")
        parameters = sum(weights.numel() for weights in generator.parameters())
        return {"parameters": parameters, "steps": steps, "pictures": steps * self.BATCH}

    def sample(self, shape: Shape, folder: Path, decided: dict[str, Any]) -> Iterator[Pixels]:
        generator = self._definitions(shape[0])["Generator"](1)
        generator.load_state_dict(load_file(folder / "weights.safetensors"))
        while True:
            with torch.no_grad():
                x = generator(torch.randn(self.BATCH, self.NOISE, 1, 1))
            yield to_bytes((F.interpolate(x, shape[1:], mode="area") + 1) / 2)


class PythaeVAE:
    """pythae's VAE by its own trainer (batches of 128, learning rate 1e-3), with its network for MNIST, CIFAR-10 or, at 64×64,
    CelebA; samples are decoded draws from the prior."""

    def _model(self, shape: Shape) -> tuple[Any, int]:
        from pythae.models import VAE, VAEConfig
        from pythae.models.nn.benchmarks import celeba, cifar, mnist

        latent, encoder, decoder = {
            (1, 28, 28): (16, mnist.Encoder_Conv_VAE_MNIST, mnist.Decoder_Conv_AE_MNIST),
            (3, 32, 32): (256, cifar.Encoder_Conv_VAE_CIFAR, cifar.Decoder_Conv_AE_CIFAR),
            (3, 64, 64): (64, celeba.Encoder_Conv_VAE_CELEBA, celeba.Decoder_Conv_AE_CELEBA),
        }[shape]
        config = VAEConfig(input_dim=shape, latent_dim=latent, reconstruction_loss="mse")
        return VAE(config, encoder=encoder(config), decoder=decoder(config)), latent

    def train(self, data: Data, minutes: float, folder: Path) -> dict[str, Any]:
        import pythae_peer

        torch.manual_seed(0)
        model, latent = self._model(shape_of(data))
        pixels = to_unit(torch.from_numpy(data.train.take(np.arange(len(data.train))))).contiguous()
        pythae_peer.train(model, pixels, minutes, folder / "pythae")
        save_file(model.decoder.state_dict(), folder / "weights.safetensors")
        return {"latent": latent, "parameters": sum(weights.numel() for weights in model.parameters())}

    def sample(self, shape: Shape, folder: Path, decided: dict[str, Any]) -> Iterator[Pixels]:
        model, latent = self._model(shape)
        model.decoder.load_state_dict(load_file(folder / "weights.safetensors"))
        while True:
            with torch.inference_mode():
                yield to_bytes(model.eval().decoder(torch.randn(AT_ONCE, latent)).reconstruction)


def peers(examples: Path | None) -> dict[str, Peer]:
    """By name; DCGAN only with a checkout of pytorch/examples."""
    found: dict[str, Peer] = {"diffusion": Diffusion(), "flow-matching": FlowMatching(), "pythae-vae": PythaeVAE()}
    return found if examples is None else found | {"dcgan": DCGAN(examples)}
