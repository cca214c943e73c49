"""A run's model, loaded for sampling, encoding or evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_cli.backends.pictures.batches import to_bytes, to_unit
from aigc_cli.backends.pictures.loaded import LoadedPictures, keyed, load_parts
from aigc_cli.backends.vae.config import Train
from aigc_cli.backends.vae.model import VAE, load_pretrained
from aigc_cli.backends.vae.priors.flow import ExplicitPrior
from aigc_cli.backends.vae.two_stage.networks import MapDecoder
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.engine.runs.run import Run


@dataclass(frozen=True)
class Loaded(LoadedPictures):
    """A run's model."""

    plan: Train
    model: VAE

    @classmethod
    def of(cls, run: Run, device: str) -> Loaded:
        return cls(*load_parts(run, device, Train, load_pretrained))

    @property
    def takes_unlabelled(self) -> bool:
        decoder = self.model.decoder
        return isinstance(decoder, MapDecoder) or decoder.label.takes_unlabelled

    @property
    def explicit(self) -> bool:
        """Whether the model has a likelihood, rather than only samples."""
        return isinstance(self.model.prior, ExplicitPrior)

    @property
    def codes(self) -> bool:
        """Whether its latents are codes."""
        return bool(self.model.config.levels)

    def seen(self, pixels: Tensor, keys: Sequence[int]) -> Tensor:
        """Bytes (n, height, width, channels) as the model's input. A picture's binarisation depends only on its key."""
        x = to_unit(pixels)
        return (binarised(x, keys) if self.plan.binarise == "dynamic" else x).to(self.device)

    def pictures(self, z: Tensor, labels: Tensor | None) -> list[Pixels]:
        """The expected picture for each latent."""
        return expected_pictures(self.model, z, labels)


def expected_pictures(model: VAE, z: Tensor, labels: Tensor | None) -> list[Pixels]:
    """The mean of p(x|z) for each latent."""
    return list(to_bytes(model.likelihood.mean(model.decode(z, labels))))


def binarised(x: Tensor, keys: Sequence[int]) -> Tensor:
    """Pixels (n, …) in [0, 1] on the CPU, drawn as 0 or 1. A picture's draws depend only on its key."""
    uniform = torch.stack([torch.rand(x.shape[1:], generator=keyed("binarise", key)) for key in keys])
    return (uniform < x).float()
