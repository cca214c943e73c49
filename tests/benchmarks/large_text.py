"""A large text file, which must not be read into memory: first start, second start and peak memory.

    python tests/benchmarks/large_text.py [--gigabytes 2] [--folder DIR]

Writes one document of varied English-like text, then runs `aigc train transformer --steps 1` twice with an empty cache: the first
start reads and tokenises it, the second finds it in the cache. Peak memory is the maximum resident set size of the process. For
comparison: the time of encoding alone, with the same tokenizer on a part of the file, scaled to the whole.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHUNK = 1 << 20


def write(path: Path, size: int) -> None:
    rng = random.Random(0)
    syllables = [
        a + b
        for a in ["b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "w", "st", "tr"]
        for b in ("a", "e", "i", "o", "u", "an", "er", "ing", "ou")
    ]
    words = ["".join(rng.choices(syllables, k=rng.choice((1, 1, 2, 2, 3)))) for _ in range(30_000)]
    weights = [1 / (rank + 2) for rank in range(len(words))]
    with path.open("w", encoding="ascii") as file:
        written = 0
        while written < size:
            sentence = " ".join(rng.choices(words, weights, k=2000))
            written += file.write(sentence.replace(" the ", ".\n") + ".\n")


def start(path: Path, cache: Path, runs: Path) -> tuple[float, float]:
    """Seconds, and peak memory in GB, of a training start."""
    command = [
        sys.executable,
        "-m",
        "aigc_cli.app",
        "train",
        "transformer",
        "--data",
        str(path),
        "--steps",
        "1",
        "--eval-items",
        "8",
        "-q",
    ]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--runs-dir", str(runs)], env={**os.environ, "AIGC_CACHE_DIR": str(cache)})
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - began, usage.ru_maxrss / 1e6


def encoding_seconds(path: Path, cache: Path) -> float:
    from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(next(cache.rglob("tokenizer")))
    with path.open(encoding="ascii") as file:
        texts = [file.read(CHUNK) for _ in range(64)]
    began = time.perf_counter()
    for at in range(0, 64, 8):
        tokenizer.encode_batch(texts[at : at + 8])
    return (time.perf_counter() - began) * path.stat().st_size / sum(map(len, texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        text, cache, runs = folder / "large.txt", folder / "cache", folder / "runs"
        write(text, int(arguments.gigabytes * 1e9))
        for which in ("first", "second"):
            seconds, memory = start(text, cache, runs)
            print(f"{which} start: {seconds:.1f} s, {memory:.2f} GB at its peak", flush=True)
        print(f"encoding alone: about {encoding_seconds(text, cache):.1f} s, for {text.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
