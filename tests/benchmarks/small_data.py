"""A GAN of 300 pictures, with and without augmentation: how far its samples are from new pictures, and how many are copies.

    python tests/benchmarks/small_data.py --data FOLDER [--pictures 300] [--minutes 5] [--samples 2000] [--augment auto off]

FOLDER has MNIST or CIFAR-10 as Parquet, with the splits train and test. A run only sees the first training pictures. Samples are
compared with as many test pictures; the floor of a distance is that of as many training pictures, drawn from all of them. Copies
are samples closer to one of the run's own pictures than 99 % of test pictures are; their floor is the share of test pictures.
Margins are how far training and held-out pictures score above samples.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from common import aigc
from pictures import FIGURES, drawn, load, measured, show, write_sheet

from aigc_cli.engine.runs.run import open_run, read_metrics
from aigc_cli.metrics.pictures.copies import copies
from aigc_cli.metrics.pictures.features import RandomFeatures


def last_look(run: Path) -> str:
    """The discriminator at the last evaluation."""
    look = [line for line in read_metrics(open_run(run)) if line["event"] == "evaluated"][-1]
    margins = f"margin of training pictures {look['margin_train']:.3g}, of held-out ones {look['margin_held_out']:.3g}"
    return f"{margins}, augmentation {look['augmentation']:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--augment", nargs="+", default=["auto", "off"])
    parser.add_argument("--sheets", type=Path, help="a folder for 64 samples of each run")
    parser.add_argument("--runs-dir", help="keep the runs here")
    arguments = parser.parse_args()

    data = load(arguments.data)
    few = data.train.take(range(arguments.pictures))
    extractor = RandomFeatures(few)
    tests = extractor(data.test.take(range(min(arguments.samples, len(data.test)))))
    with tempfile.TemporaryDirectory() as work:
        os.environ["AIGC_CACHE_DIR"] = f"{work}/cache"  # what is made for this benchmark goes with it
        source = Path(work) / "few.npz"
        np.savez(source, images=few)
        load(str(source))  # into the cache, where every run finds it
        print(FIGURES)
        for augment in arguments.augment:
            asked = ["--data", source, "--augment", augment, "--minutes", arguments.minutes]
            made, seconds = aigc("train", "gan", *asked, "--runs-dir", arguments.runs_dir or work)
            pictures = np.concatenate(list(drawn(made["run"], len(tests))))
            name = f"augment {augment}"
            write_sheet(arguments.sheets, f"augment-{augment}", pictures)
            found, _ = measured(pictures, data, "random")
            of_few = copies(extractor(pictures), extractor(few), tests).proportion.beside(features=extractor.name)
            told = f"{made['steps']:,} steps, {seconds:.1f} s; {last_look(Path(made['run']))}"
            show(name, found | {"copies": of_few}, [told])


if __name__ == "__main__":
    main()
