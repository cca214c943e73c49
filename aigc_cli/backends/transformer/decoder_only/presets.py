"""From a budget and a corpus to a decoder-only model: its size, context, batch size and regularisation."""

from __future__ import annotations

import numpy as np

from aigc_cli.backends.memory import micro_batch
from aigc_cli.backends.presets import preset_for
from aigc_cli.backends.transformer.config import DecoderOnlyPlan, Train
from aigc_cli.backends.transformer.decoder_only.model import TransformerConfig
from aigc_cli.backends.transformer.layers import MOST_STORED
from aigc_cli.backends.transformer.presets import EFFICIENCY, PRESETS, common, dropout_reason, limiting_memory
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.engine.trainable import Machine
from aigc_cli.errors import RequestError

#: Bytes that a training step takes for a token: in a layer, by its widths and for each score that is stored; and beside layers,
#: by the width. Fitted to measured peaks within 25 % (tests/benchmarks/RECIPE.md).
LAYER_BYTES, FF_BYTES, SCORE_BYTES, TOKEN_BYTES = 72, 20, 8, 100


def plan_for(options: Train, text: TextDataset, machine: Machine) -> tuple[DecoderOnlyPlan, list[str]]:
    """The plan, and the reasons. Raises `RequestError` for a text that is too short."""
    for name in ("together", "last_field"):
        if getattr(options, name):
            raise RequestError(f"--{name.replace('_', '-')} is for records with pictures, and {options.data} has none")
    for purpose, arrays in (("training", text.train), ("held-out", text.select)):
        if len(arrays.tokens) < 2:
            raise RequestError(f"{options.data} is too short: its {purpose} part has {len(arrays.tokens)} tokens")
    lengths = np.diff(text.train.offsets)
    lengths += 1
    return decide(
        options,
        flops=machine.flops * machine.seconds,
        vocab_size=text.tokenizer.vocab_size,
        predictions=int(lengths.sum()),
        longest=int(np.quantile(lengths, 0.95, overwrite_input=True)),
        memory=limiting_memory(machine),
    )


def decide(
    options: Train,
    *,
    flops: float,
    vocab_size: int,
    predictions: int,
    longest: int,
    row: int | None = None,
    memory: int | None = None,
) -> tuple[DecoderOnlyPlan, list[str]]:
    """The plan, with model, batch size, learning rate and regularisation decided, and the reasons.

    `flops` is the budget, `predictions` the length of the training text in tokens, and `longest` the length in tokens that few
    documents exceed. If documents are learned together, `row` is the length of the rows of a batch; otherwise it is a context.
    `memory` are the bytes that limit a step.
    """
    preset = preset_for(PRESETS, flops, options.preset)
    context = options.context or min(preset.context, max(32, -(-longest // 32) * 32))
    length = row or context
    batch_size = options.batch_size or max(1, preset.batch_size * preset.context // length)
    d_model = options.d_model or preset.d_model
    n_heads = options.n_heads or max(1, d_model // preset.head_dim)
    n_layers = options.n_layers or preset.n_layers
    d_ff = options.d_ff or (preset.d_ff if d_model == preset.d_model else -(-d_model * 8 // 3 // 32) * 32)
    parameters = n_layers * d_model * (4 * d_model + 3 * d_ff)
    cost = 6 * (parameters + vocab_size * d_model + n_layers * length * d_model)
    tokens = options.steps * batch_size * length if options.steps else flops * EFFICIENCY / cost
    epochs = tokens / predictions
    layer = LAYER_BYTES * d_model + FF_BYTES * d_ff

    def needed(rows: int) -> float:
        scores = rows * n_heads * length * length
        stored = SCORE_BYTES * n_layers * scores if scores <= MOST_STORED else 0
        return stored + rows * length * (n_layers * layer + TOKEN_BYTES * d_model)

    at_once, limits = micro_batch(batch_size, needed, memory, options.micro_batch_size)
    plan = DecoderOnlyPlan.of(
        options,
        **common(preset, epochs),
        context=context,
        batch_size=batch_size,
        micro_batch_size=at_once,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_ff=d_ff,
        together=row is not None,
        last_field=options.last_field or 0.0,
    )
    model = f"model: {preset.name} ({plan.n_layers} layers of width {d_model}, context {context})"
    return plan, [f"{model} for {predictions:,} tokens, {dropout_reason(options, plan)}", *limits]


def model_config(plan: DecoderOnlyPlan, vocab_size: int, eot_id: int, sos_id: int | None = None) -> TransformerConfig:
    """The shape of a plan's network."""
    return TransformerConfig(
        vocab_size=vocab_size,
        d_model=plan.d_model,
        n_layers=plan.n_layers,
        n_heads=plan.n_heads,
        n_kv_heads=plan.n_kv_heads,
        head_dim=head_dim(plan),
        d_ff=plan.d_ff,
        context=plan.context,
        eot_id=eot_id,
        sos_id=None if sos_id == eot_id else sos_id,
        tied=plan.tied,
        dropout=plan.dropout,
    )


def head_dim(plan: DecoderOnlyPlan) -> int:
    """The width divided by the number of heads, rounded up to a multiple of 32."""
    return max(32, -(-(plan.d_model // plan.n_heads) // 32) * 32)
