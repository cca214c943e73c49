"""How fast the Transformer learns, against nanoGPT's CPU configuration on the same split, in one run.

    python tests/benchmarks/learning_speed.py --nanogpt CHECKOUT --input tinyshakespeare/input.txt [--minutes 10 20]

Both models are trained on the first nine tenths of the text and scored on all of the last tenth, in nats per character, by the
same code. nanoGPT is trained by its own script with its README's settings for a CPU (4 layers, 4 heads, width 128, context 64,
batch size 12, 2,000 iterations), which chooses its checkpoint on the last tenth itself. aigc gets an eighth of nanoGPT's time, all
of it, and each number of `--minutes`. Its checkpoints are chosen on the first fiftieth of the text, which it isn't trained on. (The
last fiftieth of the nine tenths starts the play that the last tenth continues; without it, no model knows that play's names.)
Times are of whole processes, from start to exit, after the data has been prepared.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from pathlib import Path

from common import NANOGPT_CPU, aigc, nanogpt_model, nanogpt_nats, timed

SETTINGS = [*NANOGPT_CPU, "--max_iters=2000", "--lr_decay_iters=2000"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="*", default=[10.0])
    arguments = parser.parse_args()
    text = arguments.input.read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        choose = int(len(text) * 0.02)
        (work / "choose.txt").write_text(text[:choose], encoding="utf-8")
        (work / "train.txt").write_text(text[choose:cut], encoding="utf-8")
        (work / "val.txt").write_text(text[cut:], encoding="utf-8")
        peer = work / "nanogpt"
        shutil.copytree(arguments.nanogpt, peer)
        data = peer / "data" / "shakespeare_char"
        shutil.copy(arguments.input, data / "input.txt")
        timed([sys.executable, "prepare.py"], data)
        seconds = timed([sys.executable, "train.py", "config/train_shakespeare_char.py", *SETTINGS], peer)
        alphabet = {c: i for i, c in enumerate(sorted(set(text)))}
        network = nanogpt_model(peer, peer / "out-shakespeare-char")
        nats = nanogpt_nats(network, [[alphabet[c] for c in text[cut:]]], 64, None).sum() / (len(text) - cut - 1)
        budgets = [seconds / 60 / 8, seconds / 60, *arguments.minutes]
        for minutes in budgets:  # the data are prepared before the clock starts
            first = ["--minutes", f"{minutes:.5f}", "--steps", 1, "--runs-dir", work / "first"]
            aigc("train", "transformer", "--data", work / "train.txt", "--val", work / "choose.txt", *first)
        print(f"nanoGPT    {seconds:7.1f} s   {nats:.4f} nats/char (n = {len(text) - cut - 1:,} characters)", flush=True)
        for minutes in budgets:
            runs = work / "runs"
            made, took = aigc(
                "train", "transformer", "--data", work / "train.txt", "--val", work / "choose.txt",
                "--minutes", f"{minutes:.5f}", "--runs-dir", runs,
            )  # fmt: skip
            score, _ = aigc(
                "eval", "transformer", "--data", work / "val.txt", "-n", 0, "--run", made["run"], "--runs-dir", runs
            )
            cost = score["bits_per_char"]
            value, low, high = (cost[key] * math.log(2) for key in ("value", "low", "high"))
            print(
                f"aigc       {took:7.1f} s   {value:.4f} nats/char (95 % {low:.4f} to {high:.4f}, n = {cost['n']} {cost['over']}), "
                f"{made['steps']} steps, budget {minutes * 60:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
