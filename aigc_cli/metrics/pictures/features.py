"""What pictures are compared by: a vector of features for each. Every extractor is in `EXTRACTORS`, and nowhere else.

A distance between sets of pictures means something only beside the name of its features. The usual ones are those of
a network trained on ImageNet, whose weights the user brings; all others come from the pictures that are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.errors import RequestError
from aigc_cli.metrics.pictures.classifier import Classifier, train_classifier
from aigc_cli.metrics.pictures.inception_features import InceptionFeatures
from aigc_cli.metrics.pictures.pooling import box_means
from aigc_cli.metrics.statistics.proportion import proportion

CPU = torch.device("cpu")

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]

MAX_PIXEL_FEATURES = 768
MIN_LABELLED = 20
_MAX_SIDE = 16
_SCALED_ON = 2000
_VALUES = 1 << 20  # of pictures in a chunk: 4 MiB as float32


class Extractor(Protocol):
    """From pictures (n, height, width, channels), uint8, to features (n, d), float32; each picture's depend on it alone."""

    name: str
    distances: tuple[str, str]
    """What the Fréchet and the kernel distance by these features are called."""
    slow: bool
    """Whether a picture takes a tenth of a second on a CPU, and not a thousandth."""
    about: Mapping[str, Any]
    """What must stand beside a figure that rests on these features; JSON-ready, but for a `Measure`."""

    def __call__(self, pixels: Pixels) -> Features: ...


def make_extractor(
    name: str,
    pixels_train: Pixels,
    labels_train: NDArray[np.int64] | None = None,
    n_classes: int = 0,
    *,
    seed: int = 0,
    device: torch.device = CPU,
) -> Extractor:
    """The extractor called `name`, with a file that it reads after a colon, for pictures such as the training pictures
    `pixels_train` (n, height, width, channels).

    labels_train: (n,) class numbers below `n_classes`, −1 where there is none. `seed` is for what an extractor learns;
    features compare only where it and the training pictures are the same. Torch's random state is left alone. Features are
    computed on `device`, in float32 whatever is autocast around it.

    Raises `RequestError` if label features are wanted from fewer than 20 labelled pictures or fewer than two classes, and if a
    file doesn't hold the network that it should.
    """
    kind, _, file = name.partition(":")
    return EXTRACTORS[kind](Path(file), pixels_train, labels_train, n_classes, seed, device)


class RandomFeatures:
    """A convolutional network that never learned anything, the same for all data: `random`.

    Each level is a 3 × 3 convolution and a ReLU, then pictures are halved; a feature is the mean of a channel over the
    picture. Half of the filters sum to zero over their window: they answer to edges and to fine grain, so that
    features tell blurred pictures from sharp ones. What is random is drawn as He et al. (2015) initialise, with
    a fixed seed. Naeem et al. (2020), "Reliable Fidelity and Diversity Metrics for Generative Models", find that
    embeddings of random networks serve where trained ones don't fit the data.

    Each feature is centred and scaled to unit variance over training pictures, at most 2,000 of them.
    """

    name, distances, slow = "random", ("fd_random", "kd_random"), False

    def __init__(self, pixels_train: Pixels, device: torch.device = CPU) -> None:
        self._device = device
        height, width, channels = pixels_train.shape[1:]
        levels = max(4, int(math.log2(min(height, width))) - 1)
        widths = [32, 32] + [64] * (levels - 2)
        random = np.random.RandomState(0)  # the generator whose stream NumPy promises to keep (NEP 19)
        layers = (_random_layer(random, *sizes) for sizes in zip([channels, *widths[:-1]], widths, strict=True))
        self._layers = [(weight.to(self._device), bias.to(self._device)) for weight, bias in layers]
        self._shift, self._spread = _usual(self._means, pixels_train, self._device)
        self.about: Mapping[str, Any] = {"features": self.name, "dimensions": sum(widths)}

    def __call__(self, pixels: Pixels) -> Features:
        return (_extracted(self._means, pixels, self._device) - self._shift) / self._spread

    def _means(self, x: Tensor) -> Tensor:
        means = []
        for weight, bias in self._layers:
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
            means.append(x.mean((2, 3)))
            if min(x.shape[2:]) >= 4:
                x = F.avg_pool2d(x, 2)
        return torch.cat(means, 1)


def _random_layer(random: np.random.RandomState, channels: int, width: int) -> tuple[Tensor, Tensor]:
    weight = random.standard_normal((width, channels, 3, 3)) * math.sqrt(2 / (9 * channels))
    weight[::2] -= weight[::2].mean((2, 3), keepdims=True)
    bias = random.standard_normal(width) * 0.3
    return torch.from_numpy(weight).float().to(memory_format=torch.channels_last), torch.from_numpy(bias).float()


