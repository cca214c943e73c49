"""A VAE: an encoder, a decoder and a prior as one model, and its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from aigc_cli.backends.vae.codes.quantiser import codes_of, of_codes
from aigc_cli.backends.vae.likelihood import Bernoulli, Gaussian, Likelihood, MixtureOfLogistics, Picture
from aigc_cli.backends.vae.networks import Decoder, Encoder, VAEConfig
from aigc_cli.backends.vae.priors.flow import NoPrior, Prior, RealNVP, StandardNormal, log_normal
from aigc_cli.backends.vae.priors.flow_matching import FlowMatchingPrior
from aigc_cli.backends.vae.two_stage.networks import CodeEncoder, MapDecoder, MapEncoder
from aigc_cli.engine.network import load_network, save_network


@dataclass(frozen=True, slots=True)
class Posterior:
    """q(z|x) = N(mean, diag(exp(log_var))); both are (B, latents) float32."""

    mean: Tensor
    log_var: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """z = μ + σ ⊙ ε for ε ~ N(0, I), (…, B, latents)."""
        return self.mean + (0.5 * self.log_var).exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x), (…, B) in nats."""
        return log_normal((z - self.mean) * (-0.5 * self.log_var).exp()) - 0.5 * self.log_var.sum(-1)


class VAE(nn.Module):
    """x → q(z|x), z → p(x|z), and p(z). x is (B, C, H, W) with pixels in [0, 1], labels (B,) int64 or None."""

    prior: Prior

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.likelihood = likelihood_of(config)
        of_map = CodeEncoder if config.levels else MapEncoder
        self.encoder: Encoder | MapEncoder = Encoder(config) if config.latent else of_map(config)
        self.decoder: Decoder | MapDecoder
        self.decoder = (Decoder if config.latent else MapDecoder)(config, self.likelihood.first)
        self.prior = prior_of(config)
        cast(Any, self).to(memory_format=torch.channels_last)  # PyTorch's own stubs lack it

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        """q(z|x)."""
        return Posterior(*self.encoder(x, labels))

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The parameters (B, channels_out, H, W) of p(x|z), for `likelihood`."""
        params: Tensor = self.decoder(z, labels)
        return params

    def codes(self, latents: Tensor) -> Tensor:
        """The codes (B, places) of quantised latents (B, latents), row by row."""
        return codes_of(torch.unflatten(latents, 1, self.config.of_map), self.config.levels).flatten(1)

    def latents(self, codes: Tensor) -> Tensor:
        """The latents (B, latents) of codes (B, places): the inverse of `codes`."""
        return of_codes(codes, self.config.levels).flatten(1)

    def log_likelihood(self, x: Tensor, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x|z), (B,) in nats."""
        return self.likelihood.log_prob(self.decode(z, labels), x)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the parts, since they are called rather than `forward`."""
        for part in (self.encoder, self.decoder, self.prior):
            part.compile(*args, **kwargs)


def likelihood_of(config: VAEConfig) -> Likelihood:
    if config.likelihood == "bernoulli":
        return Bernoulli(config.channels)
    if config.likelihood == "gaussian":
        return Gaussian(config.channels)
    if config.likelihood == "picture":
        return Picture(config.channels)
    return MixtureOfLogistics(config.channels, config.mixtures)


def prior_of(config: VAEConfig) -> Prior:
    if config.prior == "normal":
        return StandardNormal()
    if config.prior == "none":
        return NoPrior()
    if config.prior == "matching":
        return FlowMatchingPrior(
            shape=config.of_map, width=config.flow_width, blocks=config.couplings, n_classes=config.n_classes
        )
    return RealNVP(latent=config.latents, couplings=config.couplings, width=config.flow_width, n_classes=config.n_classes)


def save_pretrained(model: VAE, folder: Path) -> None:
    """Write config.json and model.safetensors (float32)."""
    save_network(model, model.config.to_json(), folder)


def load_pretrained(folder: Path) -> VAE:
    """Load what `save_pretrained` wrote, on the CPU and in evaluation mode.

    Raises `RequestError` if the folder is not a complete model of this architecture.
    """
    return load_network(folder, VAEConfig.from_json, VAE)
