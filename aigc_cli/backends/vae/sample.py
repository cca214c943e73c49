"""`aigc sample vae` and `aigc decode vae`: pictures from the prior, from other pictures and from latents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.pictures.choice import Numbers, class_number, in_turn
from aigc_cli.backends.pictures.loaded import keyed, read_pictures
from aigc_cli.backends.vae.codes.verbs import decoded_codes, require_reconstruct
from aigc_cli.backends.vae.config import Decode, Sample
from aigc_cli.backends.vae.encode import encoded, held_out, posteriors
from aigc_cli.backends.vae.loaded import Loaded
from aigc_cli.backends.vae.priors.flow_matching import FlowMatchingPrior
from aigc_cli.data.kinds import find_kind
from aigc_cli.data.latents_input import Latents
from aigc_cli.data.pictures.labels import by_label
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.data.pictures.prepared.preparing import PictureArrays
from aigc_cli.engine.events import Bus
from aigc_cli.engine.processes.sharing import shared
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.latents.information import information_per_latent

#: The number of held-out pictures that --traverse gets the most informative latents and their ranges from.
TRAVERSE_PICTURES = 1000


@torch.inference_mode()
def sample_pictures(run: Run, options: Sample, bus: Bus) -> Iterator[Drawn]:
    """The requested samples, in order."""
    modes = [name for name in ("interpolate", "reconstruct", "traverse") if getattr(options, name)]
    if len(modes) > 1:
        raise RequestError(f"--{modes[0]} and --{modes[1]} can't be used together")
    loaded = Loaded.of(run, options.device)
    options = replace(options, batch_size=loaded.at_once(options.batch_size))
    if loaded.codes:
        require_reconstruct(run, options, modes)
    else:
        _set_solver(loaded, options, modes)
    if options.interpolate:
        yield from _interpolated(loaded, options, options.interpolate, bus)
    elif options.reconstruct:
        yield from _reconstructed(loaded, options, options.reconstruct, bus)
    elif options.traverse:
        yield from _traversed(run, loaded, options, bus)
    else:
        yield from from_prior(loaded, options)


@torch.inference_mode()
def decode_latents(run: Run, options: Decode, latents: Latents, bus: Bus) -> Iterator[Drawn]:
    """A picture for each latent vector."""
    loaded = Loaded.of(run, options.device)
    options = replace(options, batch_size=loaded.at_once(options.batch_size))
    if loaded.codes:
        yield from decoded_codes(loaded, latents)
        return
    latents.require_width(loaded.model.config.latents)
    numbers = _decoded_classes(loaded, options, latents)
    records = ({"name": name} for name in latents.names)
    yield from _decoded(loaded, torch.from_numpy(latents.vectors), numbers, records, options.batch_size)


def _decoded_classes(loaded: Loaded, options: Decode, latents: Latents) -> list[Numbers]:
    """The classes of each row, from --label or the table's columns `label` or `label_NAME`."""
    n = len(latents.names)
    if options.label is not None:
        return [loaded.chosen(options.label)] * n
    columns = []
    for name, classes in by_label(loaded.classes).items():
        labels = latents.labels.get(f"label_{name}" if name else "label", [None] * n)
        columns.append([-1 if of is None else class_number(of, classes, f"{latents.source}: label {of!r}") for of in labels])
    numbers: list[Numbers] = [*zip(*columns, strict=True)] if columns else [()] * n
    if (-1,) in numbers and not loaded.takes_unlabelled:
        where = f"row {numbers.index((-1,)) + 1} has no label" if "label" in latents.labels else "there is no column 'label'"
        raise RequestError(
            f"{latents.source}: {where}, but this model was trained only on labelled {loaded.things}; choose a class with "
            "--label"
        )
    return numbers


@torch.inference_mode()
def from_prior(loaded: Loaded, options: Sample, classes: Sequence[Numbers] | None = None) -> Iterator[Drawn]:
    """z = f⁻¹(τ·u), u ~ N(0, I). Picture i depends only on (seed, i). Cycles through the classes or their combinations unless
    `classes`, those of each picture, or --label are given."""
    label = None if options.label is None else loaded.chosen(options.label)
    latents = loaded.model.config.latents
    batches = (range(at, min(at + options.batch_size, options.n)) for at in range(0, options.n, options.batch_size))

    def numbers_of(index: range) -> list[Numbers]:
        return [classes[i] if classes else label or in_turn(loaded.classes, i) for i in index]

    def of_batch(index: range) -> list[Pixels]:
        u = torch.stack([torch.randn(latents, generator=keyed(options.seed, i)) for i in index])
        labels = loaded.labels_from(numbers_of(index))
        return loaded.pictures(loaded.model.prior.inverse(options.temperature * u.to(loaded.device), labels), labels)

    for index, pictures in shared(batches, of_batch):
        for i, numbers, pixels in zip(index, numbers_of(index), pictures, strict=True):
            record: dict[str, Any] = {"seed": options.seed, "index": i}
            yield Drawn(record | loaded.named(numbers), pixels)


