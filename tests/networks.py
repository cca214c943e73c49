"""Small networks for tests."""

from __future__ import annotations

from typing import Any

import torch

from aigc_cli.backends.transformer.model import ModelConfig, Transformer

SMALL: dict[str, Any] = {
    "vocab_size": 41,
    "d_model": 32,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 8,
    "d_ff": 48,
    "context": 32,
    "eot_id": 40,
}


def small_config(**shape: Any) -> ModelConfig:
    """The shape of a small Transformer, some of it given."""
    return ModelConfig(**(SMALL | shape))


def random_transformer(config: ModelConfig, seed: int = 0, spread: float = 0.2) -> Transformer:
    """A network all of whose weights matter: no zeros, no ones."""
    torch.manual_seed(seed)
    model = Transformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=spread)
    return model.eval()
