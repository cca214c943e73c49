"""A run of a picture model, loaded for sampling or evaluation: its picture format, classes, data and random draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aigc_cli.backends.pictures.batches import at_once, labels_of
from aigc_cli.backends.pictures.choice import Numbers, chosen_numbers, named
from aigc_cli.backends.pictures.options import (
    KINDS,
    PictureEvalOptions,
    PictureInput,
    PictureTrainOptions,
    as_pictures,
    changed,
    prepare_dataset,
)
from aigc_cli.backends.pictures.quality import QualityOptions, quality
from aigc_cli.data.kinds import find_kind
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.labels import Classes, by_label
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.data.pictures.prepared.preparing import PictureArrays, PictureDataset, read_as_pictures
from aigc_cli.engine.device import derive_seed, open_device
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError, understood
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.options import rebuild

Model = TypeVar("Model", bound=nn.Module)
Plan = TypeVar("Plan", bound=PictureTrainOptions)


@dataclass(frozen=True)
class LoadedPictures(ABC):
    """A run of a picture model; a backend adds its networks."""

    plan: PictureTrainOptions
    data: Mapping[str, Any]
    """The run's record of its data."""
    classes: Classes
    """The classes the model is conditioned on; none without --conditional."""
    device: torch.device

    @property
    @abstractmethod
    def takes_unlabelled(self) -> bool:
        """Whether the model works without a label: it has no classes, or was trained on unlabelled pictures too. Of several
        labels, some are always dropped in training."""

    @cached_property
    def format(self) -> PictureFormat:
        return PictureFormat.of_run(self.data)

    @property
    def things(self) -> str:
        """What its examples are called: "pictures"."""
        return str(self.data.get("kind", KINDS[0]))

    @property
    def one(self) -> str:
        """What an example is called: "picture"."""
        return find_kind(self.things).one

    @property
    def dimensions(self) -> int:
        """The number of values in a picture."""
        return self.format.height * self.format.width * self.format.channels

    def at_once(self, batch_size: int) -> int:
        """How many pictures to compute at once: --batch-size, or fewer if they are large."""
        return at_once(self.dimensions, batch_size)

    def labels(self, labels: Tensor) -> Tensor | None:
        """Class numbers on the device; None if the model has no classes."""
        return labels.to(self.device) if self.plan.conditional else None

    def labels_from(self, numbers: Sequence[Numbers]) -> Tensor | None:
        """Class numbers of pictures, as `labels` returns them."""
        if not self.plan.conditional:
            return None
        labels = torch.tensor(numbers)
        return self.labels(labels if isinstance(self.classes, Mapping) else labels[:, 0])

    def numbers_of(self, labels: Tensor | None, n: int) -> list[Numbers]:
        """The inverse of `labels_from`, for n pictures."""
        if labels is None:
            return [()] * n
        return [tuple(row) for row in (labels if labels.ndim > 1 else labels[:, None]).tolist()]

    def named(self, numbers: Numbers) -> dict[str, str]:
        """The class names in a picture's record, without labels that it doesn't have."""
        return {key: name for key, name in named(numbers, self.classes).items() if name is not None}

    def labels_of(self, arrays: PictureArrays, index: NDArray[np.int64]) -> Tensor | None:
        """The labels of some pictures, as `labels` returns them."""
        return self.labels(labels_of(arrays, index))

    def usable(self, arrays: PictureArrays) -> NDArray[np.int64]:
        """The indices of the pictures that the model can take: only labelled ones, if it was trained only on those."""
        every = np.arange(len(arrays))
        return every if self.takes_unlabelled else every[labels_of(arrays, every).numpy() >= 0]

    def require_labels(self, arrays: PictureArrays, source: str, advice: str) -> None:
        """Raise `RequestError` if a picture has no label, but the model was trained only on labelled ones."""
        if missing := len(arrays) - len(self.usable(arrays)):
            which = "has no label" if len(arrays) == 1 else f"has {missing:,} {self.things} without a label"
            raise RequestError(f"{source} {which}, but this model was trained only on labelled {self.things}; {advice}")

    def chosen(self, label: str) -> Numbers:
        """The classes that --label names. Raises `RequestError` for classes the model was not trained on."""
        if not self.plan.conditional:
            raise RequestError(f"--label {label}: this run was trained without --conditional, so it can't draw one class")
        return chosen_numbers(label, self.classes)