def _set_solver(loaded: Loaded, options: Sample, modes: list[str]) -> None:
    """Set the solver of a prior learned by flow matching. Raises `RequestError` for options that the model can't follow."""
    prior = loaded.model.prior
    if isinstance(prior, FlowMatchingPrior):
        if options.guidance is not None and modes:
            raise RequestError(f"--guidance is for draws from the prior, not for --{modes[0]}; remove it")
        if options.guidance is not None and not loaded.plan.conditional:
            raise RequestError("--guidance needs classes, but this run was trained without --conditional; remove it")
        prior.steps = options.sampling_steps or prior.steps
        prior.guidance = prior.guidance if options.guidance is None else options.guidance
        return
    for name in ("sampling_steps", "guidance"):
        if getattr(options, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise RequestError(f"{flag} is for runs trained with --objective samples, and this one wasn't; remove it")


def _read(loaded: Loaded, source: str, options: Sample, bus: Bus) -> tuple[PictureArrays, Numbers | None]:
    """The pictures of a source, and the classes that --label gives to all of them; None if their own labels are used."""
    label = None if options.label is None else loaded.chosen(options.label)
    arrays = read_pictures(loaded, source, classes=loaded.classes if label is None else (), progress=bus.stage)
    for note in arrays.notes:
        bus.note(note)
    if label is None:
        loaded.require_labels(arrays, source, "choose a class with --label")
    return arrays, label


def _interpolated(loaded: Loaded, options: Sample, ends: tuple[str, str], bus: Bus) -> Iterator[Drawn]:
    """From one picture to another in the space where the prior is N(0, I). If their classes differ, each half of
    the result has the class of its end."""
    means, numbers = [], list[Numbers]()
    for source in ends:
        arrays, label = _read(loaded, source, options, bus)
        if len(arrays) != 1:
            raise RequestError(
                f"--interpolate {source} has {len(arrays):,} {loaded.things}; give two files with one {loaded.one} each"
            )
        _, labels, posterior, _ = next(posteriors(loaded, arrays, 1, label=label))
        means.append(posterior.mean)
        numbers += loaded.numbers_of(labels, 1)
    a, b = loaded.model.prior.to_noise(torch.cat(means), loaded.labels_from(numbers))
    share = torch.linspace(0, 1, options.n, device=loaded.device)[:, None]
    classes = [numbers[s > 0.5] for s in share.flatten().tolist()]
    z = loaded.model.prior.inverse(loaded.model.prior.between(a, b, share), loaded.labels_from(classes))
    records = ({"seed": options.seed, "index": i, "share": round(float(s), 6)} for i, s in enumerate(share))
    yield from _decoded(loaded, z, classes, records, options.batch_size)


def _reconstructed(loaded: Loaded, options: Sample, source: str, bus: Bus) -> Iterator[Drawn]:
    """Each picture's posterior mean, decoded: the same as `encode` followed by `decode`."""
    arrays, label = _read(loaded, source, options, bus)
    first = np.arange(min(options.n, len(arrays)))
    if len(first) < len(arrays):
        bus.note(f"the first {len(first):,} of {len(arrays):,} {loaded.things}; for all of them, use -n {len(arrays)}")
    for index, labels, posterior, _ in posteriors(loaded, arrays, options.batch_size, first, label):
        numbers = loaded.numbers_of(labels, len(index))
        for i, number, pixels in zip(index.tolist(), numbers, loaded.pictures(posterior.mean, labels), strict=True):
            record = {"seed": options.seed, "index": i, "name": arrays.names[i]}
            yield Drawn(record | loaded.named(number), pixels)


def _traversed(run: Run, loaded: Loaded, options: Sample, bus: Bus) -> Iterator[Drawn]:
    """A row per latent, varied over the middle 95 % of held-out pictures' posterior means, with the other latents at the
    prior's centre. With classes, all are of those of --label, or of the most common ones."""
    arrays = held_out(run, bus)
    index = loaded.usable(arrays)[:TRAVERSE_PICTURES]
    if not len(index):
        raise RequestError(
            f"--traverse needs held-out {loaded.things} with labels, because the model was trained only on labelled ones"
        )
    table = encoded(loaded, arrays, index, options.batch_size)
    if options.label is not None:
        number = loaded.chosen(options.label)
    else:
        number = Counter(loaded.numbers_of(loaded.labels_of(arrays, index), len(index))).most_common(1)[0][0]
    information = information_per_latent(table.mean, table.log_var).mean(0)
    origin = torch.zeros(1, loaded.model.config.latents, device=loaded.device)
    centre = loaded.model.prior.inverse(origin, loaded.labels_from([number]))
    for rank, latent in enumerate(np.argsort(-information, kind="stable")[: find_kind(loaded.things).rows].tolist()):
        low, high = np.quantile(table.mean[:, latent], [0.025, 0.975])
        z = centre.repeat(options.n, 1)
        z[:, latent] = torch.linspace(float(low), float(high), options.n)
        row = {"seed": options.seed, "latent": latent, "nats": round(float(information[latent]), 4)}
        values = enumerate(z[:, latent].tolist(), rank * options.n)
        records = ({**row, "index": i, "value": round(value, 4)} for i, value in values)
        yield from _decoded(loaded, z, [number] * options.n, records, options.batch_size)


def _decoded(
    loaded: Loaded, z: Tensor, numbers: Sequence[Numbers], records: Iterator[dict[str, Any]], batch_size: int
) -> Iterator[Drawn]:
    """A picture for each latent (n, latents) and its class numbers (n)."""
    labels = loaded.labels_from(numbers)
    for at in range(0, len(z), batch_size):
        some = slice(at, at + batch_size)
        pictures = loaded.pictures(z[some].to(loaded.device), None if labels is None else labels[some])
        for number, pixels in zip(numbers[some], pictures, strict=True):
            yield Drawn(next(records) | loaded.named(number), pixels)
