"""What `--arch` chooses between: how each architecture is planned, trained and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.transformer.config import Eval, Train
from aigc_cli.backends.transformer.decoder_only.eval import evaluation
from aigc_cli.backends.transformer.encoder_decoder.eval import answers_evaluation
from aigc_cli.backends.transformer.encoder_decoder.learner import PairLearner
from aigc_cli.backends.transformer.encoder_decoder.pairs import Pairs
from aigc_cli.backends.transformer.learner import LanguageLearner, TransformerLearner
from aigc_cli.backends.transformer.presets import decide, decide_pairs
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.engine.trainable import Machine
from aigc_cli.errors import RequestError


@dataclass(frozen=True)
class Architecture:
    plan: Callable[[Train, TextDataset, Machine], tuple[Train, list[str]]]
    learner: Callable[[Train, TextDataset, torch.device], LanguageLearner]
    evaluate: Callable[[Run, Eval, Bus], Evaluation]


def plan_for_texts(options: Train, text: TextDataset, machine: Machine) -> tuple[Train, list[str]]:
    """Raises RequestError for a text too short."""
    lengths = np.diff(text.train.offsets) + 1
    for purpose, arrays in (("training", text.train), ("held-out", text.select)):
        if len(arrays.tokens) < 2:
            raise RequestError(f"{options.data} is too short: its {purpose} part has {len(arrays.tokens)} tokens")
    return decide(
        options,
        flops=machine.flops * machine.seconds,
        vocab_size=text.tokenizer.vocab_size,
        predictions=int(lengths.sum()),
        longest=int(np.quantile(lengths, 0.95)),
    )


def plan_for_pairs(options: Train, text: TextDataset, machine: Machine) -> tuple[Train, list[str]]:
    """Raises RequestError where no target says anything."""
    pairs = Pairs.of(text.train, text.tokenizer)
    if not pairs.target_lengths.any():
        raise RequestError(f"{options.data}: every target that there is to learn is empty")
    return decide_pairs(
        options,
        flops=machine.flops * machine.seconds,
        vocab_size=text.tokenizer.vocab_size,
        sources=pairs.source_lengths + 1,
        targets=pairs.target_lengths + 1,
    )


ARCHITECTURES = {
    "decoder-only": Architecture(plan_for_texts, TransformerLearner, evaluation),
    "encoder-decoder": Architecture(plan_for_pairs, PairLearner, answers_evaluation),
}


def of_run(run: Run) -> Architecture:
    """The architecture that a run was trained with."""
    return ARCHITECTURES[run.record["plan"].get("arch", "decoder-only")]
