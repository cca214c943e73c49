"""From a budget and pictures to a model: its likelihood, shape and batch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from aigc_cli.backends.pictures.batches import micro_batch
from aigc_cli.backends.pictures.networks import levels_for
from aigc_cli.backends.presets import Preset, preset_for
from aigc_cli.backends.vae.config import Size, Train, VAEPlan
from aigc_cli.backends.vae.likelihood import LikelihoodName, MixtureOfLogistics
from aigc_cli.backends.vae.model import VAEConfig
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.errors import RequestError

#: The last level's longer side is at most this: what is left is read as one vector.
SMALLEST = 8
#: No level has more channels than this many times the first.
WIDEST = 4
#: The presets are for pictures of so many pixels at most.
PIXELS = 32 * 32
#: Latents at each place of the last level, for pictures of many levels.
LATENT_MAP = 8


@dataclass(frozen=True)
class VAEPreset(Preset):
    """A size, for pictures of about 32×32."""

    name: Size
    latent: int
    width: int  # channels at half of the picture's height and width; they double with every halving
    blocks: tuple[int, int]  # at the first level and at each of the others, in the encoder and again in the decoder
    vector_width: int
    vector_blocks: int
    couplings: int
    flow_width: int
    mixtures: int
    batch_size: int
    lr: float

    def picture_bytes(self, pixels: int, pixel_parameters: int) -> float:
        """Memory that a training step takes for a picture of so many pixels, each drawn from a distribution of so many
        parameters: activations, and what the likelihood computes of every parameter. Fitted to measured peaks of 128×128 pixels
        (tests/benchmarks/RECIPE.md), within a quarter."""
        return pixels * (12 * self.width * sum(self.blocks) + 50 * pixel_parameters)


PRESETS = (
    VAEPreset("nano", 3e13, 32, 24, (1, 1), 192, 1, 8, 96, 2, 128, 6e-3),
    VAEPreset("micro", 3e14, 40, 32, (1, 2), 256, 2, 12, 128, 3, 128, 5e-3),
    VAEPreset("tiny", 3e15, 48, 32, (2, 3), 320, 2, 16, 160, 3, 128, 3e-3),
    VAEPreset("small", 1e17, 64, 64, (2, 4), 512, 3, 20, 256, 5, 128, 2e-3),
    VAEPreset("base", float("inf"), 128, 128, (3, 6), 1024, 4, 20, 512, 5, 128, 1e-3),
)


def decide(options: Train, data: PictureDataset, flops: float, memory: int | None = None) -> tuple[VAEPlan, list[str]]:
    """The plan, with likelihood, model, batch and learning rate decided, and the reasons. `flops` is the budget, `memory` the
    bytes that the device has left."""
    pixels = data.format.height * data.format.width
    larger = max(1.0, pixels / PIXELS)
    preset = preset_for(PRESETS, flops / larger, options.preset)
    likelihood, reason = likelihood_for(options, data)
    # A larger picture costs more and says more of the gradient.
    batch_size = options.batch_size or min(round(preset.batch_size / math.sqrt(larger)), len(data.train))
    parameters = 1
    if likelihood == "logistics":
        parameters = len(MixtureOfLogistics(data.format.channels, options.mixtures or preset.mixtures).first)
    at_once, reasons = micro_batch(batch_size, preset.picture_bytes(pixels, parameters), memory, options.micro_batch_size)
    plan = VAEPlan.of(
        dataclasses.replace(options, likelihood=likelihood),
        preset=preset.name,
        latent=preset.latent,
        # What many levels show of texture and edges is local, and no short vector holds it; the strokes of two values it does.
        latent_map=0 if likelihood == "bernoulli" else LATENT_MAP,
        couplings=preset.couplings,
        mixtures=preset.mixtures,
        batch_size=batch_size,
        micro_batch_size=at_once,
        lr=preset.lr,
        cooldown=1.0,
    )
    return plan, [reason, *reasons]


def likelihood_for(options: Train, data: PictureDataset) -> tuple[LikelihoodName, str]:
    """What a pixel is drawn from, and why. RequestError where the data and the options don't go together."""
    two_valued = data.two_valued or options.binarise == "dynamic"
    if options.binarise == "dynamic" and options.likelihood not in ("auto", "bernoulli"):
        raise RequestError(f"--binarise dynamic makes pixels two-valued; leave out --likelihood {options.likelihood}")
    if options.likelihood == "bernoulli" and not two_valued:
        raise RequestError("--likelihood bernoulli is for two-valued pixels, and these have more; add --binarise dynamic")
    if options.likelihood != "auto":
        return options.likelihood, f"likelihood: {options.likelihood}, as asked"
    if two_valued:
        return "bernoulli", "likelihood: bernoulli, for pixels of two values"
    return "logistics", "likelihood: a discretised mixture of logistics, for pixels of 256 levels"


def model_config(plan: VAEPlan, data: PictureDataset) -> VAEConfig:
    """The network that a plan describes."""
    preset = preset_for(PRESETS, 0, plan.preset)
    levels = levels_for(data.format.height, data.format.width, SMALLEST)
    return VAEConfig(
        height=data.format.height,
        width=data.format.width,
        channels=data.format.channels,
        likelihood=plan.likelihood,
        latent=plan.latent,
        latent_map=plan.latent_map,
        widths=tuple(preset.width * min(2**level, WIDEST) for level in range(levels)),
        blocks=tuple(preset.blocks[level > 0] for level in range(levels)),
        vector_width=preset.vector_width,
        vector_blocks=preset.vector_blocks,
        prior=plan.prior,
        couplings=plan.couplings,
        flow_width=preset.flow_width,
        mixtures=plan.mixtures,
        n_classes=len(data.classes) if plan.conditional else 0,
    )
