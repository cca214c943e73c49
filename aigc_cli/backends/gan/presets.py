"""Presets: from a budget and pictures to a model's shape, batch size and penalties."""

from __future__ import annotations

from dataclasses import dataclass

from aigc_cli.backends.gan.augment import Augmentation
from aigc_cli.backends.gan.config import GANPlan, Size, Train
from aigc_cli.backends.gan.model import GANConfig
from aigc_cli.backends.memory import micro_batch
from aigc_cli.backends.pictures.batches import few_pictures
from aigc_cli.backends.pictures.networks import levels_for
from aigc_cli.backends.presets import Preset, preset_for
from aigc_cli.data.pictures.dataset import PictureDataset
from aigc_cli.data.pictures.labels import number_of_classes
from aigc_cli.errors import RequestError

#: The longest side of the last level, which becomes one vector.
SMALLEST = 4
#: The most channels of a level, as a multiple of the first level's.
WIDEST = 4
#: The number of pixels that presets are made for. γ is proportional to the number of pixels: a score's gradient is spread over
#: all of them, so its square shrinks as they grow in number.
PIXELS = 32 * 32
GAMMA = 4.0
#: The share of it for sounds. Spectrograms are mostly silence, so real and generated ones are much closer to each other than
#: photographs are, and a penalised discriminator tells apart what is at a distance d by a score of about d² / γ.
OF_SOUNDS = 1 / 4
#: The fewest pictures per cluster on average, and the most and fewest clusters.
PER_CLUSTER, MOST_CLUSTERS, FEWEST_CLUSTERS = 50, 64, 8


@dataclass(frozen=True)
class GANPreset(Preset):
    """A size, for pictures of 32×32."""

    name: Size
    latent: int
    width: int  # channels of the first level; they double at every level
    blocks: int  # at each level of each network
    vector_width: int
    batch_size: int
    lr: float

    def picture_bytes(self, pixels: int) -> float:
        """Bytes that a training step takes per picture of this many pixels. Most are for the gradient penalty, which keeps the
        discriminator's activations of a real and a generated picture twice. Fitted to measured peaks at 128×128 pixels within
        25 % (tests/benchmarks/RECIPE.md)."""
        return pixels * (450 + self.width * (20 + 38 * self.blocks))


PRESETS = (
    GANPreset("nano", 6e12, 32, 24, 1, 192, 16, 2.5e-3),
    GANPreset("micro", 1e15, 32, 32, 1, 256, 16, 2.5e-3),
    GANPreset("tiny", 1e16, 64, 64, 1, 256, 64, 1e-3),
    GANPreset("small", 1e17, 64, 128, 2, 512, 128, 5e-4),
    GANPreset("base", float("inf"), 128, 192, 3, 768, 256, 2e-4),
)


def decide(options: Train, data: PictureDataset, flops: float, memory: int | None = None) -> tuple[GANPlan, list[str]]:
    """The plan, with model, batch size, learning rate and penalty decided, and the reasons. `flops` is the budget, `memory` the
    bytes available on the device."""
    pixels = data.format.height * data.format.width
    budget = flops / max(1.0, pixels / PIXELS)
    preset = preset_for(PRESETS, budget, options.preset)
    strength = fixed_strength(options.augment)
    batch_size = options.batch_size or min(preset.batch_size, len(data.train))
    needed = preset.picture_bytes(pixels)
    at_once, reasons = micro_batch(batch_size, lambda n: n * needed, memory, options.micro_batch_size)
    plan = GANPlan.of(
        options,
        preset=preset.name,
        latent=preset.latent,
        clusters=0 if options.conditional or options.tile else clusters_for(len(data.train)),
        gamma=GAMMA * (1 if data.heard is None else OF_SOUNDS) * pixels / PIXELS,
        batch_size=batch_size,
        micro_batch_size=at_once,
        lr=preset.lr,
        cooldown=1.0,
    )
    reasons += few_pictures(len(data.train))
    if strength is None and len(data.select) < 2:
        reasons.append("one held-out picture is too few to adapt augmentation to; set it with --augment 0.3")
    return plan, reasons


def clusters_for(n: int) -> int:
    """The number of clusters for n training pictures: on average PER_CLUSTER pictures each; none if that is too few."""
    clusters = min(MOST_CLUSTERS, n // PER_CLUSTER)
    return clusters if clusters >= FEWEST_CLUSTERS else 0


def fixed_strength(augment: str) -> float | None:
    """The strength given by --augment; None if it is to adapt."""
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
    """The shape of a plan's networks."""
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
        n_classes=number_of_classes(data.classes) if plan.conditional else 0,
        tile=plan.tile,
        n_clusters=plan.clusters,
    )
