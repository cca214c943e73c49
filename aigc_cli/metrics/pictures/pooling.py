"""Means over the boxes of a grid, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def box_means(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Means of x (…, H, W) over the boxes of a grid (h, w), which overlap by a pixel where they don't divide H or W: (…, h, w).

    This is PyTorch's adaptive average pooling, which on Metal needs sizes that divide (pytorch/pytorch issue 96056).
    """
    if x.device.type != "mps" or all(side % cells == 0 for side, cells in zip(x.shape[-2:], grid, strict=True)):
        return F.adaptive_avg_pool2d(x, grid)
    return box_means_by_products(x, grid)


def box_means_by_products(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """`box_means` as two matrix products."""
    rows, columns = (_weights(cells, side).to(x) for cells, side in zip(grid, x.shape[-2:], strict=True))
    return rows @ x @ columns.T


def _weights(cells: int, side: int) -> Tensor:
    """(cells, side): what each pixel counts for in the mean of each cell."""
    number, place = torch.arange(cells)[:, None], torch.arange(side)
    inside = ((place >= number * side // cells) & (place < -(-(number + 1) * side // cells))).float()
    return inside / inside.sum(1, keepdim=True)


class BoxMeans(nn.Module):
    """`box_means` as a layer."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return box_means(x, self.grid)
