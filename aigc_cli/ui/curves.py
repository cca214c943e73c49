"""Training curves as charts: which there are, their scales and ticks, and the points of their lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from aigc_cli.engine.meanings import Meanings, in_words

Points: TypeAlias = list[tuple[float, float]]

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 26
#: The most points of a line; more can't be told apart.
MAX_POINTS = 300
#: A beginning that would take more than this multiple of the range of the rest runs off the scale.
STEEP = 2.0
#: The share of the steps that counts as the beginning.
BEGINNING = 0.1
#: Held-out measures that change by more than this factor get a logarithmic scale.
ORDERS = 20.0
#: Larger values are no measurements, and whole numbers can be larger than any float.
_HUGE = 1e300
_NOT_CURVES = {"event", "step", "skipped", "seconds", "best", "to", "lr_scale"}


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Line:
    label: str
    points: str
    """The points of an SVG polyline."""
    marks: Sequence[tuple[float, float, str]]
    """Single measurements: x, y and a text."""
    last: str


@dataclass(frozen=True)
class Chart:
    """A chart of WIDTH x HEIGHT; steps run from x = LEFT to WIDTH - RIGHT."""

    name: str
    title: str
    sentence: str
    unit: str
    minor: bool
    lines: Sequence[Line]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    best: float | None
    """The x of the checkpoint that was kept."""
    cut: str
    """The largest value, if the beginning runs off the scale."""


class Curves:
    """The lines of metrics.jsonl as curves over steps. Steps that a roll-back discarded are left out."""

    def __init__(
        self, metrics: Iterable[Mapping[str, Any]], kept: Mapping[str, Any] | None = None, meanings: Meanings | None = None
    ) -> None:
        """`kept` is the run's record of the checkpoint it kept: its step and the measure that chose it. It may come from an
        earlier training, which no line reports."""
        self.meanings = meanings or Meanings()
        self.objective = next((name for name in kept or () if name != "step"), None)
        self.lines = [line for line in metrics if isinstance(line, Mapping) and finite(line.get("step"))]
        found: dict[str, dict[str, dict[float, float]]] = {"trained": {}, "evaluated": {}}
        self.best: float | None = None
        for line in self.lines:
            step, event = float(line["step"]), line.get("event")
            if event == "rolled_back" and finite(line.get("to")):
                _forget(found, line["to"])
            if event not in found:
                continue
            if line.get("best") is True and (not kept or kept.items() <= line.items()):
                self.best = step
            for name, value in line.items():
                if name not in _NOT_CURVES and finite(value):
                    found[event].setdefault(name, {})[step] = float(value)
        self.trained, self.evaluated = (
            {name: sorted(points.items()) for name, points in curves.items() if points} for curves in found.values()
        )
        everything = (*self.trained.values(), *self.evaluated.values())
        self.end = max((points[-1][0] for points in everything), default=0.0)

    def charts(self) -> list[Chart]:
        """Losses first, then the objective, then the other held-out measures, and minor curves last. Curves with
        the same meaning share a chart."""
        groups: dict[str, list[tuple[str, Points, bool]]] = {}
        for held_out, found in ((False, self.trained), (True, self.evaluated)):
            for name, points in found.items():
                groups.setdefault(self.meanings.of(name).chart or name, []).append((name, points, held_out))
        place = {"loss": 0, self.objective: 1}
        measured = {self.meanings.of(name).chart or name for name in self.evaluated}
        drawn = [_chart(key, group, self) for key, group in groups.items()]
        return sorted(drawn, key=lambda chart: (chart.minor, place.get(chart.name, 2 if chart.name in measured else 3)))

    def x(self, step: float) -> float:
        """The x of a step in every chart."""
        return round(LEFT + min(step, self.end) * (WIDTH - LEFT - RIGHT) / (self.end or 1.0), 1)

    def told_at(self, step: float) -> str:
        """A caption for a step: the objective, or the first held-out measure, and whether its checkpoint was kept."""
        name = self.objective if self.objective in self.evaluated else next(iter(self.evaluated), None)
        value = None if name is None else dict(self.evaluated[name]).get(float(step))
        told = [] if name is None or value is None else [f"{_in_a_sentence(self.meanings.of(name).title)} {number(value)}"]
        return ", ".join([*told, "the best, kept"] if step == self.best else told)

    def happenings(self) -> list[tuple[str, str]]:
        """What happened in training, such as concerns and roll-backs: (step, text)."""
        found = []
        for line in self.lines:
            match line.get("event"):
                case "concern":
                    text = str(line.get("text", ""))
                case "undone":
                    text = f"continued from step {number(line.get('to'))}, the best so far, at half the learning rate"
                case "continued":
                    text = f"trained longer from here, to step {number(line.get('steps'))}"
                case "rolled_back":
                    text = f"the loss was not finite: rolled back to step {number(line.get('to'))} at half the learning rate"
                case _:
                    continue
            found.append((number(line["step"]), text))
        return found


def _forget(found: Mapping[str, Mapping[str, dict[float, float]]], step: float) -> None:
    for curves in found.values():
        for points in curves.values():
            for later in [at for at in points if at > step]:
                del points[later]


def _in_a_sentence(title: str) -> str:
    """Lower-case the first letter, unless the word is an acronym."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _HUGE


