"""From a budget and pictures to a model: its likelihood, shape and batch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from aigc_cli.backends.vae.config import Size, Train
from aigc_cli.backends.vae.likelihood import LikelihoodName
from aigc_cli.backends.vae.model import VAEConfig
from aigc_cli.data.pictures import PictureDataset
from aigc_cli.errors import RequestError

#: The last level's longer side is at most this: what is left is read as one vector.
SMALLEST = 8
#: No level has more channels than this many times the first.
WIDEST = 4


@dataclass(frozen=True)
class Preset:
    """A size. It suits budgets up to `flops` floating-point operations in all, for pictures of about 32×32."""

    name: Size
    flops: float
    latent: int
    width: int  # channels at half of the picture's height and width; they double with every halving
    blocks: int  # at each level, in the encoder and again in the decoder
    vector_width: int
    vector_blocks: int
    couplings: int
    flow_width: int
    batch_size: int
    lr: float


PRESETS = (
    Preset("nano", 3e13, 32, 16, 1, 192, 1, 8, 96, 128, 2e-3),
    Preset("micro", 3e14, 40, 32, 1, 256, 2, 12, 128, 128, 2e-3),
    Preset("tiny", 3e15, 48, 32, 2, 320, 2, 16, 160, 128, 2e-3),
    Preset("small", 1e17, 64, 64, 3, 512, 3, 20, 256, 128, 1e-3),
    Preset("base", float("inf"), 128, 128, 4, 1024, 4, 20, 512, 128, 5e-4),
)


def preset_for(flops: float, name: Size | None = None) -> Preset:
    """The named preset, else the smallest whose range the budget is in."""
    if name is not None:
        return next(preset for preset in PRESETS if preset.name == name)
    return next(preset for preset in PRESETS if flops <= preset.flops)


def decide(options: Train, data: PictureDataset, flops: float) -> tuple[Train, list[str]]:
    """The options with likelihood, model, batch and learning rate decided, and the reasons."""
    preset = preset_for(flops, options.preset)
    likelihood, reason = likelihood_for(options, data)
    plan = dataclasses.replace(
        options,
        likelihood=likelihood,
        preset=preset.name,
        latent=options.latent or preset.latent,
        couplings=options.couplings or preset.couplings,
        mixtures=options.mixtures or 5,
        batch_size=options.batch_size or min(preset.batch_size, len(data.train)),
        lr=options.lr or preset.lr,
        cooldown=options.cooldown if options.cooldown is not None else 1.0,
    )
    return plan, [reason]


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


def model_config(plan: Train, data: PictureDataset) -> VAEConfig:
    """The network that a complete plan describes."""
    preset = preset_for(0, plan.preset)
    assert plan.latent and plan.couplings and plan.mixtures and plan.likelihood != "auto"
    levels = levels_for(data.format.height, data.format.width)
    return VAEConfig(
        height=data.format.height,
        width=data.format.width,
        channels=data.format.channels,
        likelihood=plan.likelihood,
        latent=plan.latent,
        widths=tuple(preset.width * min(2**level, WIDEST) for level in range(levels)),
        blocks=(preset.blocks,) * levels,
        vector_width=preset.vector_width,
        vector_blocks=preset.vector_blocks,
        prior=plan.prior,
        couplings=plan.couplings,
        flow_width=preset.flow_width,
        mixtures=plan.mixtures,
        n_classes=len(data.classes) if plan.conditional else 0,
    )


def levels_for(height: int, width: int) -> int:
    """Halvings until the longer side is at most `SMALLEST`; one at least."""
    levels, longest = 1, -(-max(height, width) // 2)
    while longest > SMALLEST:
        levels, longest = levels + 1, -(-longest // 2)
    return levels
