"""From a budget and pictures to a model: its shape, batch and penalties."""

from __future__ import annotations

from dataclasses import dataclass

from aigc_cli.backends.gan.augment import Augmentation
from aigc_cli.backends.gan.config import GANPlan, Size, Train
from aigc_cli.backends.gan.model import GANConfig
from aigc_cli.backends.pictures.batches import micro_batch
from aigc_cli.backends.pictures.networks import levels_for
from aigc_cli.backends.presets import Preset, preset_for
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.errors import RequestError

#: The last level's longer side is at most this: what is left is read as one vector.
SMALLEST = 4
#: No level has more channels than this many times the first.
WIDEST = 4
#: With fewer training pictures a GAN memorises them or learns little.
FEW = 100
#: The presets are for pictures of so many pixels. γ is proportional to them: a score's gradient is spread over all pixels,
#: and its square is smaller the more they are.
PIXELS = 32 * 32
GAMMA = 4.0


@dataclass(frozen=True)
class GANPreset(Preset):
    """A size, for pictures of 32×32."""

    name: Size
    latent: int
    width: int  # channels at half of the picture's height and width; they double with every halving
    blocks: int  # at each level, in the generator and again in the discriminator
    vector_width: int
    batch_size: int
    lr: float

    def picture_bytes(self, pixels: int) -> float:
        """Memory that a training step takes for a picture of so many pixels, most of it for the gradient penalty, which keeps
        the discriminator's activations of a real and a generated picture twice over. Fitted to measured peaks of
        128×128 pixels (tests/benchmarks/RECIPE.md), within a quarter."""
        return pixels * (450 + self.width * (20 + 38 * self.blocks))


PRESETS = (
    GANPreset("nano", 6e12, 32, 24, 1, 192, 16, 2.5e-3),
    GANPreset("micro", 1e15, 32, 32, 1, 256, 16, 2.5e-3),
    GANPreset("tiny", 1e16, 64, 64, 1, 256, 64, 1e-3),
    GANPreset("small", 1e17, 64, 128, 2, 512, 128, 5e-4),
    GANPreset("base", float("inf"), 128, 192, 3, 768, 256, 2e-4),
)


def decide(options: Train, data: PictureDataset, flops: float, memory: int | None = None) -> tuple[GANPlan, list[str]]:
    """The plan, with model, batch, learning rate and penalty decided, and the reasons. `flops` is the budget, `memory` the
    bytes that the device has left."""
    pixels = data.format.height * data.format.width
    budget = flops / max(1.0, pixels / PIXELS)
    preset = preset_for(PRESETS, budget, options.preset)
    strength = fixed_strength(options.augment)
    batch_size = options.batch_size or min(preset.batch_size, len(data.train))
    at_once, reasons = micro_batch(batch_size, preset.picture_bytes(pixels), memory, options.micro_batch_size)
    plan = GANPlan.of(
        options,
        preset=preset.name,
        latent=preset.latent,
        gamma=GAMMA * pixels / PIXELS,
        batch_size=batch_size,
        micro_batch_size=at_once,
        lr=preset.lr,
        cooldown=1.0,
    )
    if len(data.train) < FEW:
        reasons.append(
            f"only {len(data.train)} pictures to learn from: expect samples much like them, or rough ones; "
            "hundreds are the least for something new, thousands are better"
        )
    if strength is None and len(data.select) < 2:
        reasons.append("augmentation can hardly follow one held-out picture; --augment 0.3 would set it")
    return plan, reasons


def fixed_strength(augment: str) -> float | None:
    """The strength that --augment asks for, None where it shall follow the training."""
    if augment == "auto":
        return None
    if augment == "off":
        return 0.0
    try:
        strength = float(augment)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= Augmentation.MAX_STRENGTH:
        raise RequestError(f"--augment must be auto, off or a number from 0 to {Augmentation.MAX_STRENGTH}, not {augment!r}")
    return strength


def model_config(plan: GANPlan, data: PictureDataset) -> GANConfig:
    """The networks that a plan describes."""
    preset = preset_for(PRESETS, 0, plan.preset)
    levels = levels_for(data.format.height, data.format.width, SMALLEST)
    return GANConfig(
        height=data.format.height,
        width=data.format.width,
        channels=data.format.channels,
        latent=plan.latent,
        widths=tuple(preset.width * min(2**level, WIDEST) for level in range(levels)),
        blocks=(preset.blocks,) * levels,
        vector_width=preset.vector_width,
        n_classes=len(data.classes) if plan.conditional else 0,
    )
