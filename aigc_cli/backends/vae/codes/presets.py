"""Presets for `--codes`: the shape of the autoencoder, which has all of the steps to itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aigc_cli.backends.pictures.batches import few_pictures, micro_batch
from aigc_cli.backends.presets import Preset, preset_for
from aigc_cli.backends.vae.codes.quantiser import check_levels
from aigc_cli.backends.vae.config import Size, Train, VAEPlan
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.backends.vae.presets import autoencoder_bytes, shape_of
from aigc_cli.backends.vae.two_stage.presets import LR
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.errors import RequestError
from aigc_cli.options import flag

#: A thousand codes: what the paper recommends for so many (Mentzer et al. 2024, table 1).
LEVELS = "8,5,5,5"


@dataclass(frozen=True)
class CodePreset(Preset):
    """A size."""

    name: Size
    width: int  # channels of the first level; they double at every level
    blocks: tuple[int, int]  # at the first level and at each other level, in encoder and decoder
    batch_size: int


PRESETS = (
    CodePreset("nano", 4e13, 24, (1, 1), 16),
    CodePreset("micro", 6e14, 24, (1, 2), 32),
    CodePreset("tiny", 6e15, 32, (1, 3), 48),
    CodePreset("small", 1e17, 64, (2, 3), 64),
    CodePreset("base", float("inf"), 96, (2, 4), 128),
)
#: What the plan says for options that codes have no use for, besides their defaults.
UNUSED: Mapping[str, Any] = {"latent": 0, "couplings": 2, "mixtures": 1}
#: Options that codes have no use for.
CONTINUOUS = (
    "likelihood",
    "binarise",
    "prior",
    "latent",
    "latent_map",
    "couplings",
    "mixtures",
    "beta",
    "free_bits",
    "kl_warmup",
)


def decide_codes(options: Train, data: PictureDataset, flops: float, memory: int | None = None) -> tuple[VAEPlan, list[str]]:
    """The plan for `--codes`, and the reasons. `flops` is the budget, `memory` the bytes available on the device.

    Raises `RequestError` for options that only continuous latents have.
    """
    if options.objective == "likelihood":
        raise RequestError("--codes is for --objective samples; remove --objective likelihood")
    if options.conditional:
        raise RequestError("--codes has no use for classes, which the model of the codes learns; remove --conditional")
    text = options.levels or LEVELS
    levels = levels_of(text)
    settled = {**UNUSED, "latent_map": len(levels)}
    for field in dataclasses.fields(Train):
        if field.name in CONTINUOUS and getattr(options, field.name) not in (field.default, settled.get(field.name)):
            raise RequestError(f"{flag(field.name)} is for latents that are not codes; remove it, or --codes")
    preset = preset_for(PRESETS, flops, options.preset)
    batch_size = options.batch_size or min(preset.batch_size, len(data.train))
    pixels = data.format.height * data.format.width
    needed = autoencoder_bytes(pixels, preset.width, preset.blocks, data.format.channels)
    at_once, reasons = micro_batch(batch_size, needed, memory, options.micro_batch_size)
    plan = VAEPlan.of(
        dataclasses.replace(options, objective="samples", levels=text),
        preset=preset.name,
        **settled,
        batch_size=batch_size,
        micro_batch_size=at_once,
        lr=LR,
        cooldown=1.0,
    )
    return plan, [*reasons, *few_pictures(len(data.train))]


def levels_of(text: str) -> tuple[int, ...]:
    """ "8,5,5,5" as numbers. Raises `RequestError` for anything else."""
    try:
        levels = tuple(int(number) for number in text.split(","))
        check_levels(levels)
    except ValueError:
        raise RequestError(f"--levels {text}: give whole numbers with commas between them, such as {LEVELS}") from None
    except RequestError as error:
        raise RequestError(f"--levels {text}: {error}") from None
    return levels


def code_config(plan: VAEPlan, data: PictureDataset) -> VAEConfig:
    """The shape of a plan's network."""
    preset = preset_for(PRESETS, 0, plan.preset)
    assert plan.levels is not None
    return VAEConfig(
        **shape_of(plan, data, preset.width, preset.blocks),
        likelihood="picture",
        latent=0,
        latent_map=plan.latent_map,
        vector_width=1,
        vector_blocks=0,
        prior="none",
        levels=levels_of(plan.levels),
    )
