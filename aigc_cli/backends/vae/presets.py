"""Presets: from a budget and pictures to a model's likelihood, shape and batch size."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, TypedDict

from aigc_cli.backends.memory import micro_batch
from aigc_cli.backends.pictures.batches import few_pictures
from aigc_cli.backends.pictures.networks import levels_for
from aigc_cli.backends.presets import Preset, preset_for
from aigc_cli.backends.vae.config import Size, Train, VAEPlan
from aigc_cli.backends.vae.likelihood import MixtureOfLogistics
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.data.pictures.labels import number_of_classes
from aigc_cli.errors import RequestError

#: The longest side of the last level, which becomes one vector.
SMALLEST = 8
#: The most channels of a level, as a multiple of the first level's.
WIDEST = 4
#: The number of pixels that presets are made for.
PIXELS = 32 * 32
#: The budget in floating-point operations from which on --objective samples draws better (measured on emoji of 64×64).
ENOUGH_FOR_SAMPLES = 4e13
#: Latents at each position of the last level, unless pixels are two-valued.
LATENT_MAP = 8


@dataclass(frozen=True)
class VAEPreset(Preset):
    """A size, for pictures of about 32×32."""

    name: Size
    latent: int
    width: int  # channels of the first level; they double at every level
    blocks: tuple[int, int]  # at the first level and at each other level, in each of the two networks
    vector_width: int
    vector_blocks: int
    couplings: int
    flow_width: int
    mixtures: int
    batch_size: int
    lr: float


PRESETS = (
    VAEPreset("nano", 3e13, 32, 24, (1, 1), 192, 1, 8, 96, 2, 128, 6e-3),
    VAEPreset("micro", 3e14, 40, 32, (1, 2), 256, 2, 12, 128, 3, 128, 5e-3),
    VAEPreset("tiny", 3e15, 48, 32, (2, 3), 320, 2, 16, 160, 3, 128, 3e-3),
    VAEPreset("small", 1e17, 64, 64, (2, 4), 512, 3, 20, 256, 5, 128, 2e-3),
    VAEPreset("base", float("inf"), 128, 128, (3, 6), 1024, 4, 20, 512, 5, 128, 1e-3),
)


def decide(options: Train, data: PictureDataset, flops: float, memory: int | None = None) -> tuple[VAEPlan, list[str]]:
    """The plan for `--objective likelihood`, with likelihood, model, batch size and learning rate decided, and the reasons.
    `flops` is the budget, `memory` the bytes available on the device."""
    if options.levels is not None:
        raise RequestError("--levels is for --codes; remove it, or add --codes")
    pixels = data.format.height * data.format.width
    larger = max(1.0, pixels / PIXELS)
    preset = preset_for(PRESETS, flops / larger, options.preset)
    likelihood, reason = likelihood_for(options, data)
    # A larger picture costs more, and also tells more about the gradient.
    batch_size = options.batch_size or min(round(preset.batch_size / math.sqrt(larger)), len(data.train))
    parameters = 1
    if likelihood == "logistics":
        parameters = len(MixtureOfLogistics(data.format.channels, options.mixtures or preset.mixtures).first)
    needed = picture_bytes(pixels, preset.width, preset.blocks, parameters)
    at_once, reasons = micro_batch(batch_size, lambda n: n * needed, memory, options.micro_batch_size)
    plan = VAEPlan.of(
        dataclasses.replace(options, likelihood=likelihood, objective="likelihood"),
        preset=preset.name,
        latent=preset.latent,
        # Texture and edges of pictures with many levels are local and don't fit in a short vector; two-valued strokes do.
        latent_map=0 if likelihood == "bernoulli" else LATENT_MAP,
        couplings=preset.couplings,
        mixtures=preset.mixtures,
        batch_size=batch_size,
        micro_batch_size=at_once,
        lr=preset.lr,
        cooldown=1.0,
    )
    other = options.objective is None and likelihood != "bernoulli" and flops > ENOUGH_FOR_SAMPLES
    hint = ["for scores and latents; for samples that look real, train with --objective samples"] if other else []
    return plan, [reason, *hint, *reasons, *few_pictures(len(data.train))]


def likelihood_for(options: Train, data: PictureDataset) -> tuple[Literal["bernoulli", "logistics", "gaussian"], str]:
    """The distribution of a pixel, and why. Raises `RequestError` if data and options don't match."""
    two_valued = data.two_valued or options.binarise == "dynamic"
    if options.binarise == "dynamic" and options.likelihood not in ("auto", "bernoulli"):
        raise RequestError(f"--binarise dynamic makes pixels two-valued; remove --likelihood {options.likelihood}")
    if options.likelihood == "bernoulli" and not two_valued:
        raise RequestError("--likelihood bernoulli needs two-valued pixels, but these have more values; add --binarise dynamic")
    if options.likelihood != "auto":
        return options.likelihood, f"likelihood: {options.likelihood}, as given"
    if two_valued:
        return "bernoulli", "likelihood: bernoulli, for two levels"
    return "logistics", "likelihood: a discretised mixture of logistics, for 256 levels"


def model_config(plan: VAEPlan, data: PictureDataset) -> VAEConfig:
    """The shape of a plan's network."""
    preset = preset_for(PRESETS, 0, plan.preset)
    assert plan.likelihood != "auto"
    return VAEConfig(
        **shape_of(plan, data, preset.width, preset.blocks),
        likelihood=plan.likelihood,
        latent=plan.latent,
        latent_map=plan.latent_map,
        vector_width=preset.vector_width,
        vector_blocks=preset.vector_blocks,
        prior=plan.prior,
        couplings=plan.couplings,
        flow_width=preset.flow_width,
        mixtures=plan.mixtures,
    )


class Shape(TypedDict):
    height: int
    width: int
    channels: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    n_classes: int | tuple[int, ...]


def shape_of(plan: VAEPlan, data: PictureDataset, width: int, blocks: tuple[int, int]) -> Shape:
    """What follows from the pictures, from the channels of the first level, which double at every level, and from the blocks
    at the first level and at each other level."""
    levels = levels_for(data.format.height, data.format.width, SMALLEST)
    return {
        "height": data.format.height,
        "width": data.format.width,
        "channels": data.format.channels,
        "widths": tuple(width * min(2**level, WIDEST) for level in range(levels)),
        "blocks": tuple(blocks[level > 0] for level in range(levels)),
        "n_classes": number_of_classes(data.classes) if plan.conditional else 0,
    }


def picture_bytes(pixels: int, width: int, blocks: tuple[int, int], pixel_parameters: int) -> float:
    """Bytes that a training step takes per picture with this many pixels and parameters per pixel, for activations and for the
    likelihood. Fitted to measured peaks at 128×128 pixels within 25 % (tests/benchmarks/RECIPE.md)."""
    return pixels * (12 * width * sum(blocks) + 50 * pixel_parameters)


def autoencoder_bytes(pixels: int, width: int, blocks: tuple[int, int], channels: int) -> float:
    """As `picture_bytes`, for an autoencoder that is adversarial in the end: the discriminator of patches has 7/16 of a channel
    of `width` at every pixel, of real and reconstructed pictures, and again for the gradient penalty."""
    return picture_bytes(pixels, width, blocks, channels) + 21 * width * pixels
