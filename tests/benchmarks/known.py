"""The measures of pictures on sets of pictures of known quality.

    python tests/benchmarks/known.py --data SRC [--samples 5000]

Half of the test pictures are the reference. In place of samples: training pictures, which are all copies; the other half of the
test pictures, which are as good as samples can be; the same blurred; those of a single class, which lack variety; and noise. A
measure that can't tell these apart is broken.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pictures import FIGURES, Pixels, load, measured, show

from aigc_cli.backends.pictures.batches import to_bytes, to_unit
from aigc_cli.data.pictures.dataset import PictureArrays

Index = NDArray[np.int64]


def part(arrays: PictureArrays, index: Index) -> PictureArrays:
    """Some of the pictures."""
    labels = None if arrays.labels is None else arrays.labels[index]
    return PictureArrays(arrays.pixels, arrays.rows[index], labels, [arrays.names[i] for i in index], {})


def blurred(pixels: Pixels) -> Pixels:
    """The mean of each pixel and its eight neighbours."""
    return to_bytes(F.avg_pool2d(to_unit(torch.from_numpy(pixels)), 3, stride=1, padding=1, count_include_pad=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--samples", type=int, default=5000)
    arguments = parser.parse_args()

    data = load(arguments.data)
    n = min(arguments.samples, len(data.test) // 2)
    among = np.random.default_rng(0).permutation(len(data.test))
    real, others = part(data.test, among[:n]), data.test.take(among[n : 2 * n])
    samples = {
        "training": data.train.take(np.random.default_rng(1).permutation(len(data.train))[:n]),
        "held out": others,
        "blurred": blurred(others),
        "noise": np.random.default_rng(2).integers(0, 256, others.shape, dtype=np.uint8),
    }
    if data.train.labels is not None:
        samples["one class"] = data.train.take(np.flatnonzero(data.train.labels == 0)[:n])
    print(FIGURES)
    for features in ("random", "pixels") + (("labels",) if data.classes else ()):
        for name, pixels in samples.items():
            show(name, *measured(pixels, replace(data, test=real), features))


if __name__ == "__main__":
    main()
