"""What measures mean, in words. Whoever measures something says what it means: the engine here for what it logs itself, a
backend in its `Backend.meanings`. Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Meaning:
    """A measure's title, what it says, and its unit."""

    title: str
    sentence: str = ""
    unit: str = ""
    chart: str = ""
    """Curves with the same name here share a chart; empty for a chart of its own."""
    minor: bool = False
    """About how training went rather than how good the model is."""


#: What the engine logs for every backend: losses, gradient norms, the learning rate and the speed.
LOGGED: Mapping[str, Meaning] = {
    "loss": Meaning("Loss", "What training minimises, on training examples.", "nats", chart="loss"),
    "(.+)_loss": Meaning("Loss", "What training minimises, on training examples.", "nats", chart="loss"),
    "(|.+_)grad_norm": Meaning("Gradient norm", "The length of the loss's gradient.", chart="grad_norm", minor=True),
    "lr": Meaning("Learning rate", "How large the steps are.", minor=True),
    "(.+)_per_second": Meaning("Speed", "", "{0}/s", minor=True),
}


@dataclass(frozen=True)
class Meanings:
    """What a backend's measures mean, and the reference figures that stand beside them."""

    measures: Mapping[str, Meaning] = field(default_factory=dict)
    """By name: a regular expression that matches it whole, the first that does. `{0}` in a title or a unit is the text of its
    first group, in words."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Figures beside a measure, in the order in which they are shown: {"floor": "the same measure on real pictures"}."""

    def of(self, name: str) -> Meaning:
        """The meaning of the measure called `name`. One that nobody declared gets its name in words as a title."""
        for pattern, meaning in (*self.measures.items(), *LOGGED.items()):
            if match := re.fullmatch(pattern, name):
                group = in_words(match[1]) if match.re.groups else ""
                return replace(meaning, title=meaning.title.replace("{0}", group), unit=meaning.unit.replace("{0}", group))
        words = in_words(name)
        return Meaning(words[:1].upper() + words[1:])

    def beside(self, measure: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """The reference figures of a measure: the declared ones first (a plain number counts as a `value`), then
        whatever else in it has a `value`."""
        found = {key: measure[key] for key in self.references if key in measure}
        found |= {key: other for key, other in measure.items() if isinstance(other, Mapping) and "value" in other}
        return {key: other if isinstance(other, Mapping) else {"value": other} for key, other in found.items()}


def in_words(name: str) -> str:
    """`class_shares` as "class shares"."""
    return name.replace("_", " ").strip()
