"""The VAE as a backend: prepare, plan, train, sample, encode, decode, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.pictures.options import PictureTraining
from aigc_cli.backends.pictures.words import said_of
from aigc_cli.backends.vae.codes.learner import CodeLearner
from aigc_cli.backends.vae.codes.presets import decide_codes
from aigc_cli.backends.vae.config import Decode, Encode, Eval, Sample, Train, VAEPlan
from aigc_cli.backends.vae.encode import encode_pictures
from aigc_cli.backends.vae.eval import evaluation
from aigc_cli.backends.vae.learner import VAELearner
from aigc_cli.backends.vae.presets import decide
from aigc_cli.backends.vae.sample import decode_latents, sample_pictures
from aigc_cli.backends.vae.two_stage.learner import TwoStageLearner
from aigc_cli.backends.vae.two_stage.presets import decide_two_stages
from aigc_cli.data.latents import Encoded
from aigc_cli.data.latents_input import Latents
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.runs.run import Run
from aigc_cli.engine.trainable import Machine, Prepared


class VAEBackend(PictureTraining):
    name = "vae"

    # Training

    def plan(self, options: Train, data: Prepared, machine: Machine) -> tuple[VAEPlan, list[str]]:
        flops = machine.flops * machine.seconds
        choose = decide_codes if options.codes else decide_two_stages if options.objective == "samples" else decide
        plan, reasons = choose(options, data.arrays, flops, machine.memory)
        return plan, said_of(data.arrays.one, reasons)

    def read_plan(self, record: Mapping[str, Any]) -> VAEPlan:
        return VAEPlan.read(record)

    def learner(self, plan: VAEPlan, data: Prepared, device: torch.device) -> Learner:
        learner = CodeLearner if plan.codes else TwoStageLearner if plan.objective == "samples" else VAELearner
        return learner(plan, data.arrays, device)

    # Sampling, encoding and evaluation

    def sample(self, run: Run, options: Sample, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Drawn]:
        return sample_pictures(run, options, bus)

    def encode(self, run: Run, options: Encode, bus: Bus) -> Iterator[Encoded]:
        return encode_pictures(run, options, bus)

    def decode(self, run: Run, options: Decode, latents: Latents, bus: Bus) -> Iterator[Drawn]:
        return decode_latents(run, options, latents, bus)

    def evaluate(self, run: Run, options: Eval, bus: Bus) -> Evaluation:
        return evaluation(run, options, bus)