class PixelFeatures:
    """The picture itself, from −1 to 1, as means over at most 16 × 16 boxes and no more than 768 numbers: `pixels`."""

    name, distances, slow = "pixels", ("fd_pixels", "kd_pixels"), False

    def __init__(self, pixels_train: Pixels, device: torch.device = CPU) -> None:
        self._device = device
        height, width, channels = pixels_train.shape[1:]
        side = min(_MAX_SIDE, math.isqrt(MAX_PIXEL_FEATURES // channels))
        self._grid = (min(height, side), min(width, side))
        self.about: Mapping[str, Any] = {"features": self.name, "dimensions": math.prod(self._grid) * channels}

    def __call__(self, pixels: Pixels) -> Features:
        return _extracted(lambda x: box_means(x, self._grid).flatten(1), pixels, self._device)


class LabelFeatures:
    """What a classifier of the data's own labels sees before it decides, 64 numbers: `labels`.

    It learns from nine tenths of the labelled training pictures; `about["accuracy"]` is its share of right answers on the
    rest, a `Measure`. Where it is low, the features say little. They are centred and scaled as `random` ones are.
    Pictures that it learned from lie a little further from new ones than other pictures do.
    """

    name, distances, slow = "labels", ("fd_labels", "kd_labels"), False

    def __init__(
        self,
        pixels_train: Pixels,
        labels_train: NDArray[np.int64] | None,
        n_classes: int,
        seed: int,
        device: torch.device = CPU,
    ) -> None:
        self._device = device
        labels = np.full(len(pixels_train), -1) if labels_train is None else labels_train
        labelled = np.random.default_rng(seed).permutation(np.flatnonzero(labels >= 0))
        if len(labelled) < MIN_LABELLED or len(np.unique(labels[labelled])) < 2:
            raise RequestError(f"label features need at least {MIN_LABELLED} labelled pictures of at least two classes")
        held_out, learned = np.split(labelled, [max(1, len(labelled) // 10)])
        self._network: Classifier = train_classifier(
            lambda index: _unit(pixels_train[learned[index.numpy()]]),
            torch.from_numpy(labels[learned]),
            n_classes,
            seed=seed,
            device=self._device,
        )
        self._shift, self._spread = _usual(self._network.features, pixels_train, self._device)
        right = self.classes(self(pixels_train[held_out])) == labels[held_out]
        accuracy = proportion(right)
        self.about: Mapping[str, Any] = {
            "features": self.name,
            "dimensions": self._network.head.in_features,
            "accuracy": accuracy,
        }

    def __call__(self, pixels: Pixels) -> Features:
        return (_extracted(self._network.features, pixels, self._device) - self._shift) / self._spread

    def classes(self, features: Features) -> NDArray[np.int64]:
        """The class that each picture most looks like, (n,), from its features (n, 64)."""
        numbers: NDArray[np.int64] = self._logits(features).argmax(1).cpu().numpy()
        return numbers

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        """How likely each class is for each picture, (n, classes), from its features (n, 64)."""
        probabilities: NDArray[np.float64] = self._logits(features).cpu().double().softmax(1).numpy()
        return probabilities

    def _logits(self, features: Features) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = self._network.head(torch.from_numpy(features * self._spread + self._shift).to(self._device))
        return logits


class SeveralLabelFeatures:
    """The features of a classifier for each of several labels, one after another: `labels`. Each one's accuracy is
    `about["accuracy_NAME"]`."""

    name, distances, slow = "labels", LabelFeatures.distances, False

    def __init__(self, of_label: Mapping[str, LabelFeatures]) -> None:
        self._of_label = of_label
        self.about: Mapping[str, Any] = {
            "features": self.name,
            "dimensions": sum(of.about["dimensions"] for of in of_label.values()),
            **{f"accuracy_{label}": of.about["accuracy"] for label, of in of_label.items()},
        }

    def __call__(self, pixels: Pixels) -> Features:
        return np.concatenate([of(pixels) for of in self._of_label.values()], axis=1)

    def classes(self, features: Features) -> dict[str, NDArray[np.int64]]:
        """By label, the class that each picture most looks like, (n,)."""
        parts = np.split(features, np.cumsum([of.about["dimensions"] for of in self._of_label.values()])[:-1], axis=1)
        return {label: of.classes(part) for (label, of), part in zip(self._of_label.items(), parts, strict=True)}


EXTRACTORS: Mapping[str, Callable[[Path, Pixels, NDArray[np.int64] | None, int, int, torch.device], Extractor]] = {
    "random": lambda file, pixels, labels, n_classes, seed, device: RandomFeatures(pixels, device),
    "pixels": lambda file, pixels, labels, n_classes, seed, device: PixelFeatures(pixels, device),
    "labels": lambda file, *given: LabelFeatures(*given),
    "inception": lambda file, pixels, labels, n_classes, seed, device: InceptionFeatures(file, device),
}


def _usual(network: Callable[[Tensor], Tensor], pixels_train: Pixels, device: torch.device) -> tuple[Features, Features]:
    """The mean and the standard deviation of each feature, (d,), over at most 2,000 training pictures."""
    found = _extracted(network, pixels_train[:: math.ceil(len(pixels_train) / _SCALED_ON)], device).astype(np.float64)
    spread = found.std(axis=0)
    # What hardly varies must not be blown up until rounding counts.
    spread = np.maximum(spread, 0.01 * spread.max()) if spread.any() else np.ones_like(spread)
    return found.mean(axis=0).astype(np.float32), spread.astype(np.float32)


def _extracted(network: Callable[[Tensor], Tensor], pixels: Pixels, device: torch.device) -> Features:
    if not len(pixels):
        raise ValueError("no pictures to take features of")
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        return np.concatenate([network(_unit(part).to(device)).cpu().numpy() for part in _chunks(pixels)])


def _chunks(pixels: Pixels) -> Iterator[Pixels]:
    step = max(1, _VALUES // math.prod(pixels.shape[1:]))
    return (pixels[start : start + step] for start in range(0, len(pixels), step))


def _unit(pixels: Pixels) -> Tensor:
    """(n, height, width, channels) bytes as (n, channels, height, width) from −1 to 1, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
