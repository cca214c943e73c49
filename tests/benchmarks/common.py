"""Shared by the benchmarks: running aigc as a user does, and scoring a nanoGPT model like ours."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from aigc_cli.backends.transformer.decoder_only.packing import Corpus, evaluation_pieces

#: nanoGPT's settings for a CPU from its README, without the number of iterations.
NANOGPT_CPU = [
    "--device=cpu",
    "--compile=False",
    "--eval_iters=20",
    "--log_interval=500",
    "--block_size=64",
    "--batch_size=12",
    "--n_layer=4",
    "--n_head=4",
    "--n_embd=128",
    "--dropout=0.0",
]


def aigc(*arguments: object) -> tuple[dict[str, Any], float]:
    """Run `aigc … --json`. Returns its output, and the seconds from start to exit."""
    command = [sys.executable, "-m", "aigc_cli.app", *map(str, arguments), "--json", "--quiet"]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout), time.perf_counter() - began


def timed(command: list[str], cwd: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - began


def nanogpt_module(checkout: Path) -> ModuleType:
    sys.path.insert(0, str(checkout))
    import model  # type: ignore[import-not-found]  # nanoGPT's

    return model  # type: ignore[no-any-return]


def nanogpt_model(checkout: Path, out_dir: Path) -> torch.nn.Module:
    """The checkpoint written by nanoGPT's train.py. (It only has numbers, texts and tensors, so no code is unpickled.)"""
    module = nanogpt_module(checkout)
    saved = torch.load(out_dir / "ckpt.pt", map_location="cpu", weights_only=True)
    network = module.GPT(module.GPTConfig(**saved["model_args"]))
    network.load_state_dict(saved["model"])
    return network.eval()


@torch.inference_mode()
def nanogpt_nats(network: torch.nn.Module, documents: list[list[int]], block_size: int, eot: int | None) -> np.ndarray:
    """The cost of every document, as in `aigc eval`: each prediction once, in strides with at least half a context. With `eot`,
    each document starts and ends with it; otherwise its first token is not predicted."""
    costs = np.zeros(len(documents))
    ends = np.cumsum([0, *map(len, documents)])
    tokens = np.concatenate([np.asarray(document, np.int64) for document in documents])
    corpus = Corpus(tokens, ends, eot if eot is not None else 0)
    pieces = evaluation_pieces(corpus, block_size)
    for piece in range(len(pieces)):
        document = int(pieces.document[piece])
        text = [eot if eot is not None else -1, *documents[document], *([eot] if eot is not None else [])]
        begin, length = int(pieces.begin[piece]), int(pieces.length[piece])
        window = text[begin : begin + length + 1]
        skip = int(pieces.context_only[piece])
        if window[0] == -1:
            window, skip = window[1:], max(skip - 1, 0)
        if len(window) < 2:
            continue
        ids = torch.tensor([window])
        logits, _ = network(ids[:, :-1], ids[:, 1:])
        nats = F.cross_entropy(logits[0], ids[0, 1:], reduction="none")
        costs[document] += float(nats[skip:].double().sum())
    return costs
