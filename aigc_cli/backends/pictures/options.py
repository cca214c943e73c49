"""Options of backends that learn from pictures, and from options to arrays. Free of torch and numpy at import."""

from __future__ import annotations

import importlib
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from aigc_cli.backends.base import DecodeOptions, EvalOptions, OutputOptions, SampleOptions
from aigc_cli.backends.pictures.choice import label_text
from aigc_cli.backends.prepare import prepared
from aigc_cli.backends.presets import nominal_budget
from aigc_cli.data.kinds import WrongKind, find_kind
from aigc_cli.data.pictures.decoding.white import FULL
from aigc_cli.data.pictures.format import LONGEST, Fit, Ground, Mode
from aigc_cli.data.pictures.labels import Classes
from aigc_cli.engine.events import Bus
from aigc_cli.engine.settings import OUTPUT, CommandOptions, TrainOptions
from aigc_cli.engine.trainable import Prepared
from aigc_cli.options import EXPERT, fields_of, option

if TYPE_CHECKING:
    from aigc_cli.data.pictures.prepared.preparing import AsPictures, PictureDataset, Request

KINDS = ("pictures", "sounds")
"""The kinds of data that are learned as pictures; a source is one of the first, unless it holds another."""
DATA = "Reading the data"
PICTURES = "Reading the pictures"
SOUNDS = "Reading the sounds"
#: Longest sides, each with the largest budget in floating-point operations it is used for.
LONGEST_SIDES = ((64, 1e15), (128, 5e16), (256, math.inf))


@dataclass(frozen=True)
class PictureInput(CommandOptions):
    """Options of every command that reads pictures."""

    label: str | None = option(None, metavar="NAME", names="column", panel=DATA, auto="subfolders, or a column of classes")
    """The column or array with the labels, or several with commas between them."""
    input_format: str | None = option(None, metavar="SUFFIX", panel=DATA, auto="from its first bytes")
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
    dedup: Literal["exact", "near"] = option("exact", panel=DATA)
    """Leave out exact copies only, or also training pictures that are near duplicates of held-out ones."""
    flip: bool = option(False, panel=PICTURES)
    """Mirror pictures half of the time. Not for digits, letters or anything else with a left and a right."""
    conditional: bool = option(False, panel=DATA)
    """Learn the classes too, so that `aigc sample --label` can draw one of them."""
    rate: int | None = option(None, panel=SOUNDS, unit="Hz", auto="the lowest usual one that keeps their energy, 8000 to 48000")
    """Samples per second."""
    seconds: float | None = option(None, panel=SOUNDS, auto="as long as nearly all, or windows of long recordings")
    """Length of the sounds."""
    channels: Literal[1, 2] | None = option(None, panel=SOUNDS, auto="2 if left and right differ in most")
    """Mono or stereo."""
    trim: bool | None = option(None, panel=SOUNDS, auto="if it makes them much shorter")
    """Cut off silence at both ends."""


@dataclass(frozen=True)
class PictureEvalOptions(PictureInput, EvalOptions):
    """Options of every `eval` on pictures."""

    split: Literal["train", "val", "test"] | None = option(None, panel=DATA, auto="test, otherwise val, otherwise all")
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
    format: Literal["png", "jpeg", "webp", "wav", "flac", "ogg"] | None = option(None, panel=OUTPUT, auto="png, or wav")
    """Format of the files in a folder or tar: wav, flac or ogg for sounds, otherwise a picture's; PNG, WebP, WAV and FLAC are
    lossless."""


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
    of the run that was trained on them, if any. Of another kind that is learned as pictures, if the source holds that."""
    from aigc_cli.backends.pictures.examples import examples
    from aigc_cli.data.pictures.prepared.preparing import Request

    shared = ("val", "label", "input_format", "conditional", "dedup")
    request = Request(options.data_source, classes=classes, **{name: getattr(options, name) for name in shared})
    holding = (kind for kind in KINDS[1:] if find_kind(kind).holds(options.data_source, options.input_format))
    try:
        data, decided = _prepared(next(holding, KINDS[0]), request, options, bus)
    except WrongKind as error:
        if error.kind not in KINDS[1:]:
            raise
        data, decided = _prepared(error.kind, request, options, bus)
    data.notes.extend(too_few_to_compare(len(data.train), len(data.report), data.things))
    return prepared(options, data, partial(examples, data), decided)


def _prepared(kind: str, request: Request, options: PictureTrainOptions, bus: Bus) -> tuple[PictureDataset, Mapping[str, Any]]:
    """The data as data of a kind, and the options that were decided."""
    fields = fields_of(type(options))
    settings = {name: getattr(options, name) for name in fields}
    foreign = {name for other in KINDS if other != kind for name in as_pictures(other).OPTIONS}
    given = tuple(field.flag for name, field in fields.items() if name in foreign and settings[name] != field.default)
    return as_pictures(kind).prepare(replace(request, foreign=given), settings, longest_side(options), bus.stage)


def as_pictures(kind: str) -> AsPictures:
    """What reads the data of a kind as pictures."""
    module = find_kind(kind).as_pictures
    assert module is not None, f"{kind} are not learned as pictures"
    return cast("AsPictures", importlib.import_module(module))


def changed(info: Mapping[str, Any]) -> list[str]:
    """How the source differs from what a run recorded as `info`, one line per difference."""
    from aigc_cli.data.pictures.prepared.preparing import changed_as_pictures

    return changed_as_pictures(as_pictures(info.get("kind", KINDS[0])).like(info), info)


def too_few_to_compare(train: int, held_out: int, things: str) -> list[str]:
    """A note if `aigc eval` can't compare samples with so few examples."""
    from aigc_cli.metrics.pictures.manifold import K

    if min(train, held_out) > K:
        return []
    more = "; give more with --val" if held_out <= K else ""
    needed = f"{K + 1} {things} to train on and {K + 1} held out for it"
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
        return changed(info)
