"""Samples with two labels at once, also of combinations that training lacked: the share that has both, read from the pixels.

    python tests/benchmarks/two_labels.py [--backend gan vae samples] [--steps 3000] [--each 40]

The data are pictures of demo:shapes with the labels colour and shape; no picture of `UNSEEN` pairs, a fifth of all, is
among them. `samples` is the VAE with --objective samples. A picture's colour and shape are those of the drawing that fits it best:
the colour by the least error of every pixel as a mixture of white and that colour, the shape by the best overlap of its area with
the shape drawn at the same centre, of the same area, at any rotation. A sample without an overlap of `LEAST` has no shape. The row
of real pictures is for new ones, read in the same way.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from common import aigc
from numpy.typing import NDArray
from pictures import Pixels, write_sheet

from aigc_cli.data.pictures.demos.shapes import COLOURS, SHAPES, Shapes, coverage, draw
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.metrics.statistics.proportion import proportion

NAMES = tuple(COLOURS)
UNSEEN = {("red", "cross"), ("blue", "triangle"), ("green", "ellipse"), ("black", "square"), ("orange", "cross")}
LEAST = 0.8
#: A shape's area for a radius of 1, in the order of SHAPES.
AREAS = (np.pi / 2, 2.0, 0.75 * 3**0.5, 1.8)
TURNS = np.arange(0, 180, 6.0)

Index = NDArray[np.int64]


def pictures(n: int, seed: int, side: int) -> tuple[Pixels, Index, Index]:
    """Pictures, and the numbers of their colours and shapes."""
    factors = np.concatenate([*Shapes(n, seed).batches(1000)])
    return draw(factors, PictureFormat(side, side, "RGB")), factors[:, 1].astype(np.int64), factors[:, 0].astype(np.int64)


def read(pixels: Pixels) -> tuple[Index, Index]:
    """The colour and the shape of each picture (n, side, side, 3), -1 for none."""
    found = np.array([_read(picture) for picture in pixels.astype(np.float32)])
    return found[:, 0], found[:, 1]


def _read(picture: NDArray[np.float32]) -> tuple[int, int]:
    errors, covers = [], []
    for colour in COLOURS.values():
        full = np.array(colour, np.float32) - 255
        cover = (((picture - 255) @ full) / (full @ full)).clip(0, 1)
        covers.append(cover)
        errors.append(np.square(255 + cover[..., None] * full - picture).sum())
    colour = int(np.argmin(errors))
    cover = covers[colour]
    area, side = cover.sum(), len(cover)
    if area < 0.01 * side**2:
        return colour, -1
    down, right = np.mgrid[0.5:side, 0.5:side]
    y, x = (cover * down).sum() / area, (cover * right).sum() / area
    overlaps = []
    for shape, unit in enumerate(AREAS):
        reach = np.sqrt(area / unit)
        size, room = reach / side, side - 2 * reach
        rows = np.array([[shape, 0, size, (x - reach) / room, (y - reach) / room, turn] for turn in TURNS], np.float32)
        drawn = coverage(shape, rows, side, side)
        overlaps.append((np.minimum(drawn, cover).sum((1, 2)) / np.maximum(drawn, cover).sum((1, 2))).max())
    return colour, int(np.argmax(overlaps)) if max(overlaps) >= LEAST else -1


def row(name: str, right: NDArray[np.bool_]) -> str:
    share = proportion(right)
    return f"{name:32} {share.value:7.1%}  [{share.low:.1%}, {share.high:.1%}]  n = {share.n:,}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", nargs="+", default=["gan", "vae", "samples"])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--train", nargs="*", default=[], metavar="OPTION", help="more options for train, without their dashes")
    parser.add_argument("--pictures", type=int, default=20_000, help="to train on, before pairs are left out")
    parser.add_argument("--each", type=int, default=40, help="samples of each pair")
    parser.add_argument("--sheets", type=Path, help="a folder for samples of each pair")
    parser.add_argument("--runs-dir", help="keep the runs here, and measure those that are finished")
    arguments = parser.parse_args()

    pixels, colours, shapes = pictures(1000, 1, arguments.size)
    read_colours, read_shapes = read(pixels)
    print(row("real pictures", (read_colours == colours) & (read_shapes == shapes)), flush=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ.setdefault("AIGC_CACHE_DIR", f"{work}/cache")
        pixels, colours, shapes = pictures(arguments.pictures, 0, arguments.size)
        left = np.array([(NAMES[c], SHAPES[s]) not in UNSEEN for c, s in zip(colours, shapes, strict=True)])
        data = Path(work) / "shapes.npz"
        np.savez(data, images=pixels[left], colour=np.array(NAMES)[colours[left]], shape=np.array(SHAPES)[shapes[left]])
        runs = arguments.runs_dir or f"{work}/runs"
        for name in arguments.backend:
            backend = "vae" if name == "samples" else name
            finished = Path(runs, backend, name, "model")
            if not finished.exists():
                options = ["--objective", "samples"] if name == "samples" else []
                options += ["--label", "colour,shape", "--conditional", "--steps", arguments.steps]
                options += [f"--{option}" if number % 2 == 0 else option for number, option in enumerate(arguments.train)]
                _, seconds = aigc("train", backend, "--data", data, *options, "--run", name, "--runs-dir", runs)
                print(f"{name}: {arguments.steps:,} steps, {seconds:.0f} s")
            measure(backend, name, runs, Path(work), arguments.each, arguments.sheets)


def measure(backend: str, name: str, runs: str, work: Path, each: int, sheets: Path | None) -> None:
    """Print the shares for all pairs, which samples take turns through, and for each label alone."""

    def sampled(n: int, *label: str) -> tuple[Pixels, NDArray[np.str_], NDArray[np.str_]]:
        out = work / "samples.npz"
        aigc("sample", backend, "--run", name, "--runs-dir", runs, *label, "-n", n, "--seed", 0, "--out", out, "--force")
        with np.load(out) as arrays:
            given = (arrays[f"label_{of}"] if f"label_{of}" in arrays else np.array([""]) for of in ("colour", "shape"))
            return arrays["pictures"], *given

    pixels, colours, shapes = sampled(each * len(NAMES) * len(SHAPES))
    read_colours, read_shapes = read(pixels)
    right_colour = np.array(NAMES)[read_colours] == colours
    right_shape = (read_shapes >= 0) & (np.array(SHAPES)[read_shapes] == shapes)
    unseen = np.zeros(len(pixels), np.bool_)
    for colour, shape in sorted(UNSEEN):
        of_pair = (colours == colour) & (shapes == shape)
        unseen |= of_pair
        parts = f"colour {right_colour[of_pair].mean():.1%}, shape {right_shape[of_pair].mean():.1%}"
        print(row(f"  {colour} {shape}", (right_colour & right_shape)[of_pair]), parts)
    for told, which in (("seen", ~unseen), ("unseen", unseen)):
        for what, right in (("both", right_colour & right_shape), ("colour", right_colour), ("shape", right_shape)):
            print(row(f"{name}, {told} pairs, {what}", right[which]))
    write_sheet(sheets, f"two-labels-{name}", pixels[: 2 * len(NAMES) * len(SHAPES)])
    alone = [read(sampled(each, "--label", colour)[0])[0] == c for c, colour in enumerate(NAMES)]
    print(row(f"{name}, a colour alone", np.concatenate(alone)))
    alone = [read(sampled(each, "--label", shape)[0])[1] == s for s, shape in enumerate(SHAPES)]
    print(row(f"{name}, a shape alone", np.concatenate(alone)), flush=True)


if __name__ == "__main__":
    main()
