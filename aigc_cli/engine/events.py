"""Events of training and evaluation. The engine emits them; the user interface subscribes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Event:
    def to_json(self) -> dict[str, Any]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        return {"event": name, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Note(Event):
    """A line for the user: a decision and its reason, or a warning."""

    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class Stage(Event):
    """Progress of work other than training steps: reading, tokenising, calibrating."""

    name: str
    done: int
    total: int | None = None


@dataclass(frozen=True)
class Started(Event):
    run: str
    steps: int
    first_step: int
    model: str = ""


@dataclass(frozen=True)
class Trained(Event):
    """Means over the steps since the last such event; `losses` in nats, `rate` in `unit` per second."""

    step: int
    steps: int
    losses: Mapping[str, float]
    lr: float
    rate: float
    unit: str
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class Evaluated(Event):
    """Measures on the `select` half of the held-out data."""

    step: int
    measures: Mapping[str, float]
    objective: str
    best: bool


@dataclass(frozen=True)
class Previewed(Event):
    """A sample of the current model: a text, or a file of pictures, a sheet with a `grid` of (rows, columns)."""

    step: int
    text: str
    path: str
    grid: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Saved(Event):
    step: int
    path: str


@dataclass(frozen=True)
class Printing(Event):
    """A result is about to be printed on the terminal that shows progress."""


@dataclass(frozen=True)
class Finished(Event):
    run: str
    status: str
    steps: int
    seconds: float
    measures: Mapping[str, float] = field(default_factory=dict)


Subscriber = Callable[[Event], None]


class Bus:
    """Passes each event to every subscriber. A subscriber that can no longer write (a closed terminal) is dropped: losing
    standard error never stops training."""

    def __init__(self, *subscribers: Subscriber) -> None:
        self.subscribers = list(subscribers)

    def emit(self, event: Event) -> None:
        for subscriber in list(self.subscribers):
            try:
                subscriber(event)
            except (OSError, ValueError) as error:
                if isinstance(error, ValueError) and "closed file" not in str(error):
                    raise
                self.subscribers.remove(subscriber)

    def note(self, text: str, level: Literal["info", "warning"] = "info") -> None:
        self.emit(Note(text, level))

    def stage(self, name: str, done: int, total: int | None) -> None:
        self.emit(Stage(name, done, total))


def display_path(path: Path) -> str:
    """`path` relative to the current folder if it is inside, as a user would type it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
