"""Answers to lines of verse: the encoder–decoder, the decoder-only model, and `nn.Transformer` as PyTorch's tutorial trains it.

    python tests/benchmarks/couplets.py --couplets FOLDER [--minutes 10] [--models encoder-decoder decoder-only tutorial]

FOLDER has train.tsv, val.tsv and test.tsv with the columns `source` and `target`. The first two are `aigc train transformer` with
--arch encoder-decoder, and with --fields source,target, otherwise with default settings. The tutorial's ("Language Translation
with nn.Transformer and torchtext") is post-norm, with separate embeddings for sources, targets and outputs, Xavier initialisation,
dropout 0.1, batches of 128 and Adam (1e-4, 0.9 and 0.98, 1e-9). It has the size of the first and trains for as many minutes; the
best epoch on val.tsv is kept. Its vocabulary has every character of all three files, so that none is unknown.

Measures are on test.tsv: the bits per character of the targets, ends included, given their sources; and for greedy answers
chrF, the share that is as long as its source, and the share with a character of the source in the same position.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import aigc
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums
from aigc_cli.metrics.statistics.proportion import proportion
from aigc_cli.metrics.text.answers import answer_measures

Pair = tuple[str, str]
PAD, SOS, EOS = range(3)
SIZE = ("d_model", "n_heads", "num_encoder_layers", "num_decoder_layers", "d_ff")


def rows(path: Path) -> list[Pair]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["source"], row["target"]) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def answered(command: Sequence[object], lines: Sequence[str]) -> list[str]:
    """The answer of `aigc sample transformer` to each line."""
    done = subprocess.run(
        [sys.executable, "-m", "aigc_cli.app", "sample", "transformer", *map(str, command), "--json", "--quiet"],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


def ours(
    arguments: argparse.Namespace, name: str, tests: list[Pair], work: str
) -> tuple[str, Measure, list[str], dict[str, Any]]:
    """One of our architectures: how it was trained, its bits per character, its answers and its plan."""
    fields = ["--fields", "source,target"]
    asked = fields if name == "decoder-only" else ["--arch", name, "--source", "source", "--target", "target"]
    made, seconds = aigc(
        "train", "transformer", "--data", arguments.couplets, *asked, "--minutes", arguments.minutes, "--runs-dir",
        arguments.runs_dir or work,
    )  # fmt: skip
    run = Path(made["run"])
    figures, _ = aigc("eval", "transformer", "--run", run, "--data", arguments.couplets / "test.tsv", "-n", 0)
    of_targets = figures["bits_per_char_target" if name == "decoder-only" else "bits_per_char"]
    bits = Measure(*(of_targets[key] for key in ("value", "low", "high", "n")))
    greedy = ["--run", run, "--temperature", 0, "--seed", 0]
    if name == "decoder-only":
        answers = answered([*greedy, "--given", "-"], [json.dumps({"source": source}) for source, _ in tests])
    else:
        answers = answered([*greedy, "--prompt", "-"], [source for source, _ in tests])
    return f"{made['steps']:,} steps, {seconds:.0f} s", bits, answers, json.loads((run / "run.json").read_text())["plan"]


class Tutorial(nn.Module):
    """The tutorial's Seq2SeqTransformer, of another size."""

    def __init__(self, n_tokens: int, size: dict[str, int]) -> None:
        super().__init__()
        self.d_model = d_model = size["d_model"]
        self.transformer = nn.Transformer(**size, dropout=0.1, batch_first=True)  # type: ignore[arg-type]
        self.generator = nn.Linear(d_model, n_tokens)
        self.source, self.target = nn.Embedding(n_tokens, d_model), nn.Embedding(n_tokens, d_model)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        angles = torch.arange(512)[:, None] * torch.exp(-torch.arange(0, d_model, 2) * math.log(10000) / d_model)
        self.register_buffer("positions", torch.stack((angles.sin(), angles.cos()), 2).flatten(1))
        self.dropout = nn.Dropout(0.1)

    def embedded(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        embedded: Tensor = self.dropout(table(ids) * math.sqrt(self.d_model) + self.positions[: ids.shape[1]])  # type: ignore[index]
        return embedded

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu_(1)
        padding = source == PAD
        hidden = self.transformer(
            self.embedded(self.source, source),
            self.embedded(self.target, target),
            tgt_mask=future,
            src_key_padding_mask=padding,
            tgt_key_padding_mask=target == PAD,
            memory_key_padding_mask=padding,
        )
        logits: Tensor = self.generator(hidden)
        return logits


def tutorial(
    arguments: argparse.Namespace, size: dict[str, int], tests: list[Pair]
) -> tuple[str, Measure, list[str], dict[str, Any]]:
    torch.manual_seed(0)
    splits = {split: rows(arguments.couplets / f"{split}.tsv") for split in ("train", "val")}
    everything = "".join(a + b for pairs in (*splits.values(), tests) for a, b in pairs)
    alphabet = {c: i for i, c in enumerate(sorted(set(everything)), 3)}
    letters = {i: c for c, i in alphabet.items()}

    def batch(pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        both = (
            [torch.tensor([SOS, *(alphabet[c] for c in text), EOS]) for text in texts] for texts in zip(*pairs, strict=True)
        )
        source, target = (pad_sequence(list(ids), batch_first=True, padding_value=PAD) for ids in both)
        return source, target

    network = Tutorial(len(alphabet) + 3, size)
    optimizer = torch.optim.Adam(network.parameters(), lr=arguments.tutorial_lr, betas=(0.9, 0.98), eps=1e-9)

    def nats(pairs: Sequence[Pair]) -> Tensor:
        source, target = batch(pairs)
        logits = network(source, target[:, :-1])
        return F.cross_entropy(logits.transpose(1, 2), target[:, 1:], ignore_index=PAD, reduction="none")

    @torch.inference_mode()
    def costs(pairs: list[Pair]) -> np.ndarray:
        network.eval()
        found = [nats(pairs[at : at + 128]).sum(1).double() for at in range(0, len(pairs), 128)]
        network.train()
        return torch.cat(found).numpy()

    began, random, steps = time.perf_counter(), np.random.default_rng(0), 0
    best: tuple[float, dict[str, Tensor]] = (math.inf, {})

    def keep() -> None:
        nonlocal best
        cost = float(costs(splits["val"]).sum())
        if cost < best[0]:
            best = cost, {name: value.clone() for name, value in network.state_dict().items()}

    def spent() -> bool:
        return time.perf_counter() - began > arguments.minutes * 60

    while not spent():
        order = random.permutation(len(splits["train"]))
        for at in range(0, len(order), 128):
            chosen = [splits["train"][i] for i in order[at : at + 128]]
            source, target = batch(chosen)
            logits = network(source, target[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            if spent():
                break
        keep()
    network.load_state_dict(best[1])
    network.eval()
    bits = ratio_of_sums(costs(tests) / math.log(2), [len(target) for _, target in tests])
    with torch.inference_mode():
        answers = [
            answer for at in range(0, len(tests), 128) for answer in greedy(network, batch(tests[at : at + 128])[0], letters)
        ]
    return f"{steps:,} steps, {time.perf_counter() - began:.0f} s", bits, answers, {}


def greedy(network: Tutorial, source: Tensor, letters: dict[int, str]) -> list[str]:
    written = torch.full((len(source), 1), SOS)
    for _ in range(source.shape[1] + 5):  # as the tutorial's translate has it
        written = torch.cat((written, network(source, written)[:, -1].argmax(1, keepdim=True)), dim=1)
    texts = []
    for ids in written[:, 1:].tolist():
        end = ids.index(EOS) if EOS in ids else len(ids)
        texts.append("".join(letters.get(i, "") for i in ids[:end]))
    return texts


def row(name: str, trained: str, bits: Measure, answers: list[str], tests: list[Pair]) -> str:
    def of(measure: Measure) -> str:
        return f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]"

    chrf = answer_measures(answers, [target for _, target in tests], tokenize="zh")["chrf"]
    as_long = proportion([len(answer) == len(source) for answer, (source, _) in zip(answers, tests, strict=True)])
    repeats = proportion(
        [any(a == b for a, b in zip(answer, source, strict=False)) for answer, (source, _) in zip(answers, tests, strict=True)]
    )
    return f"{name:16} {of(bits):>22} {of(chrf):>24} {of(as_long):>22} {of(repeats):>22}  {trained}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--couplets", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--models", nargs="+", default=["encoder-decoder", "decoder-only", "tutorial"])
    parser.add_argument("--tutorial-lr", type=float, default=1e-4)
    parser.add_argument("--runs-dir", help="keep the runs here")
    arguments = parser.parse_args()

    tests = rows(arguments.couplets / "test.tsv")
    print(f"n = {len(tests):,} test pairs\n{'':16} {'bits/char':>22} {'chrF':>24} {'as long':>22} {'repeats in place':>22}")
    size = {"d_model": 160, "n_heads": 5, "num_encoder_layers": 3, "num_decoder_layers": 3, "d_ff": 640}
    with tempfile.TemporaryDirectory() as work:
        for name in arguments.models:
            if name == "tutorial":
                trained, bits, answers, plan = tutorial(arguments, size, tests)
            else:
                trained, bits, answers, plan = ours(arguments, name, tests, work)
            if name == "encoder-decoder":
                size = {key: plan[key] for key in SIZE}
            print(row(name, trained, bits, answers, tests), flush=True)
            for (source, _), answer in list(zip(tests, answers, strict=True))[:5]:
                print(f"    {source}  {answer}", flush=True)
        print("tutorial's size: " + ", ".join(f"{key} {value}" for key, value in size.items()))


if __name__ == "__main__":
    main()