def load_parts(
    run: Run, device: str, plan: type[Plan], load: Callable[[Path], Model]
) -> tuple[Plan, Mapping[str, Any], Classes, torch.device, Model]:
    """The fields of `LoadedPictures`, and the run's model on the device."""
    where = open_device(device)
    with understood(f"run {run.path}: its run.json"):
        data, settled = run.record["data"], rebuild(plan, run.record["plan"])
        classes = _classes(data) if settled.conditional else ()
    return settled, data, classes, where, load(run.model).to(where)


def _classes(data: Mapping[str, Any]) -> Classes:
    """The classes in a run's record of its data. Raises ValueError or the like if they are none."""
    classes: Classes = data["classes"]
    names = [name for of in by_label(classes).values() for name in of]
    if not isinstance(classes, list | tuple | dict) or not all(isinstance(name, str) for name in names):
        raise ValueError("classes are not texts")
    return classes


def read_pictures(loaded: LoadedPictures, source: str, **how: Any) -> PictureArrays:
    """The pictures of a source in the run's format, or what its data are instead; for `how` see `read_as_pictures`."""
    return read_as_pictures(source, as_pictures(loaded.things).like(loaded.data), **how)


def read_pictures_for(
    loaded: LoadedPictures, source: str, options: PictureInput, bus: Bus, split: str | None = None
) -> PictureArrays:
    """As `read_pictures`, labelled with the model's classes."""
    return read_pictures(
        loaded,
        source,
        classes=loaded.classes,
        label=options.label,
        input_format=options.input_format,
        split=split,
        progress=bus.stage,
    )


def evaluation_pictures(
    loaded: LoadedPictures, dataset: PictureDataset | None, options: PictureEvalOptions, bus: Bus
) -> tuple[PictureArrays, str, list[str]]:
    """The pictures to evaluate on, their name, and notes: --data, or the half of the held-out data that chose no checkpoint."""
    if options.data is not None:
        arrays = read_pictures_for(loaded, options.data, options, bus, options.split)
        return arrays, options.data, list(arrays.notes)
    assert dataset is not None
    notes = ["evaluated on the validation data, which also chose the checkpoint"] if dataset.explicit_val else []
    return dataset.report, "held-out", notes


def quality_of(
    loaded: LoadedPictures,
    samples: Iterable[Pixels],
    dataset: PictureDataset,
    held_out: PictureArrays,
    options: QualityOptions,
    seed: int,
    bus: Bus,
) -> tuple[dict[str, Measure], list[str]]:
    """`quality` of a run's samples beside the data that it was trained on."""
    return quality(
        samples,
        dataset.train,
        held_out,
        dataset.classes,
        options,
        seed=seed,
        device=loaded.device,
        bus=bus,
        heard=dataset.heard,
    )


def dataset_of(run: Run, options: type[PictureTrainOptions], bus: Bus) -> PictureDataset:
    """The data the run was trained on. Raises `RequestError` if it has changed."""
    with understood(f"run {run.path}: its run.json"):
        data, plan = run.record["data"], {**options.earlier, **run.record["plan"]}
        classes = _classes(data)
    if lines := changed(data):
        raise RequestError(lines[0])
    dataset: PictureDataset = prepare_dataset(rebuild(options, plan), bus, classes).arrays
    return dataset


def keyed(*keys: object) -> torch.Generator:
    """A random generator seeded by `keys`. It is on the CPU, so draws are the same for every device."""
    return torch.Generator().manual_seed(derive_seed(*keys))
