"""Training for `--codes`: an autoencoder with quantised latents, adversarial in the end. Its prior is another model."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from aigc_cli.backends.pictures.words import said_of
from aigc_cli.backends.vae.codes.codec import save_codec
from aigc_cli.backends.vae.codes.presets import code_config
from aigc_cli.backends.vae.config import VAEPlan
from aigc_cli.backends.vae.diagnostics import memorising, still_falling
from aigc_cli.backends.vae.loss import reconstruction_error
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.backends.vae.two_stage.autoencoder import AutoencoderLearner
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.engine.learner import Phase
from aigc_cli.engine.settings import Plan

#: Where training becomes adversarial, as a share of the steps.
ADVERSARIAL = 0.4


class CodeLearner(AutoencoderLearner):
    objective = "reconstruction_error"
    stages = (0.0, ADVERSARIAL)

    def config(self, plan: VAEPlan, data: PictureDataset) -> VAEConfig:
        return code_config(plan, data)

    def phases(self, step: int, plan: Plan) -> Sequence[Phase]:
        return self.autoencoder_phases(step, adversarial=step >= self.stage_start(1, plan.steps))

    def evaluate(self, items: int) -> dict[str, float]:
        """The error of held-out reconstructions, and how many different codes they use."""

        def coded(x: Tensor, labels: Tensor | None) -> list[Tensor]:
            z = self.model.encode(x).mean
            return [reconstruction_error(self._picture(z), x), self.model.codes(z)]

        errors, codes = self._of_held_out(items, coded)
        error = float(errors.cpu().double().mean())
        return {
            "reconstruction_error": error,
            "codes_in_use": float(len(codes.cpu().flatten().bincount().nonzero())),
        }

    def _preview_latents(self, n: int, labels: Tensor | None) -> Tensor:
        """The latents of held-out pictures."""
        return self._held_out_latents(n)

    def save_model(self, folder: Path) -> None:
        save_codec(self.model, {"kind": self.data.things, **self.data.form}, folder)

    def describe(self) -> str:
        c = self.model.config
        total = sum(p.numel() for p in self.model.parameters())
        height, width = c.sizes[-1]
        return (
            f"{total / 1e6:.2f} M parameters, {c.describe()}, {width}×{height} codes a {self.data.one}, each one of "
            f"{c.n_codes:,} (levels {self.plan.levels})"
        )

    def first_sample(self) -> str:
        source = self.data.things.upper() if self.data.spooled is not None else shlex.quote(str(self.data.info["location"]))
        return f"--reconstruct {source} -n 4"

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        held_out = [line for line in history if line.get("event") == "evaluated"]
        return said_of(self.data.one, memorising(held_out, self.objective, "") or still_falling(held_out, self.objective))
