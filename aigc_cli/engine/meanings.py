"""What measures mean, in words: those that the engine logs, here; those of a backend, in its `Backend.meanings`. Free of
torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Meaning:
    """A measure's title, explanation and unit."""

    title: str
    sentence: str = ""
    unit: str = ""
    chart: str = ""
    """Measures with the same chart name share a chart; empty for a chart of its own."""
    minor: bool = False
    """Whether it tells how training went rather than how good the model is."""


#: Values that the engine logs for every backend: losses, gradient norms, learning rate and speed.
LOGGED: Mapping[str, Meaning] = {
    "loss": Meaning("Loss", "What training minimises, on training examples.", "nats", chart="loss"),
    "(.+)_loss": Meaning("Loss", "What training minimises, on training examples.", "nats", chart="loss"),
    "(|.+_)grad_norm": Meaning("Gradient norm", "The length of the loss's gradient.", chart="grad_norm", minor=True),
    "lr": Meaning("Learning rate", "How large the steps are.", minor=True),
    "(.+)_per_second": Meaning("Speed", "", "{0}/s", minor=True),
}


@dataclass(frozen=True)
class Meanings:
    """What a backend's measures mean, and the reference figures shown with them."""

    measures: Mapping[str, Meaning] = field(default_factory=dict)
    """By a regular expression that matches the whole name; the first match wins. `{0}` in a title or unit stands for the text
    of its first group, in words."""
    references: Mapping[str, str] = field(default_factory=dict)
    """Reference figures of measures, in display order: {"floor": "the same measure on real pictures"}."""

    example: str = ""
    """What the texts call an example, if they do: "picture"."""

    def said_of(self, one: str) -> Meanings:
        """The same of a run whose examples are called otherwise, such as "sound"."""
        if "" in (self.example, one) or self.example == one:
            return self

        def said(text: str) -> str:
            return text.replace(self.example, one)

        measures = {
            name: replace(of, title=said(of.title), sentence=said(of.sentence), unit=said(of.unit))
            for name, of in self.measures.items()
        }
        return Meanings(measures, {name: said(text) for name, text in self.references.items()}, one)

    def of(self, name: str) -> Meaning:
        """The meaning of the measure called `name`; for an undeclared one, a title made from its name."""
        for pattern, meaning in (*self.measures.items(), *LOGGED.items()):
            if match := re.fullmatch(pattern, name):
                group = in_words(match[1]) if match.re.groups else ""
                return replace(meaning, title=meaning.title.replace("{0}", group), unit=meaning.unit.replace("{0}", group))
        words = in_words(name)
        return Meaning(words[:1].upper() + words[1:])

    def beside(self, measure: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        """The reference figures of a measure: the declared ones first (a plain number counts as a `value`), then anything else
        in it that has a `value`."""
        found = {key: measure[key] for key in self.references if key in measure}
        found |= {key: other for key, other in measure.items() if isinstance(other, Mapping) and "value" in other}
        return {key: other if isinstance(other, Mapping) else {"value": other} for key, other in found.items()}


def in_words(name: str) -> str:
    """`class_shares` as "class shares"."""
    return name.replace("_", " ").strip()
