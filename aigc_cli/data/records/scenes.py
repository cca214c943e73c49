"""What a picture of `demo:scenes` shows, read off its pixels, and whether it obeys a caption.

No network judges: pixels are sorted by the colour that they are mixed of with white, connected ones are a shape, and a shape is
the one whose outline of the same area fits best.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, zip_longest
from math import pi, sqrt
from random import Random

import numpy as np
import numpy.typing as npt

from aigc_cli.data.pictures.demos.scenes import MOST, Scene, Scenes, Thing, size_of
from aigc_cli.data.pictures.demos.shapes import COLOURS, SHAPES, coverage
from aigc_cli.data.pictures.sources.readers import PICTURE_FILES
from aigc_cli.data.records.scene_words import Meaning, caption_of, holds, meaning_of, questions_of
from aigc_cli.data.records.texts import Beside, Record
from aigc_cli.data.sources.source import Part

ATTRIBUTES = ("count", "size", "colour", "shape", "place", "relation")
"""What a caption may say, and a picture may get right or wrong."""

_COLUMNS = ("caption", "question", "answer")
_AREAS = {"ellipse": pi / 2, "square": 2.0, "triangle": 3 * sqrt(3) / 4, "cross": 1.8}  # of radius 1
_SOLID = 0.5  # the share of a colour from which on a pixel is part of a shape
_LEAST_PIXELS = 0.004  # of the picture's: fewer are a blot
_MISFIT = 0.35  # of the area: no shape fits so badly
_TURNS = (-8.0, 0.0, 8.0)


def scenes_beside(part: Part) -> Beside:
    """The captions of the scenes of a part, and questions with answers."""
    return Beside(part.location, PICTURE_FILES, PICTURE_FILES.one, _COLUMNS, _COLUMNS[:1], lambda columns: _read(part, columns))


def _read(part: Part, columns: Sequence[str]) -> Iterator[Record]:
    """A record a picture, or one a question if they are among the columns."""
    scenes = Scenes.of(part.location)
    for number, scene in enumerate(scenes.of_split(part.split)):
        random = Random(f"{scenes.seed} {part.split} {number}")
        caption = caption_of(scene, random)
        asked = questions_of(scene, random) if {*columns} & {*_COLUMNS[1:]} else iter([("", "")])
        for question, answer in asked:
            of = dict(zip(_COLUMNS, (caption, question, answer), strict=True))
            yield f"row {number}", tuple([of[name] for name in columns])


def read_scene(pixels: npt.NDArray[np.uint8]) -> Scene:
    """The shapes in a picture (height, width, 3 or 4), RGB or RGBA, the largest first. What fits no shape has the shape ""."""
    levels = pixels[..., :3].astype(np.float32)
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.float32) / 255
        levels = np.asarray(255 + (levels - 255) * alpha, np.float32)
    shares, names = _mixed(levels)
    found = []
    for number in range(len(COLOURS)):
        solid = (names == number) & (shares > _SOLID)
        for component in _components(solid):
            if component.sum() >= max(4, _LEAST_PIXELS * solid.size):
                around = _grown(component) & (names == number)
                found.append((np.where(around, shares, 0), list(COLOURS)[number]))
    found.sort(key=lambda of: -float(of[0].sum()))
    return tuple(_thing(cover, colour, len(found)) for cover, colour in found)


def obeys(scene: Scene, caption: str) -> Mapping[str, bool]:
    """Which of the attributes that a caption names a scene has right, of ATTRIBUTES: of several shapes, all must be. The
    shapes are taken in the order in which they fit best.

    Raises ValueError for a caption that isn't of the grammar.
    """
    meaning = meaning_of(caption)
    if meaning is None:
        raise ValueError(f"not a caption of demo:scenes: {caption!r}")
    orders = permutations(scene[:MOST], min(len(scene), len(meaning.things), MOST)) if scene else iter([()])
    return max((_right(order, scene, meaning) for order in orders), key=lambda of: sum(of.values()))


def _right(order: Sequence[Thing], scene: Scene, meaning: Meaning) -> Mapping[str, bool]:
    pairs = [*zip_longest(order, meaning.things)]
    right = {"count": len(scene) == len(meaning.things)}
    for place, name in enumerate(("size", "colour", "shape")):
        right[name] = all(thing is not None and getattr(thing, name) == words[place] for thing, words in pairs)
    if meaning.place is not None:
        right["place"] = bool(order) and order[0].place == meaning.place
    if meaning.relations:
        sides = zip_longest(meaning.relations, order[1:])
        right["relation"] = all(of is not None and holds(side, order[0], of) for side, of in sides)
    return right


def _mixed(levels: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Pixels (h, w, 3) as mixtures of white and a colour: its share (h, w), from 0 to 1, and its number (h, w)."""
    ways = 255 - np.array(list(COLOURS.values()), np.float32)  # (colours, 3), from white to each
    dark = 255 - levels
    shares = np.clip(dark @ ways.T / (ways**2).sum(axis=1), 0, 1)  # (h, w, colours)
    misses = ((dark[..., None, :] - shares[..., None] * ways) ** 2).sum(axis=-1)
    names = misses.argmin(axis=-1)
    return np.take_along_axis(shares, names[..., None], axis=-1)[..., 0], names


def _components(mask: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.bool_]]:
    """The parts of a mask whose pixels are connected by a side or a corner."""
    left = mask.copy()
    while left.any():
        part = np.zeros_like(mask)
        part.flat[left.argmax()] = True
        while True:
            grown = _grown(part) & left
            if (grown == part).all():
                break
            part = grown
        left &= ~part
        yield part


def _grown(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """With the eight neighbours of each pixel."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return np.asarray(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])


def _thing(cover: npt.NDArray[np.float32], colour: str, count: int) -> Thing:
    """The shape of this colour that covers (h, w) shares of the pixels."""
    height, width = cover.shape
    side, area = min(height, width), float(cover.sum())
    down, across = (float((cover.sum(axis=axis) * (np.arange(n) + 0.5)).sum()) / area for axis, n in ((1, height), (0, width)))
    fits: list[tuple[float, str, float]] = []
    for number, name in enumerate(SHAPES):
        radius = min(sqrt(area / _AREAS[name]) / side, 0.499)
        place = [(at - radius * side) / (n - 2 * radius * side) for at, n in ((across, width), (down, height))]
        factors = np.array([(number, 0, radius, *place, turn) for turn in _TURNS], np.float32)
        errors = np.abs(coverage(number, factors, height, width) - cover).sum(axis=(1, 2)) / area
        fits.append((float(errors.min()), name, radius))
    error, name, radius = min(fits)
    x, y = ((at - radius * side) / (n - 2 * radius * side) for at, n in ((across, width), (down, height)))
    return Thing(name if error <= _MISFIT else "", colour, size_of(radius, count), radius, x, y)
