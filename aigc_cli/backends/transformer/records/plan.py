"""From a budget and records to a decoder-only model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aigc_cli.backends.transformer.config import DecoderOnlyPlan, Train
from aigc_cli.backends.transformer.decoder_only.packing import Corpus
from aigc_cli.backends.transformer.decoder_only.presets import decide
from aigc_cli.backends.transformer.presets import limiting_memory
from aigc_cli.backends.transformer.records.learner import DROPPED
from aigc_cli.backends.transformer.records.together import Shared
from aigc_cli.backends.transformer.records.tokens import RecordTokens
from aigc_cli.engine.trainable import Machine
from aigc_cli.errors import RequestError

#: The least share of the weights in the loss that the last field has.
LAST_FIELD = 0.5


def plan_for(options: Train, data: RecordTokens, machine: Machine) -> tuple[DecoderOnlyPlan, list[str]]:
    """The plan, and the reasons. The context has room for the longest record, of which no part may be cut.

    Raises `RequestError` for `--together` with records of a single field.
    """
    lengths = np.diff(data.train.offsets) + 1
    longest = max(int((np.diff(arrays.offsets) + 1).max()) for arrays in (data.train, data.select, data.report))
    context = max(options.context or 0, -(-longest // 8) * 8)
    predictions, row, notes = int(lengths.sum()), None, []
    if together(options, data, context):
        assert data.tokenizer.field_id is not None
        shared = Shared(Corpus.of(data.train, data.tokenizer), data.tokenizer.field_id)
        row = shared.row_length(context, DROPPED)
        predictions = int(shared.groups(row, DROPPED, np.random.default_rng(0)).length.sum())
        saved = f"in {predictions:,} tokens instead of {lengths.sum():,}"
        notes.append(f"records with the same {data.fields[0].name} are learned together, {saved}")
    plan, reasons = decide(
        replace(options, context=context, last_field=LAST_FIELD if options.last_field is None else options.last_field),
        flops=machine.flops * machine.seconds,
        vocab_size=data.tokenizer.vocab_size,
        predictions=predictions,
        longest=longest,
        row=row,
        memory=limiting_memory(machine),
    )
    return plan, [*notes, *reasons]


def together(options: Train, data: RecordTokens, context: int) -> bool:
    """Whether records with the same first field are learned together: where asked, or where it saves enough."""
    if len(data.fields) < 2:
        if options.together:
            raise RequestError(f"--together is for records of several fields, and these have one, {data.fields[0].name}")
        return False
    assert data.tokenizer.field_id is not None
    if options.together is not None:
        return options.together
    return Shared(Corpus.of(data.train, data.tokenizer), data.tokenizer.field_id).saves(context, DROPPED)
