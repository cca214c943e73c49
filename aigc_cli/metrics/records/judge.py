"""A judge of whether a text and a picture belong together, which knows only real pairs.

Two small towers, one for pictures and one for texts, are trained so that the embeddings of a pair are closer than those of any
other two in the batch (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision").
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from aigc_cli.metrics.pictures.classifier import BATCH, CPU, Classifier

PIXELS = 40_000 * 32 * 32  # that it sees in training at most: 15 seconds on a core
EPOCHS = 30
EMBEDDING = 64
BUCKETS = 1 << 13  # that words and parts of words are hashed into
_WIDTH = 128
_PEAK_LR = 2e-3
_WARMUP = 0.1
_AT_ONCE = 256


class Judge(nn.Module):
    """Embeds pictures by convolutions, and texts by the mean of their hashed words, pairs of words and trigrams of
    characters."""

    def __init__(self, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.pictures = Classifier(height, width, channels, EMBEDDING)
        self.bag = nn.EmbeddingBag(BUCKETS, _WIDTH)
        self.texts = nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, EMBEDDING))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_pictures(self, x: Tensor) -> Tensor:
        """Pictures (n, channels, height, width) from −1 to 1 -> unit vectors (n, 64)."""
        return F.normalize(self.pictures(x), dim=1)

    def embed_texts(self, parts: Sequence[Sequence[int]]) -> Tensor:
        """The hashed parts of n texts -> unit vectors (n, 64)."""
        device = self.log_scale.device
        offsets = torch.tensor([0, *np.cumsum([len(of) for of in parts])[:-1].tolist()], device=device)
        flat = torch.tensor([part for of in parts for part in of], device=device)
        return F.normalize(self.texts(self.bag(flat, offsets)), dim=1)

    def of_pictures(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width, channels) -> unit vectors (n, 64)."""
        with torch.inference_mode():
            parts = [self.embed_pictures(unit(pixels[at : at + _AT_ONCE])) for at in range(0, len(pixels), _AT_ONCE)]
        return np.concatenate([part.cpu().numpy() for part in parts])

    def of_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """n texts -> unit vectors (n, 64)."""
        with torch.inference_mode():
            found: NDArray[np.float32] = self.embed_texts([hashed(text) for text in texts]).cpu().numpy()
        return found


def hashed(text: str) -> list[int]:
    """The numbers of a text's words, pairs of neighbouring words and trigrams of characters, from 0 to BUCKETS − 1."""
    words = re.findall(r"\w+", text.lower())
    padded = f" {' '.join(words)} "
    parts = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    parts += [f"\0{padded[at : at + 3]}" for at in range(len(padded) - 2)] or [""]
    return [zlib.crc32(part.encode()) % BUCKETS for part in parts]


def unit(pixels: NDArray[np.uint8]) -> Tensor:
    """(n, height, width, channels) bytes as (n, channels, height, width) from −1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_judge(
    pictures: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    texts: Sequence[str],
    *,
    seed: int = 0,
    device: torch.device = CPU,
    progress: Callable[[int, int], None] = lambda step, steps: None,
) -> Judge:
    """A judge trained on pairs, in evaluation mode.

    `pictures(index)` are those with these numbers, (n, height, width, channels), and `texts` the N texts. It sees each pair 30
    times, or as many pairs as have 40 million pixels where that is less. Pairs with the same text are not told apart. The
    random state that others draw from is left alone.
    """
    rng = np.random.default_rng(seed)
    on_gpu = [device] if device.type == "cuda" else []
    plain = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), plain, torch.random.fork_rng(on_gpu):
        torch.manual_seed(seed)
        height, width, channels = pictures(np.zeros(1, np.int64)).shape[1:]
        judge = Judge(height, width, channels).to(device)
        size = min(BATCH, len(texts))
        steps = max(1, min(PIXELS // (height * width), EPOCHS * len(texts)) // size)
        optimizer = torch.optim.AdamW(judge.parameters(), lr=_PEAK_LR, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_LR, steps + 1, pct_start=_WARMUP)
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        number_of = np.array([numbers[text] for text in texts])
        parts = [hashed(text) for text in numbers]
        order = np.empty(0, np.int64)
        for step in range(steps):
            if len(order) < size:
                order = np.concatenate([order, rng.permutation(len(texts))])
            index, order = order[:size], order[size:]
            x = unit(pictures(index)).to(device)
            y = judge.embed_texts([parts[number] for number in number_of[index].tolist()])
            loss = contrastive(judge.embed_pictures(x), y, number_of[index], judge.log_scale.clamp(max=math.log(100)).exp())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            progress(step + 1, steps)
    return judge.eval()


def contrastive(x: Tensor, y: Tensor, number_of: NDArray[np.int64], scale: Tensor) -> Tensor:
    """The loss of n pairs of unit vectors (n, d): the mean cross-entropy of finding each one's partner among those of all. A
    partner with the same number (n,) as its own is left out, since it would do as well."""
    same = torch.from_numpy((number_of[:, None] == number_of[None]) & ~np.eye(len(x), dtype=bool)).to(x.device)
    logits = (scale * x @ y.T).masked_fill(same, -torch.inf)
    own = torch.arange(len(x), device=x.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
