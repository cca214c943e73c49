"""`aigc encode vae`, `decode vae` and `sample vae` for a run whose latents are codes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.vae.codes.codec import TOGETHER, PictureCodec
from aigc_cli.backends.vae.config import Sample
from aigc_cli.backends.vae.loaded import Loaded
from aigc_cli.data.kinds import find_kind
from aigc_cli.data.latents import Encoded
from aigc_cli.data.latents_input import Latents
from aigc_cli.data.pictures.dataset import PictureArrays
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.options import flag


def codec_of(loaded: Loaded) -> PictureCodec:
    return PictureCodec(loaded.model, {"kind": loaded.things, **loaded.data}, loaded.device)


def encoded_codes(loaded: Loaded, arrays: PictureArrays) -> Iterator[Encoded]:
    """The `codes` (n, places) of pictures, row by row of the grid."""
    codec = codec_of(loaded)
    for at in range(0, len(arrays), TOGETHER):
        index = np.arange(at, min(at + TOGETHER, len(arrays)))
        yield Encoded([arrays.names[i] for i in index.tolist()], {"codes": codec.encode(arrays.take(index))})


def decoded_codes(loaded: Loaded, latents: Latents) -> Iterator[Drawn]:
    """A picture for each row of codes. Raises `RequestError` for rows that are not codes of the run."""
    codec = codec_of(loaded)
    latents.require_width(codec.grid[0] * codec.grid[1])
    codes = latents.vectors.astype(np.int64)
    if bad := np.argwhere((codes != latents.vectors) | (codes < 0) | (codes >= codec.n_codes)).tolist():
        row, place = bad[0]
        raise RequestError(
            f"{latents.source}, row {row + 1}: code {place + 1} is {latents.vectors[row, place]:g}, and this model's are whole "
            f"numbers from 0 to {codec.n_codes - 1:,}; decode with the run that encoded them (--run)"
        )
    for at in range(0, len(codes), TOGETHER):
        some = slice(at, at + TOGETHER)
        for name, pixels in zip(latents.names[some], codec.decode(codes[some]), strict=True):
            yield Drawn({"name": name}, pixels)


def require_reconstruct(run: Run, options: Sample, modes: Sequence[str]) -> None:
    """Raise `RequestError` unless --reconstruct is asked for, and nothing that only a prior can follow: codes have none."""
    if "reconstruct" not in modes and modes:
        raise RequestError(f"--{modes[0]} is for latents without steps, and this run's are codes; remove it")
    if not modes:
        things = run.record["data"].get("kind", "pictures")
        if not find_kind(things).in_records:
            raise RequestError(
                f"run {run.name} turns {things} into codes and back, and draws none; give it some: --reconstruct SRC"
            )
        data = shlex.quote(str(run.record["data"]["location"]))
        raise RequestError(
            f"run {run.name} turns {things} into codes and back, and a Transformer learns to draw codes; train one with: "
            f"aigc train transformer --data {data} --codec {run.reference}"
        )
    for name in ("sampling_steps", "guidance"):
        if getattr(options, name) is not None:
            raise RequestError(f"{flag(name)} is for draws from a prior, not for --reconstruct; remove it")