def _chart(key: str, group: Sequence[tuple[str, Points, bool]], curves: Curves) -> Chart:
    meaning, measured = curves.meanings.of(group[0][0]), any(held_out for *_, held_out in group)
    scale = Scale.of([points for _, points, _ in group], curves.end, measured)
    lines = []
    for name, points, held_out in group:
        path = " ".join(f"{curves.x(step):g},{scale.y(value):g}" for step, value in _thinned(points))
        marks = [(curves.x(step), scale.y(value), f"step {number(step)}: {number(value)}") for step, value in points]
        lines.append(Line(_label(name, held_out, group), path, marks if held_out else [], number(points[-1][1])))
    return Chart(
        name=key,
        title=meaning.title,
        sentence=meaning.sentence,
        unit=", ".join(part for part in (meaning.unit, "logarithmic" if scale.log else "") if part),
        minor=meaning.minor,
        lines=lines,
        x_ticks=[Tick(curves.x(at), text) for at, text in ticks(0, curves.end, 5)],
        y_ticks=[Tick(scale.y(at), text) for at, text in scale.ticks()],
        best=curves.x(curves.best) if measured and curves.best is not None else None,
        cut=scale.cut,
    )


def _label(name: str, held_out: bool, group: Sequence[tuple[str, Points, bool]]) -> str:
    """What tells a line from the others in its chart."""
    names = {other for other, _, _ in group}
    if len(names) == 1:
        return "held-out" if held_out else "training"
    return in_words(name)


@dataclass(frozen=True)
class Scale:
    """The range of values in a chart."""

    low: float
    high: float
    log: bool = False
    cut: str = ""

    @classmethod
    def of(cls, curves: Sequence[Points], end: float, measured: bool) -> Scale:
        """A range for all values, except that a steep beginning runs off it; held-out measures that span orders of magnitude
        get a logarithmic scale."""
        everything = [value for points in curves for _, value in points]
        later = [value for points in curves for step, value in points if step >= BEGINNING * end]
        low, high, cut = min(everything), max(everything), ""
        if len(later) > 2 and high - low > (1 + STEEP) * (max(later) - min(later)) > 0:
            cut = number(high) if high > max(later) else number(low)
            low, high = min(later), max(later)
        if measured and low > 0 and high > ORDERS * low:
            return cls(min(everything) / 1.2, max(everything) * 1.2, log=True)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        # Values that are never negative get no negative range.
        return cls(low - room if low < 0 or low - room >= 0 else 0.0, high + room, cut=cut)

    def y(self, value: float) -> float:
        """The y of a value in the chart."""
        low, high, at = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return round(TOP + (high - at) * (HEIGHT - TOP - BOTTOM) / (high - low), 1)

    def ticks(self) -> list[tuple[float, str]]:
        if not self.log:
            return ticks(self.low, self.high, 6)
        powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
        return [(10.0**power, number(10.0**power)) for power in powers]


def _thinned(points: Points) -> Points:
    """At most `MAX_POINTS` points, each the mean of its neighbourhood."""
    if len(points) <= MAX_POINTS:
        return points
    edges = [i * len(points) // MAX_POINTS for i in range(MAX_POINTS + 1)]
    parts = [points[start:end] for start, end in pairwise(edges)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def ticks(low: float, high: float, most: int) -> list[tuple[float, str]]:
    """At most `most` round numbers from low to high, in steps of 1, 2 or 5 times a power of ten, with their texts."""
    if not high > low:
        return [(low, number(low))]
    power = 10.0 ** math.floor(math.log10((high - low) / (most + 1)))
    steps = (power * factor for factor in (1, 2, 5, 10, 20, 50))
    step = next(step for step in steps if len(_multiples(low, high, step)) <= most)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    shown = f",.{decimals}f" if decimals <= 5 else ".1e"
    return [(i * step, _signed(f"{i * step:{shown}}")) for i in _multiples(low, high, step)]


def _multiples(low: float, high: float, step: float) -> range:
    return range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)


def number(value: Any) -> str:
    """Four significant digits; integers in full."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return _signed(f"{value:,}") if abs(value) <= _HUGE else "very many"
    if abs(value) >= 1000 and abs(value) < 1e15:
        return _signed(f"{value:,.0f}")
    return _signed(f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e"))


def _signed(text: str) -> str:
    """With a typographic minus sign."""
    return text.replace("-", "−")
