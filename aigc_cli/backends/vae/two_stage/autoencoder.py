"""Training an autoencoder whose latents are a map, adversarially in the end (Esser et al. 2021, VQGAN; Rombach et al. 2022).

What becomes of the latents is up to its subclasses: a prior by flow matching, or codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from aigc_cli.backends.pictures.adversarial import (
    frozen,
    gradient_penalty,
    relativistic_discriminator,
    relativistic_generator,
)
from aigc_cli.backends.pictures.augment import brighten, changed, translate
from aigc_cli.backends.vae.config import VAEPlan
from aigc_cli.backends.vae.learner import VAELearner
from aigc_cli.backends.vae.loss import at_least, kl_to_standard_normal, reconstruction_error
from aigc_cli.backends.vae.two_stage.discriminator import PatchDiscriminator
from aigc_cli.backends.vae.two_stage.presets import LR
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.engine.learner import Batch, Loss, Phase

#: The weight of the adversarial loss beside the reconstruction error.
ADVERSARIAL_WEIGHT = 0.05
#: The weight γ of the gradient penalty, and the steps between penalties, each of which counts as many times.
GAMMA, PENALTY_EVERY = 1.0, 8
#: The peak learning rate of the discriminator, for an autoencoder's of `LR`.
DISCRIMINATOR_LR = 2e-3
#: The moving average's half-life is at most this share of the steps so far.
AVERAGED = 0.05


class AutoencoderLearner(VAELearner):
    objective = "held_out_loss"

    def __init__(self, plan: VAEPlan, data: PictureDataset, device: torch.device) -> None:
        super().__init__(plan, data, device)
        self.discriminator = PatchDiscriminator(data.format.channels, self.model.config.widths[:3]).to(device)
        self.networks = {"vae": self.model, "discriminator": self.discriminator}
        self.optimizers = {
            "autoencoder": self._optimizer([*self.model.encoder.parameters(), *self.model.decoder.parameters()], plan.lr),
            "discriminator": torch.optim.Adam(
                self.discriminator.parameters(), plan.lr / LR * DISCRIMINATOR_LR, betas=(0.0, 0.9), fused=True
            ),
        }
        self.ema = {"vae": lambda step: min(plan.ema, max(1.0, AVERAGED * step))}

    def autoencoder_phases(self, step: int, *, adversarial: bool, rate_weight: float | None = None) -> Sequence[Phase]:
        """The autoencoder's phase, and if it is `adversarial` also the discriminator's."""
        loss = partial(self.autoencoder_loss, adversarial=adversarial, rate_weight=rate_weight)
        rate = None if rate_weight is None else lambda batch: loss(batch).report["rate_per_latent"][None]
        autoencoder = self._clipped("autoencoder", loss, rate)
        if not adversarial:
            return [autoencoder]
        penalty_weight = PENALTY_EVERY * GAMMA if step % PENALTY_EVERY == 0 else 0.0
        return [autoencoder, Phase("discriminator", partial(self.discriminator_loss, penalty_weight=penalty_weight))]

    def autoencoder_loss(
        self, batch: Batch, *, adversarial: bool, rate_weight: float | None, of_batch: Tensor | None = None
    ) -> Loss:
        """The reconstruction error, a little of the rate (unless its weight is None: codes have none), and how much more real
        pictures look than reconstructions."""
        x = self.varied(batch["pixels"])
        posterior = self.model.encode(x)
        y = self._picture(posterior.sample(torch.randn_like(posterior.mean)))
        error = reconstruction_error(y, x).mean()
        loss, report = error, {"reconstruction_error": error.detach()}
        if rate_weight is not None:
            rate = kl_to_standard_normal(posterior).mean()
            loss = loss + rate_weight * at_least(rate, self.plan.free_bits, of_batch)
            report["rate_per_latent"] = rate.detach()
        if adversarial:
            with frozen(self.discriminator):
                with torch.no_grad():
                    real = self.discriminator(x)
                loss = loss + ADVERSARIAL_WEIGHT * relativistic_generator(real, self.discriminator(y))
        return Loss(loss, report)

    def varied(self, pixels: Tensor) -> Tensor:
        """The model's input, half of it moved and half of it brightened or darkened, if that makes more of a kind of data."""
        x, may = self.seen(pixels), self.data.changes
        if not may.reconstructed:
            return x
        for change in (
            partial(translate, down=may.down, across=may.across, beyond=may.beyond),
            partial(brighten, by=may.brightness, black_stays=may.black_stays),
        ):
            chosen = torch.rand(len(x), device=x.device) < 0.5
            x = changed(2 * x - 1, chosen, change, waits=x.device.type == "cpu") / 2 + 0.5
        return x.clamp(0, 1)

    def discriminator_loss(self, batch: Batch, *, penalty_weight: float) -> Loss:
        """Pictures against their own reconstructions, patch by patch, with γ (R1 + R2) unless its weight is 0."""
        x = self.varied(batch["pixels"])
        with torch.no_grad():
            y = self._picture(self._latents(x))
        pictures = torch.cat((x, y)).requires_grad_(penalty_weight > 0)
        # Compiled networks can't be differentiated twice.
        scores = self.discriminator.forward(pictures) if penalty_weight else self.discriminator(pictures)
        real, fake = scores.chunk(2)
        loss = relativistic_discriminator(real, fake)
        if penalty_weight:
            loss = loss + penalty_weight * 2 * gradient_penalty(scores.mean(1), pictures)
        return Loss(loss, {"margin": (real - fake).detach().mean()})

    def _held_out_latents(self, n: int) -> Tensor:
        """The latents of up to n held-out pictures, (n, latents)."""
        (latents,) = self._of_held_out(n, lambda x, labels: [self.model.encode(x).mean])
        return latents

    def _latents(self, x: Tensor) -> Tensor:
        """A draw from each picture's posterior, (B, latents)."""
        posterior = self.model.encode(x)
        return posterior.sample(torch.randn_like(posterior.mean))

    def _picture(self, z: Tensor) -> Tensor:
        """Decoded latents on the scale [0, 1], not clamped, so that they have a gradient everywhere."""
        return 0.5 + 0.5 * self.model.decode(z).float()
