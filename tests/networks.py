"""Small networks for tests."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from aigc_cli.backends.gan.model import GANConfig
from aigc_cli.backends.transformer.decoder_only.model import Transformer, TransformerConfig
from aigc_cli.backends.vae.networks import VAEConfig

Network = TypeVar("Network", bound=nn.Module)

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


PICTURES: dict[str, Any] = {
    "height": 13,
    "width": 10,
    "channels": 3,
    "latent": 6,
    "widths": (8, 12),
    "blocks": (1, 2),
    "vector_width": 24,
}
SMALL_GAN = GANConfig(**PICTURES)
SMALL_VAE = VAEConfig(**PICTURES, likelihood="logistics", vector_blocks=1, couplings=4, flow_width=16, mixtures=2)


def disturbed(network: Network, seed: int = 0, spread: float = 0.05) -> Network:
    """The network in evaluation mode and with all of its weights such that they matter: no zeros, no ones."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=spread)
    return network.eval()


def small_config(**shape: Any) -> TransformerConfig:
    """The shape of a small Transformer, some of it given."""
    return TransformerConfig(**(SMALL | shape))


def random_transformer(config: TransformerConfig, seed: int = 0, spread: float = 0.2) -> Transformer:
    """A network all of whose weights matter."""
    torch.manual_seed(seed)
    return disturbed(Transformer(config), seed, spread)
