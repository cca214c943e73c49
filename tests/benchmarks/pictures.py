"""Shared by the benchmarks of picture models: data, samples of a run, and measures as rows of a table."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aigc_cli.backends.pictures.quality import QualityOptions, quality, stacked
from aigc_cli.backends.registry import backends
from aigc_cli.data.pictures.dataset import PictureArrays, PictureFormat, PictureRequest, prepare_pictures, read_pictures
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.output import encode_picture, sheet
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import open_run
from aigc_cli.metrics.statistics.bootstrap import Measure

Pixels = NDArray[np.uint8]
"""(n, height, width, channels)"""

FIGURES = f"{'model':14} {'features':9} {'figure':13} {'value':>9} {'95 % interval':^23} {'floor':>9} {'n':>7}"


@dataclass(frozen=True)
class Data:
    train: PictureArrays  # what `aigc train` learns from, which is all but the slice that it holds out
    test: PictureArrays  # what no model sees
    format: PictureFormat
    classes: Sequence[str]


def load(source: str, side: int | None = None, label: str | None = None) -> Data:
    """A source of pictures, decoded into the cache, with sides and a column of classes if given. Test pictures are its test split, for demo:shapes other shapes, and otherwise
    the held-out slice."""
    request = PictureRequest(source, size=None if side is None else (side, side), label=label)
    data = prepare_pictures(request, progress=lambda *_: None)
    test = data.report
    if source.startswith("demo:"):
        test = read_pictures(f"{source.partition('?')[0]}?n=10000&seed=1", data.format, progress=lambda *_: None)
    elif "test" in PICTURES.open(source).parts:
        test = read_pictures(source, data.format, classes=data.classes, split="test", progress=lambda *_: None)
    return Data(data.train, test, data.format, data.classes)


def drawn(run: str | Path, n: int) -> Iterator[Pixels]:
    """The first n pictures of `aigc sample` with seed 0, in chunks."""
    opened = open_run(Path(run))
    backend = backends()[opened.backend]
    options = backend.options["sample"](n=n, seed=0)
    return stacked(backend.load().sample(opened, options, Bus(), None))


def measured(pictures: Pixels, data: Data, features: str) -> tuple[dict[str, Measure], list[str]]:
    """The measures of pictures against as many test pictures, as in `aigc eval`, and notes."""
    options = QualityOptions(n=len(pictures), features=features)
    return quality([pictures], data.train, data.test, data.classes, options, seed=0, device=torch.device("cpu"), bus=Bus())


def show(name: str, found: Mapping[str, Measure], notes: Sequence[str] = ()) -> None:
    """A row for each measure, then the shares of classes if known."""
    for figure, measure in found.items():
        interval = "" if measure.low is None or measure.high is None else f"[{measure.low:.4g}, {measure.high:.4g}]"
        values = f"{measure.value:9.4g} {interval:^23} {measure.extra['floor'].value:9.4g} {measure.n:7,}"
        print(f"{name:14} {measure.extra['features']:9} {figure:13} {values}")
    if "class_shares" in found:
        beside = found["class_shares"].extra
        of_tests, accuracy = beside["held_out"], beside["accuracy"]
        shares = ", ".join(f"{label} {share:.1%} ({of_tests[label]:.1%})" for label, share in beside["shares"].items())
        right = f"right for {accuracy.value:.2%} of {accuracy.n:,} pictures that it did not learn from"
        notes = [f"share per class (of tests) by a classifier that is {right}: {shares}", *notes]
    for note in notes:
        print(f"{name:14} {note}")
    sys.stdout.flush()


def write_sheet(folder: Path | None, name: str, pictures: Pixels) -> None:
    """Write the first 64 pictures as FOLDER/NAME.png, if a folder is given."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(encode_picture(sheet(list(pictures[:64]), 8), ".png"))
