"""`aigc sample vae` and `aigc decode vae`: pictures from the prior, from other pictures, and from latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.pictures.loaded import keyed
from aigc_cli.backends.vae.config import Decode, Sample
from aigc_cli.backends.vae.encode import encoded, held_out, posteriors
from aigc_cli.backends.vae.loaded import Loaded
from aigc_cli.data.latents_input import Latents
from aigc_cli.data.pictures.dataset import read_pictures
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.latents.information import information_per_latent

#: Held-out pictures by which --traverse finds the informative latents and how far each goes.
TRAVERSE_PICTURES = 1000
#: Rows of --traverse: under a map there are hundreds of latents, most of which matter to one place only.
TRAVERSED = 40


@torch.inference_mode()
def sample_pictures(run: Run, options: Sample, bus: Bus) -> Iterator[Drawn]:
    """What `aigc sample vae` asks for, in order."""
    modes = [name for name in ("interpolate", "reconstruct", "traverse") if getattr(options, name)]
    if len(modes) > 1:
        raise RequestError(f"--{modes[0]} and --{modes[1]} exclude one another")
    loaded = Loaded.of(run, options.device)
    if options.interpolate:
        yield from _interpolated(loaded, options, options.interpolate, bus)
    elif options.reconstruct:
        yield from _reconstructed(loaded, options, options.reconstruct, bus)
    elif options.traverse:
        yield from _traversed(run, loaded, options, bus)
    else:
        yield from _from_prior(loaded, options)


@torch.inference_mode()
def decode_latents(run: Run, options: Decode, latents: Latents, bus: Bus) -> Iterator[Drawn]:
    """A picture for each latent vector."""
    loaded = Loaded.of(run, options.device)
    latents.require_width(loaded.model.config.latents)
    records = ({"name": name} for name in latents.names)
    yield from _decoded(loaded, torch.from_numpy(latents.vectors), records, options.batch_size)


def _from_prior(loaded: Loaded, options: Sample) -> Iterator[Drawn]:
    """z = f⁻¹(τ·u), u ~ N(0, I): picture i depends on (seed, i) alone. With classes and no --label, they take turns."""
    label = None if options.label is None else loaded.class_number(options.label)
    latents = loaded.model.config.latents
    for at in range(0, options.n, options.batch_size):
        index = range(at, min(at + options.batch_size, options.n))
        u = torch.stack([torch.randn(latents, generator=keyed(options.seed, i)) for i in index])
        numbers = [i % len(loaded.classes) if label is None else label for i in index] if loaded.plan.conditional else None
        labels = None if numbers is None else torch.tensor(numbers, device=loaded.device)
        z = loaded.model.prior.inverse(options.temperature * u.to(loaded.device), labels)
        for i, pixels in zip(index, loaded.pictures(z, labels), strict=True):
            record: dict[str, Any] = {"seed": options.seed, "index": i}
            if numbers is not None:
                record["label"] = loaded.classes[numbers[i - at]]
            yield Drawn(record, pixels=pixels)


def _interpolated(loaded: Loaded, options: Sample, ends: tuple[str, str], bus: Bus) -> Iterator[Drawn]:
    """The straight way between two pictures in the space where the prior is the standard normal."""
    means = []
    for source in ends:
        arrays = read_pictures(source, loaded.format, progress=bus.stage)
        if len(arrays) != 1:
            raise RequestError(f"--interpolate {source} holds {len(arrays):,} pictures; name two files of one picture each")
        means.append(next(posteriors(loaded, arrays, 1))[1].mean)
    a, b = loaded.model.prior(torch.cat(means), loaded.labelled(2, options.label))[0]
    share = torch.linspace(0, 1, options.n, device=loaded.device)[:, None]
    z = loaded.model.prior.inverse(torch.lerp(a.expand(options.n, -1), b, share), loaded.labelled(options.n, options.label))
    records = ({"seed": options.seed, "index": i, "share": round(float(s), 6)} for i, s in enumerate(share))
    yield from _decoded(loaded, z, records, options.batch_size, options.label)


def _reconstructed(loaded: Loaded, options: Sample, source: str, bus: Bus) -> Iterator[Drawn]:
    """Each picture's most likely latent, decoded: what `encode` and then `decode` give."""
    arrays = read_pictures(source, loaded.format, progress=bus.stage)
    first = np.arange(min(options.n, len(arrays)))
    if len(first) < len(arrays):
        bus.note(f"the first {len(first):,} of {len(arrays):,} pictures; -n {len(arrays)} takes all of them")
    for index, posterior, _ in posteriors(loaded, arrays, options.batch_size, first):
        pictures = loaded.pictures(posterior.mean, loaded.labelled(len(index), options.label))
        for i, pixels in zip(index.tolist(), pictures, strict=True):
            yield Drawn({"seed": options.seed, "index": i, "name": arrays.names[i]}, pixels=pixels)


def _traversed(run: Run, loaded: Loaded, options: Sample, bus: Bus) -> Iterator[Drawn]:
    """A row a latent, over the middle 95 % of what held-out pictures are encoded to, the others as in the prior's centre."""
    arrays = held_out(run, bus)
    table = encoded(loaded, arrays, np.arange(min(len(arrays), TRAVERSE_PICTURES)), options.batch_size)
    information = information_per_latent(table.mean, table.log_var).mean(0)
    origin = torch.zeros(1, loaded.model.config.latents, device=loaded.device)
    centre = loaded.model.prior.inverse(origin, loaded.labelled(1, options.label))
    for rank, latent in enumerate(np.argsort(-information, kind="stable")[:TRAVERSED].tolist()):
        low, high = np.quantile(table.mean[:, latent], [0.025, 0.975])
        z = centre.repeat(options.n, 1)
        z[:, latent] = torch.linspace(float(low), float(high), options.n)
        row = {"seed": options.seed, "latent": latent, "nats": round(float(information[latent]), 4)}
        values = enumerate(z[:, latent].tolist(), rank * options.n)
        records = ({**row, "index": i, "value": round(value, 4)} for i, value in values)
        yield from _decoded(loaded, z, records, options.batch_size, options.label)


def _decoded(
    loaded: Loaded, z: Tensor, records: Iterator[dict[str, Any]], batch_size: int, label: str | None = None
) -> Iterator[Drawn]:
    for some in torch.split(z, batch_size):
        for pixels in loaded.pictures(some.to(loaded.device), loaded.labelled(len(some), label)):
            yield Drawn(next(records), pixels=pixels)
