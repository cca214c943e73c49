"""Training batches of pictures."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.data.pictures.format import describe_size
from aigc_cli.data.pictures.prepared.preparing import PictureArrays, PictureDataset

#: Pixel values computed at once without gradients: a few hundred MB in a decoder.
VALUES = 1 << 21
#: The share of training pictures whose labels are dropped, if they have several.
DROPPED = 0.1
#: With fewer training pictures, samples are near copies of them, or rough.
FEW = 100
#: From this side on, details take long to learn, and fewer pictures seen than this are few: FastGAN (Liu et al. 2021) sees this
#: many at 256 pixels, in hours on a GPU.
LARGE, SEEN = 96, 400_000


class PictureBatches:
    """The batch of a step, as a pure function of (seed, step). Every epoch is reshuffled.

    `pixels` is (B, height, width, channels) uint8, `labels` (B,) int64, -1 for no label. With `flip`, half of the pictures are
    mirrored. With --tile, windows are at other offsets every time. Of several labels, (B, labels), some are dropped.
    """

    def __init__(self, arrays: PictureArrays, batch_size: int, seed: int, *, flip: bool = False) -> None:
        self.arrays, self.batch_size, self.seed, self.flip = arrays, batch_size, seed, flip
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __call__(self, step: int) -> dict[str, Tensor]:
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, within = np.divmod(places, len(self.arrays))
        self._orders = {epoch: self._order(epoch) for epoch in np.unique(epochs).tolist()}
        index = np.array([self._orders[epoch][place] for epoch, place in zip(epochs.tolist(), within.tolist(), strict=True)])
        pixels = self.arrays.take_anywhere(index, np.random.default_rng((self.seed, step, 3)))
        if self.flip:
            mirrored = np.random.default_rng((self.seed, step, 1)).random(len(pixels)) < 0.5
            pixels[mirrored] = pixels[mirrored, :, ::-1]
        labels = labels_of(self.arrays, index)
        if labels.ndim > 1:
            labels = without_some(labels, np.random.default_rng((self.seed, step, 3)))
        return {"pixels": torch.from_numpy(pixels), "labels": labels}

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            return np.random.default_rng((self.seed, epoch)).permutation(len(self.arrays))
        return self._orders[epoch]


def at_once(values: int, most: int) -> int:
    """How many pictures of `values` values to compute at once without gradients: `most`, or fewer if they are large."""
    return max(1, min(most, VALUES // values))


def few_pictures(n: int) -> list[str]:
    """A warning if there are so few training pictures that a model memorises them or learns little."""
    if n >= FEW:
        return []
    return [
        f"only {n} training pictures: expect near copies of them, or rough samples; use at least hundreds, better thousands"
    ]


def large_pictures(data: PictureDataset, seen: int) -> str | None:
    """What to expect of a run that sees so many pictures of a large size; that is only known of pictures."""
    size = data.format.size
    if data.things != "pictures" or max(size) < LARGE or seen >= SEEN:
        return None
    return (
        f"about {seen:,} pictures will be seen, which is little for {describe_size(size)}: expect colours and shapes, and few "
        f"details; others give hours on a GPU, {SEEN:,} or more. A smaller --size gets further"
    )


def without_some(labels: Tensor, random: np.random.Generator) -> Tensor:
    """Several labels (B, labels), all of them replaced by −1 in a tenth of the rows, and otherwise each in a tenth: so that a
    model learns to do without any of them (Ho and Salimans 2022, classifier-free guidance)."""
    dropped = (random.random(tuple(labels.shape)) < DROPPED) | (random.random((len(labels), 1)) < DROPPED)
    return labels.masked_fill(torch.from_numpy(dropped), -1)


def labels_of(arrays: PictureArrays, index: NDArray[np.int64]) -> Tensor:
    """The labels of some pictures, -1 for no label: (n,), or (n, labels) if there are several."""
    labels = np.full(len(index), -1, np.int64) if arrays.labels is None else arrays.labels[index]
    return torch.from_numpy(labels)


def to_unit(pixels: Tensor) -> Tensor:
    """(B, height, width, channels) uint8 to (B, channels, height, width) float32 in [0, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def to_bytes(x: Tensor) -> NDArray[np.uint8]:
    """The inverse of `to_unit`, rounded."""
    rounded: NDArray[np.uint8] = (x.float().clamp(0, 1) * 255).round().permute(0, 2, 3, 1).byte().cpu().numpy()
    return rounded
