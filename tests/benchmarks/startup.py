"""Start-up times of commands, relative to a Python that does nothing and to one that imports torch.

    python tests/benchmarks/startup.py [--rounds 15] [--runs 500]

In every round each command runs once, as a whole process, so that all of them see the same load. Prints ratios of medians with
bootstrap intervals over rounds. The runs are made in a temporary folder: small real ones to sample from, and copies of a record to
list. `sample` is compared with a Python that imports torch and reads the same weights.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import timed
from numpy.typing import NDArray

AIGC = [sys.executable, "-m", "aigc_cli.app"]
READ = "import torch, sys; from safetensors.torch import load_file; load_file(sys.argv[1])"


def make_runs(folder: Path, n: int) -> dict[str, Path]:
    """Train each backend for a few steps on the built-in data, and make n more runs to list. Returns backend -> weights."""
    weights = {}
    for backend in ("transformer", "vae", "gan"):
        done = subprocess.run(
            [*AIGC, "train", backend, "--steps", "20", "--quiet"], cwd=folder, check=True, capture_output=True, text=True
        )
        run = folder / done.stdout.strip()
        (weights[backend],) = (run / "model").glob("*.safetensors")
    record = json.loads((run / "run.json").read_text())
    for number in range(n):
        listed = folder / "many" / "gan" / f"listed-{number}"
        for part in ("checkpoints", "samples"):
            (listed / part).mkdir(parents=True)
        (listed / "run.json").write_text(json.dumps(record))
        shutil.copy(run / "metrics.jsonl", listed)
    return weights


def ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float, float]:
    """The ratio of medians, with a 95 % bootstrap interval over rounds."""
    rounds = np.random.default_rng(0).integers(len(ours), size=(2000, len(ours)))
    drawn = np.median(ours[rounds], 1) / np.median(theirs[rounds], 1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(np.median(ours) / np.median(theirs)), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=500)
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as for a user, modules are compiled once
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = make_runs(folder, arguments.runs)
        python = [sys.executable, "-c"]
        commands = {"pass": [*python, "pass"], "import torch": [*python, "import torch"]}
        for backend, path in weights.items():
            commands[f"torch and weights of the {backend}"] = [*python, READ, str(path)]
            one = ["--max-tokens", "1"] if backend == "transformer" else ["--force"]
            commands[f"aigc sample {backend} -n 1"] = [*AIGC, "sample", backend, "-n", "1", "--seed", "1", *one]
        commands["aigc --help"] = [*AIGC, "--help"]
        commands["aigc train gan --help"] = [*AIGC, "train", "gan", "--help"]
        commands[f"aigc runs ({arguments.runs})"] = [*AIGC, "runs", "--runs-dir", "many"]
        took: dict[str, list[float]] = {name: [] for name in commands}
        for round in range(arguments.rounds + 1):
            for name, command in commands.items():
                seconds = timed(command, folder)
                if round > 0:  # the first compiles modules and fills the disk's cache
                    took[name].append(seconds)
    times = {name: np.array(seconds) for name, seconds in took.items()}
    print(f"{'command':34} {'median s':>9}   to pass               to import torch        to torch and its weights")
    for name, seconds in times.items():
        against = [times["pass"], times["import torch"]]
        if name.startswith("aigc sample "):
            against.append(times[f"torch and weights of the {name.split()[2]}"])
        ratios = [
            f"{value:6.2f} [{low:5.2f}, {high:5.2f}]" for value, low, high in (ratio(seconds, other) for other in against)
        ]
        print(f"{name:34} {np.median(seconds):9.3f}   {'   '.join(ratios)}", flush=True)
    print(f"n = {arguments.rounds} rounds; 95 % intervals")


if __name__ == "__main__":
    main()
