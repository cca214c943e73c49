"""Measures of texts that stand for examples of another kind of data, such as the events of music."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigc_cli.backends.transformer.eval import Units
from aigc_cli.data.kinds import ReadAsTexts
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums
from aigc_cli.metrics.statistics.proportion import proportion

#: What measures of texts are called for a kind whose bars are lines.
_NAMES = {"copied_lines": "copied_bars"}


def likelihood_of(
    measures: Mapping[str, Measure], kind: ReadAsTexts, units: Units, texts: Sequence[str], seed: int
) -> dict[str, Measure]:
    """The cost of an event, beside that of baselines, and of a beat if intervals are over whole pieces, `texts`."""
    name, _ = kind.likelihood
    per_event = _in_nats(measures["bits_per_char"], name)
    of_baselines = {key: _in_nats(of, name) for key, of in per_event.extra.items() if isinstance(of, Measure)}
    found = {name: per_event.beside(**of_baselines), "perplexity": measures["perplexity"]}
    if units.over == "documents" and len(texts) == len(units.nats):
        beats = np.array([kind.beats(text) for text in texts])
        found["nats_per_beat"] = ratio_of_sums(units.nats, beats, unit="nats/beat", seed=seed).beside(over=units.over)
    return found


def _in_nats(measure: Measure, name: str) -> Measure:
    return measure.map(lambda bits: bits * math.log(2), name.replace("_per_", "/"))


def samples_of_kind(
    measures: Mapping[str, Measure], kind: ReadAsTexts, samples: Sequence[str], human: Sequence[str]
) -> dict[str, Measure]:
    """Copied bars and spans and new n-grams of events beside the same for human pieces, and the share of samples that are whole
    files."""
    found = {
        _NAMES.get(name, name): _of_events(measure) for name, measure in measures.items() if not name.startswith("distinct_")
    }
    valid = proportion([kind.is_whole(text) for text in samples])
    return {"valid": valid.beside(human=proportion([kind.is_whole(text) for text in human])), **found}


def _of_events(measure: Measure) -> Measure:
    """The measure with its characters called events."""
    extra: dict[str, Any] = {
        key.replace("chars", "events"): _of_events(value) if isinstance(value, Measure) else value
        for key, value in measure.extra.items()
        if key != "min_line_bytes"
    }
    return Measure(
        measure.value, measure.low, measure.high, measure.n, "events" if measure.unit == "chars" else measure.unit, extra
    )
