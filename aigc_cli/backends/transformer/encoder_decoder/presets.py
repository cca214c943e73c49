"""From a budget and pairs to an encoder–decoder: its size, context, batch size and regularisation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.memory import micro_batch
from aigc_cli.backends.presets import preset_for
from aigc_cli.backends.transformer.config import EncoderDecoderPlan, Train
from aigc_cli.backends.transformer.encoder_decoder.model import EncoderDecoderConfig
from aigc_cli.backends.transformer.encoder_decoder.pairs import Pairs
from aigc_cli.backends.transformer.presets import EFFICIENCY, PRESETS, common, dropout_reason, limiting_memory
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.engine.trainable import Machine
from aigc_cli.errors import RequestError

#: The layers of encoder and decoder each, as a share of those of a decoder-only model.
LAYERS_SHARE = 0.6
#: Bytes that a training step takes for a token in a layer, by its widths, and for each attention score, which are stored if
#: there is dropout. Fitted to measured peaks within 25 % (tests/benchmarks/RECIPE.md).
LAYER_BYTES, FF_BYTES, SCORE_BYTES = 44, 12, 22
#: Sources and targets are not truncated below this many tokens, however small the model.
LEAST_LONGEST = 256


def plan_for(options: Train, text: TextDataset, machine: Machine) -> tuple[EncoderDecoderPlan, list[str]]:
    """The plan, and the reasons. Raises `RequestError` if all targets are empty."""
    pairs = Pairs.of(text.train, text.tokenizer)
    if not pairs.target_lengths.any():
        raise RequestError(f"{options.data}: all training targets are empty")
    return decide(
        options,
        flops=machine.flops * machine.seconds,
        vocab_size=text.tokenizer.vocab_size,
        sources=pairs.source_lengths + 1,
        targets=pairs.target_lengths + 1,
        memory=limiting_memory(machine),
    )


def decide(
    options: Train,
    *,
    flops: float,
    vocab_size: int,
    sources: NDArray[np.integer],
    targets: NDArray[np.integer],
    memory: int | None = None,
) -> tuple[EncoderDecoderPlan, list[str]]:
    """The plan, with model, batch size, learning rate and regularisation decided, and the reasons.

    `flops` is the budget; `sources` and `targets` (n,) are lengths in tokens, ends included; `memory` are the bytes
    that limit a step.
    """
    preset = preset_for(PRESETS, flops, options.preset)
    d_model = options.d_model or preset.d_model
    longest = int(max(sources.max(), targets.max()))
    limit = options.context or min(max(LEAST_LONGEST, 2 * preset.context), -(-longest // 8) * 8)
    read, written = (float(np.minimum(lengths, limit).mean()) for lengths in (sources, targets))
    heads = max(1, d_model // preset.head_dim)
    rows = max(1, round(preset.batch_size * preset.context / (read + written)))
    layers = max(1, round(preset.n_layers * LAYERS_SHARE))
    num_encoder_layers, num_decoder_layers = options.num_encoder_layers or layers, options.num_decoder_layers or layers
    d_ff = options.d_ff or 4 * d_model
    batch_size = options.batch_size or min(len(sources), rows)
    # Attention has 4 d² weights, and decoder layers have it twice.
    encoder = num_encoder_layers * d_model * (4 * d_model + 2 * d_ff)
    decoder = num_decoder_layers * d_model * (8 * d_model + 2 * d_ff) + vocab_size * d_model
    cost = 6 * (encoder * read + decoder * written)
    pairs = options.steps * batch_size if options.steps else flops * EFFICIENCY / cost
    settled = common(preset, pairs / len(sources))
    # Pairs of similar length share a batch, so all may be as long as the longest.
    read, written = (min(int(lengths.max()), limit) for lengths in (sources, targets))
    layer = LAYER_BYTES * d_model + FF_BYTES * d_ff
    needed = layer * (num_encoder_layers * read + 1.5 * num_decoder_layers * written)
    if settled["dropout"] if options.dropout is None else options.dropout:
        needed += SCORE_BYTES * heads * (num_encoder_layers * read**2 + num_decoder_layers * written * (written + read))
    at_once, limits = micro_batch(batch_size, lambda n: n * needed, memory, options.micro_batch_size)
    plan = EncoderDecoderPlan.of(
        options,
        **settled,
        n_heads=next(n for n in range(heads, 0, -1) if d_model % n == 0),
        num_encoder_layers=num_encoder_layers,
        num_decoder_layers=num_decoder_layers,
        d_ff=d_ff,
        context=limit,
        batch_size=batch_size,
        micro_batch_size=at_once,
    )
    reasons = [
        f"model: {preset.name} ({plan.num_encoder_layers} encoder and {plan.num_decoder_layers} decoder layers of width "
        f"{d_model}) for {len(sources):,} pairs, {dropout_reason(options, plan)}"
    ]
    for what, lengths in (("sources", sources), ("targets", targets)):
        if cut := int((lengths > limit).sum()):
            reasons.append(f"{cut:,} of the {what} are cut to {limit} tokens; to keep them whole, use --context {longest}")
    return plan, [*reasons, *limits]


def model_config(plan: EncoderDecoderPlan, vocab_size: int, eot_id: int, sos_id: int) -> EncoderDecoderConfig:
    """The shape of a plan's network."""
    return EncoderDecoderConfig(
        vocab_size=vocab_size,
        d_model=plan.d_model,
        n_heads=plan.n_heads,
        num_encoder_layers=plan.num_encoder_layers,
        num_decoder_layers=plan.num_decoder_layers,
        d_ff=plan.d_ff,
        context=plan.context,
        sos_id=sos_id,
        eos_id=eot_id,
        dropout=plan.dropout,
        tied=plan.tied,
    )
