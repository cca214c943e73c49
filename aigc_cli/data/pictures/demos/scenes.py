"""`demo:scenes`: one to three of the shapes of `demo:shapes` beside one another, of which everything is known.

Each is small or big, has a colour and lies apart from the others; a single one lies in one of nine places. `data/records` has
captions, questions and answers, and reads off what a picture shows. Options, as in `demo:scenes?n=5000&shapes=1`:

n, seed: the number of pictures, and other ones. shapes: how many a picture shows; by default one to three.
holdout: a share of the combinations of attributes (size, colour, shape, and the place of a single one) that no training picture
shows: one half is in val, the other in test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from math import hypot
from types import MappingProxyType
from typing import Literal, TypeAlias
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from aigc_cli.data import cache
from aigc_cli.data.pictures.decoding.raw import RawPicture
from aigc_cli.data.pictures.demos.shapes import COLOURS, SHAPES, coverage
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.errors import RequestError

NAME = "scenes"
SIZES = ("small", "big")
PLACES = tuple(product(("top", "middle", "bottom"), ("left", "middle", "right")))
"""The place of a single shape: its row and its column."""
Relation: TypeAlias = Literal["left of", "right of", "above", "below"]
RELATIONS: tuple[Relation, ...] = ("left of", "right of", "above", "below")
MOST = 3

Combination: TypeAlias = tuple[str, ...]
"""size, colour and shape; of a single shape also row and column."""

_VERSION = 1  # of how scenes are drawn at random, and of the drawing code
_RADII = {1: ((0.14, 0.17), (0.24, 0.27)), 2: ((0.115, 0.135), (0.185, 0.21)), 3: ((0.115, 0.135), (0.185, 0.21))}
_BETWEEN = 0.08  # of the picture's side, at least between two shapes
_CLEARLY = 1.5  # times as far to the side as up or down: one is left of the other
_JITTER = 0.1  # of the range of positions
_TURN = 10  # degrees, at most
_SPLITS = ("train", "val", "test")
_HELD_OUT = 0.05  # as many pictures in val and in test, each
_LEAST_HELD_OUT = 100
_AT_ONCE = 1000


@dataclass(frozen=True)
class Thing:
    """A shape in a scene."""

    shape: str
    colour: str
    size: str
    radius: float  # as a share of the picture's side
    x: float  # from 0 (left) to 1, within the range where the shape is entirely visible
    y: float  # from 0 (top) to 1
    turn: float = 0.0  # anticlockwise, in degrees

    @property
    def centre(self) -> tuple[float, float]:
        """Across and down, as shares of the picture's side."""
        return self.radius + self.x * (1 - 2 * self.radius), self.radius + self.y * (1 - 2 * self.radius)

    @property
    def place(self) -> tuple[str, str]:
        """Its row and its column."""
        row, column = (0 if at < 0.3 else 1 if at <= 0.7 else 2 for at in (self.y, self.x))
        return PLACES[3 * row + column]


Scene: TypeAlias = tuple[Thing, ...]
"""One to three shapes."""


def size_of(radius: float, count: int) -> str:
    """What the size of one of `count` shapes is called."""
    (_, small), (big, _) = _RADII[min(max(count, 1), MOST)]
    return SIZES[radius > (small + big) / 2]


def clear_relation(one: Thing, other: Thing) -> Relation | None:
    """Where `one` lies from `other`; None if it is as much to the side as above or below."""
    right, down = (b - a for a, b in zip(other.centre, one.centre, strict=True))
    if abs(right) >= _CLEARLY * abs(down):
        return "right of" if right > 0 else "left of"
    if abs(down) >= _CLEARLY * abs(right):
        return "below" if down > 0 else "above"
    return None


