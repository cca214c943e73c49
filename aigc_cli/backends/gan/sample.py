"""`aigc sample gan`: pictures from seeds, and interpolations between two seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.gan.config import Sample
from aigc_cli.backends.gan.loaded import Loaded
from aigc_cli.backends.pictures.loaded import keyed
from aigc_cli.engine.run import Run


@dataclass(frozen=True)
class Draw:
    """A picture to draw: its latent (latent,), its class (-1 for none), and its record for `--json`."""

    z: Tensor
    number: int
    record: Mapping[str, Any]


def sample_pictures(run: Run, options: Sample) -> Iterator[Drawn]:
    """The requested samples, in order."""
    loaded = Loaded.of(run, options.device)
    label = None if options.label is None else loaded.class_number(options.label)
    draws = (
        _from_seeds(loaded, options, label) if options.ends is None else _interpolated(loaded, options, *options.ends, label)
    )
    return drawn(loaded, draws, loaded.at_once(options.batch_size))


def drawn(loaded: Loaded, draws: Iterable[Draw], batch_size: int) -> Iterator[Drawn]:
    """The pictures of `draws`, computed in batches."""
    draws = iter(draws)
    while some := list(islice(draws, batch_size)):
        pictures = loaded.pictures(torch.stack([one.z for one in some]), [one.number for one in some])
        for one, pixels in zip(some, pictures, strict=True):
            known = {"label": loaded.classes[one.number]} if loaded.classes and one.number >= 0 else {}
            yield Drawn({**one.record, **known}, pixels)


def latent(loaded: Loaded, seed: int, index: int) -> Tensor:
    """z ~ N(0, I), (latent,). It depends only on seed and index."""
    return torch.randn(loaded.generator.config.latent, generator=keyed(seed, index))


def _class_of(loaded: Loaded, seed: int, index: int) -> int:
    """Cycles through the classes, starting with another one for each seed."""
    return (seed + index) % len(loaded.classes) if loaded.classes else -1


def _from_seeds(loaded: Loaded, options: Sample, label: int | None) -> Iterator[Draw]:
    for position in range(options.expected()):
        seed, index = options.seed_of(position), options.index_of(position)
        number = _class_of(loaded, seed, index) if label is None else label
        yield Draw(options.truncation * latent(loaded, seed, index), number, {"seed": seed, "index": index})


def _interpolated(loaded: Loaded, options: Sample, first: int, last: int, label: int | None) -> Iterator[Draw]:
    """Draws from one seed's picture to another's, all of the first one's class."""
    number = _class_of(loaded, first, 0) if label is None else label
    a, b = latent(loaded, first, 0), latent(loaded, last, 0)
    for index in range(options.n):
        share = index / max(1, options.n - 1)
        record = {"seed": first, "to": last, "index": index, "share": round(share, 6)}
        yield Draw(options.truncation * between(a, b, share), number, record)


def between(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation, with lengths interpolated linearly. Linear interpolation would leave the shell where Gaussian
    vectors lie (White 2016, arXiv 1609.04468)."""
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if angle < 1e-4 or math.pi - angle < 1e-4:
        return torch.lerp(a, b, share)
    direction = (((1 - share) * angle).sin() * a / a.norm() + (share * angle).sin() * b / b.norm()) / angle.sin()
    point: Tensor = direction * torch.lerp(a.norm(), b.norm(), share)
    return point
