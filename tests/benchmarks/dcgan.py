"""How far samples are from held-out pictures, against PyTorch's DCGAN example trained for the same time.

    python tests/benchmarks/dcgan.py --data FOLDER [--examples CHECKOUT] [--minutes 10] [--samples 10000] [--sheets FOLDER]

FOLDER has MNIST or CIFAR-10 as Parquet, with the splits train and test; CHECKOUT is a checkout of pytorch/examples, whose
dcgan/main.py has the networks and their initialisation. They are trained as there (64×64 pixels, batch size 64, Adam with
learning rate 2e-4 and β₁ 0.5, binary cross-entropy), on the same pictures as aigc, and sampled as there, in training mode. Their
samples are downsampled to the size of the data. Both models are measured by the same code: as many samples as test pictures,
with the features of a classifier of the data's labels and with random features. The floor is that of training pictures in place
of samples, for copies that of test pictures.
"""

from __future__ import annotations

import argparse
import ast
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import aigc
from pictures import FIGURES, Data, Pixels, drawn, load, measured, show, write_sheet
from torch import Tensor, nn

from aigc_cli.backends.pictures.batches import to_bytes, to_unit
from aigc_cli.metrics.statistics.bootstrap import Measure

NZ, SIZE, BATCH = 100, 64, 64
FEATURES = ("labels", "random")


def definitions(checkout: Path, channels: int) -> dict[str, Any]:
    """Generator, Discriminator and weights_init of the example. Importing it would train, so only these are executed."""
    path = checkout / "dcgan" / "main.py"
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", "") in ("Generator", "Discriminator", "weights_init")]
    names = {"torch": torch, "nn": nn, "nc": channels, "nz": NZ, "ngf": 64, "ndf": 64}
    exec(compile(tree, str(path), "exec"), names)
    return names


def batches(data: Data, end: float) -> Iterator[Tensor]:
    """Batches of epochs until time `end`, like those of the example's loader: (64, channels, 64, 64) from −1 to 1, with a smaller
    last one in each epoch."""
    while True:
        for index in torch.randperm(len(data.train)).split(BATCH):
            x = to_unit(torch.from_numpy(data.train.take(index.numpy()))).contiguous()
            yield F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True) * 2 - 1
            if time.perf_counter() > end:
                return


def train(example: dict[str, Any], data: Data, minutes: float) -> tuple[nn.Module, int]:
    """The example's generator after as many steps as fit in the time (at least one), and their number."""
    end, steps = time.perf_counter() + 60 * minutes, 0
    torch.manual_seed(0)
    generator, discriminator = (example[name](1).apply(example["weights_init"]) for name in ("Generator", "Discriminator"))
    optimizers = [torch.optim.Adam(network.parameters(), 2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator)]
    for real in batches(data, end):
        is_real, is_fake = torch.ones(len(real)), torch.zeros(len(real))
        discriminator.zero_grad()
        F.binary_cross_entropy(discriminator(real), is_real).backward()
        fake = generator(torch.randn(len(real), NZ, 1, 1))
        F.binary_cross_entropy(discriminator(fake.detach()), is_fake).backward()
        optimizers[1].step()
        generator.zero_grad()
        F.binary_cross_entropy(discriminator(fake), is_real).backward()
        optimizers[0].step()
        steps += 1
    return generator, steps


@torch.no_grad()
def sampled(generator: nn.Module, n: int, data: Data) -> Pixels:
    """n pictures in the format of the data, sampled like in the example: 64 at a time, with batch statistics."""
    size = (data.format.height, data.format.width)
    parts = (generator(torch.randn(BATCH, NZ, 1, 1)) for _ in range(-(-n // BATCH)))
    return np.concatenate([to_bytes((F.interpolate(x, size, mode="area") + 1) / 2) for x in parts])[:n]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--examples", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--sheets", type=Path, help="a folder for 64 samples of each model and 64 test pictures")
    parser.add_argument("--run", help="measure this run rather than train one; 'none' for neither")
    parser.add_argument("--runs-dir", help="keep the run here")
    arguments = parser.parse_args()

    data = load(arguments.data)
    n = min(arguments.samples, len(data.test))
    write_sheet(arguments.sheets, "test", data.test.take(range(64)))
    found: dict[str, dict[str, Measure]] = {}

    def measure(name: str, pictures: Pixels) -> None:
        write_sheet(arguments.sheets, name, pictures)
        print(FIGURES)
        found[name] = {}
        for features in FEATURES:
            figures, notes = measured(pictures, data, features)
            show(name, figures, notes)
            found[name] |= figures

    with tempfile.TemporaryDirectory() as work:
        run = arguments.run
        if run is None:
            where = ["--runs-dir", arguments.runs_dir or work]
            made, seconds = aigc("train", "gan", "--data", arguments.data, "--minutes", arguments.minutes, *where)
            run = made["run"]
            print(f"aigc: {made['steps']:,} steps, {seconds:.1f} s", flush=True)
        if run != "none":
            measure("aigc", np.concatenate(list(drawn(run, n))))
    if arguments.examples is None:
        return
    began = time.perf_counter()
    generator, steps = train(definitions(arguments.examples, data.format.channels), data, arguments.minutes)
    print(f"DCGAN: {steps:,} steps, {time.perf_counter() - began:.1f} s", flush=True)
    measure("DCGAN", sampled(generator, n, data))
    for figure in [name for name in found["DCGAN"] if name.startswith(("fd_", "kd_")) and "aigc" in found]:
        print(f"{figure}: aigc has {found['aigc'][figure].value / found['DCGAN'][figure].value:.2f} of DCGAN's distance")


if __name__ == "__main__":
    main()
