"""The Transformer as a backend: prepare, plan, learn, sample, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.transformer.config import Eval, Sample, Train
from aigc_cli.backends.transformer.learner import TransformerLearner
from aigc_cli.backends.transformer.measure import evaluation
from aigc_cli.backends.transformer.prepare import prepare
from aigc_cli.backends.transformer.sample import sample_texts
from aigc_cli.backends.transformer.sizes import decide
from aigc_cli.data.text import TextDataset, check_unchanged
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.run import Run
from aigc_cli.engine.trainable import Machine, Prepared
from aigc_cli.errors import RequestError


class TransformerBackend:
    name = "transformer"

    # Training

    def prepare(self, options: Train, bus: Bus) -> Prepared:
        return prepare(options, bus)

    def changed(self, info: dict[str, Any]) -> list[str]:
        return check_unchanged(info)

    def plan(self, options: Train, data: Prepared, machine: Machine) -> tuple[Train, list[str]]:
        text: TextDataset = data.arrays
        lengths = np.diff(text.train.offsets) + 1
        plan, reasons = decide(
            options,
            flops=machine.flops * machine.seconds,
            vocab_size=text.tokenizer.vocab_size,
            predictions=int(lengths.sum()),
            longest=int(np.quantile(lengths, 0.95)),
        )
        assert plan.context
        for purpose, arrays in (("training", text.train), ("held-out", text.select)):
            if len(arrays.tokens) < 2:
                raise RequestError(f"{options.data} is too short: its {purpose} part has {len(arrays.tokens)} tokens")
        return plan, reasons

    def learner(self, plan: Train, data: Prepared, device: torch.device) -> Learner:
        return TransformerLearner(plan, data.arrays, device)

    # Using

    def sample(self, run: Run, options: Sample, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Drawn]:
        return sample_texts(run, options, bus, piece)

    def evaluate(self, run: Run, options: Eval, bus: Bus) -> Evaluation:
        return evaluation(run, options, bus)
