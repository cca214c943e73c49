"""From a dataset of any kind to what the engine trains on and a run records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aigc_cli.data.sources.source import stem
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.trainable import Example, Prepared


class Dataset(Protocol):
    """A dataset of any kind."""

    @property
    def info(self) -> dict[str, Any]:
        """The record for run.json: `kind`, `location`, … from `Opened.describe`, and what the kind adds."""

    @property
    def notes(self) -> list[str]:
        """Lines for the user."""

    @property
    def cached(self) -> bool:
        """Whether nothing had to be prepared."""

    @property
    def spooled(self) -> Path | None:
        """The copy of standard input, if the data came from there."""


def prepared(
    options: TrainOptions, data: Dataset, examples: Callable[[], Sequence[Example]], decided: Mapping[str, Any]
) -> Prepared:
    """The dataset, with options that read the same data again; `decided` are options that were decided by reading it."""
    settled = dict(decided)
    if options.data_source.startswith("hf:"):  # pin the revision
        settled["data"] = str(data.info["location"])
    if data.spooled is not None and hasattr(options, "input_format"):  # the copy's suffix says it
        settled["input_format"] = None
    return Prepared(
        arrays=data,
        options=dataclasses.replace(options, **settled),
        info=data.info,
        notes=data.notes,
        stem="stdin" if data.spooled is not None else stem(options.data_source, str(data.info["kind"])),
        cached=data.cached,
        keep=data.spooled,
        examples=examples,
    )
