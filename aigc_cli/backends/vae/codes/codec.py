"""Pictures to codes and back: what other backends use of a VAE with codes (`aigc_cli.backends.base.Codec`).

A codec's folder has the model (config.json, model.safetensors), and in format.json what its pictures are: the `kind` of data,
their `format`, and what else the kind reads them by. Of earlier versions it has the format of pictures alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.pictures.batches import at_once, to_bytes, to_unit
from aigc_cli.backends.pictures.options import KINDS, as_pictures
from aigc_cli.backends.vae.model import VAE, load_pretrained, save_pretrained
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.data.latents import Codes
from aigc_cli.data.pictures.format import Fit, Ground, Mode, PictureFormat
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.engine.device import resolve_device
from aigc_cli.errors import RequestError
from aigc_cli.files import read_json

FORMAT = "format.json"
#: Pictures computed at once, fewer if they are large. Always as many, because kernels round differently for other numbers.
TOGETHER = 32


class PictureCodec:
    """A VAE with codes."""

    def __init__(self, model: VAE, data: Mapping[str, Any], device: torch.device) -> None:
        self.model, self.data, self.device = model.to(device).eval(), data, device
        format = self.format = PictureFormat.from_json(data["format"])
        self.n_codes = model.config.n_codes
        rows, columns = model.config.sizes[-1]
        self.grid = (rows, columns)
        self._together = at_once(format.height * format.width * format.channels, TOGETHER)

    def encode(self, pixels: Pixels) -> Codes:
        """The codes (n, rows · columns) of pictures (n, height, width, channels), row by row.

        Raises `RequestError` for pictures of another shape.
        """
        if pixels.shape[1:] != self._shape or pixels.dtype != np.uint8:
            raise RequestError(f"the codec takes bytes of shape {self._shape}, not {pixels.dtype} of {pixels.shape[1:]}")
        model = self.model
        return self._batched(
            lambda x: model.codes(model.encode(to_unit(x)).mean).cpu().numpy(),
            pixels,
            np.empty((len(pixels), self._places), np.int64),
        )

    def decode(self, codes: Codes) -> Pixels:
        """The pictures (n, height, width, channels) of codes (n, rows · columns). Raises `RequestError` for other codes."""
        if codes.shape[1:] != (self._places,):
            raise RequestError(f"the codec takes {self._places} codes a picture, not {codes.shape[1:]}")
        if codes.size and not 0 <= codes.min() <= codes.max() < self.n_codes:
            raise RequestError(f"codes must lie between 0 and {self.n_codes - 1}, not {codes.min()} and {codes.max()}")
        model = self.model
        return self._batched(
            lambda some: to_bytes(model.likelihood.mean(model.decode(model.latents(some)))),
            codes.reshape(-1, *self.grid),
            np.empty((len(codes), *self._shape), np.uint8),
        )

    def save(self, folder: Path) -> None:
        """Write a whole copy, which `load_codec` opens."""
        save_codec(self.model, self.data, folder)

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.format.height, self.format.width, self.format.channels

    @property
    def _places(self) -> int:
        return self.grid[0] * self.grid[1]

    @torch.inference_mode()
    def _batched(self, compute: Callable[[Tensor], NDArray[Any]], inputs: NDArray[Any], results: NDArray[Any]) -> NDArray[Any]:
        """Fill `results` batch by batch, the last one made up with zeros. In float32 wherever it is called."""
        with torch.autocast(self.device.type, enabled=False):
            for at in range(0, len(inputs), self._together):
                some = inputs[at : at + self._together]
                whole = np.zeros((self._together, *inputs.shape[1:]), inputs.dtype)
                whole[: len(some)] = some
                results[at : at + len(some)] = compute(torch.from_numpy(whole).to(self.device))[: len(some)]
        return results


def save_codec(model: VAE, data: Mapping[str, Any], folder: Path) -> None:
    """Write the model's folder, and what its pictures are."""
    save_pretrained(model, folder)
    (folder / FORMAT).write_text(json.dumps(data, indent=2) + "\n")


def load_codec(folder: Path, device: str) -> PictureCodec:
    """The codec in the folder of a run's model. The random state, the threads and whatever else training depends on are left as
    they are.

    Raises `RequestError` if the folder is not a whole codec.
    """
    where = resolve_device(device)
    with torch.random.fork_rng(devices=[]):  # for initial weights, which are replaced
        model = load_pretrained(folder)
    if not model.config.levels:
        raise RequestError(f"{folder} is a VAE without codes; train one with: aigc train vae --codes")
    return PictureCodec(model, read_data(folder, model.config), where)


def read_data(folder: Path, config: VAEConfig) -> Mapping[str, Any]:
    """What a codec's pictures are. Raises `RequestError` if that is missing, damaged or not the model's."""
    path = folder / FORMAT
    try:
        found = read_json(path)
        data = found if "format" in found else {"kind": KINDS[0], "format": found}
        format = PictureFormat.from_json(data["format"])
        as_pictures(data["kind"]).like(data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{path} is not the format of a codec's pictures: {error}") from error
    for value, allowed in ((format.mode, Mode), (format.fit, Fit), (format.ground, Ground)):
        if value not in get_args(allowed):
            raise RequestError(f"{path} has {value!r}, which is none of {', '.join(get_args(allowed))}")
    if (format.height, format.width, format.channels) != (config.height, config.width, config.channels):
        raise RequestError(f"{path} has pictures of {format.describe()}, but the model's have another shape")
    return dict(data)
