"""The Transformer as a backend: prepare, plan, train, sample, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.transformer.architectures import ARCHITECTURES, of_data, of_run
from aigc_cli.backends.transformer.config import Eval, Sample, Train, TransformerPlan
from aigc_cli.backends.transformer.prepare import fields_of, prepare
from aigc_cli.backends.transformer.sample import sample_texts
from aigc_cli.data.text.dataset import check_unchanged
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.runs.run import Run
from aigc_cli.engine.trainable import Machine, Prepared


class TransformerBackend:
    name = "transformer"

    # Training

    def prepare(self, options: Train, bus: Bus) -> Prepared:
        from aigc_cli.data.records.holds import kind_of_records

        kind = kind_of_records(options.data_source, fields_of(options) or None)
        if kind is None:
            return prepare(options, bus)
        from aigc_cli.backends.transformer.records.prepare import prepare as prepare_records

        return prepare_records(options, kind, bus)

    def changed(self, info: dict[str, Any]) -> list[str]:
        if "fields" not in info:
            return check_unchanged(info)
        from aigc_cli.backends.transformer.records.prepare import records_unchanged

        return records_unchanged(info)

    def plan(self, options: Train, data: Prepared, machine: Machine) -> tuple[TransformerPlan, list[str]]:
        planned: tuple[TransformerPlan, list[str]] = of_data(options.arch, data.info).plan(options, data.arrays, machine)
        return planned

    def read_plan(self, record: Mapping[str, Any]) -> TransformerPlan:
        plan: TransformerPlan = ARCHITECTURES[record.get("arch", "decoder-only")].plan_type.read(record)
        return plan

    def learner(self, plan: TransformerPlan, data: Prepared, device: torch.device) -> Learner:
        return of_data(plan.arch, data.info).learner(plan, data.arrays, device)

    # Sampling and evaluation

    def sample(self, run: Run, options: Sample, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Drawn]:
        return sample_texts(run, options, bus, piece)

    def evaluate(self, run: Run, options: Eval, bus: Bus) -> Evaluation:
        return of_run(run).evaluate(run, options, bus)
