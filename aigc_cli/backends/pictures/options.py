"""Options of backends that learn from pictures, and from options to arrays. Free of torch and numpy at import."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from aigc_cli.backends.base import DecodeOptions, EvalOptions, OutputOptions, SampleOptions
from aigc_cli.backends.pictures.choice import label_text
from aigc_cli.backends.prepare import prepared
from aigc_cli.backends.presets import nominal_budget
from aigc_cli.data.pictures.format import LONGEST, Fit, Ground, Mode
from aigc_cli.data.pictures.labels import Classes
from aigc_cli.data.pictures.white import FULL
from aigc_cli.engine.events import Bus
from aigc_cli.engine.settings import OUTPUT, CommandOptions, TrainOptions
from aigc_cli.engine.trainable import Prepared
from aigc_cli.errors import RequestError
from aigc_cli.options import EXPERT, option

if TYPE_CHECKING:
    from aigc_cli.data.pictures.dataset import PictureDataset

PICTURES = "Reading the pictures"
#: Longest sides, each with the largest budget in floating-point operations it is used for.
LONGEST_SIDES = ((64, 1e15), (128, 5e16), (256, math.inf))


@dataclass(frozen=True)
class PictureInput(CommandOptions):
    """Options of every command that reads pictures."""

    label: str | None = option(None, metavar="NAME", names="column", panel=PICTURES, auto="subfolders, or a column of classes")
    """The column or array with the labels, or several with commas between them."""
    input_format: str | None = option(None, metavar="SUFFIX", panel=PICTURES, auto="from its first bytes")
    """Format of standard input: png, jpg, parquet, npz, tar, …"""


@dataclass(frozen=True)
class PictureTrainOptions(PictureInput, TrainOptions):
    """Options of every `train` that learns from pictures."""

    earlier: ClassVar[Mapping[str, Any]] = {"ground": "white", "white": FULL, "longest_side": LONGEST}

    size: str | None = option(
        None, metavar="N|WxH", panel=PICTURES, unit="pixels", auto="the pictures' own, at most --longest-side"
    )
    """Resize every picture to this: a side, or width x height. With --tile, the size of the windows."""
    longest_side: int | None = option(
        None, min=4, panel=EXPERT, unit="pixels", auto="64, 128 or 256, from --minutes and the device"
    )
    """Longest side of pictures without --size; larger ones are reduced to it. By default, pictures more than 4 times as long as
    wide may be up to 4 times longer. With --tile, what pictures are reduced to before windows are cut, by default nothing."""
    mode: Mode | None = option(None, panel=PICTURES, auto="L if all are grey, otherwise RGB")
    """Greyscale, colour, or colour with transparency."""
    fit: Fit = option("crop", panel=PICTURES)
    """How to fit a picture of another shape: crop it to the middle, pad it with bars, or stretch it."""
    ground: Ground | None = option(None, panel=EXPERT, auto="white, unless the pictures vanish on it")
    """What to lay transparent pictures on, except with --mode RGBA."""
    white: int | None = option(None, min=1, panel=EXPERT, auto="the smallest of 255, 1023, … 65535 that no number exceeds")
    """Number that is white in pictures of more than 8 bits per channel."""
    dedup: Literal["exact", "near"] = option("exact", panel=PICTURES)
    """Leave out exact copies only, or also training pictures that are near duplicates of held-out ones."""
    flip: bool = option(False, panel=PICTURES)
    """Mirror pictures half of the time. Not for digits, letters or anything else with a left and a right."""
    conditional: bool = option(False, panel=PICTURES)
    """Learn the classes too, so that `aigc sample --label` can draw one of them."""

    @property
    def in_windows(self) -> bool:
        """Whether to learn from windows of pictures at their own scale."""
        return False


@dataclass(frozen=True)
class PictureEvalOptions(PictureInput, EvalOptions):
    """Options of every `eval` on pictures."""

    split: Literal["train", "val", "test"] | None = option(None, panel=PICTURES, auto="test, otherwise val, otherwise all")
    """The split to evaluate on, if the data set comes in splits."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Pictures computed at once, at most; large ones are computed fewer at a time."""


@dataclass(frozen=True)
class PictureOutput(OutputOptions):
    """Options of every command whose result is pictures."""

    out: str | None = option(None, metavar="DIR|FILE|-", panel=OUTPUT, auto="the folder samples/BACKEND-RUN")
    """Where to write the pictures: a folder, one sheet (sheet.png; small pictures are enlarged), an array (.npz), or a tar
    (.tar, or '-' for standard output)."""
    force: bool = option(False, panel=OUTPUT)
    """Overwrite files that exist."""
    format: Literal["png", "jpeg", "webp"] | None = option(None, panel=OUTPUT, auto="png")
    """Format of the pictures in a folder or tar; PNG and WebP are lossless."""


