"""`aigc sample gan`: pictures from seeds, and interpolations between two seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.gan.config import Sample
from aigc_cli.backends.gan.loaded import Loaded
from aigc_cli.backends.gan.tile import check_cells, latents
from aigc_cli.backends.pictures.batches import at_once
from aigc_cli.backends.pictures.choice import Numbers, in_turn
from aigc_cli.backends.pictures.loaded import keyed
from aigc_cli.data.pictures.format import Size, describe_size, parse_size
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.engine.processes.sharing import shared
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError


@dataclass(frozen=True)
class Draw:
    """A picture to draw: its latent (latent,), or map of them, its class numbers, and its record for `--json`."""

    z: Tensor
    numbers: Numbers
    record: Mapping[str, Any]
    shift: tuple[float, float] = (0.0, 0.0)
    """Pixels down and right to shift a texture around by."""


def sample_pictures(run: Run, options: Sample) -> Iterator[Drawn]:
    """The requested samples, in order."""
    loaded = Loaded.of(run, options.device)
    label = None if options.label is None else loaded.chosen(options.label)
    size = _size(loaded, options)
    draws = (
        _from_seeds(loaded, options, label, size)
        if options.ends is None
        else _interpolated(loaded, options, *options.ends, label, size)
    )
    return drawn(loaded, draws, at_once(math.prod(size) * loaded.format.channels, options.batch_size))


def _size(loaded: Loaded, options: Sample) -> Size:
    """The size of the pictures to draw."""
    if options.size is None:
        return loaded.format.size
    if not loaded.plan.tile:
        raise RequestError(
            f"--size {options.size}: this run was trained without --tile, so it draws only {describe_size(loaded.format.size)}"
        )
    size = parse_size(options.size)
    check_cells(size, loaded.generator.config.cell, " of this run")
    return size


def drawn(loaded: Loaded, draws: Iterable[Draw], batch_size: int) -> Iterator[Drawn]:
    """The pictures of `draws`, computed in batches."""
    draws = iter(draws)
    batches = iter(lambda: list(islice(draws, batch_size)), [])

    def of_batch(some: list[Draw]) -> list[Pixels]:
        pictures = loaded.pictures(torch.stack([one.z for one in some]), [one.numbers for one in some])
        return [
            np.roll(picture, [round(by) for by in one.shift], (0, 1)) if any(one.shift) else picture
            for one, picture in zip(some, pictures, strict=True)
        ]

    for some, pictures in shared(batches, of_batch):
        for one, pixels in zip(some, pictures, strict=True):
            yield Drawn({**one.record, **loaded.named(one.numbers)}, pixels)


def latent(loaded: Loaded, seed: int, index: int, size: Size | None = None) -> Tensor:
    """z ~ N(0, I), (latent,) or a map of them, followed by a weight for each cluster, if there are any: 1 for one of them,
    drawn by their shares. It depends only on seed, index and size."""
    generator, random = loaded.generator, keyed(seed, index)
    z = latents(generator.config, 1, size, generator=random)
    return generator.with_clusters(z, generator.drawn_clusters(1, random))[0]


def truncated(loaded: Loaded, z: Tensor, truncation: float) -> Tensor:
    """The latent with ψ z in place of z, of the same clusters."""
    n = loaded.generator.config.latent
    return torch.cat((truncation * z[:n], z[n:]))


def shift(loaded: Loaded, seed: int, index: int) -> tuple[float, float]:
    """How far to shift a texture around, in pixels down and right, by less than a cell: as in training, so that where it wraps
    is no special place in a cell. (0, 0) without --tile."""
    if not loaded.plan.tile:
        return 0.0, 0.0
    down, right = torch.randint(loaded.generator.config.cell, (2,), generator=keyed(seed, index, "shift")).tolist()
    return down, right


def _classes_of(loaded: Loaded, seed: int, index: int) -> Numbers:
    """Cycles through the classes or their combinations, starting with another one for each seed."""
    return in_turn(loaded.classes, seed + index)


def _from_seeds(loaded: Loaded, options: Sample, label: Numbers | None, size: Size) -> Iterator[Draw]:
    for position in range(options.expected()):
        seed, index = options.seed_of(position), options.index_of(position)
        numbers = _classes_of(loaded, seed, index) if label is None else label
        z = truncated(loaded, latent(loaded, seed, index, size), options.truncation)
        yield Draw(z, numbers, {"seed": seed, "index": index}, shift(loaded, seed, index))


def _interpolated(loaded: Loaded, options: Sample, first: int, last: int, label: Numbers | None, size: Size) -> Iterator[Draw]:
    """Draws from one seed's picture to another's, all of the first one's classes."""
    numbers = _classes_of(loaded, first, 0) if label is None else label
    a, b = latent(loaded, first, 0, size), latent(loaded, last, 0, size)
    n = loaded.generator.config.latent
    from_a, from_b = shift(loaded, first, 0), shift(loaded, last, 0)
    for index in range(options.n):
        share = index / max(1, options.n - 1)
        record = {"seed": first, "to": last, "index": index, "share": round(share, 6)}
        normal = between(a[:n].flatten(), b[:n].flatten(), share).view_as(a[:n])
        z = torch.cat((normal, torch.lerp(a[n:], b[n:], share)))
        down, right = ((1 - share) * start + share * end for start, end in zip(from_a, from_b, strict=True))
        yield Draw(truncated(loaded, z, options.truncation), numbers, record, (down, right))


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation, with lengths interpolated linearly. Linear interpolation would leave the shell where Gaussian
    vectors lie (White 2016, arXiv 1609.04468)."""
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if angle < 1e-4 or math.pi - angle < 1e-4:
        return torch.lerp(a, b, share)
    direction = (((1 - share) * angle).sin() * a / a.norm() + (share * angle).sin() * b / b.norm()) / angle.sin()
    point: Tensor = direction * torch.lerp(a.norm(), b.norm(), share)
    return point
