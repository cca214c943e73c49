"""Differentiable augmentation for small datasets: the discriminator sees real and generated pictures with the same random
changes, so that it can't memorise the training pictures (Zhao et al. 2020, DiffAugment; Karras et al. 2020, ADA).

Each change is applied to each picture with a probability below one. Unchanged pictures stay the most likely, so that the
changes don't leak into the generator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Augmentation(nn.Module):
    """Changes pictures (B, C, H, W) in [-1, 1] at random; `strength` is the probability of each change.

    `strength` and the averages it follows are buffers, and so part of a checkpoint. At 0, pictures are returned unchanged.
    """

    #: Above this, changed pictures are so common that they leak into the generator (Karras et al. 2020, section 2.2).
    MAX_STRENGTH = 0.8
    strength: Tensor
    margins: Tensor  # (2,) moving averages: training pictures' scores minus those of held-out and of generated pictures
    chance: Tensor  # the sampling variance of the first margin

    def __init__(self, strength: float | None = None) -> None:
        """`strength` is fixed; with None it starts at 0 and `adapt` changes it."""
        super().__init__()
        self.off = strength == 0
        self.register_buffer("strength", torch.tensor(float(strength or 0.0)))
        self.register_buffer("margins", torch.zeros(2))
        self.register_buffer("chance", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        waits = x.device.type == "cpu"
        if self.off or (waits and not self.strength):
            return x
        changes = [translate, brighten, contrast, cut_out]
        if x.shape[1] >= 3:
            changes.insert(2, saturate)
        for change in changes:
            chosen = torch.rand(len(x), device=x.device) < self.strength
            x = changed(x, chosen, change, waits=waits)
        return x

    @torch.no_grad()
    def adapt(
        self,
        train: Tensor,
        held_out: Tensor,
        generated: Tensor,
        *,
        step: float,
        weight: float = 1.0,
        n_held_out: int = 1 << 30,
        target: float = 0.5,
    ) -> None:
        """Change the strength by `step`: up if the discriminator's scores show overfitting, otherwise down.

        It overfits if r_v = (E D(train) − E D(held-out)) / (E D(train) − E D(generated)) is above `target` (Karras et al. 2020,
        eq. 1), unless generated pictures score no lower than training pictures, or the numerator is within two standard errors
        of 0. Scores are of randomly drawn pictures, `n_held_out` being the number of held-out ones to draw from; `weight` is
        their weight in the moving averages.
        """
        now = torch.stack((train.mean() - held_out.mean(), train.mean() - generated.mean()))
        of_train, of_held_out = (scores.var(unbiased=False) for scores in (train, held_out))
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


def changed(x: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor], *, waits: bool) -> Tensor:
    """The pictures with `change` applied to the chosen (B,) ones. Unless `waits`, it is computed for all, to avoid waiting for
    the device to tell which ones are chosen."""
    if not waits:
        return torch.where(chosen[:, None, None, None], change(x), x)
    index = chosen.nonzero().squeeze(1)
    return x.index_copy(0, index, change(x[index])) if len(index) else x


def uniform(x: Tensor, low: float, high: float) -> Tensor:
    """A random number for each picture of x, (B, 1, 1, 1)."""
    return torch.empty(len(x), 1, 1, 1, device=x.device).uniform_(low, high)


def colours(x: Tensor) -> int:
    """The number of colour channels; a fourth channel is opacity."""
    return min(x.shape[1], 3)


def brighten(x: Tensor) -> Tensor:
    """Add one number in [-0.5, 0.5] to all colours."""
    colour, opacity = x.tensor_split((colours(x),), dim=1)
    return torch.cat((colour + uniform(x, -0.5, 0.5), opacity), dim=1)


def saturate(x: Tensor) -> Tensor:
    """Scale each pixel's distance from its own grey by 0 to 2."""
    colour, opacity = x.tensor_split((colours(x),), dim=1)
    grey = colour.mean(1, keepdim=True)
    return torch.cat((grey + (colour - grey) * uniform(x, 0.0, 2.0), opacity), dim=1)


def contrast(x: Tensor) -> Tensor:
    """Scale the picture's distance from its mean by 0.5 to 1.5."""
    colour, opacity = x.tensor_split((colours(x),), dim=1)
    mean = colour.mean((1, 2, 3), keepdim=True)
    return torch.cat((mean + (colour - mean) * uniform(x, 0.5, 1.5), opacity), dim=1)


def translate(x: Tensor) -> Tensor:
    """Shift by up to an eighth of the height and width, filling with 0."""
    batch, _, height, width = x.shape
    rows, down = shifted(batch, height, x.device)
    columns, right = shifted(batch, width, x.device)
    index = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
    moved = x.flatten(2).gather(2, index.expand(-1, x.shape[1], -1)).view_as(x)
    return moved * (down[:, None, :, None] & right[:, None, None, :])


def shifted(batch: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each picture, the source of each of `length` positions, and whether that is inside the picture."""
    reach = round(length / 8)
    places = torch.arange(length, device=device) - torch.randint(-reach, reach + 1, (batch, 1), device=device)
    return places.clamp(0, length - 1), (places >= 0) & (places < length)


def cut_out(x: Tensor) -> Tensor:
    """Set a rectangle of half the height and width to 0, at a random position, possibly partly outside."""
    batch, _, height, width = x.shape
    rows, columns = covered(batch, height, x.device), covered(batch, width, x.device)
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def covered(batch: int, length: int, device: torch.device) -> Tensor:
    """For each picture, which of `length` positions are in an interval of half that length around a random centre."""
    centre = torch.randint(0, length + 1, (batch, 1), device=device)
    from_centre = torch.arange(length, device=device) - centre
    return (from_centre >= -(length // 4)) & (from_centre < length // 2 - length // 4)
