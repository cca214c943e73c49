"""Differentiable augmentation for small datasets: the discriminator sees real and generated pictures with the same random
changes, so that it can't memorise the training pictures (Zhao et al. 2020, DiffAugment; Karras et al. 2020, ADA).

Each change is applied to each picture with a probability below one. Unchanged pictures stay the most likely, so that the
changes don't leak into the generator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from aigc_cli.backends.pictures.augment import brighten, changed, contrast, cut_out, saturate, translate
from aigc_cli.data.pictures.changes import PICTURES, Changes


class Augmentation(nn.Module):
    """Changes pictures (B, C, H, W) in [-1, 1] at random; `strength` is the probability of each change.

    `strength` and the averages it follows are buffers, and so part of a checkpoint. At 0, pictures are returned unchanged.
    """

    #: Above this, changed pictures are so common that they leak into the generator (Karras et al. 2020, section 2.2).
    MAX_STRENGTH = 0.8
    strength: Tensor
    margins: Tensor  # (2,) moving averages: training pictures' margins, less held-out ones' and as they are
    chance: Tensor  # the sampling variance of the first margin

    def __init__(self, strength: float | None = None, may: Changes = PICTURES) -> None:
        """`strength` is fixed; with None it starts at 0 and `adapt` changes it."""
        super().__init__()
        self.may = may
        self.off = strength == 0
        self.register_buffer("strength", torch.tensor(float(strength or 0.0)))
        self.register_buffer("margins", torch.zeros(2))
        self.register_buffer("chance", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        waits = x.device.type == "cpu"
        if self.off or (waits and not self.strength):
            return x
        for change in self._changes(x.shape[1]):
            chosen = torch.rand(len(x), device=x.device) < self.strength
            x = changed(x, chosen, change, waits=waits)
        return x

    def _changes(self, channels: int) -> list[Callable[[Tensor], Tensor]]:
        may = self.may
        changes: list[Callable[[Tensor], Tensor]] = [
            partial(translate, down=may.down, across=may.across, beyond=may.beyond),
            partial(brighten, by=may.brightness, black_stays=may.black_stays),
        ]
        if may.contrast:
            changes += [saturate, contrast] if channels >= 3 else [contrast]
        return [*changes, partial(cut_out, level=may.beyond)]

    @torch.no_grad()
    def adapt(
        self,
        train: Tensor,
        held_out: Tensor,
        *,
        step: float,
        weight: float = 1.0,
        n_held_out: int = 1 << 30,
        target: float = 0.5,
    ) -> None:
        """Change the strength by `step`: up if the discriminator's margins show overfitting, otherwise down.

        A margin is a picture's score minus that of a generated one with the same labels and cluster. With margins M it overfits
        if r_v = (E M(train) − E M(held-out)) / E M(train) is above `target` (Karras et al. 2020, eq. 1), unless E M(train) is
        negative, or the numerator is within two standard errors of 0. The pictures are drawn at random, the held-out ones from
        `n_held_out`; `weight` is their weight in the moving averages.
        """
        now = torch.stack((train.mean() - held_out.mean(), train.mean()))
        of_train, of_held_out = (margins.var(unbiased=False) for margins in (train, held_out))
        of_draws = (of_train / len(train) + of_held_out / len(held_out)) * weight / (2 - weight)  # of a moving average
        usable = now.isfinite().all()
        chance = of_draws + of_held_out / n_held_out
        for average, new in (
            (self.margins, now),
            (self.chance, chance),
        ):  # all start at 0, and are too small by the same factor
            average.copy_(torch.where(usable, average.lerp(new, weight), average))
        left, right = self.margins
        overfits = (right > 0) & (left > target * right) & (left > 2 * self.chance.sqrt())
        self.strength.add_(torch.where(overfits, step, -step)).clamp_(0, self.MAX_STRENGTH)
