"""Incremental decoding with a key-value cache, within the model's context."""

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
    """A decoder-only network as a language model that continues prompts."""

    network: Transformer

    continues = True
    longest_prompt = None

    @property
    def longest(self) -> int:
        """The default token limit for texts that don't end by themselves."""
        return 4 * self.network.config.context

    @property
    def begins_id(self) -> int:
        """The token that starts a document."""
        return self.network.config.begins_id

    def prefill(self, prompts: Sequence[Sequence[int]], *, room: int) -> CausalState:
        """Read prompts (at least one token each), to be continued by at most `room` tokens."""
        return CausalState(self.network, prompts, room=room)


def half_window(context: int) -> int:
    """The number of latest tokens that are kept when the window is full."""
    return max(1, context // 2)


def window_length(n_tokens: int, context: int) -> int:
    """The number of latest tokens that the model sees after `n_tokens` in total.

    The window grows to `context` tokens. The next token shrinks it to its last half, from which it grows again. So what the
    model sees depends only on the number of tokens, not on batching.
    """
    if n_tokens <= context:
        return n_tokens
    half = half_window(context)
    return half + (n_tokens - context - 1) % (context - half + 1)


class CausalState:
    """A batch of rows during decoding: the tokens in their windows, with their keys and values.

    All rows write their latest token to the same column of the ring. Shorter rows have padding on the left, masked by `bias`.
    """

    def __init__(self, model: Transformer, prompts: Sequence[Sequence[int]], *, room: int) -> None:
        """Make a row for each prompt (at least one token), to be continued by at most `room` tokens."""
        self.model = model
        self.context = model.config.context
        windows = [prompt[-window_length(len(prompt), self.context) :] for prompt in prompts]
        self.width = min(self.context, max(map(len, windows)) + room)
        self.logits = self._begin(windows)

    def _prefill(
        self, ids: Tensor, width: int, *, mask: Tensor | None = None, positions: Tensor | None = None
    ) -> tuple[KVCache, Tensor]:
        """Read tokens (B, T) into a new cache. Returns it and the logits (B, V) after the last token."""
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
        """Fill an empty ring with these tokens, padding rows on the left to the longest."""
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
        # Padding attends to itself, because the softmax of a fully masked query would be 0/0.
        visible = (columns[:, None] >= columns) & ~hidden[:, None] | (columns[:, None] == columns)
        positions = (columns - first).clamp(min=0)
        self.cache, logits = self._prefill(ids, self.width, mask=visible[:, None], positions=positions)
        self.bias = torch.zeros(len(windows), 1, 1, self.width, device=device)
        self.bias[:, 0, 0, :longest].masked_fill_(hidden, -math.inf)
        return logits

    def step(self, ids: Tensor) -> None:
        """Read another token (B,) of each row; `logits` (B, V) are then those of the next token."""
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
        """All windows are full: start again with the last half of each, including the new token."""
        half = half_window(self.context)
        ordered = self.tokens.roll(-self.cache.column, dims=1)
        window = torch.cat((ordered[:, self.width - half + 1 :], ids[:, None]), dim=1)
        self.cache, self.logits = self._prefill(window, self.width)
        self.tokens[:, :half] = window
        self.lengths = [half] * len(self.lengths)
        self.bias = None

    def _refill(self, full: list[int], column: int) -> None:
        """Some windows were full before the token in `column`: keep only the last half of these rows."""
        assert self.bias is not None  # rows of equal length would all be full
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
        """Replace row i by row `rows[i]`, to drop rows or to repeat one for several samples of a prompt."""
        index = torch.tensor(rows, device=self.tokens.device)
        self.cache.select(index)
        self.tokens = self.tokens[index]
        self.logits = self.logits[index]
        self.lengths = [self.lengths[row] for row in rows]
        if self.bias is not None:
            self.bias = self.bias[index]
