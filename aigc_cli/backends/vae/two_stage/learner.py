"""Training for `--objective samples`, in two stages: an autoencoder, adversarial in the end, then the prior of its latents.

The second stage keeps the encoder and learns their distribution by flow matching (Vahdat et al. 2021; Rombach et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc_cli.backends.pictures.words import said_of
from aigc_cli.backends.vae.config import VAEPlan
from aigc_cli.backends.vae.diagnostics import memorising, still_falling
from aigc_cli.backends.vae.loss import reconstruction_error
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.backends.vae.priors.flow_matching import UNTRAINED, FlowMatchingPrior, logit_normal, without_some_labels
from aigc_cli.backends.vae.two_stage.autoencoder import AutoencoderLearner
from aigc_cli.backends.vae.two_stage.presets import LR, two_stage_config
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.engine.learner import Batch, Loss, Phase
from aigc_cli.engine.optim import MuonAdamW
from aigc_cli.engine.schedule import warmup_stable_decay
from aigc_cli.engine.settings import Plan

#: Where the autoencoder's training becomes adversarial and where the prior's begins, as shares of the steps.
ADVERSARIAL, PRIOR = 0.18, 0.45
#: The weight of the rate, in nats a latent, beside the reconstruction error.
RATE_WEIGHT = 1e-4
#: Peak learning rates of the prior's matrices (Muon) and other weights (AdamW), for an autoencoder's of `LR`.
MATRIX_LR, OTHER_LR = 0.02, 2e-3
#: Training pictures whose latents the prior's moments are taken from, and the solver's steps for a preview.
MOMENTS, PREVIEW_STEPS = 1024, 8


class TwoStageLearner(AutoencoderLearner):
    stages = (0.0, ADVERSARIAL, PRIOR)

    def __init__(self, plan: VAEPlan, data: PictureDataset, device: torch.device) -> None:
        super().__init__(plan, data, device)
        assert isinstance(self.model.prior, FlowMatchingPrior)
        self.prior = self.model.prior
        self.prior.steps = PREVIEW_STEPS
        scale = plan.lr / LR
        matrices = self.prior.velocity.matrices()
        inside = {id(p) for p in matrices}
        others = {"params": [p for p in self.prior.parameters() if id(p) not in inside], "lr": scale * OTHER_LR}
        self.optimizers |= {"prior": MuonAdamW(matrices, [others], muon_lr=scale * MATRIX_LR)}
        self.moments = np.random.default_rng(plan.seed).permutation(len(data.train))[:MOMENTS]

    def config(self, plan: VAEPlan, data: PictureDataset) -> VAEConfig:
        return two_stage_config(plan, data)

    # Training

    def phases(self, step: int, plan: Plan) -> Sequence[Phase]:
        if step >= self.stage_start(-1, plan.steps):
            return [Phase("prior", self.prior_loss, max_grad_norm=1.0)]
        adversarial = step >= self.stage_start(1, plan.steps)
        return self.autoencoder_phases(step, adversarial=adversarial, rate_weight=RATE_WEIGHT * self.beta(step, plan))

    def lr_factor(self, step: int, plan: Plan) -> float:
        """Each of the two networks has a schedule of its own."""
        start = self.stage_start(-1, plan.steps)
        of_prior = step >= start
        steps = plan.steps - start if of_prior else start
        return warmup_stable_decay(step - start * of_prior, steps, min(plan.warmup, steps // 4), plan.cooldown)

    def prior_loss(self, batch: Batch) -> Loss:
        """Flow matching on draws from the posteriors, which aren't trained any more."""
        with torch.no_grad():
            z = self._latents(self.seen(batch["pixels"]))
        labels = self.labels(batch["labels"])
        if labels is not None and labels.ndim == 1:  # of several labels, some are already dropped in the batch
            labels = without_some_labels(labels)
        loss = self.prior.loss(z, labels, torch.randn_like(z), logit_normal(len(z), z.device)).mean()
        return Loss(loss)

    def after_step(self, step: int, batch: Batch, plan: Plan) -> None:
        """Before the first step of the prior, take the moments of the latents, so that it learns standardised ones."""
        if step + 1 != self.stage_start(-1, plan.steps):
            return
        found = []
        with torch.no_grad():
            for at in range(0, len(self.moments), self.plan.micro_batch_size):
                index = self.moments[at : at + self.plan.micro_batch_size]
                pixels = torch.from_numpy(self.data.train.take(index)).to(self.device)
                found.append(self._latents(self.seen(pixels)))
        self.prior.standardise(torch.cat(found))

    # Evaluation

    def evaluate(self, items: int) -> dict[str, float]:
        """The error of held-out reconstructions, the prior's loss on their latents, and the sum, by which checkpoints are
        chosen. Before its training the prior counts as a velocity of 0."""

        def judged(x: Tensor, labels: Tensor | None) -> list[Tensor]:
            posterior = self.model.encode(x)
            found = [reconstruction_error(self._picture(posterior.mean), x)]
            if self.prior.started:
                z = posterior.sample(torch.randn_like(posterior.mean))
                found.append(self.prior.loss(z, labels, torch.randn_like(z), logit_normal(len(z), z.device)))
            return found

        errors, *losses = self._of_held_out(items, judged)
        error = float(errors.cpu().double().mean())
        measures = {"reconstruction_error": error}
        if losses:
            measures["flow_matching"] = float(losses[0].cpu().double().mean())
        return {"held_out_loss": error + measures.get("flow_matching", UNTRAINED), **measures}

    def _preview_latents(self, n: int, labels: Tensor | None) -> Tensor:
        """Draws from the prior; before its training, the latents of held-out pictures."""
        if self.prior.started:
            return super()._preview_latents(n, labels)
        return self._held_out_latents(n)

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        held_out = [line for line in history if line.get("event") == "evaluated" and "flow_matching" in line]
        return said_of(self.data.one, memorising(held_out, "flow_matching", "") or still_falling(held_out, "flow_matching"))
