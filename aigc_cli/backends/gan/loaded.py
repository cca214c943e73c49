"""A run's generator, loaded for sampling or evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from aigc_cli.backends.gan.config import Train
from aigc_cli.backends.gan.model import Discriminator, Generator, load_pretrained
from aigc_cli.backends.pictures.batches import to_bytes, to_unit
from aigc_cli.backends.pictures.choice import Numbers
from aigc_cli.backends.pictures.loaded import LoadedPictures, load_parts
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.engine.checkpoints.manifest import damage
from aigc_cli.engine.network import load_tensors
from aigc_cli.engine.runs.run import Run


@dataclass(frozen=True)
class Loaded(LoadedPictures):
    """A run's generator."""

    plan: Train
    generator: Generator

    @classmethod
    def of(cls, run: Run, device: str) -> Loaded:
        return cls(*load_parts(run, device, Train, load_pretrained))

    @property
    def takes_unlabelled(self) -> bool:
        return self.generator.label.takes_unlabelled

    @torch.inference_mode()
    def pictures(self, z: Tensor, numbers: Sequence[Numbers]) -> list[Pixels]:
        """The pictures of latents (n, latent) and class numbers, -1 for no class."""
        return list(pictures_of(self.generator(z.to(self.device), self.labels_from(numbers))))


def load_discriminator(folder: Path, generator: Generator) -> Discriminator | None:
    """The discriminator of the checkpoint whose `model` folder is `folder`; None if the checkpoint doesn't have it, or it
    is damaged."""
    if damage(folder.resolve().parent, (file := "state/networks.safetensors",)):
        return None
    try:
        weights = load_tensors(folder.resolve().parent / file)
        discriminator = Discriminator(generator.config)
        prefix = "discriminator/"
        discriminator.load_state_dict({key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)})
    except (OSError, SafetensorError, RuntimeError):
        return None
    return discriminator.eval()


def seen(pixels: Tensor) -> Tensor:
    """Bytes (n, height, width, channels) as the networks' input (n, channels, height, width) in [-1, 1]."""
    return to_unit(pixels) * 2 - 1


def pictures_of(x: Tensor) -> Pixels:
    """A generator's output (n, channels, height, width) in about [-1, 1] as bytes (n, height, width, channels)."""
    return to_bytes((x + 1) / 2)
