"""Presets for `--codes`: the shape of the autoencoder, which has all of the steps to itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from aigc_cli.backends.presets import preset_for
from aigc_cli.backends.vae.codes.quantiser import check_levels
from aigc_cli.backends.vae.config import Train, VAEPlan
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.backends.vae.two_stage.presets import AutoencoderPreset, autoencoder_shape, plan_autoencoder
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.errors import RequestError
from aigc_cli.options import flag

#: A thousand codes: what the paper recommends for so many (Mentzer et al. 2024, table 1).
LEVELS = "8,5,5,5"


PRESETS = (
    AutoencoderPreset("nano", 4e13, 24, (1, 1), 16),
    AutoencoderPreset("micro", 6e14, 24, (1, 2), 32),
    AutoencoderPreset("tiny", 6e15, 32, (1, 3), 48),
    AutoencoderPreset("small", 1e17, 64, (2, 3), 64),
    AutoencoderPreset("base", float("inf"), 96, (2, 4), 128),
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
    return plan_autoencoder(dataclasses.replace(options, objective="samples", levels=text), preset, data, memory, settled)


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
    return VAEConfig(**autoencoder_shape(plan, preset, data), prior="none", levels=levels_of(plan.levels))
