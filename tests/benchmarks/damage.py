"""What becomes of a run of which a file is damaged: each file of a checkpoint truncated at ten places, and with a bit flipped at
a hundred.

python tests/benchmarks/damage.py [--backends toy,gan,vae,transformer] [--every 1]   # about half an hour

A run of each backend is damaged in its newest checkpoint, which is the best. `aigc sample` must name the file and
give the samples of the older checkpoint, and `aigc train --resume` must name it, continue from the older one, and end with the
weights of a run that was left alone. A damage that changes nothing of what is read, such as a tab for a space in JSON, may go
unnoticed if the result is that of a whole run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faults import Count, aigc, crashes, metrics, started_again, weights

COMMON = (
    "--seed",
    "3",
    "--cooldown",
    "0.5",
    "--eval-every",
    "5",
    "--log-every",
    "5",
    "--steps",
    "10",
    "--run",
    "r",
    "-q",
    "--device",
    "cpu",
)
SMALL = ("--preset", "nano", "--batch-size", "4", "--eval-items", "8")
TRAIN = {
    "toy": ("--hidden", "4"),
    "gan": ("--data", "demo:shapes?n=60", "--size", "8", *SMALL),
    "vae": ("--data", "demo:shapes?n=60", "--size", "8", *SMALL),
    "transformer": ("--data", "demo:verse", "--context", "16", "--d-model", "16", "--n-layers", "1", *SMALL),
}
NEWER = "step-000010"


def damaged(content: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    for place in range(10):
        length = len(content) * place // 10
        yield f"truncated to {length} bytes", content[:length]
    for bit in draw.sample(range(8 * len(content)), min(100, 8 * len(content))):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(changed)


class Runs:
    """A run that was left alone, and what its two checkpoints give."""

    def __init__(self, work: Path, backend: str) -> None:
        self.backend, self.origin = backend, work / backend
        self.origin.mkdir()
        done = aigc(self.origin, "train", backend, *TRAIN[backend], *COMMON)
        assert done.code == 0, done.stderr
        self.run = self.origin / "runs" / backend / "r"
        *_, self.older, newer = sorted(path.name for path in self.run.glob("checkpoints/*"))
        assert newer == NEWER
        record = json.loads((self.run / "run.json").read_text())
        (self.run / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
        self.samples = {}
        for checkpoint in (self.older, NEWER):
            (self.run / "model").unlink()
            (self.run / "model").symlink_to(f"checkpoints/{checkpoint}/model")
            done = self.sample(self.origin)
            assert done[0] == 0, done
            self.samples[checkpoint] = done[2]

    def sample(self, folder: Path) -> tuple[int, str, bytes]:
        to = () if self.backend in ("toy", "transformer") else ("--out", "s.npz", "--force")
        done = aigc(folder, "sample", self.backend, "--run", "r", "--seed", "1", "-n", "2", *to, "--device", "cpu")
        made = (folder / "s.npz").read_bytes() if to and done.code == 0 else done.stdout.encode()
        return done.code, done.stderr, made

    def try_all(self, name: str, count: Count, every: int) -> None:
        draw = random.Random(name)
        for number, (what, content) in enumerate(damaged((self.run / "checkpoints" / NEWER / name).read_bytes(), draw)):
            if number % every:
                continue
            count.tried += 1
            with tempfile.TemporaryDirectory(dir=self.origin.parent) as scratch:
                folder = Path(scratch) / "f"
                shutil.copytree(self.origin, folder, symlinks=True)
                (folder / self.run.relative_to(self.origin) / "checkpoints" / NEWER / name).write_bytes(content)
                where = f"{self.backend} {name} {what}"
                if name.startswith(("model/", "manifest")):
                    self._sample(folder, where, name, count)
                self._resume(folder, where, name, count)

    def _sample(self, folder: Path, where: str, name: str, count: Count) -> None:
        code, told, made = self.sample(folder)
        found = f"{name} is damaged" in told and made == self.samples[self.older]
        unchanged = name.endswith(".json") and made == self.samples[NEWER]
        if code != 0:
            count.crashed.append(f"{where}: {told}")
        elif not (found or unchanged):
            count.corrupted.append(f"{where}: other samples; {told}")

    def _resume(self, folder: Path, where: str, name: str, count: Count) -> None:
        done = aigc(folder, "train", self.backend, "--run", "r", "--resume")
        run = folder / self.run.relative_to(self.origin)
        count.crashed += [f"{where}: {line}" for line in crashes(done)]
        if done.code != 0 or weights(run) != weights(self.run) or metrics(run) != metrics(self.run):
            count.lost.append(f"{where}: {done.stderr}")
        elif f"{name} is damaged" not in done.stderr and not name.endswith(".json"):
            count.corrupted.append(f"{where}: not named; {done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default=",".join(TRAIN))
    parser.add_argument("--every", type=int, default=1, help="try only every so many damages")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        started_again(Path(name))
        print("| file | tried | lost | corrupted | crashed |\n| --- | --- | --- | --- | --- |")
        bad = 0
        for backend in arguments.backends.split(","):
            runs = Runs(Path(name), backend)
            files = (file for file in (runs.run / "checkpoints" / NEWER).rglob("*") if file.is_file())
            for file in sorted(files):
                count, path = Count(), str(file.relative_to(runs.run / "checkpoints" / NEWER))
                runs.try_all(path, count, arguments.every)
                wrong = (count.lost, count.corrupted, count.crashed)
                print(f"| {backend} {path} | {count.tried} |", " | ".join(str(len(lines)) for lines in wrong), "|", flush=True)
                for line in (line for lines in wrong for line in lines[:3]):
                    print(f"    {line}", file=sys.stderr)
                bad += sum(map(len, wrong))
    os._exit(bool(bad))


if __name__ == "__main__":
    main()
