"""The tables of a run's page: measures with their reference figures, the data, and other facts by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigc_cli.engine.meanings import Meanings, in_words
from aigc_cli.ui.curves import finite, number

STRIP_WIDTH, STRIP_HEIGHT, STRIP_EDGE = 132, 18, 6
#: The most items of a list or mapping to write out.
MAX_ITEMS = 24
_NUMBERS = ("value", "low", "high", "n", "unit")


@dataclass(frozen=True)
class Beside:
    """A reference figure: its name, its value, and its interval if it has one."""

    name: str
    value: str
    interval: str


@dataclass(frozen=True)
class Strip:
    """A measure as a drawing: its value, interval and reference figures along one line, in pixels."""

    value: float
    interval: tuple[float, float] | None
    others: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Row:
    """A row of the table of measures."""

    title: str
    name: str
    sentence: str
    value: str
    unit: str
    interval: str
    n: str
    beside: Sequence[Beside]
    how: str
    """How it was measured."""
    strip: Strip | None


def rows(measures: Mapping[str, Mapping[str, Any]], meanings: Meanings) -> list[Row]:
    """One row per measure, in order; text that repeats from row to row is shown once."""
    found: list[Row] = []
    last_sentence, last_how = "", ""
    for name, measure in measures.items():
        meaning, others = meanings.of(name), meanings.beside(measure)
        how = _how(measure, meanings)
        row = Row(
            title=meaning.title,
            name=name,
            sentence="" if meaning.sentence == last_sentence else meaning.sentence,
            value=_value(measure),
            unit=str(measure.get("unit") or meaning.unit),
            interval=_interval(measure),
            n=number(measure.get("n")),
            beside=[Beside(in_words(key), _value(other), _interval(other)) for key, other in others.items()],
            how="" if how == last_how else how,
            strip=_strip(measure, others),
        )
        last_sentence, last_how = meaning.sentence, how
        found.append(row)
    return found


def legend(measures: Mapping[str, Mapping[str, Any]], meanings: Meanings) -> list[tuple[str, str]]:
    """What the reference figures of these measures mean: (name, meaning)."""
    keys = dict.fromkeys(key for measure in measures.values() for key in meanings.beside(measure))
    return [(in_words(key), meanings.references[key]) for key in keys if key in meanings.references]


def facts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts by name, as text, without empty ones."""
    texts = [(in_words(name), as_text(value)) for name, value in values.items()]
    return [(name, text) for name, text in texts if text]


def as_text(value: Any) -> str:
    """A JSON value as text. Long lists are cut."""
    if value is None or value == "" or value == [] or value == {}:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        parts = ((in_words(str(name)), as_text(part)) for name, part in value.items())
        return _listed([f"{name} {text}" for name, text in parts if text])
    if isinstance(value, list | tuple):
        if all(isinstance(item, Mapping) for item in value):  # such as files: how many, and the first
            first = as_text(value[0].get("path", value[0]))
            return f"{len(value):,}: {first}" + (", …" if len(value) > 1 else "")
        return _listed([as_text(item) for item in value])
    return number(value)


def _listed(parts: Sequence[str]) -> str:
    more = f", … ({len(parts):,} in total)" if len(parts) > MAX_ITEMS else ""
    return ", ".join(parts[:MAX_ITEMS]) + more


def splits(found: Any) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The splits of the data and their sizes: the columns, and one row per split."""
    if not isinstance(found, Mapping):
        return [], []
    parts = {name: counts for name, counts in found.items() if isinstance(counts, Mapping)}
    columns = list(dict.fromkeys(column for counts in parts.values() for column in counts))
    return columns, [(str(name), [number(counts.get(column)) for column in columns]) for name, counts in parts.items()]


def understood(found: Any) -> list[tuple[str, str]]:
    """How the data were read (`data.understood`): names and texts, with a row for each item of a list."""
    if not isinstance(found, Mapping):
        return []
    pairs = [(name, item) for name, value in found.items() for item in (value if isinstance(value, list) else [value])]
    texts = [(in_words(str(name)), _of_understood(item)) for name, item in pairs]
    return [(name, text) for name, text in texts if text]


def _of_understood(value: Any) -> str:
    if isinstance(value, Mapping) and {"count", "examples"} <= value.keys():
        by_suffix = value.get("by_suffix")
        counted = [f"{number(n)} {suffix}" for suffix, n in by_suffix.items()] if isinstance(by_suffix, Mapping) else []
        what = ", ".join(counted) or f"{number(value['count'])} {value.get('what', '')}"
        return f"{what}, such as {as_text(value['examples'])}"
    if isinstance(value, Mapping) and value.get("delimiter") == "\t":
        value = {**value, "delimiter": "tab"}
    return as_text(value)


def _value(measure: Mapping[str, Any]) -> str:
    value = measure.get("value")
    return "not finite" if value is None else number(value)


def _interval(measure: Mapping[str, Any]) -> str:
    low, high = measure.get("low"), measure.get("high")
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def _how(measure: Mapping[str, Any], meanings: Meanings) -> str:
    parts = (
        (name, as_text(value))
        for name, value in measure.items()
        if name not in (*_NUMBERS, *meanings.references) and isinstance(value, str | int | float)
    )
    return ", ".join(f"{in_words(name)} {text}" for name, text in parts if text)


def _strip(measure: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> Strip | None:
    """None if there is nothing to compare the value with."""
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
    return float(value) if finite(value) else None
