"""The format of a run's pictures: size, mode and how other shapes are fitted. Chosen from the pictures by default."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal, TypeAlias, get_args

from aigc_cli.data.pictures.decoding.white import FULL, white_of
from aigc_cli.errors import RequestError, understood

Mode: TypeAlias = Literal["L", "RGB", "RGBA"]
Fit: TypeAlias = Literal["crop", "pad", "stretch"]
Ground: TypeAlias = Literal["white", "black", "grey"]
Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

LONGEST = 64
"""The longest side chosen by default: what a few minutes on a CPU can train on."""

GROUNDS: dict[Ground, int] = {"white": 255, "black": 0, "grey": 128}
"""What transparent pictures may be laid on, in the order they are tried, and its level."""

_LONG = 4  # times as long as wide: such pictures may exceed the longest side, up to as many times
_VANISHING = 0.05  # the share of transparent pictures that may vanish on a ground

_MUCH_CUT, _MUCH = 0.4, 0.05  # the share of the area, and of the pictures that lose it, above which that is told

_OTHER_SHAPE = 1.1  # times as long or wide as the format: above that, what becomes of them is told
_OF_OTHER_SHAPES: dict[Fit, str] = {
    "crop": ", the middle of those of another shape",
    "pad": ", bars beside those of another shape",
    "stretch": ", those of another shape distorted",
}

_LARGEST = 1 << 16  # pixels of a side, and the value of white
_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}
_WORDS = {"L": "grey", "RGB": "RGB", "RGBA": "RGBA"}


@dataclass(frozen=True)
class PictureFormat:
    """The size and mode of every picture of a run; `fit` says how pictures of another shape are fitted.

    crop: the largest centred part that fits; pad: the whole picture with black bars (transparent in RGBA); stretch: the
    whole picture, distorted. `ground` is what transparent pictures are laid on, except in RGBA; `white` is the value of
    white in pictures with more than 8 bits per channel.
    """

    height: int
    width: int
    mode: Mode
    fit: Fit = "crop"
    ground: Ground = "white"
    white: int = FULL
    region: Size | None = None
    """With --tile, the size of the regions that windows of height × width are cut from."""
    reduced: int | None = None
    """With --tile, the longest side that pictures are reduced to before they are cut."""

    @property
    def channels(self) -> int:
        return _CHANNELS[self.mode]

    @property
    def size(self) -> Size:
        return self.height, self.width

    @property
    def stored(self) -> Size:
        """The size that is kept of each picture, or of each region of it."""
        return self.region or self.size

    def describe(self) -> str:
        """Width × height and mode, for display: "28×28 grey", "64×48 RGB"."""
        return f"{describe_size(self.size)} {_WORDS[self.mode]}"

    def to_json(self) -> dict[str, Any]:
        only_of_tiles = {"region", "reduced"} if self.region is None else set()
        return {name: value for name, value in asdict(self).items() if name not in only_of_tiles}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> PictureFormat:
        """Earlier versions laid everything on white, and took the full range of 16 bits. Raises ValueError, TypeError or
        KeyError for anything else."""
        try:
            size = int(fields["height"]), int(fields["width"])
            ground, white = fields.get("ground", "white"), int(fields.get("white", FULL))
            region = None if fields.get("region") is None else (int(fields["region"][0]), int(fields["region"][1]))
        except (OverflowError, IndexError) as error:  # JSON has numbers that are infinite
            raise ValueError(f"a size cannot be read: {error}") from error
        found = cls(*size, fields["mode"], fields["fit"], ground, white, region, fields.get("reduced"))
        for value, allowed in ((found.mode, Mode), (found.fit, Fit), (ground, Ground)):
            if value not in get_args(allowed):
                raise ValueError(f"{value!r} is none of {', '.join(get_args(allowed))}")
        for number in (*size, white, *(region or ()), 1 if found.reduced is None else found.reduced):
            if not isinstance(number, int) or not 0 < number <= _LARGEST:
                raise ValueError(f"{number!r} is no size")
        return found

    @classmethod
    def of_run(cls, data: Mapping[str, Any]) -> PictureFormat:
        """That of a run with this record of its data. Raises RequestError if it has none."""
        with understood("the format of the pictures in run.json"):
            return cls.from_json(data["format"])


@dataclass(frozen=True)
class Wanted:
    """The requested format; what is None is chosen from the pictures."""

    size: Size | None = None
    mode: Mode | None = None
    fit: Fit = "crop"
    label: str | None = None  # the column or array with the labels
    longest: int = LONGEST  # the longest side that may be chosen
    ground: Ground | None = None
    white: int | None = None
    long: bool = False  # a picture more than 4 times as long as wide may be longer than that
    tile: bool = False  # windows of pictures at their own scale
    reduced: int | None = None  # with tile: the longest side that pictures are reduced to first
    region: Size | None = None  # with tile

    @classmethod
    def exactly(cls, format: PictureFormat, label: str | None = None) -> Wanted:
        return cls(
            format.size,
            format.mode,
            format.fit,
            label,
            ground=format.ground,
            white=format.white,
            tile=format.region is not None,
            reduced=format.reduced,
            region=format.region,
        )


@dataclass(frozen=True)
class Look:
    """One picture's properties before resizing."""

    size: Size  # rotated according to EXIF
    coloured: bool  # its channels differ
    highest: float | None = None  # the largest number; None with 8 bits per channel
    vanishes_on: frozenset[Ground] | None = None  # None if it isn't transparent, or fully transparent
    level: int | None = None  # the largest of 8 bits; None if it is transparent or has more bits


