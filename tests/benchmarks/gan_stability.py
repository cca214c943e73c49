"""Does a GAN collapse, on some seeds or at all?

    python tests/benchmarks/gan_stability.py [--data demo:shapes FOLDER] [--seeds 5] [--minutes 2] [--samples 2000]

FOLDER has MNIST as Parquet, with the splits train and test. Coverage is the share of test pictures with a sample nearby (random
features). A run has collapsed if its coverage is less than 0.8 of the median over seeds. Skipped steps and roll-backs because of
non-finite values are counted from metrics.jsonl; the final weights are checked too.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from common import aigc
from pictures import drawn, load, measured, write_sheet
from safetensors.torch import load_file

from aigc_cli.engine.runs.run import open_run, read_metrics

COLLAPSED = 0.8


def troubles(path: Path) -> str:
    """Non-finite values in a run, as columns of the table."""
    lines = list(read_metrics(open_run(path)))
    rolled_back = sum(line["event"] == "rolled_back" for line in lines)
    skipped = max((line.get("skipped", 0) for line in lines), default=0)
    finite = all(weight.isfinite().all() for weight in load_file(path / "model" / "model.safetensors").values())
    return f"{skipped:7} {rolled_back:10}  {'finite' if finite else 'NOT FINITE'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["demo:shapes"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--sheets", type=Path, help="a folder for 64 samples of each run")
    arguments = parser.parse_args()

    for source in arguments.data:
        data, name = load(source), Path(source).name.replace("demo:", "")
        print(f"{'data':10} seed   steps coverage    95 % interval    floor     n  kd_random  skipped rolled back  weights")
        coverages = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as work:
                asked = ["--data", source, "--minutes", arguments.minutes, "--seed", seed, "--runs-dir", work]
                try:
                    made, _ = aigc("train", "gan", *asked)
                except subprocess.CalledProcessError as error:
                    print(f"{name:10} {seed:4}   FAILED: {error.stderr.strip()}", flush=True)
                    coverages.append(0.0)
                    continue
                pictures = np.concatenate(list(drawn(made["run"], arguments.samples)))
                write_sheet(arguments.sheets, f"{name}-{seed}", pictures)
                found, _ = measured(pictures, data, "random")
                coverage = found["coverage"]
                interval = f"[{coverage.low:.3f}, {coverage.high:.3f}]"
                floor = coverage.extra["floor"].value
                figures = f"{coverage.value:8.3f}  {interval}  {floor:7.3f} {coverage.n:5,} {found['kd_random'].value:10.4g}"
                print(f"{name:10} {seed:4} {made['steps']:7,} {figures}  {troubles(Path(made['run']))}", flush=True)
                coverages.append(coverage.value)
        ratios = np.array(coverages) / max(np.median(coverages), 1e-9)
        collapsed = int((ratios < COLLAPSED).sum())
        print(f"{name}: coverage over its median {', '.join(f'{ratio:.2f}' for ratio in ratios)};", end=" ")
        print(f"{collapsed} of {len(ratios)} collapsed", flush=True)


if __name__ == "__main__":
    main()
