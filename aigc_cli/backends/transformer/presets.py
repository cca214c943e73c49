"""From a budget and a corpus to a model: its size, context, batch and regularisation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.presets import Preset, preset_for
from aigc_cli.backends.transformer.config import Size, Train
from aigc_cli.backends.transformer.decoder_only.model import ModelConfig
from aigc_cli.backends.transformer.encoder_decoder.model import Seq2SeqConfig

#: What a CPU core or a GPU is taken to compute a second, where a decision must not depend on a measurement (the vocabulary).
NOMINAL_FLOPS = {"cpu": 5e10, "cuda": 1e14, "mps": 2e12}
#: The share of the measured speed of a matrix product that training reaches.
EFFICIENCY = 0.5
#: An encoder and a decoder each have this share of the layers that a decoder alone has.
LAYERS_SHARE = 0.6
#: Pairs are learned whole up to this many tokens each, however small the model.
LEAST_LONGEST = 256


@dataclass(frozen=True)
class TransformerPreset(Preset):
    """A size."""

    name: Size
    n_layers: int
    d_model: int
    head_dim: int
    d_ff: int
    context: int
    batch_size: int
    lr: float

    @property
    def parameters(self) -> int:
        """Of the blocks, without embeddings."""
        return self.n_layers * self.d_model * (4 * self.d_model + 3 * self.d_ff)


PRESETS = (
    TransformerPreset("nano", 1.2e13, 3, 128, 32, 384, 64, 24, 0.03),
    TransformerPreset("micro", 1.5e14, 4, 128, 32, 384, 128, 12, 0.015),
    TransformerPreset("tiny", 8e14, 5, 160, 32, 448, 192, 16, 0.015),
    TransformerPreset("mini", 5e15, 6, 224, 32, 640, 256, 16, 0.012),
    TransformerPreset("small", 1e17, 8, 384, 64, 1024, 512, 32, 0.01),
    TransformerPreset("medium", 3e18, 12, 576, 64, 1536, 1024, 64, 0.01),
    TransformerPreset("base", float("inf"), 12, 768, 64, 2048, 1024, 128, 0.01),
)


def vocab_limit(options: Train) -> int:
    """The largest BPE vocabulary whose embeddings are at most a quarter of the parameters."""
    preset = preset_for(PRESETS, tokenizer_budget(options), options.preset)
    return preset.parameters // 3 // preset.d_model


def chars_affordable(options: Train) -> float:
    """Characters that a model of characters can be trained on within the budget."""
    budget = tokenizer_budget(options)
    return EFFICIENCY * budget / (6 * preset_for(PRESETS, budget, options.preset).parameters)


def tokenizer_budget(options: Train) -> float:
    """The training that the tokenizer is chosen for, told by the minutes alone, so that it is the same every time."""
    if options.tokenizer_budget is not None:
        return options.tokenizer_budget
    minutes = options.minutes or 10.0
    kind = options.device.partition(":")[0]
    return NOMINAL_FLOPS[kind] * ((options.threads or 1) if kind == "cpu" else 1) * minutes * 60


def dropout_for(epochs: float) -> float:
    """Dropout for a number of passes over the training text: text seen often is learned by heart."""
    return 0.0 if epochs < 15 else 0.1 if epochs < 30 else 0.2


def model_config(plan: Train, vocab_size: int, eot_id: int, sos_id: int | None = None) -> ModelConfig:
    """The network that a complete plan describes."""
    assert plan.n_layers and plan.d_model and plan.n_heads and plan.n_kv_heads and plan.d_ff and plan.context
    return ModelConfig(
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
        tied=bool(plan.tied),
        dropout=plan.dropout or 0.0,
    )


def seq2seq_config(plan: Train, vocab_size: int, eot_id: int, sos_id: int) -> Seq2SeqConfig:
    """The encoder–decoder that a complete plan describes."""
    assert plan.d_model and plan.nhead and plan.num_encoder_layers and plan.num_decoder_layers
    assert plan.dim_feedforward and plan.max_seq_length
    return Seq2SeqConfig(
        vocab_size=vocab_size,
        d_model=plan.d_model,
        nhead=plan.nhead,
        num_encoder_layers=plan.num_encoder_layers,
        num_decoder_layers=plan.num_decoder_layers,
        dim_feedforward=plan.dim_feedforward,
        max_seq_length=plan.max_seq_length,
        sos_id=sos_id,
        eos_id=eot_id,
        dropout=plan.dropout or 0.0,
        tied=bool(plan.tied),
    )


def head_dim(plan: Train) -> int:
    """The width divided by the heads, rounded up to a multiple of 32."""
    assert plan.d_model and plan.n_heads
    return max(32, -(-(plan.d_model // plan.n_heads) // 32) * 32)


def decide(options: Train, *, flops: float, vocab_size: int, predictions: int, longest: int) -> tuple[Train, list[str]]:
    """The options with the model, batch, learning rate and regularisation decided, and the reasons.

    `flops` is the budget, `predictions` the training text in tokens, `longest` the number of tokens that nearly every
    document stays within.
    """
    preset = preset_for(PRESETS, flops, options.preset)
    options = common(options, preset)
    context = options.context or min(preset.context, max(32, -(-longest // 32) * 32))
    batch_size = options.batch_size or max(1, preset.batch_size * preset.context // context)
    d_model = options.d_model or preset.d_model
    n_heads = options.n_heads or max(1, d_model // preset.head_dim)
    plan = dataclasses.replace(
        options,
        context=context,
        batch_size=batch_size,
        n_layers=options.n_layers or preset.n_layers,
        n_heads=n_heads,
        n_kv_heads=options.n_kv_heads or n_heads,
        d_ff=options.d_ff or (preset.d_ff if d_model == preset.d_model else -(-d_model * 8 // 3 // 32) * 32),
    )
    assert plan.n_layers and plan.d_ff
    parameters = plan.n_layers * d_model * (4 * d_model + 3 * plan.d_ff)
    cost = 6 * (parameters + vocab_size * d_model + plan.n_layers * context * d_model)
    tokens = options.steps * batch_size * context if options.steps else flops * EFFICIENCY / cost
    epochs = tokens / predictions
    plan = dataclasses.replace(plan, dropout=dropout_for(epochs) if options.dropout is None else options.dropout)
    reason = (
        f"model: {preset.name} ({plan.n_layers} layers of width {d_model}, context {context}) for about "
        f"{epochs:.1f} epochs of {predictions:,} tokens, so dropout {plan.dropout:g}"
    )
    return plan, [reason]


def common(options: Train, preset: TransformerPreset) -> Train:
    """What a preset decides alike for both architectures."""
    return dataclasses.replace(
        options,
        preset=preset.name,
        d_model=options.d_model or preset.d_model,
        tied=True if options.tied is None else options.tied,
        lr=options.lr or preset.lr,
        cooldown=options.cooldown if options.cooldown is not None else 0.6,
    )


def decide_pairs(
    options: Train, *, flops: float, vocab_size: int, sources: NDArray[np.int64], targets: NDArray[np.int64]
) -> tuple[Train, list[str]]:
    """The same for an encoder–decoder, given the lengths (n,) in tokens of sources and targets, their ends included."""
    preset = preset_for(PRESETS, flops, options.preset)
    options = common(options, preset)
    d_model = options.d_model or preset.d_model
    longest = int(max(sources.max(), targets.max()))
    limit = options.max_seq_length or min(max(LEAST_LONGEST, 2 * preset.context), -(-longest // 8) * 8)
    read, written = (float(np.minimum(lengths, limit).mean()) for lengths in (sources, targets))
    heads = max(1, d_model // preset.head_dim)
    rows = max(1, round(preset.batch_size * preset.context / (read + written)))
    layers = max(1, round(preset.n_layers * LAYERS_SHARE))
    plan = dataclasses.replace(
        options,
        nhead=options.nhead or next(n for n in range(heads, 0, -1) if d_model % n == 0),
        num_encoder_layers=options.num_encoder_layers or layers,
        num_decoder_layers=options.num_decoder_layers or layers,
        dim_feedforward=options.dim_feedforward or 4 * d_model,
        max_seq_length=limit,
        batch_size=options.batch_size or min(len(sources), rows),
    )
    assert plan.num_encoder_layers and plan.num_decoder_layers and plan.dim_feedforward and plan.batch_size
    # Attention has 4 d² weights, which the decoder's layers have twice.
    encoder = plan.num_encoder_layers * d_model * (4 * d_model + 2 * plan.dim_feedforward)
    decoder = plan.num_decoder_layers * d_model * (8 * d_model + 2 * plan.dim_feedforward) + vocab_size * d_model
    cost = 6 * (encoder * read + decoder * written)
    pairs = options.steps * plan.batch_size if options.steps else flops * EFFICIENCY / cost
    epochs = pairs / len(sources)
    plan = dataclasses.replace(plan, dropout=dropout_for(epochs) if options.dropout is None else options.dropout)
    reasons = [
        f"model: {preset.name} ({plan.num_encoder_layers} layers that read and {plan.num_decoder_layers} that write, of width "
        f"{d_model}) for about {epochs:.1f} epochs of {len(sources):,} pairs, so dropout {plan.dropout:g}"
    ]
    for what, lengths in (("sources", sources), ("targets", targets)):
        if cut := int((lengths > limit).sum()):
            reasons.append(
                f"{cut:,} of the {what} have more than {limit} tokens and are learned up to there; "
                f"--max-seq-length {longest} would take all of it"
            )
    return plan, reasons
