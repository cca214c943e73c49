"""What pictures are labelled with: one label, or several, each from a column of its own.

A cache entry of several labels has a class for each combination of their values, which are joined by `SEPARATOR`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from aigc_cli.data.sources.split_names import nfc
from aigc_cli.errors import RequestError

Classes: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]
"""The classes of one label, or those of several by the labels' names; empty if there are none."""

SEPARATOR = "\x1f"  # ASCII's unit separator


def by_label(classes: Classes) -> dict[str, tuple[str, ...]]:
    """The classes of each label; the name of the only one is empty."""
    if isinstance(classes, Mapping):
        return {name: tuple(of) for name, of in classes.items()}
    return {"": tuple(classes)} if classes else {}


def number_of_classes(classes: Classes) -> int | tuple[int, ...]:
    """As networks take it: one number, or one for each label."""
    return tuple(map(len, classes.values())) if isinstance(classes, Mapping) else len(classes)


def label_columns(label: str | None, known: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns that --label names, with commas between them; a `known` column's name may have commas of its own.

    Raises RequestError for a column that is named twice, and for an empty name.
    """
    if label is None:
        return ()
    if "," not in label or nfc(label) in map(nfc, known):
        return (label,)
    columns = tuple(name.strip() for name in label.split(","))
    for number, name in enumerate(columns):
        if not name:
            raise RequestError(f"--label {label}: there is no name {'before' if number == 0 else 'after'} a comma")
        if nfc(name) in map(nfc, columns[:number]):
            raise RequestError(f"--label {label} names {name!r} twice")
    return columns


def joined(values: Sequence[str | None]) -> str | None:
    """The values of several labels as one class of a cache entry; None if there are none."""
    if not any(values):
        return None
    return SEPARATOR.join((value or "").replace(SEPARATOR, " ") for value in values)


def separated(name: str) -> list[str | None]:
    """The inverse of `joined`."""
    return [value or None for value in name.split(SEPARATOR)]


def in_order(names: set[str]) -> list[str]:
    """Sorted as numbers if all are numbers, otherwise as strings."""
    numbers = all(name.isascii() and name.removeprefix("-").isdigit() for name in names)
    return sorted(names, key=int) if numbers else sorted(names)
