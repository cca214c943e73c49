"""Training examples that would show a mistake: the first, the largest and smallest files or longest and shortest sounds, and
one of each class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.data.pictures.format import describe_size
from aigc_cli.data.pictures.labels import by_label
from aigc_cli.engine.trainable import Example

CLASSES = 6


def examples(data: PictureDataset) -> list[Example]:
    """Each picture or sound once. Only pictures in files of their own have a size."""
    chosen: dict[int, list[str]] = {0: ["first"]}
    for what, number in _extremes(data):
        chosen.setdefault(number, []).append(what)
    chosen |= {number: ["of a class"] for number in _of_other_classes(data, [*chosen])}
    return [Example(" and ".join(of), data.train.names[number], _about(data, number)) for number, of in chosen.items()]


def _extremes(data: PictureDataset) -> list[tuple[str, int]]:
    """The largest and the smallest file, or the longest and the shortest sound."""
    if data.train.seconds is not None:
        return [("longest", int(data.train.seconds.argmax())), ("shortest", int(data.train.seconds.argmin()))]
    folder = Path(data.info["location"])
    sizes = [_bytes(folder / name) for name in data.train.names] if folder.is_dir() else []
    files = [number for number, size in enumerate(sizes) if size]
    return (
        [("largest file", max(files, key=sizes.__getitem__)), ("smallest file", min(files, key=sizes.__getitem__))]
        if files
        else []
    )


def _of_other_classes(data: PictureDataset, shown: list[int]) -> Iterator[int]:
    """The first picture of each class that no `shown` picture is of, as long as few classes are shown."""
    if data.train.labels is None:
        return
    for of_label, classes in zip(_columns(data.train.labels), by_label(data.classes).values(), strict=True):
        known = {int(of_label[number]) for number in shown}
        for label in [label for label in range(len(classes)) if label not in known][: CLASSES - len(known)]:
            with suppress(IndexError):
                yield int(np.flatnonzero(of_label == label)[0])


def _columns(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The labels (n,) or (n, labels) by label, (labels, n)."""
    return labels.reshape(len(labels), -1).T


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a member of an archive, or a row of a table
        return 0


def _about(data: PictureDataset, number: int) -> str:
    facts = []
    path = Path(data.info["location"]) / data.train.names[number]
    if data.train.seconds is not None:
        facts.append(f"{data.train.seconds[number]:.3g} s")
    elif path.is_file():
        from PIL import Image

        from aigc_cli.data.pictures.decoding.decode import upright_size

        with suppress(OSError), Image.open(path) as picture:
            facts.append(describe_size(upright_size(picture)))
    if data.train.labels is not None:
        of_picture = _columns(data.train.labels)[:, number].tolist()
        of_labels = by_label(data.classes).values()
        facts += [classes[label] for label, classes in zip(of_picture, of_labels, strict=True) if label >= 0]
    return ", ".join(facts)