def describe_size(size: Size) -> str:
    return f"{size[1]}×{size[0]}"


def parse_size(text: str) -> Size:
    """ "64" or "64x48" (width x height) as (height, width). Raises RequestError for anything else."""
    sides = text.lower().replace("×", "x").split("x")
    try:
        width, height = (int(side) for side in (sides if len(sides) > 1 else sides * 2))
    except ValueError:
        raise RequestError(f"--size {text}: give a side in pixels, or width x height such as 64x48") from None
    return height, width


def check_size(size: Size) -> None:
    """Raise RequestError for a size that no picture can have."""
    if min(size) < 1:
        raise RequestError(f"--size {size[1]}x{size[0]}: width and height must be at least 1")


def choose_format(wanted: Wanted, looks: Sequence[Look]) -> PictureFormat:
    """The requested format, with anything unspecified chosen from a sample of at least one picture.

    Grey if all are, otherwise RGB; RGBA only if requested, or if the pictures would vanish on every ground.
    """
    ground = wanted.ground or choose_ground(looks)
    mode: Mode = wanted.mode or ("RGB" if any(look.coloured for look in looks) else "L")
    if ground is None and wanted.mode is None:
        mode = "RGBA"
    height, width = wanted.size or choose_size([look.size for look in looks], wanted.longest, wanted.long)
    if ground is None:
        ground = "white" if mode == "RGBA" else "grey"
    numbers = [look.highest for look in looks if look.highest is not None]
    white = wanted.white or (white_of(numbers) if numbers else FULL)
    return PictureFormat(height, width, mode, wanted.fit, ground, white, wanted.region, wanted.reduced)


def choose_ground(looks: Sequence[Look]) -> Ground | None:
    """The first ground that transparent pictures don't vanish on, as white drawings do on white; None if they vanish on all."""
    transparent = [look.vanishes_on for look in looks if look.vanishes_on is not None]
    for ground in GROUNDS:
        if sum(ground in vanishes_on for vanishes_on in transparent) <= _VANISHING * len(transparent):
            return ground
    return None


