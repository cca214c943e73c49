"""Textures (`--tile`): latents in maps, pictures that wrap at their edges, and the sizes they can have.

The first half of a texture's latents are the same at every place and say what kind of texture it is; the others differ from
place to place (Bergmann et al. 2017, periodic spatial GAN, without its periodic part).
"""

from __future__ import annotations

import torch
from torch import Tensor

from aigc_cli.backends.gan.model import GANConfig
from aigc_cli.backends.pictures.networks import levels_for
from aigc_cli.data.pictures.format import Size
from aigc_cli.errors import RequestError

#: The longest side of the last level, as in presets.
SMALLEST = 4


def latents(
    config: GANConfig,
    n: int,
    size: Size | None = None,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """n latents ~ N(0, I): (n, latent); of textures (n, latent, h, w), for pictures of `size`, by default those of training."""
    if not config.tile:
        return torch.randn(n, config.latent, generator=generator, device=device)
    height, width = (side // config.cell for side in size or (config.height, config.width))
    shared = config.latent // 2
    everywhere = torch.randn(n, shared, 1, 1, generator=generator, device=device).expand(-1, -1, height, width)
    here = torch.randn(n, config.latent - shared, height, width, generator=generator, device=device)
    return torch.cat((everywhere, here), dim=1)


def rolled(x: Tensor) -> Tensor:
    """The pictures (B, C, H, W), each shifted around by a random number of pixels down and right, so that the discriminator
    sees where they wrap."""
    batch, channels, height, width = x.shape
    rows, columns = (
        (torch.arange(side, device=x.device) + torch.randint(side, (batch, 1), device=x.device)) % side
        for side in (height, width)
    )
    index = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
    return x.flatten(2).gather(2, index.expand(-1, channels, -1)).view_as(x)


def check_window(size: Size) -> None:
    """Raise RequestError for a window that isn't whole cells."""
    check_cells(size, 2 ** levels_for(*size, SMALLEST), "")


def check_cells(size: Size, cell: int, of_run: str) -> None:
    """Raise RequestError for a size that isn't a multiple of the cell."""
    if min(size) < cell or size[0] % cell or size[1] % cell:
        near = [max(cell, round(side / cell) * cell) for side in size]
        given = f"{near[0]}" if near[0] == near[1] else f"{near[1]}x{near[0]}"
        raise RequestError(
            f"--size {size[1]}x{size[0]}: the sides of a texture{of_run} are multiples of {cell}, such as --size {given}"
        )
