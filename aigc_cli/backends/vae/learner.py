"""Training a VAE."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aigc_cli.backends.pictures.batches import PictureBatches, at_once, labels_of, large_pictures, to_unit
from aigc_cli.backends.pictures.choice import labels_in_turn
from aigc_cli.backends.pictures.options import first_sample
from aigc_cli.backends.pictures.words import said_of
from aigc_cli.backends.vae.bound import importance_weighted
from aigc_cli.backends.vae.config import VAEPlan
from aigc_cli.backends.vae.diagnostics import advice
from aigc_cli.backends.vae.loaded import expected_pictures
from aigc_cli.backends.vae.loss import negative_elbo
from aigc_cli.backends.vae.model import VAE, save_pretrained
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.backends.vae.presets import model_config
from aigc_cli.data.pictures.dataset import PictureArrays, PictureDataset
from aigc_cli.data.pictures.output import encode_picture, sheet
from aigc_cli.engine.learner import Batch, Learner, Loss, Phase, Preview
from aigc_cli.engine.settings import Plan
from aigc_cli.metrics.latents.information import ACTIVE

#: The largest batch of an evaluation, and the pictures of a preview.
EVAL_BATCH, PREVIEWS = 256, 64
#: The largest gradient norm, as a multiple of the recent median. Typical norms depend on the likelihood and the pictures' size.
MAX_GRAD_RATIO = 2.0


class VAELearner(Learner):
    objective = "negative_elbo"

    def __init__(self, plan: VAEPlan, data: PictureDataset, device: torch.device) -> None:
        self.plan, self.data, self.device = plan, data, device
        self.unit = data.things
        self.model = VAE(self.config(plan, data)).to(device)
        self.networks = {"vae": self.model}
        self.optimizers = {"vae": self._optimizer(list(self.model.parameters()), plan.lr)}
        self.ema = {"vae": plan.ema}
        self.values = math.prod(data.train.shape)  # in a picture
        self.batches = PictureBatches(data.train, plan.batch_size, plan.seed, flip=plan.flip)
        self.steps_per_epoch = len(data.train) / plan.batch_size
        self.eval_items = len(data.select)
        self.order = np.random.default_rng(plan.seed).permutation(len(data.select))

    def config(self, plan: VAEPlan, data: PictureDataset) -> VAEConfig:
        return model_config(plan, data)

    def _optimizer(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        """AdamW, with weight decay only for matrices and filters."""
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.plan.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)

    def batch(self, step: int) -> Batch:
        return self.batches(step)

    def phases(self, step: int, plan: Plan) -> Sequence[Phase]:
        loss = partial(self.loss, beta=self.beta(step, plan))
        return [self._clipped("vae", loss, lambda batch: loss(batch).report["rate"][None])]

    def beta(self, step: int, plan: Plan) -> float:
        """The weight of the rate, which rises from 0 to --beta over the warm-up."""
        return self.plan.beta * min(1.0, (step + 1) / max(1.0, self.plan.kl_warmup * plan.steps))

    def _clipped(self, optimizer: str, loss: Callable[..., Loss], rate: Callable[[Batch], Tensor] | None) -> Phase:
        limit = self.plan.max_grad_norm
        return Phase(
            optimizer,
            loss,
            max_grad_norm=limit,
            max_grad_ratio=MAX_GRAD_RATIO if limit is None else None,
            over_batch=rate if self.plan.free_bits else None,
        )

    def loss(self, batch: Batch, *, beta: float, of_batch: Tensor | None = None) -> Loss:
        x, labels = self.seen(batch["pixels"]), self.labels(batch["labels"])
        loss, rate, distortion = negative_elbo(
            self.model, x, labels, beta=beta, free_bits=self.plan.free_bits, of_batch=of_batch
        )
        return Loss(loss, {"rate": rate.detach(), "distortion": distortion.detach()})

    def seen(self, pixels: Tensor) -> Tensor:
        """Bytes as the model's input: in [0, 1], and with dynamic binarisation drawn anew as 0 or 1."""
        x = to_unit(pixels)
        return x.bernoulli() if self.plan.binarise == "dynamic" else x

    def labels(self, labels: Tensor) -> Tensor | None:
        return labels if self.plan.conditional else None

    def evaluate(self, items: int) -> dict[str, float]:
        """The negative ELBO and its parts, in nats per picture, and the active units, on the first `items` of a fixed
        shuffle."""

        def bound(x: Tensor, labels: Tensor | None) -> list[Tensor]:
            posterior = self.model.encode(x, labels)
            bounds = importance_weighted(self.model, x, labels, k=1, posterior=posterior)
            return [bounds.rate, bounds.distortion, posterior.mean]

        rates, distortions, means = self._of_held_out(items, bound)
        rate, distortion = (float(parts.cpu().double().mean()) for parts in (rates, distortions))
        active = (means.cpu().double().var(0, correction=0) > ACTIVE).sum()
        return {"negative_elbo": rate + distortion, "rate": rate, "distortion": distortion, "active_units": float(active)}

    def _of_held_out(self, items: int, work: Callable[[Tensor, Tensor | None], Sequence[Tensor]]) -> list[Tensor]:
        """What `work` finds for the first `items` held-out pictures of a fixed shuffle and their labels: tensors (items, …)."""
        held_out: PictureArrays = self.data.select
        index, batch = self.order[:items], at_once(self.values, EVAL_BATCH)

        def found(some: NDArray[np.int64]) -> Sequence[Tensor]:
            pixels = torch.from_numpy(held_out.take(some)).to(self.device)
            return work(self.seen(pixels), self.labels(labels_of(held_out, some).to(self.device)))

        parts = self.each((index[at : at + batch] for at in range(0, len(index), batch)), found)
        return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]

    def preview(self) -> Preview:
        labels = None
        if self.plan.conditional:
            labels = labels_in_turn(self.data.classes, PREVIEWS).to(self.device)
        z = self._preview_latents(PREVIEWS, labels)
        batch = at_once(self.values, PREVIEWS)
        pictures = []
        for at in range(0, len(z), batch):
            some = slice(at, at + batch)
            pictures += expected_pictures(self.model, z[some], None if labels is None else labels[some])
        side = math.isqrt(PREVIEWS)
        return Preview(".png", encode_picture(sheet(pictures, side), ".png"), grid=(side, side))

    def _preview_latents(self, n: int, labels: Tensor | None) -> Tensor:
        """Up to n latents (n, latents) to show."""
        u = torch.randn(n, self.model.config.latents, generator=torch.Generator().manual_seed(self.plan.seed))
        return self.model.prior.inverse(u.to(self.device), labels)

    def save_model(self, folder: Path) -> None:
        save_pretrained(self.model, folder)

    def describe(self) -> str:
        c = self.model.config
        total = sum(p.numel() for p in self.model.parameters())
        of_map = f"{c.latent_map} at each position of {c.sizes[-1][1]}×{c.sizes[-1][0]}"
        latents = " and ".join([f"{c.latent} latents"] * bool(c.latent) + [of_map] * bool(c.latent_map))
        prior = {
            "flow": f"a flow of {c.couplings} couplings",
            "normal": "a normal prior",
            "matching": f"flow matching by {c.couplings} transformer blocks",
        }[c.prior]
        return f"{total / 1e6:.2f} M parameters, {c.describe()}, {latents} with {prior}, likelihood {c.likelihood}"

    def expectation(self, plan: Plan) -> str | None:
        return large_pictures(self.data, plan.steps * self.plan.batch_size)

    def first_sample(self) -> str:
        return first_sample(self.data.classes if self.plan.conditional else ())

    def advice(self, history: Sequence[Mapping[str, Any]]) -> list[str]:
        return said_of(self.data.one, advice(history, self.model.config))