def choose_size(sizes: Sequence[Size], limit: int = LONGEST, long: bool = False) -> Size:
    """The size of more than half of the pictures, otherwise one of the median shape; at most `limit` per side.

    With `long`, pictures that are more than 4 times as long as wide are `limit` / 4 wide, and at most 4 × `limit` long: up to
    as many pixels as a square. A size that no picture has is rounded to multiples of 4, which networks halve without a
    remainder.
    """
    commonest, count = Counter(sizes).most_common(1)[0]
    if 2 * count > len(sizes):
        if max(commonest) <= limit:
            return commonest
        height, width = commonest
    else:
        aspect = median(width / height for height, width in sizes)
        longest = median(max(size) for size in sizes)
        height, width = round(longest / max(aspect, 1)), round(longest * min(aspect, 1))
    if long and is_long((height, width)):
        scale, limit = min(1.0, limit / _LONG / min(height, width)), limit * _LONG
        height, width = round(min(height * scale, limit)), round(min(width * scale, limit))
    scale = min(1.0, limit / max(height, width))
    return _multiple_of_4(height * scale), _multiple_of_4(width * scale)


def is_long(size: Size) -> bool:
    """Whether one side is more than 4 times the other."""
    return max(size) > _LONG * min(size)


def _multiple_of_4(length: float) -> int:
    return max(4, 4 * round(length / 4))


def _ratio(size: Size) -> float:
    return max(size) / min(size)


def _ratio_to(format: PictureFormat) -> Callable[[Size], float]:
    """How much longer or wider than the format pictures are; 1 for the same shape."""
    return lambda size: _ratio((format.width * size[0], format.height * size[1]))


class SizesSeen:
    """The sizes of a source's pictures before resizing, and a note about them."""

    def __init__(self) -> None:
        self._sizes = Counter[Size]()

    def add(self, size: Size) -> None:
        self._sizes[size] += 1

    def note(self, format: PictureFormat, wanted: Wanted) -> str | None:
        """A line if pictures were resized, with the reason unless the user chose the size."""
        if self._sizes.keys() <= {format.size}:
            return None
        by_area = sorted(self._sizes, key=lambda size: (size[0] * size[1], size))
        smallest, largest = describe_size(by_area[0]), describe_size(by_area[-1])
        what = f"{len(by_area):,} sizes, from {smallest} to {largest}:" if len(by_area) > 1 else smallest
        if format.region is not None:
            first = "" if format.reduced is None else f"reduced to at most {format.reduced} pixels a side and "
            return (
                f"{what} {first}cut into {describe_size(format.region)}, in which windows of {describe_size(format.size)} are "
                "anywhere (--tile; with a lower --longest-side a window shows more)"
            )
        how = f"--fit {format.fit}"
        kept_long = wanted.size is None and max(format.size) > wanted.longest
        if not kept_long and max(map(_ratio_to(format), self._sizes)) > _OTHER_SHAPE:
            how += _OF_OTHER_SHAPES[format.fit]
        if wanted.size is None:
            if kept_long:
                how += f"; above --longest-side {wanted.longest}, to keep {min(format.size)} pixels of the shorter side"
                if format.fit == "crop" and max(map(_ratio, self._sizes)) > _ratio(format.size):
                    how += "; --fit pad keeps the ends that are cut off"
            elif max(max(size) for size in self._sizes) > wanted.longest:
                by_default = ", by default from the minutes and the device" if wanted.long else ""
                how += f"; --longest-side {wanted.longest}{by_default}"
            how += "; --size chooses another size"
        if "--fit pad" not in how and (cut := self._much_cut(format)) >= max(1, _MUCH * self._sizes.total()):
            how += f"; {cut:,} of {self._sizes.total():,} lose over {_MUCH_CUT:.0%} of their area, which --fit pad keeps"
        return f"{what} made {describe_size(format.size)} ({how})"

    def _much_cut(self, format: PictureFormat) -> int:
        """The number of pictures of which much is cut off."""
        if format.fit != "crop":
            return 0
        aspect = format.width / format.height
        kept = {size: aspect * size[0] / size[1] for size in self._sizes}  # of the width, or above 1 the inverse of the height
        return sum(count for size, count in self._sizes.items() if min(kept[size], 1 / kept[size]) < 1 - _MUCH_CUT)
