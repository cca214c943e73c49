"""Presets: from a budget and pictures to a model's likelihood, shape and batch size."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from aigc_cli.backends.pictures.batches import few_pictures, micro_batch
from aigc_cli.backends.pictures.networks import levels_for
from aigc_cli.backends.presets import Preset, preset_for
from aigc_cli.backends.vae.config import Size, Train, VAEPlan
from aigc_cli.backends.vae.likelihood import MixtureOfLogistics
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.errors import RequestError

#: The longest side of the last level, which becomes one vector.
SMALLEST = 8
#: The most channels of a level, as a multiple of the first level's.
WIDEST = 4
#: The number of pixels that presets are made for.
PIXELS = 32 * 32
#: Latents at each position of the last level, unless pixels are two-valued.
LATENT_MAP = 8
#: With --objective samples: pictures in a step at 32×32, and the peak learning rate of the encoder and decoder.
PICTURES_A_STEP, FIRST_LR = 96, 6e-3


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
    blocks_of_prior: int  # with --objective samples; their width follows
    width_of_prior: int
    mixtures: int
    batch_size: int
    lr: float

    def picture_bytes(self, pixels: int, pixel_parameters: int) -> float:
        """Bytes that a training step takes per picture with this many pixels and parameters per pixel, for activations and for
        the likelihood. Fitted to measured peaks at 128×128 pixels within 25 % (tests/benchmarks/RECIPE.md)."""
        return pixels * (12 * self.width * sum(self.blocks) + 50 * pixel_parameters)


PRESETS = (
    VAEPreset("nano", 3e13, 32, 24, (1, 1), 192, 1, 8, 96, 5, 160, 2, 128, 6e-3),
    VAEPreset("micro", 3e14, 40, 32, (1, 2), 256, 2, 12, 128, 6, 192, 3, 128, 5e-3),
    VAEPreset("tiny", 3e15, 48, 32, (2, 3), 320, 2, 16, 160, 8, 256, 3, 128, 3e-3),
    VAEPreset("small", 1e17, 64, 64, (2, 4), 512, 3, 20, 256, 12, 384, 5, 128, 2e-3),
    VAEPreset("base", float("inf"), 128, 128, (3, 6), 1024, 4, 20, 512, 12, 512, 5, 128, 1e-3),
)


def decide(options: Train, data: PictureDataset, flops: float, memory: int | None = None) -> tuple[VAEPlan, list[str]]:
    """The plan, with likelihood, model, batch size and learning rate decided, and the reasons. `flops` is the budget, `memory`
    the bytes available on the device."""
    pixels = data.format.height * data.format.width
    larger = max(1.0, pixels / PIXELS)
    preset = preset_for(PRESETS, flops / larger, options.preset)
    if objective_for(options, data) == "samples":
        return _for_samples(options, data, preset, larger, memory)
    likelihood, reason = likelihood_for(options, data)
    # A larger picture costs more, and also tells more about the gradient.
    batch_size = options.batch_size or min(round(preset.batch_size / math.sqrt(larger)), len(data.train))
    parameters = 1
    if likelihood == "logistics":
        parameters = len(MixtureOfLogistics(data.format.channels, options.mixtures or preset.mixtures).first)
    at_once, reasons = micro_batch(batch_size, preset.picture_bytes(pixels, parameters), memory, options.micro_batch_size)
    plan = VAEPlan.of(
        dataclasses.replace(options, objective="likelihood", likelihood=likelihood),
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
    return plan, [reason, *reasons, *few_pictures(len(data.train))]


def objective_for(options: Train, data: PictureDataset) -> Literal["likelihood", "samples"]:
    """What the model is for, if it isn't said."""
    return "likelihood" if options.objective == "auto" else options.objective


def _for_samples(
    options: Train, data: PictureDataset, preset: VAEPreset, larger: float, memory: int | None
) -> tuple[VAEPlan, list[str]]:
    """The plan for `--objective samples`. Raises `RequestError` for options that only a likelihood has."""
    for name, default in (("likelihood", "auto"), ("binarise", "no"), ("prior", "flow"), ("latent", None), ("mixtures", None)):
        if getattr(options, name) not in (default, 0):
            raise RequestError(f"--{name} is for --objective likelihood; remove it, or add --objective likelihood")
    pixels = data.format.height * data.format.width
    batch_size = options.batch_size or min(round(PICTURES_A_STEP / math.sqrt(larger)), len(data.train))
    at_once, reasons = micro_batch(batch_size, preset.picture_bytes(pixels, 1), memory, options.micro_batch_size)
    plan = VAEPlan.of(
        dataclasses.replace(options, objective="samples"),
        preset=preset.name,
        latent=0,
        latent_map=LATENT_MAP,
        couplings=preset.blocks_of_prior,
        mixtures=1,
        batch_size=batch_size,
        micro_batch_size=at_once,
        lr=FIRST_LR,
        cooldown=1.0,
    )
    return plan, reasons


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
        return "bernoulli", "likelihood: bernoulli, for two-valued pixels"
    return "logistics", "likelihood: a discretised mixture of logistics, for pixels with 256 levels"


def model_config(plan: VAEPlan, data: PictureDataset) -> VAEConfig:
    """The shape of a plan's network."""
    preset = preset_for(PRESETS, 0, plan.preset)
    samples = plan.objective == "samples"
    levels = levels_for(data.format.height, data.format.width, SMALLEST)
    return VAEConfig(
        height=data.format.height,
        width=data.format.width,
        channels=data.format.channels,
        likelihood="picture" if plan.likelihood == "auto" else plan.likelihood,
        latent=plan.latent,
        latent_map=plan.latent_map,
        widths=tuple(preset.width * min(2**level, WIDEST) for level in range(levels)),
        blocks=tuple(preset.blocks[level > 0] for level in range(levels)),
        vector_width=preset.vector_width,
        vector_blocks=preset.vector_blocks,
        prior="matching" if samples else plan.prior,
        couplings=plan.couplings,
        flow_width=preset.width_of_prior if samples else preset.flow_width,
        mixtures=plan.mixtures,
        n_classes=len(data.classes) if plan.conditional else 0,
    )
