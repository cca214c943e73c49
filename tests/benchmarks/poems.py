"""Bits per character on poems, against nanoGPT's CPU configuration trained on the same text for the same time.

    python tests/benchmarks/poems.py --nanogpt CHECKOUT --poems FOLDER [--minutes 10]

FOLDER has train.tsv, val.tsv and test.tsv with a `text` column. nanoGPT reads the poems as characters, one poem per line, with as
many iterations as its script can do in the minutes (timed on 100 iterations). Both are scored on the test split: the cost of
all characters and ends of poems, per character. Then the form of 50 samples is checked: an even number of lines, all of 5 or all
of 7 characters, with a comma after odd lines and a full stop after even ones.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import NANOGPT_CPU, aigc, nanogpt_model, nanogpt_nats


def texts(file: Path) -> list[str]:
    head, *rows = file.read_text(encoding="utf-8").splitlines()
    column = head.split("\t").index("text")
    return [row.split("\t")[column] for row in rows]


def regulated(poem: str) -> bool:
    """An even number of lines, all of five or all of seven characters; odd lines end with ， and even ones with 。"""
    return any(re.fullmatch(rf"(?:[^，。]{{{n}}}，[^，。]{{{n}}}。)+", poem) for n in (5, 7))


def peer(checkout: Path, poems: Path, minutes: float, work: Path) -> float:
    """nanoGPT's bits per character on the test split."""
    copy = work / "nanogpt"
    shutil.copytree(checkout, copy)
    data = copy / "data" / "shakespeare_char"
    joined = {split: "\n".join(["", *texts(poems / f"{split}.tsv"), ""]) for split in ("train", "val", "test")}
    alphabet = {c: i for i, c in enumerate(sorted(set("".join(joined.values()))))}
    for split in ("train", "val"):
        np.array([alphabet[c] for c in joined[split]], np.uint16).tofile(data / f"{split}.bin")
    with (data / "meta.pkl").open("wb") as file:
        pickle.dump({"vocab_size": len(alphabet)}, file)

    def train(iterations: int) -> float:
        began = time.perf_counter()
        steps = [f"--max_iters={iterations}", f"--lr_decay_iters={iterations}", f"--eval_interval={max(1, iterations // 10)}"]
        subprocess.run(
            [sys.executable, "train.py", "config/train_shakespeare_char.py", *NANOGPT_CPU, *steps],
            cwd=copy,
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - began

    few, more = train(20), train(120)
    iterations = int((minutes * 60 - few) / ((more - few) / 100))
    took = train(iterations)
    network = nanogpt_model(copy, copy / "out-shakespeare-char")
    nats = nanogpt_nats(network, [[alphabet[c] for c in joined["test"]]], 64, None).sum()
    chars = sum(map(len, texts(poems / "test.tsv")))
    print(
        f"nanoGPT  {took:6.1f} s  {iterations} iterations  {nats / chars / math.log(2):.4f} bits/char (n = {chars:,} characters)",
        flush=True,
    )
    return float(nats / chars / math.log(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--poems", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--run", help="score this run, trained for as long on the same text, rather than train one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name) / "runs"
        if arguments.run:
            made = {"run": arguments.run, **json.loads((Path(arguments.run) / "run.json").read_text())}
            took = made["seconds"]
        else:
            made, took = aigc(
                "train", "transformer", "--data", arguments.poems / "train.tsv", "--val", arguments.poems / "val.tsv",
                "--minutes", arguments.minutes, "--runs-dir", runs,
            )  # fmt: skip
        score, _ = aigc(
            "eval", "transformer", "--data", arguments.poems / "test.tsv", "-n", 0, "--run", made["run"], "--runs-dir", runs
        )
        cost = score["bits_per_char"]
        print(
            f"aigc     {took:6.1f} s  {made['steps']} steps  {cost['value']:.4f} bits/char (95 % {cost['low']:.4f} to "
            f"{cost['high']:.4f}, n = {cost['n']} poems); n-grams {cost['baseline']['value']:.4f}, xz {cost['xz']['value']:.4f}",
            flush=True,
        )
        command = [
            sys.executable,
            "-m",
            "aigc_cli.app",
            "sample",
            "transformer",
            "-n",
            "50",
            "--seed",
            "0",
            "--run",
            made["run"],
            "-q",
        ]
        samples = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        human = texts(arguments.poems / "test.tsv")
        print(
            f"regulated verse: {sum(map(regulated, samples))} of {len(samples)} samples, {sum(map(regulated, human))} of {len(human)} test poems"
        )
        print("\n".join(samples), flush=True)
        theirs = peer(arguments.nanogpt, arguments.poems, arguments.minutes, Path(name))
        print(f"lower by {1 - cost['value'] / theirs:.1%}")


if __name__ == "__main__":
    main()
