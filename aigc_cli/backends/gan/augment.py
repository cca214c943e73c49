"""Differentiable augmentation for small data sets: the discriminator sees real and generated pictures through the same random
changes, so that it cannot memorise the training pictures (Zhao et al. 2020, DiffAugment; Karras et al. 2020, ADA).

Each change is made to each picture with a probability below one, which keeps it out of what the generator learns: pictures as
they are stay the likeliest.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Augmentation(nn.Module):
    """Pictures (B, C, H, W) in [-1, 1], changed at random; `strength` is the probability of each change.

    `strength`, and what it follows, are buffers and so part of a checkpoint. At 0 the pictures are returned as they are.
    """

    #: Above it, changed pictures are so common that the generator takes them for the data (Karras et al. 2020, section 2.2).
    MAX_STRENGTH = 0.8
    strength: Tensor
    margins: Tensor  # (2,) of training pictures' scores, above those of held-out and of generated pictures; moving averages
    chance: Tensor  # the variance of the first of these, which comes of scoring some pictures rather than all there could be

    def __init__(self, strength: float | None = None) -> None:
        """`strength` is fixed, or None where it begins at 0 and is moved by `adapt`."""
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
        """Moves the strength by `step`, up where the discriminator's scores show that it overfits and down where not.

        It overfits where r_v = (E D(train) − E D(held-out)) / (E D(train) − E D(generated)) is above `target` (Karras et al.
        2020, eq. 1), unless it takes generated pictures for no worse than the training pictures, or the difference above is
        within two standard errors. Scores are of pictures drawn at random, of `n_held_out` held-out ones, and count by
        `weight` beside earlier ones.
        """
        now = torch.stack((train.mean() - held_out.mean(), train.mean() - generated.mean()))
        of_train, of_held_out = (scores.var(unbiased=False) for scores in (train, held_out))
        of_draws = (of_train / len(train) + of_held_out / len(held_out)) * weight / (2 - weight)  # of a moving average
        usable = now.isfinite().all()
        chance = of_draws + of_held_out / n_held_out
        for average, new in ((self.margins, now), (self.chance, chance)):  # all began at 0 and fall short by the same factor
            average.copy_(torch.where(usable, average.lerp(new, weight), average))
        left, right = self.margins
        overfits = (right > 0) & (left > target * right) & (left > 2 * self.chance.sqrt())
        self.strength.add_(torch.where(overfits, step, -step)).clamp_(0, self.MAX_STRENGTH)


def changed(x: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor], *, waits: bool) -> Tensor:
    """The pictures with a change made to the chosen (B,) of them. Where the device would have to be waited for to say which
    they are, it is computed for all."""
    if not waits:
        return torch.where(chosen[:, None, None, None], change(x), x)
    index = chosen.nonzero().squeeze(1)
    return x.index_copy(0, index, change(x[index])) if len(index) else x


def uniform(x: Tensor, low: float, high: float) -> Tensor:
    """A number for each picture of x, (B, 1, 1, 1)."""
    return torch.empty(len(x), 1, 1, 1, device=x.device).uniform_(low, high)


def colours(x: Tensor) -> int:
    """How many of the channels are colours; a fourth is how opaque a pixel is."""
    return min(x.shape[1], 3)


def brighten(x: Tensor) -> Tensor:
    """All colours raised by one number in [-0.5, 0.5]."""
    colour, opacity = x.tensor_split((colours(x),), dim=1)
    return torch.cat((colour + uniform(x, -0.5, 0.5), opacity), dim=1)


def saturate(x: Tensor) -> Tensor:
    """Each pixel's distance from its own grey, times 0 to 2."""
    colour, opacity = x.tensor_split((colours(x),), dim=1)
    grey = colour.mean(1, keepdim=True)
    return torch.cat((grey + (colour - grey) * uniform(x, 0.0, 2.0), opacity), dim=1)


def contrast(x: Tensor) -> Tensor:
    """The picture's distance from its mean, times 0.5 to 1.5."""
    colour, opacity = x.tensor_split((colours(x),), dim=1)
    mean = colour.mean((1, 2, 3), keepdim=True)
    return torch.cat((mean + (colour - mean) * uniform(x, 0.5, 1.5), opacity), dim=1)


def translate(x: Tensor) -> Tensor:
    """Moved by up to an eighth of its height and width; what comes into sight is 0."""
    batch, _, height, width = x.shape
    rows, down = shifted(batch, height, x.device)
    columns, right = shifted(batch, width, x.device)
    index = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
    moved = x.flatten(2).gather(2, index.expand(-1, x.shape[1], -1)).view_as(x)
    return moved * (down[:, None, :, None] & right[:, None, None, :])


def shifted(batch: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each picture, which of `length` places comes to each place, and whether it comes from within the picture."""
    reach = round(length / 8)
    places = torch.arange(length, device=device) - torch.randint(-reach, reach + 1, (batch, 1), device=device)
    return places.clamp(0, length - 1), (places >= 0) & (places < length)


def cut_out(x: Tensor) -> Tensor:
    """A square of half of the height and width, anywhere, and partly outside, becomes 0."""
    batch, _, height, width = x.shape
    rows, columns = covered(batch, height, x.device), covered(batch, width, x.device)
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def covered(batch: int, length: int, device: torch.device) -> Tensor:
    """For each picture, which of `length` places are within a stretch of half of them around a random place."""
    centre = torch.randint(0, length + 1, (batch, 1), device=device)
    from_centre = torch.arange(length, device=device) - centre
    return (from_centre >= -(length // 4)) & (from_centre < length // 2 - length // 4)
