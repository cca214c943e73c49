"""What backends of pictures do alike with a run: its data again, its classes, its draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from aigc_cli.backends.pictures.options import PictureEvalOptions, PictureInput, PictureTrainOptions, prepare_dataset
from aigc_cli.data.pictures.dataset import PictureArrays, PictureDataset, PictureFormat, check_unchanged, read_pictures
from aigc_cli.engine.device import derive_seed, open_device
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.engine.trainable import Prepared
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean, rebuild

Model = TypeVar("Model", bound=nn.Module)
Plan = TypeVar("Plan", bound=PictureTrainOptions)


class PictureTraining:
    """What training on pictures asks of a backend, whatever it learns from them."""

    def prepare(self, options: PictureTrainOptions, bus: Bus) -> Prepared:
        return prepare_dataset(options, bus)

    def changed(self, info: dict[str, Any]) -> list[str]:
        return check_unchanged(info)


@dataclass(frozen=True)
class OpenedPictures:
    """A run of a model of pictures, ready to be asked; a backend adds its networks."""

    plan: PictureTrainOptions
    format: PictureFormat
    classes: Sequence[str]
    """Those that the model knows; none where it was trained without --conditional."""
    device: torch.device

    def class_number(self, name: str) -> int:
        """The number of a class, by its name, or by the number itself. RequestError for one that the model never saw."""
        if not self.plan.conditional:
            raise RequestError(f"--label {name}: this run was trained without --conditional, so it cannot draw one class")
        if name in self.classes:
            return self.classes.index(name)
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        known = ", ".join(self.classes[:10]) + (", …" if len(self.classes) > 10 else "")
        raise RequestError(f"--label {name}: the model saw no such class; it saw {known}{did_you_mean(name, self.classes)}")


def open_parts(
    run: Run, device: str, plan: type[Plan], load: Callable[[Path], Model]
) -> tuple[Plan, PictureFormat, Sequence[str], torch.device, Model]:
    """What `OpenedPictures` holds, and the run's model on the device."""
    opened = open_device(device)
    data, settled = run.record["data"], rebuild(plan, run.record["plan"])
    classes = data["classes"] if settled.conditional else ()
    return settled, PictureFormat.from_json(data["format"]), classes, opened, load(run.model).to(opened)


def read_like(opened: OpenedPictures, source: str, options: PictureInput, bus: Bus, split: str | None = None) -> PictureArrays:
    """The pictures of a source in a run's format, with the labels that its model knows."""
    return read_pictures(
        source,
        opened.format,
        classes=opened.classes,
        label=options.label,
        input_format=options.input_format,
        split=split,
        progress=bus.stage,
    )


def to_measure(
    opened: OpenedPictures, dataset: PictureDataset | None, options: PictureEvalOptions, bus: Bus
) -> tuple[PictureArrays, str, list[str]]:
    """What to measure on, its name, and what there is to tell of it: --data, or the half of the run's held-out slice that chose
    nothing."""
    if options.data is not None:
        arrays = read_like(opened, options.data, options, bus, options.split)
        return arrays, options.data, list(arrays.notes)
    assert dataset is not None
    notes = ["measured on the validation data, which also chose the checkpoint"] if dataset.explicit_val else []
    return dataset.report, "held-out", notes


def dataset_of(run: Run, options: type[PictureTrainOptions], bus: Bus) -> PictureDataset:
    """The data that the run was trained on. RequestError where they aren't as they were."""
    if changed := check_unchanged(run.record["data"]):
        raise RequestError(changed[0])
    dataset: PictureDataset = prepare_dataset(rebuild(options, run.record["plan"]), bus).arrays
    return dataset


def keyed(*keys: object) -> torch.Generator:
    """Draws that depend on these keys alone, the same on every device."""
    return torch.Generator().manual_seed(derive_seed(*keys))
