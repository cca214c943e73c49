"""The VAE's options. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from aigc_cli.backends.base import Backend, EncodeOptions
from aigc_cli.backends.pictures.options import (
    KINDS,
    PICTURES,
    PictureDecodeOptions,
    PictureEvalOptions,
    PictureInput,
    PictureSampleOptions,
    PictureTrainOptions,
)
from aigc_cli.backends.pictures.quality import QualityOptions
from aigc_cli.backends.vae.meanings import MEANINGS
from aigc_cli.engine.settings import Plan
from aigc_cli.options import EXPERT, MORE, option

MODEL = "Model"
Size = Literal["nano", "micro", "tiny", "small", "base"]


@dataclass(frozen=True)
class Train(PictureTrainOptions):
    earlier: ClassVar[Mapping[str, Any]] = {**PictureTrainOptions.earlier, "objective": "likelihood"}

    objective: Literal["likelihood", "samples"] | None = option(None, panel=MODEL, auto="likelihood, and samples with --codes")
    """What the model is for: the likelihood of pictures (scores, bits per dimension), or samples that look real, from a map of
    latents whose prior is learned by flow matching."""
    codes: bool = option(False, panel=MODEL)
    """Turn pictures into a grid of discrete codes and back, for `aigc train transformer --codec`, which learns to draw them."""
    levels: str | None = option(None, metavar="N,N,…", panel=EXPERT, auto="8,5,5,5 with --codes: 1,000 codes")
    """Levels of each number of a code, which is as many codes as their product."""
    likelihood: Literal["auto", "bernoulli", "logistics", "gaussian"] = option("auto", panel=MODEL)
    """Distribution of a pixel: Bernoulli for two-valued pictures, a discretised mixture of logistics for 256 levels, or a
    Gaussian with one learned variance. auto looks at the data."""
    binarise: Literal["no", "dynamic"] = option("no", panel=PICTURES)
    """dynamic: treat grey levels as probabilities of white, and draw two-valued pictures anew every time."""
    prior: Literal["flow", "normal"] = option("flow", panel=MODEL)
    """Prior of the latents: a learned RealNVP flow, or the standard normal of the plain VAE."""
    preset: Size | None = option(None, panel=MODEL, auto="from the budget")
    """Size of the model; the options below override parts of it."""
    latent: int | None = option(None, min=0, panel=MODEL, auto="from the preset, and 0 with --objective samples")
    """Latents for the picture as a whole."""
    latent_map: int | None = option(None, min=0, panel=MODEL, auto="8, and 0 for two-valued pixels")
    """Latents at each position of a coarse map (8x8 or smaller), for local detail; part of the latent vector too."""
    couplings: int | None = option(None, min=2, panel=MODEL, auto="from the preset")
    """Coupling layers in the flow, or the blocks of the prior's transformer with --objective samples."""
    mixtures: int | None = option(None, min=1, panel=EXPERT, auto="from the preset")
    """Logistics in each pixel's mixture (--objective likelihood)."""
    beta: float = option(1.0, above=0, panel=EXPERT)
    """Weight of the rate (the KL term) in training; reported measures are never weighted."""
    free_bits: float = option(0.0, min=0, panel=EXPERT, unit="nats a latent")
    """Don't penalise a rate below this in training; reported measures ignore it."""
    kl_warmup: float = option(0.1, min=0, max=1, panel=EXPERT)
    """Share of the steps, at the start, over which the weight of the rate rises to --beta."""
    ema: float = option(100.0, above=0, panel=EXPERT, unit="steps")
    """Half-life of the moving average of the weights, which is what is saved."""
    max_grad_norm: float | None = option(None, above=0, panel=EXPERT, auto="twice the median of the last 64 steps")
    """Clip the gradient to this norm."""
    weight_decay: float = option(0.01, min=0, panel=EXPERT)
    """Decoupled weight decay of the weight matrices."""


@dataclass(frozen=True, kw_only=True)
class VAEPlan(Plan, Train):
    """The plan of a VAE's training."""

    objective: Literal["likelihood", "samples"]
    preset: Size
    latent: int
    latent_map: int
    couplings: int
    mixtures: int


@dataclass(frozen=True)
class Sample(PictureSampleOptions):
    temperature: float = option(1.0, min=0)
    """Below 1, samples are more typical; above 1, more unusual."""
    sampling_steps: int | None = option(None, min=1, panel=MORE, auto="10")
    """Steps of the solver that draws latents, for a run trained with --objective samples."""
    guidance: float | None = option(None, min=0, panel=MORE, auto="1: none")
    """How much to exaggerate what sets the class apart, for a run trained with --objective samples and --conditional."""
    label: str | None = option(None, metavar="CLASS")
    """The class of every picture, by its name or its number (a run trained with --conditional); of several labels, such as
    colour=red,shape=cross, and the model chooses those that are left out. Without --label samples take turns, --reconstruct and
    --interpolate take the pictures' own labels, and --traverse the most common class."""
    interpolate: tuple[str, str] | None = option(None, metavar="A B")
    """Interpolate from one picture to another in -n steps."""
    reconstruct: str | None = option(None, metavar="SRC")
    """Encode and decode the first -n pictures of this source."""
    traverse: bool = option(False)
    """Draw a row of -n pictures for each of the 40 most informative latents (8 for sounds), varying it and keeping the
    others."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Pictures per batch."""

    def expected(self) -> int | None:
        return None if self.reconstruct or self.traverse else self.n

    def stem(self, position: int) -> str:
        """A file name that says how the picture was made."""
        if self.traverse:
            return f"latent-{position // self.n:04d}-{position % self.n:04d}"
        kind = "reconstructed" if self.reconstruct else "way" if self.interpolate else None
        return super().stem(position) if kind is None else f"{kind}-{position:06d}"

    def columns(self, n: int) -> int:
        return self.n if self.interpolate or self.traverse else super().columns(n)


@dataclass(frozen=True)
class Encode(PictureInput, EncodeOptions):
    k: int = option(20, min=1, panel=MORE)
    """Draws in the importance-weighted bound behind `score`; more make it tighter."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Pictures per batch."""


@dataclass(frozen=True)
class Decode(PictureDecodeOptions):
    label: str | None = option(None, metavar="CLASS", auto="the table's column `label`")
    """The class of every picture, by its name or its number (a run trained with --conditional)."""
    batch_size: int = option(64, min=1, panel=EXPERT)
    """Pictures per batch."""


@dataclass(frozen=True)
class Eval(QualityOptions, PictureEvalOptions):
    k: int = option(100, min=1)
    """Draws in the importance-weighted bound; more make it tighter."""


BACKEND = Backend(
    name="vae",
    summary="A variational autoencoder for pictures and sounds: samples, latent vectors, scores.",
    demo="demo:shapes",
    options={"train": Train, "sample": Sample, "encode": Encode, "decode": Decode, "eval": Eval},
    meanings=MEANINGS,
    implementation="aigc_cli.backends.vae.backend:VAEBackend",
    kinds=KINDS,
    codec="aigc_cli.backends.vae.codes.codec:load_codec",
    codec_options={"codes": True},
)
