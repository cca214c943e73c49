"""Modes of Stacked MNIST found by a GAN: pictures with three digits as their channels, so 1,000 modes.

    python tests/benchmarks/stacked_mnist.py --mnist FOLDER [--minutes 10] [--objective r3 non-saturating] [--samples 25600]

FOLDER has MNIST as Parquet, with the splits train and test. Training pictures are stacks of randomly drawn training digits. The
networks and all other settings follow from the minutes and are the same for all objectives. A mode is found if at least one sample
belongs to it, according to a classifier of single digits that is applied to each channel. KL is the divergence, in nats, of the
shares of modes in the samples from those in the data, which are products of the digits' shares. The row of tests is for as many
stacks of test digits with the same classifier: what a perfect model would get.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import aigc
from numpy.typing import NDArray
from pictures import Pixels, drawn, load, write_sheet

from aigc_cli.data.pictures.dataset import PictureArrays
from aigc_cli.metrics.pictures.features import LabelFeatures
from aigc_cli.metrics.statistics.jackknife import GROUPS, bounds, groups, standard_error

MODES = 1000


def stacks(digits: PictureArrays, n: int, seed: int) -> Pixels:
    """(n, 28, 28, 3): three digits each, drawn with replacement."""
    index = np.random.default_rng(seed).integers(len(digits), size=(n, 3))
    return np.concatenate([digits.take(channel) for channel in index.T], axis=3)


def modes(pictures: Pixels, digit: Callable[[Pixels], NDArray[np.int64]]) -> NDArray[np.int64]:
    """(n,) numbers of three figures."""
    first, second, third = (digit(pictures[..., channel : channel + 1]) for channel in range(3))
    return 100 * first + 10 * second + third


def kl(found: NDArray[np.int64], shares: NDArray[np.float64]) -> float:
    """Σ p log(p / q) over modes, p of those found (n,) and q the shares (1000,)."""
    p = np.bincount(found, minlength=MODES) / len(found)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / shares[seen])).sum())


def told(name: str, found: NDArray[np.int64], shares: NDArray[np.float64]) -> str:
    """A row of the table; the interval is a jackknife over twenty groups of samples."""
    value, group = kl(found, shares), groups(len(found))
    low, high = bounds(value, standard_error([kl(found[group != g], shares) for g in range(GROUPS)]))
    return f"{name:16} {len(np.unique(found)):5,} {value:8.4f}  [{low:.4f}, {high:.4f}]  {len(found):7,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", required=True)
    parser.add_argument("--objective", nargs="+", default=["r3", "non-saturating"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--samples", type=int, default=25_600)
    parser.add_argument("--pictures", type=int, default=128_000, help="to train on")
    parser.add_argument("--preset", help="a size of the networks, rather than what the minutes decide")
    parser.add_argument("--sheets", type=Path, help="a folder for 64 samples of each objective")
    parser.add_argument("--runs-dir", help="keep the runs here")
    arguments = parser.parse_args()

    digits = load(arguments.mnist)
    assert digits.train.labels is not None
    classifier = LabelFeatures(digits.train.take(range(len(digits.train))), digits.train.labels, len(digits.classes), seed=0)

    def digit(pixels: Pixels) -> NDArray[np.int64]:
        return classifier.classes(classifier(pixels))

    right = digit(digits.test.take(range(len(digits.test)))) == digits.test.labels
    print(f"the classifier is right for {right.mean():.2%} of {len(right):,} test digits")
    of_digits = np.bincount(digits.train.labels, minlength=10) / len(digits.train)
    shares = np.einsum("a,b,c->abc", of_digits, of_digits, of_digits).ravel()
    print(f"{'':16} {'modes':>5} {'KL':>8}  {'95 % interval':16}  {'n':>7}")
    print(told("tests", modes(stacks(digits.test, arguments.samples, seed=1), digit), shares), flush=True)

    with tempfile.TemporaryDirectory() as work:
        os.environ["AIGC_CACHE_DIR"] = f"{work}/cache"  # what is made for this benchmark goes with it
        data = Path(work) / "stacked.npz"
        np.savez(data, images=stacks(digits.train, arguments.pictures, seed=0))
        load(str(data))  # into the cache, where every run finds it
        shape = [] if arguments.preset is None else ["--preset", arguments.preset]
        for objective in arguments.objective:
            asked = ["--objective", objective, "--minutes", arguments.minutes, *shape]
            made, seconds = aigc("train", "gan", "--data", data, *asked, "--runs-dir", arguments.runs_dir or work)
            pictures = np.concatenate(list(drawn(made["run"], arguments.samples)))
            write_sheet(arguments.sheets, f"stacked-{objective}", pictures)
            print(told(objective, modes(pictures, digit), shares), f"  {made['steps']:,} steps, {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
