"""From a budget and records to a decoder-only model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aigc_cli.backends.transformer.config import DecoderOnlyPlan, Train
from aigc_cli.backends.transformer.decoder_only.presets import decide
from aigc_cli.backends.transformer.records.tokens import RecordTokens
from aigc_cli.engine.trainable import Machine


def plan_for(options: Train, data: RecordTokens, machine: Machine) -> tuple[DecoderOnlyPlan, list[str]]:
    """The plan, and the reasons. The context has room for the longest record, of which no part may be cut."""
    lengths = np.diff(data.train.offsets) + 1
    longest = max(int((np.diff(arrays.offsets) + 1).max()) for arrays in (data.train, data.select, data.report))
    context = max(options.context or 0, -(-longest // 8) * 8)
    return decide(
        replace(options, context=context),
        flops=machine.flops * machine.seconds,
        vocab_size=data.tokenizer.vocab_size,
        predictions=int(lengths.sum()),
        longest=longest,
    )
