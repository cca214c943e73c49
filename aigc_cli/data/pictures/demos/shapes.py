"""`demo:shapes`: coloured shapes on white, with all factors of variation known.

A picture shows one shape (ellipse, square, triangle or cross) in one of six colours. Its size, position and rotation are drawn
uniformly and independently. Use `demo:shapes?n=5000&seed=1` for other pictures, or another number of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from aigc_cli.data import cache
from aigc_cli.data.pictures.decoding.raw import RawPicture
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.labels import joined, label_columns
from aigc_cli.errors import RequestError

SHAPES = ("ellipse", "square", "triangle", "cross")
COLOURS = {  # of different brightness, so that they differ in greyscale too
    "black": (30, 30, 30),
    "blue": (20, 50, 170),
    "red": (225, 60, 50),
    "green": (70, 190, 70),
    "orange": (255, 155, 30),
    "turquoise": (140, 235, 235),
}
FACTORS = ("shape", "colour", "size", "x", "y", "turn")
"""shape and colour: indices in `SHAPES` and `COLOURS`. size: the shape's radius as a share of the picture's shorter side. x, y:
the position, from 0 (left, top) to 1, within the range where the shape is entirely visible. turn: rotation anticlockwise, in
degrees below 90, so that it is unambiguous for all shapes."""

LABELS = {"shape": SHAPES, "colour": tuple(COLOURS)}

_VERSION = 1  # of the drawing code
_SIZES = (0.18, 0.36)
_PIXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Shapes:
    """A dataset of `count` pictures. A larger one with the same seed starts with the same pictures."""

    count: int = 20_000
    seed: int = 0

    @classmethod
    def parse(cls, options: str) -> Shapes:
        """Parse options such as `n=5000&seed=1`. Raises `RequestError` for anything else."""
        chosen: dict[str, int] = {}
        for name, value in parse_qsl(options, keep_blank_values=True):
            least = {"n": 1, "seed": 0}.get(name)
            if least is None:
                raise RequestError(
                    f"demo:shapes has no option {name!r}, only n and seed; set size and mode with --size and --mode"
                )
            if not value.isascii() or not value.isdigit() or not least <= int(value) < 2**32:
                raise RequestError(f"demo:shapes: {name}={value!r} must be an integer of at least {least}")
            chosen[name] = int(value)
        return cls(chosen.get("n", cls.count), chosen.get("seed", cls.seed))

    @classmethod
    def of(cls, location: str) -> Shapes:
        """The dataset with a name such as `demo:shapes?n=5000`."""
        return cls.parse(location.partition("?")[2])

    @property
    def location(self) -> str:
        """The dataset's name, without default options."""
        options = [f"{name}={value}" for name, value, usual in self._options() if value != usual]
        return "demo:shapes" + ("?" if options else "") + "&".join(options)

    def _options(self) -> list[tuple[str, int, int]]:
        return [("n", self.count, Shapes.count), ("seed", self.seed, Shapes.seed)]

    def fingerprint(self) -> str:
        """A hash of everything the pictures depend on, except their format."""
        return cache.key_of("shapes", _VERSION, self.count, self.seed)

    def batches(self, size: int) -> Iterator[npt.NDArray[np.float64]]:
        """The pictures' factors in order, at most `size` rows at a time: (n, 6), columns as in `FACTORS`."""
        random = np.random.RandomState(self.seed)  # NumPy guarantees its stream (NEP 19)
        for start in range(0, self.count, size):
            uniform = random.random_sample((min(size, self.count - start), len(FACTORS)))
            uniform[:, 0] = np.floor(uniform[:, 0] * len(SHAPES))
            uniform[:, 1] = np.floor(uniform[:, 1] * len(COLOURS))
            uniform[:, 2] = _SIZES[0] + uniform[:, 2] * (_SIZES[1] - _SIZES[0])
            uniform[:, 5] *= 90
            yield uniform


def draw(factors: npt.NDArray[np.float64], format: PictureFormat) -> npt.NDArray[np.uint8]:
    """From factors (n, 6) to antialiased pictures (n, height, width, channels), on white, or transparent for RGBA."""
    cover = np.empty((len(factors), format.height, format.width, 1), np.float32)
    for shape in range(len(SHAPES)):
        which = np.flatnonzero(factors[:, 0] == shape)
        cover[which, ..., 0] = coverage(shape, factors[which].astype(np.float32), format.height, format.width)
    palette = np.array(list(COLOURS.values()), np.float32)
    if format.mode == "L":
        palette = palette @ np.array([[0.299], [0.587], [0.114]], np.float32)
    colours = palette[factors[:, 1].astype(np.int64)][:, None, None]  # (n, 1, 1, 1 or 3)
    if format.mode == "RGBA":
        pixels = np.concatenate([colours * (cover > 0), 255 * cover], axis=3)
    else:
        pixels = 255 + (colours - 255) * cover
    return np.asarray(np.rint(pixels), np.uint8)


def coverage(shape: int, factors: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """The share of each pixel that a shape covers, (n, height, width), from the signed distance of the pixel's centre to the
    edge. Exact except at corners."""
    _, _, size, x, y, turn = (column[:, None, None] for column in factors.T)
    reach = size * min(height, width)
    down = np.arange(height, dtype=np.float32)[:, None] + 0.5 - (reach + y * (height - 2 * reach))
    right = np.arange(width, dtype=np.float32) + 0.5 - (reach + x * (width - 2 * reach))
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    u, v = right * cos - down * sin, right * sin + down * cos  # in the shape's coordinates
    match SHAPES[shape]:
        case "ellipse":  # half as high as wide; first-order distance (Taubin 1991)
            ratio = np.hypot(u, 2 * v)
            distance = ratio * (ratio - reach) / np.maximum(np.hypot(u, 4 * v), 1e-6)
        case "square":
            distance = np.maximum(abs(u), abs(v)) - reach * np.float32(np.sqrt(0.5))
        case "triangle":  # equilateral, its corners at `reach`
            distance = np.maximum(v, abs(u) * np.float32(np.sqrt(0.75)) - v / 2) - reach / 2
        case _:  # a cross, its arms a third as thick as they are long
            long, thick = reach * np.float32(0.9), reach * np.float32(0.3)
            across, along = abs(u), abs(v)
            arms = np.maximum(across - long, along - thick), np.maximum(across - thick, along - long)
            distance = np.minimum(*arms)
    return np.asarray(np.clip(0.5 - distance, 0, 1), np.float32)


class ShapesReader:
    """The pictures of `demo:shapes`, drawn in the given format. `label` is shape (by default), colour, or both."""

    factors = FACTORS
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = MappingProxyType({})

    def __init__(self, shapes: Shapes, format: PictureFormat, label: str | None = None) -> None:
        self._shapes, self._format = shapes, format
        self._labels = label_columns(label) or ("shape",)
        for name in self._labels:
            if name not in LABELS:
                raise RequestError(f"--label {label}: demo:shapes has no label {name!r}, only {' and '.join(LABELS)}")
        self.classes = LABELS[self._labels[0]] if len(self._labels) == 1 else ()
        self.count = shapes.count

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        at_once = max(1, _PIXELS_AT_ONCE // (self._format.height * self._format.width))
        number = 0
        for factors in self._shapes.batches(at_once):
            for values, picture in zip(factors.tolist(), draw(factors, self._format), strict=True):
                if number % step == 0:
                    found = [LABELS[name][int(values[FACTORS.index(name)])] for name in self._labels]
                    yield RawPicture(f"row {number}", picture, found[0] if len(found) == 1 else joined(found), tuple(values))
                number += 1
