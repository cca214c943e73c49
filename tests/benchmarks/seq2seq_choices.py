"""Ablations of the encoder–decoder: each choice undone, for the same number of steps on the same pairs.

    python tests/benchmarks/seq2seq_choices.py --pairs FOLDER [--steps 1000] [--choices as-it-is post-norm …] [--seed 0]

FOLDER has train.tsv and val.tsv with the columns `source` and `target`. Bits per character of the `report` half of held-out pairs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

import aigc_cli.app
from aigc_cli.backends.transformer.encoder_decoder import learner as pair_learner
from aigc_cli.backends.transformer.encoder_decoder import presets
from aigc_cli.backends.transformer.encoder_decoder.model import EncoderDecoder


def post_norm() -> None:
    """Post-norm blocks, which don't start as the identity."""
    for layer in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer):
        original = layer.__init__
        layer.__init__ = lambda *args, _of=original, **shape: _of(*args, **shape | {"norm_first": False})  # type: ignore[method-assign]
    initialise = EncoderDecoder.initialise

    def all_blocks(network: EncoderDecoder) -> None:
        initialise(network)
        for name, parameter in network.named_parameters():
            if name.endswith(("out_proj.weight", "linear2.weight")):
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    EncoderDecoder.initialise = all_blocks  # type: ignore[method-assign]


def untied() -> None:
    """An untied output matrix."""
    original = presets.model_config
    pair_learner.model_config = lambda *args: dataclasses.replace(original(*args), tied=False)


def smoothed(share: float) -> None:
    """Label smoothing: a share of each target's probability is spread evenly over all tokens."""

    def loss(hidden: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = F.linear(hidden, head).flatten(0, 1)
        return F.cross_entropy(logits, targets.flatten(), label_smoothing=share), (targets >= 0).sum()

    pair_learner.cross_entropy = loss


def nothing() -> None: ...


CHOICES: dict[str, tuple[Callable[[], None], Callable[[int, float], Sequence[object]]]] = {
    "as-it-is": (nothing, lambda steps, lr: ()),
    "post-norm": (post_norm, lambda steps, lr: ()),
    "post-norm-quarter-lr": (post_norm, lambda steps, lr: ("--lr", lr / 4)),
    "untied": (untied, lambda steps, lr: ()),
    "smoothed-0.1": (partial(smoothed, 0.1), lambda steps, lr: ()),
    "smoothed-0.02": (partial(smoothed, 0.02), lambda steps, lr: ()),
    "no-warm-up": (nothing, lambda steps, lr: ("--warmup", 0)),
    "warm-up-of-a-fifth": (nothing, lambda steps, lr: ("--warmup", steps // 5)),
}


def changed(choice: str, *arguments: object) -> dict[str, Any]:
    """`aigc … --json` in a separate process with the choice undone."""
    command = [sys.executable, __file__, "--undo", choice, *map(str, arguments), "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)  # type: ignore[no-any-return]


def main() -> None:
    if sys.argv[1:2] == ["--undo"]:
        CHOICES[sys.argv[2]][0]()
        sys.argv[1:] = sys.argv[3:]
        aigc_cli.app.main()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--choices", nargs="+", choices=list(CHOICES), default=list(CHOICES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    lr = 0.0
    print(f"{'choice':22} bits/char   95 % interval      n  seconds")
    with tempfile.TemporaryDirectory() as work:
        for choice in dict.fromkeys(("as-it-is", *arguments.choices)):
            asked = ["--data", arguments.pairs, "--arch", "encoder-decoder", "--source", "source", "--target", "target"]
            asked += ["--steps", arguments.steps, "--seed", arguments.seed, "--threads", arguments.threads]
            settings = CHOICES[choice][1](arguments.steps, lr)
            made = changed(choice, "train", "transformer", *asked, "--runs-dir", work, "--run", choice, *settings)
            if choice == "as-it-is":
                lr = json.loads((Path(made["run"]) / "run.json").read_text())["plan"]["lr"]
            bits = changed(choice, "eval", "transformer", "--run", made["run"], "-n", 0)["bits_per_char"]
            interval = f"[{bits['low']:.4f}, {bits['high']:.4f}]"
            print(f"{choice:22} {bits['value']:9.4f} {interval} {bits['n']:6,} {made['seconds']:8.0f}", flush=True)


if __name__ == "__main__":
    main()
