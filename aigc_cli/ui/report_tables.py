"""The tables of a run's page: its measures with what stands beside them, its data, and other facts by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigc_cli.engine.meanings import Meanings, in_words
from aigc_cli.ui.curves import number

STRIP_WIDTH, STRIP_HEIGHT, STRIP_EDGE = 132, 18, 6
#: Items of a list and pairs of a mapping that are written out.
WRITTEN_OUT = 24
_NUMBERS = ("value", "low", "high", "n", "unit")


@dataclass(frozen=True)
class Beside:
    """A figure beside a measure: its name, its value, and its interval where it has one."""

    name: str
    value: str
    interval: str


@dataclass(frozen=True)
class Strip:
    """A measure as a drawing: its interval, itself and the figures beside it along one line, in pixels."""

    value: float
    interval: tuple[float, float] | None
    others: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Row:
    """A measure as the page shows it."""

    title: str
    name: str
    sentence: str
    value: str
    unit: str
    interval: str
    n: str
    beside: Sequence[Beside]
    how: str
    """What else is known of it: how it was taken."""
    strip: Strip | None


def rows(measures: Mapping[str, Mapping[str, Any]], meanings: Meanings) -> list[Row]:
    """A row a measure, in order; what is the same as in the row before is said once."""
    found: list[Row] = []
    said, taken = "", ""
    for name, measure in measures.items():
        meaning, others = meanings.of(name), meanings.beside(measure)
        how = _how(measure, meanings)
        row = Row(
            title=meaning.title,
            name=name,
            sentence="" if meaning.sentence == said else meaning.sentence,
            value=_value(measure),
            unit=str(measure.get("unit") or meaning.unit),
            interval=_interval(measure),
            n=number(measure.get("n")),
            beside=[Beside(in_words(key), _value(other), _interval(other)) for key, other in others.items()],
            how="" if how == taken else how,
            strip=_strip(measure, others),
        )
        said, taken = meaning.sentence, how
        found.append(row)
    return found


def legend(measures: Mapping[str, Mapping[str, Any]], meanings: Meanings) -> list[tuple[str, str]]:
    """What the figures beside these measures are: (name, meaning)."""
    keys = dict.fromkeys(key for measure in measures.values() for key in meanings.beside(measure))
    return [(in_words(key), meanings.references[key]) for key in keys if key in meanings.references]


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Whatever is known by name, as text; what is empty is left out."""
    told = [(in_words(name), told_of(value)) for name, value in values.items()]
    return [(name, text) for name, text in told if text]


def told_of(value: Any) -> str:
    """A JSON value in words. Long lists are cut."""
    if value is None or value == "" or value == [] or value == {}:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        parts = ((in_words(str(name)), told_of(part)) for name, part in value.items())
        return _listed([f"{name} {text}" for name, text in parts if text])
    if isinstance(value, list | tuple):
        if all(isinstance(item, Mapping) for item in value):  # files, say: how many, and the first of them
            first = told_of(value[0].get("path", value[0]))
            return f"{len(value):,}: {first}" + (", …" if len(value) > 1 else "")
        return _listed([told_of(item) for item in value])
    return number(value)


def _listed(parts: Sequence[str]) -> str:
    more = f", … ({len(parts):,} in all)" if len(parts) > WRITTEN_OUT else ""
    return ", ".join(parts[:WRITTEN_OUT]) + more


def splits(found: Any) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The parts of the data and what each counts: the columns, and a row a part."""
    if not isinstance(found, Mapping):
        return [], []
    parts = {name: counts for name, counts in found.items() if isinstance(counts, Mapping)}
    columns = list(dict.fromkeys(column for counts in parts.values() for column in counts))
    return columns, [(str(name), [number(counts.get(column)) for column in columns]) for name, counts in parts.items()]


def _value(measure: Mapping[str, Any]) -> str:
    value = measure.get("value")
    return "not finite" if value is None else number(value)


def _interval(measure: Mapping[str, Any]) -> str:
    low, high = measure.get("low"), measure.get("high")
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def _how(measure: Mapping[str, Any], meanings: Meanings) -> str:
    parts = (
        (name, told_of(value))
        for name, value in measure.items()
        if name not in (*_NUMBERS, *meanings.references) and isinstance(value, str | int | float)
    )
    return ", ".join(f"{in_words(name)} {text}" for name, text in parts if text)


def _strip(measure: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> Strip | None:
    """None where there is nothing to see beside the value."""
    value, low, high = (_number(measure.get(name)) for name in ("value", "low", "high"))
    beside = {key: at for key, other in others.items() if (at := _number(other.get("value"))) is not None}
    if value is None or not beside:
        return None
    everything = [at for at in (value, low, high, *beside.values()) if at is not None]
    start, end = min(everything), max(everything)
    scale = (STRIP_WIDTH - 2 * STRIP_EDGE) / ((end - start) or 1.0)

    def place(at: float) -> float:
        return round(STRIP_EDGE + (at - start) * scale, 1)

    interval = None if low is None or high is None else (place(low), place(high))
    return Strip(place(value), interval, [(place(at), in_words(key)) for key, at in beside.items()])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
