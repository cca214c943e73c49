"""The GAN as a backend: prepare, plan, train, sample, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.gan.config import Eval, GANPlan, Sample, Train
from aigc_cli.backends.gan.eval import evaluation
from aigc_cli.backends.gan.learner import GANLearner
from aigc_cli.backends.gan.presets import decide
from aigc_cli.backends.gan.sample import sample_pictures
from aigc_cli.backends.gan.tile import check_window
from aigc_cli.backends.pictures.options import PictureTraining, PictureTrainOptions
from aigc_cli.backends.pictures.words import said_of
from aigc_cli.data.pictures.format import parse_size
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.runs.run import Run
from aigc_cli.engine.trainable import Machine, Prepared
from aigc_cli.errors import RequestError


class GANBackend(PictureTraining):
    name = "gan"

    # Training

    def prepare(self, options: PictureTrainOptions, bus: Bus) -> Prepared:
        if isinstance(options, Train) and options.tile:  # before pictures are read
            if options.clusters:
                raise RequestError("--clusters and --tile can't be used together: a texture's windows are of one kind")
            if options.size is not None:
                check_window(parse_size(options.size))
        return super().prepare(options, bus)

    def plan(self, options: Train, data: Prepared, machine: Machine) -> tuple[GANPlan, list[str]]:
        plan, reasons = decide(options, data.arrays, machine.flops * machine.seconds, machine.memory)
        return plan, said_of(data.arrays.one, reasons)

    def read_plan(self, record: Mapping[str, Any]) -> GANPlan:
        return GANPlan.read(record)

    def learner(self, plan: GANPlan, data: Prepared, device: torch.device) -> Learner:
        return GANLearner(plan, data.arrays, device)

    # Sampling and evaluation

    def sample(self, run: Run, options: Sample, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Drawn]:
        return sample_pictures(run, options)

    def evaluate(self, run: Run, options: Eval, bus: Bus) -> Evaluation:
        return evaluation(run, options, bus)
