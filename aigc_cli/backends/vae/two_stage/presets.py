"""Presets for `--objective samples`: the shapes of the autoencoder and of the prior over its latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aigc_cli.backends.memory import micro_batch
from aigc_cli.backends.pictures.batches import few_pictures
from aigc_cli.backends.presets import Preset, preset_for
from aigc_cli.backends.vae.config import Size, Train, VAEPlan
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.backends.vae.presets import LATENT_MAP, autoencoder_bytes, shape_of
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.errors import RequestError

#: The peak learning rate of the autoencoder, which those of the other networks are for.
LR = 6e-3


@dataclass(frozen=True)
class AutoencoderPreset(Preset):
    """A size of an autoencoder whose latents are a map."""

    name: Size
    width: int  # channels of the first level; they double at every level
    blocks: tuple[int, int]  # at the first level and at each other level, in encoder and decoder
    batch_size: int


@dataclass(frozen=True)
class TwoStagePreset(AutoencoderPreset):
    """With a prior, which has as many places for small pictures as for large ones, and takes most of the time."""

    prior_width: int
    prior_blocks: int


PRESETS = (
    TwoStagePreset("nano", 4e13, 24, (1, 1), 32, 96, 4),
    TwoStagePreset("micro", 6e14, 24, (1, 1), 48, 160, 5),
    TwoStagePreset("tiny", 6e15, 32, (1, 2), 48, 256, 6),
    TwoStagePreset("small", 1e17, 64, (2, 3), 64, 384, 8),
    TwoStagePreset("base", float("inf"), 96, (2, 4), 128, 512, 12),
)
#: Options that only a likelihood has, with their defaults.
OF_LIKELIHOOD = {"likelihood": "auto", "binarise": "no", "prior": "flow", "latent": None, "mixtures": None, "levels": None}


def decide_two_stages(
    options: Train, data: PictureDataset, flops: float, memory: int | None = None
) -> tuple[VAEPlan, list[str]]:
    """The plan for `--objective samples`, and the reasons. `flops` is the budget, `memory` the bytes available on the device.

    Raises `RequestError` for options that only a likelihood has.
    """
    for name, default in OF_LIKELIHOOD.items():
        if getattr(options, name) not in (default, 0):
            other = (
                "--codes; remove it, or add --codes"
                if name == "levels"
                else "--objective likelihood; remove it, or change --objective"
            )
            raise RequestError(f"--{name} is for {other}")
    preset = preset_for(PRESETS, flops, options.preset)
    settled = {"latent": 0, "latent_map": LATENT_MAP, "couplings": preset.prior_blocks, "mixtures": 1}
    return plan_autoencoder(options, preset, data, memory, settled)


def plan_autoencoder(
    options: Train, preset: AutoencoderPreset, data: PictureDataset, memory: int | None, settled: Mapping[str, Any]
) -> tuple[VAEPlan, list[str]]:
    """The plan for an autoencoder of this size, and the reasons; `settled` are the plan's options of the latents."""
    batch_size = options.batch_size or min(preset.batch_size, len(data.train))
    pixels = data.format.height * data.format.width
    needed = autoencoder_bytes(pixels, preset.width, preset.blocks, data.format.channels)
    at_once, reasons = micro_batch(batch_size, lambda n: n * needed, memory, options.micro_batch_size)
    plan = VAEPlan.of(
        options,
        preset=preset.name,
        **settled,
        batch_size=batch_size,
        micro_batch_size=at_once,
        lr=LR,
        cooldown=1.0,
    )
    return plan, [*reasons, *few_pictures(len(data.train))]


def two_stage_config(plan: VAEPlan, data: PictureDataset) -> VAEConfig:
    """The shape of a plan's network."""
    preset = preset_for(PRESETS, 0, plan.preset)
    shape = autoencoder_shape(plan, preset, data)
    return VAEConfig(**shape, prior="matching", couplings=plan.couplings, flow_width=preset.prior_width)


def autoencoder_shape(plan: VAEPlan, preset: AutoencoderPreset, data: PictureDataset) -> dict[str, Any]:
    """The fields of `VAEConfig` of an autoencoder whose latents are a map alone."""
    of_map = {"latent": 0, "latent_map": plan.latent_map, "vector_width": 1, "vector_blocks": 0}
    return {**shape_of(plan, data, preset.width, preset.blocks), **of_map, "likelihood": "picture"}