@dataclass(frozen=True)
class Scenes:
    """A dataset of `count` pictures to train on."""

    count: int = 20_000
    seed: int = 0
    shapes: int | None = None  # None: one to three
    holdout: float = 0.0

    @classmethod
    def parse(cls, options: str) -> Scenes:
        """Parse options such as `n=5000&shapes=1`. Raises `RequestError` for anything else."""
        chosen: dict[str, int] = {}
        holdout = 0.0
        for name, value in parse_qsl(options, keep_blank_values=True):
            if name == "holdout":
                try:
                    holdout = float(value)
                except ValueError:
                    holdout = -1
                if not 0 <= holdout <= 0.9:
                    raise RequestError(f"demo:scenes: holdout={value!r} must be a share from 0 to 0.9")
                continue
            bounds = {"n": (1, 2**32 - 1), "seed": (0, 2**32 - 1), "shapes": (1, MOST)}.get(name)
            if bounds is None:
                others = "only n, seed, shapes and holdout; set size and mode with --size and --mode"
                raise RequestError(f"demo:scenes has no option {name!r}, {others}")
            if not value.isascii() or not value.isdigit() or not bounds[0] <= int(value) <= bounds[1]:
                raise RequestError(f"demo:scenes: {name}={value!r} must be an integer from {bounds[0]} to {bounds[1]}")
            chosen[name] = int(value)
        return cls(chosen.get("n", cls.count), chosen.get("seed", cls.seed), chosen.get("shapes"), holdout)

    @classmethod
    def of(cls, location: str) -> Scenes:
        """The dataset with a name such as `demo:scenes?n=5000`."""
        return cls.parse(location.partition("?")[2])

    @property
    def location(self) -> str:
        """The dataset's name, without default options."""
        given = {
            "n": self.count if self.count != Scenes.count else None,
            "seed": self.seed or None,
            "shapes": self.shapes,
            "holdout": self.holdout or None,
        }
        options = "&".join(
            f"{name}={value:g}" if name == "holdout" else f"{name}={value}" for name, value in given.items() if value
        )
        return f"demo:{NAME}" + (f"?{options}" if options else "")

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that it comes in; none if it is to be split by the pictures' hashes."""
        return _SPLITS if self.holdout else ()

    def fingerprint(self) -> str:
        """A hash of everything the pictures depend on, except their format and split."""
        return cache.key_of(NAME, _VERSION, self.count, self.seed, self.shapes, self.holdout)

    def n_of(self, split: str) -> int:
        """The number of pictures in a split, "" for all."""
        return self.count if split in ("", "train") else max(_LEAST_HELD_OUT, int(self.count * _HELD_OUT))

    def of_split(self, split: str) -> Sequence[Scene]:
        """The scenes of a split, "" for all, in order. Larger datasets with the same seed start with the same scenes."""
        return _drawn(self, split)


@lru_cache(maxsize=4)
def _drawn(scenes: Scenes, split: str) -> Sequence[Scene]:
    number = _SPLITS.index(split) if split else 0
    random = np.random.RandomState([scenes.seed, number])  # NumPy guarantees its stream (NEP 19)
    allowed = {count: split_combinations(scenes.holdout, count)[split or "train"] for count in range(1, MOST + 1)}
    return [_scene(random, scenes.shapes or 1 + random.randint(MOST), allowed) for _ in range(scenes.n_of(split))]


@lru_cache
def split_combinations(holdout: float, count: int) -> Mapping[str, Sequence[Combination]]:
    """The combinations that each split shows where a picture has `count` shapes. Without `holdout` all are in train; otherwise
    every single value (a colour, a place) is still among those in train."""
    values: list[tuple[str, ...]] = [SIZES, tuple(COLOURS), SHAPES]
    every = [(*of, *place) for of in product(*values) for place in (PLACES if count == 1 else [()])]
    n_train = round(len(every) * (1 - holdout))
    wanted = {(place, value) for of in every for place, value in enumerate(of)}
    random = np.random.RandomState(1)
    while True:  # few orders leave a value out
        order = random.permutation(len(every)).tolist() if holdout else range(len(every))
        mixed = [every[number] for number in order]
        train, held = mixed[:n_train], mixed[n_train:]
        if wanted <= {(place, value) for of in train for place, value in enumerate(of)}:
            return {"train": train, "val": held[::2], "test": held[1::2] or held}


