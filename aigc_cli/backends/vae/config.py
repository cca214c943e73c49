"""The VAE's options. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aigc_cli.backends.base import Backend, DecodeOptions, EncodeOptions, PictureSampleOptions
from aigc_cli.backends.pictures.options import PICTURES, PictureEvalOptions, PictureInput, PictureTrainOptions
from aigc_cli.backends.pictures.quality import QualityOptions
from aigc_cli.backends.vae.meanings import MEANINGS
from aigc_cli.engine.settings import Plan
from aigc_cli.options import EXPERT, MORE, option

MODEL = "Model"
Size = Literal["nano", "micro", "tiny", "small", "base"]


@dataclass(frozen=True)
class Train(PictureTrainOptions):
    likelihood: Literal["auto", "bernoulli", "logistics", "gaussian"] = option("auto", panel=MODEL)
    """What a pixel is drawn from: bernoulli for two-valued pictures, a discretised mixture of logistics for 256 levels, or a
    gaussian with one learned variance. auto looks at the data."""
    binarise: Literal["no", "dynamic"] = option("no", panel=PICTURES)
    """dynamic: a grey level is the probability of white, and pictures are drawn anew from it every time."""
    prior: Literal["flow", "normal"] = option("flow", panel=MODEL)
    """Where latents come from: a learned RealNVP flow, or the standard normal of the plain VAE."""
    preset: Size | None = option(None, panel=MODEL, auto="from the budget")
    """A size of model; the options below override parts of it."""
    latent: int | None = option(None, min=2, panel=MODEL, auto="the preset's")
    """Latents that stand for the whole of a picture."""
    latent_map: int | None = option(None, min=0, panel=MODEL, auto="8, and 0 for two-valued pixels")
    """Latents at each place of a coarse map (8x8 or less), for what is only there; they complete a picture's latent vector."""
    couplings: int | None = option(None, min=2, panel=MODEL, auto="the preset's")
    """Coupling layers of the flow."""
    mixtures: int | None = option(None, min=1, panel=EXPERT, auto="the preset's")
    """Logistics in the mixture for a pixel."""
    beta: float = option(1.0, above=0, panel=EXPERT)
    """The weight of the rate in training; what is reported is never weighted."""
    free_bits: float = option(0.0, min=0, panel=EXPERT, unit="nats a latent")
    """A rate below this is not penalised in training; what is reported knows nothing of it."""
    kl_warmup: float = option(0.1, min=0, max=1, panel=EXPERT)
    """The first share of the steps, over which the weight of the rate rises to --beta."""
    ema: float = option(100.0, above=0, panel=EXPERT, unit="steps")
    """The half-life of the moving average of the weights, which is what is kept."""
    max_grad_norm: float | None = option(None, above=0, panel=EXPERT, auto="twice the median of the last 64 steps")
    """A step's gradient is scaled down to this norm at most."""
    weight_decay: float = option(0.01, min=0, panel=EXPERT)
    """Decoupled weight decay of the matrices."""


@dataclass(frozen=True, kw_only=True)
class VAEPlan(Plan, Train):
    """What the training of a VAE follows."""

    likelihood: Literal["bernoulli", "logistics", "gaussian"]
    preset: Size
    latent: int
    latent_map: int
    couplings: int
    mixtures: int


@dataclass(frozen=True)
class Sample(PictureSampleOptions):
    temperature: float = option(1.0, min=0)
    """Below 1 the samples are more typical, above 1 more unusual."""
    label: str | None = option(None, metavar="CLASS")
    """The class of every picture, by its name or its number (a run trained with --conditional). Otherwise samples take turns,
    --reconstruct and --interpolate take the pictures' own labels, and --traverse the most common class."""
    interpolate: tuple[str, str] | None = option(None, metavar="A B")
    """The way from one picture to another, in --n steps."""
    reconstruct: str | None = option(None, metavar="SRC")
    """The first --n pictures of this source, through the encoder and back."""
    traverse: bool = option(False)
    """A row of pictures for each of the 40 most informative latents, which changes while the others stay; --n in a row."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Pictures computed at once."""

    def expected(self) -> int | None:
        return None if self.reconstruct or self.traverse else self.n

    def stem(self, position: int) -> str:
        """A picture's name says where it comes from."""
        if self.traverse:
            return f"latent-{position // self.n:04d}-{position % self.n:04d}"
        kind = "reconstructed" if self.reconstruct else "way" if self.interpolate else None
        return super().stem(position) if kind is None else f"{kind}-{position:06d}"

    def columns(self, n: int) -> int:
        return self.n if self.interpolate or self.traverse else super().columns(n)


@dataclass(frozen=True)
class Encode(PictureInput, EncodeOptions):
    k: int = option(20, min=1, panel=MORE)
    """Draws in the bound that `score` is; more of them, a tighter one."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Pictures computed at once."""


@dataclass(frozen=True)
class Decode(DecodeOptions):
    label: str | None = option(None, metavar="CLASS", auto="the table's column `label`")
    """The class of every picture, by its name or its number (a run trained with --conditional)."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Pictures computed at once."""


@dataclass(frozen=True)
class Eval(QualityOptions, PictureEvalOptions):
    k: int = option(100, min=1)
    """Draws in the importance-weighted bound."""


BACKEND = Backend(
    name="vae",
    summary="A variational autoencoder for pictures: samples, latent vectors, scores.",
    demo="demo:shapes",
    options={"train": Train, "sample": Sample, "encode": Encode, "decode": Decode, "eval": Eval},
    meanings=MEANINGS,
    implementation="aigc_cli.backends.vae.backend:VAEBackend",
)
