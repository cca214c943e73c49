"""Bach's chorales: `aigc train transformer` on MIDI files, n-grams, and a plain GPT-2 of Transformers at equal time.

    python tests/benchmarks/chorales.py [--pieces FOLDER] [--minutes 30] [--n 100] [--runs-dir FOLDER] [--threads N]

Without --pieces, the four-part chorales of music21's corpus are written as MIDI files first (pip install music21). GPT-2 has the
size of our model and trains on the same events, transposed as ours, in windows of 256 of the pieces one after another, with AdamW
(1e-3, warmed up and decayed to a tenth), for as many minutes; its best evaluation on the selection pieces is kept. Measures are on
the same held-out pieces: nats per event, with the end of each piece; of our samples, the share of whole files, and copied bars beside
those of human pieces.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import aigc

from aigc_cli.backends.transformer.decoder_only.packing import Corpus, collate, evaluation_pieces
from aigc_cli.data.kinds import find_kind
from aigc_cli.data.text.dataset import TextDataset, TextRequest, TokenArrays, prepare_text
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums

WINDOW, BATCH, EVALUATIONS = 256, 16, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--runs-dir", type=Path, default=Path("chorales-runs"))
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    pieces = options.pieces or written(options.runs_dir / "pieces")
    threads = [] if options.threads is None else ["--threads", options.threads]
    run = options.runs_dir / "transformer" / "chorales"
    if not (run / "model").exists():
        asked = ["--data", pieces, "--minutes", options.minutes, "--runs-dir", options.runs_dir, "--run", "chorales"]
        aigc("train", "transformer", *asked, *threads)
    figures, _ = aigc("eval", "transformer", "--run", run, "-n", options.n)
    plan = json.loads((run / "run.json").read_text())["plan"]
    print(f"ours: {plan['n_layers']} layers of width {plan['d_model']}, context {plan['context']}, {plan['steps']:,} steps")
    for name in ("nats_per_event", "nats_per_beat", "valid", "copied_bars", "longest_copy"):
        beside = [f"{key} {told(figures[name][key])}" for key in ("baseline", "human") if key in figures[name]]
        print("; ".join([f"ours: {name} {told(figures[name])}", *beside]), flush=True)

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    data = prepare_text(TextRequest(str(pieces), kind=find_kind("music")), progress=lambda *_: None)
    measure, steps = plain_gpt2(data, plan, 60 * options.minutes)
    print(f"GPT-2 of Transformers: nats_per_event {told(measure.to_json())}, {steps:,} steps")


def told(measure: dict[str, Any]) -> str:
    interval = "" if measure["low"] is None else f" [{measure['low']:.3f}, {measure['high']:.3f}]"
    return f"{measure['value']:.3f}{interval} (n = {measure['n']:,})"


def written(folder: Path) -> Path:
    """The four-part chorales of music21's corpus as MIDI files."""
    from music21 import corpus  # type: ignore[import-not-found]

    folder.mkdir(parents=True, exist_ok=True)
    for path in corpus.getComposer("bach"):
        score = corpus.parse(path)
        if len(score.parts) == 4:
            score.write("midi", folder / f"{Path(path).stem}.mid")
    return folder


def plain_gpt2(data: TextDataset, plan: dict[str, Any], seconds: float) -> tuple[Measure, int]:
    """GPT-2 with our model's number of layers and width, trained for so many seconds."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    tokenizer = data.tokenizer
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=tokenizer.vocab_size,
            n_positions=WINDOW,
            n_embd=plan["d_model"],
            n_layer=plan["n_layers"],
            n_head=plan["n_heads"],
            bos_token_id=tokenizer.eot_id,
            eos_token_id=tokenizer.eot_id,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    offsets = data.train.offsets
    stream = torch.from_numpy(np.insert(data.train.tokens.astype(np.int64), offsets[:-1], tokenizer.eot_id))
    draw = torch.Generator().manual_seed(0)
    began, spent, steps, best = time.perf_counter(), 0.0, 0, math.inf
    kept: dict[str, torch.Tensor] = {}
    for part in range(1, EVALUATIONS + 1):
        model.train()
        while (spent := time.perf_counter() - began) < seconds * part / EVALUATIONS:
            progress = spent / seconds
            rate = 1e-3 * min(1.0, steps / 100) * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            starts = torch.randint(len(stream) - WINDOW, (BATCH,), generator=draw)
            ids = torch.stack([stream[start : start + WINDOW] for start in starts])
            loss = model(input_ids=ids, labels=ids).loss
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            steps += 1
        nats = costs(model, data.select, data)
        if nats.sum() < best:
            best, kept = float(nats.sum()), {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return ratio_of_sums(costs(model, data.report, data), data.report.chars, unit="nats/event"), steps


@torch.inference_mode()
def costs(model: torch.nn.Module, arrays: TokenArrays, data: TextDataset) -> np.ndarray:
    """The cost of each piece in nats, its end included, with at least half a window of what comes before."""
    model.eval()
    corpus = Corpus.of(arrays, data.tokenizer)
    pieces = evaluation_pieces(corpus, WINDOW)
    nats = np.zeros(arrays.n_docs)
    for piece in range(len(pieces)):
        batch = collate(corpus, pieces, [[piece]], WINDOW)
        length = int(pieces.length[piece])
        logits = model(input_ids=batch["ids"][:, :length]).logits[0]
        of_targets = torch.nn.functional.cross_entropy(logits, batch["targets"][0, :length], ignore_index=-100, reduction="sum")
        nats[pieces.document[piece]] += float(of_targets)
    return nats


if __name__ == "__main__":
    main()
