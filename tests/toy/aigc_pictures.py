"""A backend of pictures for the tests, without torch: a latent vector of two numbers is the brightness of a picture's halves."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aigc_cli.backends.base import Backend, EncodeOptions, Sample
from aigc_cli.backends.pictures.options import PictureDecodeOptions, PictureSampleOptions
from aigc_cli.errors import RequestError
from aigc_cli.options import option


@dataclass(frozen=True)
class Draw(PictureSampleOptions):
    row: bool = option(False)
    """All of a sheet in one row, and nobody knows how many beforehand."""
    fail_at: int | None = option(None, min=0)
    """Fail instead of this sample."""

    def stem(self, position: int) -> str:
        return f"row-{position:06d}" if self.row else super().stem(position)

    def columns(self, n: int) -> int:
        return n if self.row else super().columns(n)

    def expected(self) -> int | None:
        return None if self.row else self.n


BACKEND = Backend(
    name="halves",
    summary="Two halves.",
    demo="demo:halves",
    options={"sample": Draw, "encode": EncodeOptions, "decode": PictureDecodeOptions},
    implementation="aigc_pictures:Halves",
    kinds=("pictures",),
)


class Halves:
    name = "halves"

    def _picture(self, run: Any, latent: Any) -> Any:
        height, width, channels = json.loads((run.model / "config.json").read_text())["shape"]
        pixels = np.full((height, width, channels), 255, np.uint8)
        for half, value in zip((np.s_[:, : width // 2], np.s_[:, width // 2 :]), latent, strict=True):
            pixels[half][..., : min(channels, 3)] = np.clip(np.rint(value * 255), 0, 255)
        return pixels

    def sample(self, run, options, bus, piece):
        for index in range(options.n):
            if index == options.fail_at:
                raise RuntimeError("the toy broke")
            latent = np.random.default_rng([options.seed, index]).random(2)
            yield Sample({"seed": options.seed, "index": index}, self._picture(run, latent))

    def encode(self, run, options, bus):
        from aigc_cli.data.latents import Encoded

        try:
            pictures = np.load(io.BytesIO(sys.stdin.buffer.read()) if options.data == "-" else Path(options.data))
        except (OSError, ValueError) as error:
            raise RequestError(f"cannot read {options.data}: {error}") from None
        middle = pictures.shape[2] // 2
        mean = np.stack([pictures[:, :, :middle, 0].mean((1, 2)), pictures[:, :, middle:, 0].mean((1, 2))], axis=1) / 255
        for start in range(0, len(mean), 2):
            chosen = mean[start : start + 2].astype(np.float32)
            yield Encoded(
                [f"picture\t{start + row}" for row in range(len(chosen))],
                {"mean": chosen, "log_var": chosen - 1, "score": chosen.sum(1, dtype=np.float64)},
            )

    def decode(self, run, options, latents, bus):
        latents.require_width(2)
        for name, vector in zip(latents.names, latents.vectors, strict=True):
            yield Sample({"name": name}, self._picture(run, vector))
