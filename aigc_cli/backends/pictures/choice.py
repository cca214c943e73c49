"""Which classes to draw: --label of a command, and the classes of a run's one or several labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from aigc_cli.data.pictures.labels import Classes, by_label
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

Numbers: TypeAlias = tuple[int, ...]
"""A class number for each label, -1 for none; empty if there are no labels."""


def chosen_numbers(text: str, classes: Classes) -> Numbers:
    """The classes that --label names: one, or of several labels `label=class,…`, where a class that only one of them has needs
    no name. Raises `RequestError` for anything else."""
    where = f"--label {text}"
    labels = by_label(classes)
    if "" in labels:
        return (class_number(text, labels[""], where),)
    names = {nfc(name): place for place, name in enumerate(labels)}
    found: dict[int, int] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):  # quotes allow a class to have a comma
        name, equals, value = part.strip().partition("=")
        if equals and nfc(name) in names:
            place = names[nfc(name)]
            number = class_number(value, [*labels.values()][place], where, f"the label {name!r}")
        else:
            place, number = _by_class(part.strip(), labels, where)
        if place in found:
            raise RequestError(f"{where} gives {[*labels][place]!r} twice")
        found[place] = number
    return tuple(found.get(place, -1) for place in range(len(labels)))


def label_text(names: Mapping[str, str]) -> str:
    """The text that --label takes for one class of each of several labels."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([f"{label}={name}" for label, name in names.items()])
    return text.getvalue()


def _by_class(name: str, labels: dict[str, tuple[str, ...]], where: str) -> tuple[int, int]:
    """The label that has a class of this name, and the class's number."""
    places = [place for place, of in enumerate(labels.values()) if nfc(name) in map(nfc, of)]
    if len(places) == 1:
        return places[0], class_number(name, [*labels.values()][places[0]], where)
    if places:
        of = " and ".join(repr([*labels][place]) for place in places)
        raise RequestError(f"{where}: {name!r} is a class of {of}; write {[*labels][places[0]]}={name}")
    label, equals, _ = name.partition("=")
    if equals:
        raise RequestError(
            f"{where}: there is no label {label!r}; the model has {', '.join(labels)}{did_you_mean(label, labels)}"
        )
    known = "; ".join(f"{label}: {_listed(of)}" for label, of in labels.items())
    every = [name for of in labels.values() for name in of]
    raise RequestError(f"{where}: no label has the class {name!r}; the model has {known}{did_you_mean(name, every)}")


def class_number(name: str, classes: Sequence[str], where: str, whose: str = "the model") -> int:
    """The number of a class, from its name or number. Raises `RequestError` if there is no such class."""
    numbers = {nfc(known): number for number, known in enumerate(classes)}
    if nfc(name) in numbers:
        return numbers[nfc(name)]
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    what = "no such class; it has" if whose == "the model" else f"no class {name!r}; it has"
    raise RequestError(f"{where}: {whose} has {what} {_listed(classes)}{did_you_mean(name, classes)}")


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:10]) + (", …" if len(classes) > 10 else "")


def in_turn(classes: Classes, index: int) -> Numbers:
    """The classes of the picture at `index` if pictures take turns: of several labels, through all combinations."""
    numbers = []
    for of in by_label(classes).values():
        index, number = divmod(index, len(of))
        numbers.append(number)
    return tuple(numbers)


def labels_in_turn(classes: Classes, n: int) -> Tensor:
    """The classes of n pictures that take turns, (n,), or of several labels (n, labels); 0 without classes."""
    import torch

    if not classes:
        return torch.zeros(n, dtype=torch.int64)
    labels = torch.tensor([in_turn(classes, index) for index in range(n)])
    return labels if isinstance(classes, Mapping) else labels[:, 0]


def named(numbers: Numbers, classes: Classes) -> dict[str, str | None]:
    """The class names in a picture's record: `label`, or `label_NAME` for each of several."""
    labels = by_label(classes)
    return {
        f"label_{label}" if label else "label": of[number] if number >= 0 else None
        for number, (label, of) in zip(numbers, labels.items(), strict=False)
    }
