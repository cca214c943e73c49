"""The words for `demo:scenes`: captions of a grammar, what a caption means, and questions with answers.

caption   = described ["at the top left" | …]                          of one shape
          | described relation described ["and" relation described]    of two or three
described = "a" size colour shape
relation  = "left of" | "right of" | "above" | "below"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from aigc_cli.data.pictures.demos.scenes import RELATIONS, SIZES, Relation, Scene, Thing, clear_relation
from aigc_cli.data.pictures.demos.shapes import COLOURS, SHAPES

PLACES = {
    ("top", "left"): "at the top left", ("top", "middle"): "at the top", ("top", "right"): "at the top right",
    ("middle", "left"): "on the left", ("middle", "middle"): "in the middle", ("middle", "right"): "on the right",
    ("bottom", "left"): "at the bottom left", ("bottom", "middle"): "at the bottom", ("bottom", "right"): "at the bottom right",
}  # fmt: skip
QUESTIONS = ("colour", "size", "place", "count", "is there", "relation")
"""The kinds of questions."""

Words = tuple[str, str, str]
"""size, colour and shape."""

_DESCRIBED = rf"an? ({'|'.join(SIZES)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_RELATED = rf"({'|'.join(RELATIONS)}) {_DESCRIBED}"
_CAPTION = re.compile(rf"{_DESCRIBED}(?: ({'|'.join(PLACES.values())})| {_RELATED}(?: and {_RELATED})?)")


@dataclass(frozen=True)
class Meaning:
    """What a caption says: the first shape, where it is, and where it lies from the others."""

    things: tuple[Words, ...]
    place: tuple[str, str] | None  # row and column, of a single shape
    relations: tuple[Relation, ...]  # of the first to each of the others


def caption_of(scene: Scene, random: Random) -> str:
    """One of the captions of a scene."""
    if len(scene) == 1:
        return f"{_described(scene[0])} {PLACES[scene[0].place]}"
    first = random.choice([thing for thing in scene if all(clear_relation(thing, of) for of in scene if of is not thing)])
    others = [thing for thing in scene if thing is not first]
    random.shuffle(others)
    return f"{_described(first)} " + " and ".join(f"{clear_relation(first, of)} {_described(of)}" for of in others)


def meaning_of(caption: str) -> Meaning | None:
    """What a caption says; None for one that isn't of the grammar."""
    found = _CAPTION.fullmatch(caption.strip())
    if found is None:
        return None
    parts = found.groups()
    things = [parts[start : start + 3] for start in (0, 5, 9) if parts[start]]
    place = next((place for place, words in PLACES.items() if words == parts[3]), None)
    relations = tuple(relation for relation in RELATIONS for part in (parts[4],) if part == relation)
    relations += tuple(relation for relation in RELATIONS if parts[8] == relation)
    return Meaning(tuple((size, colour, shape) for size, colour, shape in things), place, relations)


def questions_of(scene: Scene, random: Random) -> Iterator[tuple[str, str]]:
    """Some questions about a scene with their answers, each of another kind."""
    ask: list[Callable[[Scene, Random], tuple[str, str] | None]] = [_colour, _size, _count, _is_there]
    ask.append(_place if len(scene) == 1 else _relation)
    yield from filter(None, (of(scene, random) for of in ask))


def kind_of(question: str) -> str:
    """One of QUESTIONS; "" for a question of another form."""
    starts = ("what colour", "how big", "where is", "how many", "is there", "what is")
    return next((kind for kind, start in zip(QUESTIONS, starts, strict=True) if question.startswith(start)), "")


def _described(thing: Thing) -> str:
    return f"a {thing.size} {thing.colour} {thing.shape}"


def _unique(scene: Scene, attribute: str) -> list[Thing]:
    """The shapes of which no other has the same value of an attribute."""
    values = [getattr(thing, attribute) for thing in scene]
    return [thing for thing, value in zip(scene, values, strict=True) if values.count(value) == 1]


def _colour(scene: Scene, random: Random) -> tuple[str, str] | None:
    things = _unique(scene, "shape")
    if not things:
        return None
    thing = random.choice(things)
    return f"what colour is the {thing.shape}?", thing.colour


def _size(scene: Scene, random: Random) -> tuple[str, str]:
    thing = random.choice(scene)
    return f"how big is the {thing.colour} {thing.shape}?", thing.size


def _place(scene: Scene, random: Random) -> tuple[str, str]:
    return f"where is the {scene[0].shape}?", PLACES[scene[0].place]


def _count(scene: Scene, random: Random) -> tuple[str, str]:
    """Of all shapes, of those of a colour, or of those of a shape, which there may be none of."""
    attribute = random.choice(("", "colour", "shape"))
    if not attribute:
        return "how many shapes are there?", str(len(scene))
    values: Sequence[str] = tuple(COLOURS) if attribute == "colour" else SHAPES
    value = random.choice([getattr(thing, attribute) for thing in scene] if random.random() < 0.7 else values)
    what = f"{value} shapes" if attribute == "colour" else f"{value}es" if value == "cross" else f"{value}s"
    return f"how many {what} are there?", str(sum(getattr(thing, attribute) == value for thing in scene))


def _is_there(scene: Scene, random: Random) -> tuple[str, str]:
    """As often yes as no; a no is about a shape that differs from one that is there in colour or in shape alone."""
    thing = random.choice(scene)
    colour, shape, answer = thing.colour, thing.shape, "yes"
    if random.random() < 0.5:
        there = {(of.colour, of.shape) for of in scene}
        near = [(colour, of) for of in SHAPES] + [(of, shape) for of in COLOURS]
        colour, shape = random.choice([pair for pair in near if pair not in there])
        answer = "no"
    return f"is there {'an' if colour[0] == 'o' else 'a'} {colour} {shape}?", answer


def _relation(scene: Scene, random: Random) -> tuple[str, str] | None:
    """What lies somewhere from another shape, where only one does, clearly or not."""
    found = []
    for other in scene:
        for relation in RELATIONS:
            things = [thing for thing in scene if thing is not other and holds(relation, thing, other)]
            if len(things) == 1 and clear_relation(things[0], other) == relation:
                found.append((things[0], relation, other))
    if not found:
        return None
    thing, relation, other = random.choice(found)
    return f"what is {relation} the {other.colour} {other.shape}?", f"the {thing.colour} {thing.shape}"


def holds(relation: Relation, one: Thing, other: Thing) -> bool:
    """Whether the centre of `one` is at all on this side of that of `other`."""
    right, down = (b - a for a, b in zip(other.centre, one.centre, strict=True))
    return {"left of": right < 0, "right of": right > 0, "above": down < 0, "below": down > 0}[relation]