@dataclass(frozen=True)
class PictureSampleOptions(PictureOutput, SampleOptions):
    """Options of `aigc sample BACKEND` when samples are pictures."""

    n: int = option(16, min=1, short="-n")
    """Number of pictures."""


@dataclass(frozen=True)
class PictureDecodeOptions(PictureOutput, DecodeOptions):
    """Options of `aigc decode BACKEND` when latent vectors become pictures."""


def prepare_dataset(options: PictureTrainOptions, bus: Bus, classes: Classes | None = None) -> Prepared:
    """The pictures of --data and --val, decoded into memory-mapped arrays, with the run's record of them. `classes` are those
    of the run that was trained on them, if any."""
    from aigc_cli.backends.pictures.examples import examples
    from aigc_cli.data.pictures.dataset import PictureRequest, prepare_pictures

    tile = options.in_windows
    if tile and options.fit != "crop":
        raise RequestError(f"--fit {options.fit} has nothing to fit: --tile cuts windows from pictures of any shape")
    longest = longest_side(options) if tile else options.longest_side or longest_side(options)
    request = PictureRequest(
        data=options.data_source,
        val=options.val,
        size=None if options.size is None else parse_size(options.size),
        longest=longest,
        long=options.longest_side is None,
        mode=options.mode,
        fit=options.fit,
        ground=options.ground,
        white=options.white,
        label=options.label,
        input_format=options.input_format,
        conditional=options.conditional,
        dedup=options.dedup,
        tile=tile,
        reduced=options.longest_side if tile else None,
        classes=classes,
    )
    data: PictureDataset = prepare_pictures(request, progress=bus.stage)
    decided: dict[str, Any] = {"longest_side": longest} if options.size is None and not tile else {}
    if options.size is None and (tile or max(data.format.size) > longest):  # long pictures, which a plan can't choose again
        decided["size"] = f"{data.format.width}x{data.format.height}"
    decided["white"] = data.format.white
    if data.format.mode != "RGBA":
        decided["ground"] = data.format.ground
    data.notes.extend(too_few_to_compare(len(data.train), len(data.report)))
    return prepared(options, data, partial(examples, data), decided)


def too_few_to_compare(train: int, held_out: int) -> list[str]:
    """A note if `aigc eval` can't compare samples with so few pictures."""
    from aigc_cli.metrics.pictures.manifold import K

    if min(train, held_out) > K:
        return []
    more = "; give more with --val" if held_out <= K else ""
    needed = f"{K + 1} pictures to train on and {K + 1} held out for it"
    return [f"aigc eval measures samples with at least {needed}, and there are {train:,} and {held_out:,}{more}"]


def longest_side(options: TrainOptions) -> int:
    """The longest side that a run can afford: 64 for minutes on a CPU, 128 for hours on a few cores or a minute on a GPU, 256
    for ten minutes on a GPU. Doubling the side gives four times the pixels, and the model also needs more pictures to learn
    from.

    Plans have no minutes. A plan without a longest side comes from an earlier version, where it was 64.
    """
    if options.minutes is None:
        return LONGEST
    budget = nominal_budget(options)
    return next(side for side, flops in LONGEST_SIDES if budget <= flops)


def first_sample(classes: Classes) -> str:
    """Arguments for `aigc sample` to draw the first of the classes that a run learned, if any."""
    if isinstance(classes, Mapping):
        return f"--label {shlex.quote(label_text({label: of[0] for label, of in classes.items()}))} -n 4"
    name = next((name for name in classes if not name.startswith("-")), None)
    return "-n 4" if name is None else f"--label {shlex.quote(name)} -n 4"


class PictureTraining:
    """The parts of training that all picture backends share."""

    def prepare(self, options: PictureTrainOptions, bus: Bus) -> Prepared:
        return prepare_dataset(options, bus)

    def changed(self, info: dict[str, Any]) -> list[str]:
        from aigc_cli.data.pictures.dataset import check_unchanged

        return check_unchanged(info)


def parse_size(text: str) -> tuple[int, int]:
    """ "64" or "64x48" (width x height) as (height, width). Raises RequestError for anything else."""
    sides = text.lower().replace("×", "x").split("x")
    try:
        width, height = (int(side) for side in (sides if len(sides) > 1 else sides * 2))
    except ValueError:
        raise RequestError(f"--size {text}: give a side in pixels, or width x height such as 64x48") from None
    return height, width
