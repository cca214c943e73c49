"""Incremental decoding: prompts are read once, then each token costs one token; never past the model's context."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_cli.backends.transformer.decoder_only.cache import KVCache
from aigc_cli.backends.transformer.decoder_only.model import Transformer


@dataclass(frozen=True)
class CausalLM:
    """A decoder-only network as a language model to generate with: it continues its prompts."""

    network: Transformer

    continues = True
    longest_prompt = None

    @property
    def longest(self) -> int:
        """The number of tokens at which a text is cut that does not end by itself."""
        return 4 * self.network.config.context

    @property
    def begins_id(self) -> int:
        """The token that begins a document."""
        return self.network.config.begins_id

    def prefill(self, prompts: Sequence[Sequence[int]], *, room: int) -> CausalState:
        """Reads prompts (at least one token each), to be continued by at most `room` tokens."""
        return CausalState(self.network, prompts, room=room)


def half_window(context: int) -> int:
    """How many of the newest tokens are kept when the window is full."""
    return max(1, context // 2)


def window_length(n_tokens: int, context: int) -> int:
    """How many of the newest tokens the model looks at after `n_tokens` in all.

    The window grows to `context` tokens; the token that does not fit any more leaves the last half, from
    which it grows again. What is seen depends on the number of tokens alone, not on how they were batched.
    """
    if n_tokens <= context:
        return n_tokens
    half = half_window(context)
    return half + (n_tokens - context - 1) % (context - half + 1)


class CausalState:
    """A batch of rows in the middle of decoding: the tokens in their windows, and the keys and values of those tokens.

    All rows write their newest token to the same column of the ring, so rows of different lengths differ in
    where they begin: a shorter row has padding to the left of its tokens, which `bias` hides.
    """

    def __init__(self, model: Transformer, prompts: Sequence[Sequence[int]], *, room: int) -> None:
        """Makes a row of each prompt (at least one token), to be continued by at most `room` tokens."""
        self.model = model
        self.context = model.config.context
        windows = [prompt[-window_length(len(prompt), self.context) :] for prompt in prompts]
        self.width = min(self.context, max(map(len, windows)) + room)
        self.logits = self._begin(windows)

    def _prefill(
        self, ids: Tensor, width: int, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> tuple[KVCache, Tensor]:
        """Reads tokens (B, T) into a new cache; returns it and the logits (B, V) after the last of them."""
        config = self.model.config
        cache = KVCache(
            n_layers=config.n_layers,
            batch=ids.shape[0],
            n_kv_heads=config.n_kv_heads,
            width=width,
            head_dim=config.head_dim,
            like=self.model.head,
        )
        hidden = self.model(ids, positions=positions, mask=mask, cache=cache)
        return cache, self.model.logits(hidden[:, -1]).float()

    def _begin(self, windows: Sequence[Sequence[int]]) -> Tensor:
        """Fills an empty ring with these tokens, each row padded on its left to the longest."""
        device = self.model.head.device
        self.lengths = [len(window) for window in windows]
        longest = max(self.lengths)
        padding = [longest - length for length in self.lengths]
        rows = [[0] * pad + list(window) for pad, window in zip(padding, windows, strict=True)]
        ids = torch.tensor(rows, device=device)
        self.tokens = ids.new_zeros(len(windows), self.width)
        self.tokens[:, :longest] = ids
        self.bias: Tensor | None = None
        if not any(padding):
            self.cache, logits = self._prefill(ids, self.width)
            return logits
        columns = torch.arange(longest, device=device)
        first = torch.tensor(padding, device=device)[:, None]
        hidden = columns < first
        # A padded query looks at itself: with nothing to look at, its softmax would be 0/0.
        visible = (columns[:, None] >= columns) & ~hidden[:, None] | (columns[:, None] == columns)
        positions = (columns - first).clamp(min=0)
        self.cache, logits = self._prefill(ids, self.width, mask=visible[:, None], positions=positions)
        self.bias = torch.zeros(len(windows), 1, 1, self.width, device=device)
        self.bias[:, 0, 0, :longest].masked_fill_(hidden, -math.inf)
        return logits

    def step(self, ids: Tensor) -> None:
        """Reads one more token (B,) of each row; `logits` (B, V) are then those of the token after it."""
        full = [row for row, length in enumerate(self.lengths) if length == self.context]
        if len(full) == len(self.lengths):
            self._restart(ids)
            return
        column = self.cache.column
        self.tokens.select(1, column).copy_(ids)
        mask = positions = None
        if self.bias is not None:
            self.bias[..., column] = 0
            mask = self.bias[..., : max(self.cache.filled, column + 1)]
            lengths = [min(length, self.context - 1) for length in self.lengths]
            positions = torch.tensor(lengths, device=ids.device)[:, None]
        hidden = self.model(ids[:, None], positions=positions, mask=mask, cache=self.cache)
        self.logits = self.model.logits(hidden[:, 0]).float()
        self.lengths = [length + 1 for length in self.lengths]
        if full:
            self._refill(full, column)

    def _restart(self, ids: Tensor) -> None:
        """All windows are full: restarts from the last half of each, the new token included."""
        half = half_window(self.context)
        ordered = self.tokens.roll(-self.cache.column, dims=1)
        window = torch.cat((ordered[:, self.width - half + 1 :], ids[:, None]), dim=1)
        self.cache, self.logits = self._prefill(window, self.width)
        self.tokens[:, :half] = window
        self.lengths = [half] * len(self.lengths)
        self.bias = None

    def _refill(self, full: list[int], column: int) -> None:
        """Windows that were full before the token in `column`: keeps the last half of these rows."""
        assert self.bias is not None  # rows of one length are full together
        half = half_window(self.context)
        rows = torch.tensor(full, device=self.tokens.device)
        columns = (torch.arange(column + 1 - half, column + 1, device=rows.device)) % self.width
        cache, self.logits[rows] = self._prefill(self.tokens[rows[:, None], columns], half)
        self.cache.replace(rows, columns, cache)
        self.bias[rows] = -math.inf
        self.bias[rows[:, None], 0, 0, columns] = 0
        for row in full:
            self.lengths[row] = half

    def select(self, rows: list[int]) -> None:
        """Makes row i what row `rows[i]` was: drops rows, or repeats one for more samples of its prompt."""
        index = torch.tensor(rows, device=self.tokens.device)
        self.cache.select(index)
        self.tokens = self.tokens[index]
        self.logits = self.logits[index]
        self.lengths = [self.lengths[row] for row in rows]
        if self.bias is not None:
            self.bias = self.bias[index]
