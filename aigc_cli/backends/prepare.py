"""From a data set of any kind to what the engine trains on and a run records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aigc_cli.data.sources import stem
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.trainable import Prepared


class Dataset(Protocol):
    """What data sets of all kinds have."""

    @property
    def info(self) -> dict[str, Any]:
        """For run.json: `kind`, `location`, … as `Opened.describe` has it, and what the kind adds."""

    @property
    def notes(self) -> list[str]:
        """For the person."""

    @property
    def cached(self) -> bool:
        """Whether nothing had to be prepared."""

    @property
    def spooled(self) -> Path | None:
        """The copy of standard input, where the data came from there."""


def prepared(options: TrainOptions, data: Dataset, examples: Sequence[str], decided: Mapping[str, Any]) -> Prepared:
    """The data set, with the options as they read the same data again; `decided` are those that reading it settled."""
    assert options.data is not None
    settled = dict(decided)
    if options.data.startswith("hf:"):  # with the revision that was read
        settled["data"] = str(data.info["location"])
    if data.spooled is not None and hasattr(options, "input_format"):  # its copy's suffix tells it
        settled["input_format"] = None
    return Prepared(
        arrays=data,
        options=dataclasses.replace(options, **settled),
        info=data.info,
        notes=data.notes,
        stem="stdin" if data.spooled is not None else stem(options.data, str(data.info["kind"])),
        cached=data.cached,
        keep=data.spooled,
        examples=examples,
    )
