"""What backends of pictures do alike with a run: its data again, its classes, its draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from aigc_cli.backends.pictures import PictureTrainOptions, prepare_dataset
from aigc_cli.data.pictures import PictureDataset, check_unchanged
from aigc_cli.engine.device import derive_seed
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.engine.trainable import Prepared
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean, rebuild


class PictureTraining:
    """What training on pictures asks of a backend, whatever it learns from them."""

    def prepare(self, options: PictureTrainOptions, bus: Bus) -> Prepared:
        return prepare_dataset(options, bus)

    def changed(self, info: dict[str, Any]) -> list[str]:
        return check_unchanged(info)


def dataset_of(run: Run, options: type[PictureTrainOptions], bus: Bus) -> PictureDataset:
    """The data that the run was trained on. RequestError where they aren't as they were."""
    if changed := check_unchanged(run.record["data"]):
        raise RequestError(changed[0])
    dataset: PictureDataset = prepare_dataset(rebuild(options, run.record["plan"]), bus).arrays
    return dataset


def class_number(name: str, classes: Sequence[str], *, conditional: bool) -> int:
    """The number of a class, by its name, or by the number itself. RequestError for one that the model never saw."""
    if not conditional:
        raise RequestError(f"--label {name}: this run was trained without --conditional, so it cannot draw one class")
    if name in classes:
        return classes.index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    known = ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")
    raise RequestError(f"--label {name}: the model saw no such class; it saw {known}{did_you_mean(name, classes)}")


def keyed(*keys: object) -> torch.Generator:
    """Draws that depend on these keys alone, the same on every device."""
    return torch.Generator().manual_seed(derive_seed(*keys))
