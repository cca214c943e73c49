"""The GAN's options. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from aigc_cli.backends.base import Backend
from aigc_cli.backends.gan.meanings import MEANINGS
from aigc_cli.backends.pictures.options import KINDS, PICTURES, PictureEvalOptions, PictureSampleOptions, PictureTrainOptions
from aigc_cli.backends.pictures.quality import QualityOptions
from aigc_cli.engine.settings import Plan
from aigc_cli.errors import RequestError
from aigc_cli.options import EXPERT, option

MODEL = "Model"
Size = Literal["nano", "micro", "tiny", "small", "base"]


@dataclass(frozen=True)
class Train(PictureTrainOptions):
    earlier: ClassVar[Mapping[str, Any]] = {**PictureTrainOptions.earlier, "clusters": 0}

    objective: Literal["r3", "minimax", "non-saturating", "hinge"] = option("r3", panel=MODEL)
    """The loss. r3 compares real and generated pictures in pairs and does not collapse; the others are the classic losses."""
    preset: Size | None = option(None, panel=MODEL, auto="from the budget")
    """Size of the networks."""
    latent: int | None = option(None, min=1, panel=MODEL, auto="from the preset")
    """Length of the latent vector."""
    tile: bool = option(False, panel=PICTURES)
    """Learn a texture from windows of large pictures, anywhere in them. Samples continue seamlessly when laid side by side, and
    `aigc sample gan --size` draws them in any size."""
    clusters: int | None = option(None, min=0, panel=MODEL, auto="from the number of pictures; 0 with --conditional or --tile")
    """Clusters of similar pictures, found before training, that are learned like classes; 0 for none. They help with varied
    pictures."""
    augment: str = option("auto", metavar="auto|off|X", panel=PICTURES)
    """How often, from 0 to 0.8, the discriminator sees pictures moved, recoloured and partly covered, so that it does not
    memorise them; auto adapts to how it does on held-out pictures."""
    augment_target: float = option(0.5, above=0, max=1, panel=EXPERT)
    """auto augments more while the discriminator separates training from held-out pictures by more than this share of the gap
    between training and generated ones."""
    gamma: float | None = option(None, min=0, panel=EXPERT, auto="from the pictures' size, and less for sounds")
    """Weight of the gradient penalties at the start. Higher is more stable and varied, lower is sharper."""
    gamma_last: float = option(1.0, above=0, panel=EXPERT)
    """Weight of the gradient penalties at the end, as a share of --gamma, on a cosine schedule."""
    penalty_every: int = option(4, min=1, panel=EXPERT, unit="steps")
    """Compute the gradient penalties every so many steps, with their weight scaled to match."""
    ema: float = option(0.05, above=0, max=1, panel=EXPERT)
    """Half-life of the generator's moving average, as a share of the steps so far."""


@dataclass(frozen=True, kw_only=True)
class GANPlan(Plan, Train):
    """The plan of a GAN's training."""

    preset: Size
    latent: int
    clusters: int
    gamma: float


@dataclass(frozen=True)
class Sample(PictureSampleOptions):
    label: str | None = option(None, metavar="CLASS")
    """Draw pictures of this class, by name or number (for a run trained with --conditional). Of several labels, such as
    colour=red,shape=cross; the model chooses those that are left out."""
    size: str | None = option(None, metavar="N|WxH", auto="the run's")
    """Size of the pictures in pixels: a side, or width x height (for a run trained with --tile)."""
    truncation: float = option(1.0, min=0, metavar="ψ")
    """Scale latents by ψ: below 1, pictures are more typical and less varied."""
    interpolate: tuple[str, str] | None = option(None, metavar="SEED SEED")
    """Interpolate from one seed's picture to another's in -n steps."""
    seeds: str | None = option(None, metavar="A-B,C")
    """Draw one picture for each of these seeds, such as 1-100 or 3,7,20-29: the first that --seed would draw."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Pictures per batch."""

    def __post_init__(self) -> None:
        """Take `seed` from --seeds or --interpolate, so that no random one is drawn."""
        named = [f"--{name}" for name in ("seeds", "interpolate") if getattr(self, name) is not None]
        if not named:
            return
        first = self.seed_of(0)
        if self.seed not in (None, first):
            named.insert(0, "--seed")
        if len(named) > 1:
            raise RequestError(f"{' and '.join(named)} can't be used together")
        object.__setattr__(self, "seed", first)

    @property
    def ends(self) -> tuple[int, int] | None:
        """The two seeds of --interpolate."""
        if self.interpolate is None:
            return None
        first, last = (parse_seeds(text, "--interpolate") for text in self.interpolate)
        if len(first) != 1 or len(last) != 1 or len(first[0]) != 1 or len(last[0]) != 1:
            raise RequestError(f"--interpolate takes two seeds, not {' '.join(self.interpolate)}")
        return first[0][0], last[0][0]

    def seed_of(self, position: int) -> int:
        """The seed of the picture at this position."""
        if self.ends is not None:
            return self.ends[0]
        if self.seeds is None:
            assert self.seed is not None
            return self.seed
        for seeds in parse_seeds(self.seeds, "--seeds"):
            if position < len(seeds):
                return seeds[position]
            position -= len(seeds)
        raise IndexError(position)

    def index_of(self, position: int) -> int:
        """The index, among its seed's pictures, of the picture at this position."""
        return 0 if self.seeds is not None else position

    def expected(self) -> int:
        return self.n if self.seeds is None else sum(map(len, parse_seeds(self.seeds, "--seeds")))

    def stem(self, position: int) -> str:
        if self.ends is not None:
            return "way-{}-{}-{:06d}".format(*self.ends, position)
        return f"seed-{self.seed_of(position)}-{self.index_of(position):06d}"

    def columns(self, n: int) -> int:
        return n if self.interpolate is not None else super().columns(n)


def parse_seeds(text: str, flag: str) -> list[range]:
    """ "1-100,200" as ranges of seeds. RequestError for anything else."""
    found = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or not (last if dash else first).isdecimal():
            raise RequestError(f"{flag} {text}: give whole numbers or ranges, such as 1-100,200")
        seeds = range(int(first), int(last if dash else first) + 1)
        if not seeds or seeds[-1] >= 2**63:
            raise RequestError(f"{flag} {text}: {part.strip()} is not a range of seeds")
        found.append(seeds)
    return found


@dataclass(frozen=True)
class Eval(QualityOptions, PictureEvalOptions):
    """The quality, variety and novelty of samples."""


BACKEND = Backend(
    name="gan",
    summary="A generative adversarial network for pictures and sounds: sharp samples.",
    demo="demo:shapes",
    options={"train": Train, "sample": Sample, "eval": Eval},
    meanings=MEANINGS,
    implementation="aigc_cli.backends.gan.backend:GANBackend",
    kinds=KINDS,
)
