"""Random changes of pictures (B, C, H, W) in [-1, 1] that a gradient goes through (Zhao et al. 2020, DiffAugment)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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


def brighten(x: Tensor, *, by: float = 0.5, black_stays: bool = False) -> Tensor:
    """Add one number in [-by, by] to all colours. If black stays black, nothing becomes darker than that."""
    colour, opacity = x.tensor_split((colours(x),), dim=1)
    brighter = colour + uniform(x, -by, by)
    if black_stays:
        brighter = torch.where(colour > -1, brighter.clamp_min(-1), colour)
    return torch.cat((brighter, opacity), dim=1)


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


def translate(x: Tensor, *, down: float = 1 / 8, across: float = 1 / 8, beyond: float = 0.0) -> Tensor:
    """Shift by up to these shares of the height and width, filling with `beyond`."""
    batch, _, height, width = x.shape
    rows, inside = shifted(batch, height, down, x.device)
    columns, beside = shifted(batch, width, across, x.device)
    index = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
    moved = x.flatten(2).gather(2, index.expand(-1, x.shape[1], -1)).view_as(x)
    return filled(moved, ~(inside[:, None, :, None] & beside[:, None, None, :]), beyond)


def filled(x: Tensor, chosen: Tensor, level: float) -> Tensor:
    return x * ~chosen if level == 0 else torch.where(chosen, level, x)


def shifted(batch: int, length: int, share: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each picture, the source of each of `length` positions, and whether that is inside the picture."""
    reach = round(length * share)
    places = torch.arange(length, device=device) - torch.randint(-reach, reach + 1, (batch, 1), device=device)
    return places.clamp(0, length - 1), (places >= 0) & (places < length)


def cut_out(x: Tensor, *, level: float = 0.0) -> Tensor:
    """Set a rectangle of half the height and width to a level, at a random position, possibly partly outside."""
    batch, _, height, width = x.shape
    rows, columns = covered(batch, height, x.device), covered(batch, width, x.device)
    return filled(x, rows[:, None, :, None] & columns[:, None, None, :], level)


def covered(batch: int, length: int, device: torch.device) -> Tensor:
    """For each picture, which of `length` positions are in an interval of half that length around a random centre."""
    centre = torch.randint(0, length + 1, (batch, 1), device=device)
    from_centre = torch.arange(length, device=device) - centre
    return (from_centre >= -(length // 4)) & (from_centre < length // 2 - length // 4)
