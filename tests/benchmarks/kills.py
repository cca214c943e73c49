"""Does a run that is killed with SIGKILL at random times and resumed, many times, end with the same weights as an uninterrupted one?

python tests/benchmarks/kills.py [--kills 20] [--backend transformer]
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = [
    "--steps",
    "12000",
    "--d-model",
    "64",
    "--n-layers",
    "2",
    "--context",
    "64",
    "--batch-size",
    "8",
    "--eval-items",
    "32",
    "--dropout",
    "0.1",
]
ARGUMENTS = {"transformer": ["--data", "demo:verse", *SETTINGS]}


def state(run: Path) -> dict[str, bytes]:
    last = max((run / "checkpoints").glob("step-*"))
    return {
        str(f.relative_to(last)): f.read_bytes()
        for f in last.rglob("*")
        if f.is_file() and f.name not in ("position.json", "manifest.json")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", default="transformer", choices=ARGUMENTS)
    arguments = parser.parse_args()
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "aigc_cli.app", "train", arguments.backend, "--runs-dir", name, "-q"]
        options = ARGUMENTS[arguments.backend]
        subprocess.run([*command, *options, "--run", "alone"], check=True, capture_output=True)
        runs = Path(name) / arguments.backend
        killed = 0
        while killed < arguments.kills:
            resume = ["--resume"] if (runs / "killed" / "run.json").exists() else ["--checkpoint-seconds", "0.3", *options]
            process = subprocess.Popen([*command, *resume, "--run", "killed"], stdout=subprocess.DEVNULL)
            time.sleep(rng.uniform(0.5, 4.5))
            if process.poll() is not None:
                print(f"ended by itself after {killed} kills")
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        subprocess.run([*command, "--run", "killed", "--resume"], check=True, capture_output=True)
        same = state(runs / "alone") == state(runs / "killed")
        print(f"{killed} kills: the last checkpoint is {'bitwise the same' if same else 'DIFFERENT'}")
        sys.exit(not same)


if __name__ == "__main__":
    main()
