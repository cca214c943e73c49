"""The features that FID and KID are defined by, of pictures that are resized as clean-fid does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from aigc_cli.metrics.pictures.inception import DIMENSIONS, SIDE, load_inception

_AT_ONCE = 16  # pictures, which keep about 200 MB busy


class InceptionFeatures:
    """2,048 features of Inception-v3 with the weights of a safetensors file: `inception`, or `torchvision` for a network that
    has torchvision's architecture, and so not FID's.

    Raises `RequestError` if the file can't be read or isn't such a network.
    """

    slow = True

    def __init__(self, path: Path, device: torch.device) -> None:
        self._device = device
        self._network = load_inception(path).to(device)
        if self._network.of_fid:
            self.name, self.distances, self._middle = "inception", ("fid", "kid"), 128.0
        else:
            self.name, self.distances, self._middle = "torchvision", ("fd_torchvision", "kd_torchvision"), 127.5
        self.about: Mapping[str, Any] = {"features": self.name, "dimensions": DIMENSIONS}

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = [self._of(pixels[start : start + _AT_ONCE]) for start in range(0, len(pixels), _AT_ONCE)]
        return np.concatenate(found)

    def _of(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            x = torch.from_numpy(np.stack([resized(picture) for picture in pixels])).to(self._device).permute(0, 3, 1, 2)
            features: NDArray[np.float32] = self._network((x - self._middle) / self._middle).cpu().numpy()
        return features


def resized(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A picture (height, width, channels) as Inception sees it: (299, 299, 3), from 0 to 255.

    Parmar et al. (2022), "On Aliased Resizing and Surprising Subtleties in GAN Evaluation": 8-bit levels are resized by Pillow
    as floating-point numbers, channel by channel, with a bicubic filter as wide as the reduction, and clipped, but not rounded
    again. Grey becomes three equal channels, and transparent pictures are laid on white, in 8 bits.
    """
    if picture.shape[2] == 4:
        picture = on_white(picture)
    channels = [Image.fromarray(channel.astype(np.float32)) for channel in np.moveaxis(picture, 2, 0)]
    large = [np.asarray(channel.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).clip(0, 255) for channel in channels]
    return np.stack(large if len(large) == 3 else large * 3, axis=2)


def on_white(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA (…, 4) as RGB (…, 3)."""
    opacity = pictures[..., 3:] / 255
    return np.rint(opacity * pictures[..., :3] + (1 - opacity) * 255).astype(np.uint8)
