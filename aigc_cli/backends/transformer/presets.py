"""Presets, and what follows from a budget for both architectures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aigc_cli.backends.presets import Preset, nominal_budget, preset_for
from aigc_cli.backends.transformer.config import Size, Train
from aigc_cli.engine.trainable import Machine

#: The speed of training as a share of the measured speed of a matrix product.
EFFICIENCY = 0.5


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
        """The number of parameters, without embeddings."""
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
    """The number of characters that a model of characters can be trained on within the budget."""
    budget = tokenizer_budget(options)
    return EFFICIENCY * budget / (6 * preset_for(PRESETS, budget, options.preset).parameters)


def limiting_memory(machine: Machine) -> int | None:
    """The bytes that a training step must do with. Only a CPU's are planned for: a system kills a process that takes too much,
    but a GPU that has no more says so, and the batch is split then."""
    return machine.memory if machine.device.type == "cpu" else None


def tokenizer_budget(options: Train) -> float:
    """The training compute that the tokenizer is chosen for. It is the same for the same --minutes, so that the same data is
    tokenised the same way again."""
    return options.tokenizer_budget if options.tokenizer_budget is not None else nominal_budget(options)


def dropout_for(epochs: float) -> float:
    """Dropout for a number of epochs: text that is seen often gets memorised."""
    return 0.0 if epochs < 15 else 0.1 if epochs < 30 else 0.2


def dropout_reason(options: Train, plan: Train) -> str:
    """The plan's dropout, and why, unless it was given."""
    why = ", since the text will be seen often" if options.dropout is None and plan.dropout else ""
    return f"dropout {plan.dropout:g}{why}"


def common(preset: TransformerPreset, epochs: float) -> dict[str, Any]:
    """Decisions that are the same for both architectures, from the preset and the number of epochs."""
    return {
        "preset": preset.name,
        "d_model": preset.d_model,
        "tied": True,
        "dropout": dropout_for(epochs),
        "lr": preset.lr,
        "cooldown": 0.6,
    }