def _scene(random: np.random.RandomState, count: int, allowed: Mapping[int, Sequence[Combination]]) -> Scene:
    """A scene in which nothing overlaps, no two shapes have the same shape and colour, and one is clearly on one side of each
    other one."""
    while True:
        things = tuple(_thing(random, allowed[count], count) for _ in range(count))
        pairs = [*combinations(things, 2)]
        if any((one.shape, one.colour) == (other.shape, other.colour) for one, other in pairs):
            continue
        if any(_distance(one, other) < one.radius + other.radius + _BETWEEN for one, other in pairs):
            continue
        if any(all(clear_relation(one, other) for other in things if other is not one) for one in things):
            return things


def _thing(random: np.random.RandomState, allowed: Sequence[Combination], count: int) -> Thing:
    size, colour, shape, *place = allowed[random.randint(len(allowed))]
    low, high = _RADII[count][SIZES.index(size)]
    across, down, radius, turn = random.random_sample(4).tolist()
    if place:
        row, column = divmod(PLACES.index((place[0], place[1])), 3)
        across, down = (
            _JITTER + at * (0.5 - _JITTER) + _JITTER * (2 * jitter - 1) for at, jitter in ((column, across), (row, down))
        )
    return Thing(shape, colour, size, low + radius * (high - low), across, down, _TURN * (2 * turn - 1))


def _at(third: int) -> float:
    """The middle of the positions in a row or a column."""
    return _JITTER + third * (0.5 - _JITTER)


def _distance(one: Thing, other: Thing) -> float:
    return hypot(*(a - b for a, b in zip(one.centre, other.centre, strict=True)))


def draw_scenes(scenes: Sequence[Scene], format: PictureFormat) -> npt.NDArray[np.uint8]:
    """Antialiased pictures (n, height, width, channels), on white, or transparent for RGBA."""
    palette = np.array(list(COLOURS.values()), np.float32)
    if format.mode == "L":
        palette = palette @ np.array([[0.299], [0.587], [0.114]], np.float32)
    names = list(COLOURS)
    ground = 0 if format.mode == "RGBA" else 255
    pixels = np.full((len(scenes), format.height, format.width, palette.shape[1]), ground, np.float32)
    alpha = np.zeros((*pixels.shape[:3], 1), np.float32)
    for shape, name in enumerate(SHAPES):
        of = [(row, thing) for row, scene in enumerate(scenes) for thing in scene if thing.shape == name]
        factors = np.array([(shape, 0, t.radius, t.x, t.y, t.turn) for _, t in of], np.float32).reshape(-1, 6)
        covers = coverage(shape, factors, format.height, format.width)[..., None]
        for (row, thing), cover in zip(of, covers, strict=True):
            colour = palette[names.index(thing.colour)]
            pixels[row] += (colour - pixels[row]) * (cover > 0 if format.mode == "RGBA" else cover)
            alpha[row] = np.maximum(alpha[row], cover)
    if format.mode == "RGBA":
        pixels = np.concatenate([pixels, 255 * alpha], axis=3)
    return np.asarray(np.rint(pixels), np.uint8)


class ScenesReader:
    """The pictures of a split of `demo:scenes`, drawn in the given format."""

    classes: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = MappingProxyType({})

    def __init__(self, scenes: Scenes, split: str, format: PictureFormat) -> None:
        self._scenes, self._format = scenes.of_split(split), format
        self.count = len(self._scenes)

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        for start in range(0, self.count, _AT_ONCE):
            for number, picture in enumerate(draw_scenes(self._scenes[start : start + _AT_ONCE], self._format), start):
                if number % step == 0:
                    yield RawPicture(f"row {number}", picture)
