"""Incremental decoding: sources are encoded once, then targets are generated token by token with a key-value cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from aigc_cli.backends.transformer.encoder_decoder.model import EncoderDecoder
from aigc_cli.backends.transformer.layers import attention

FIRST_ROOM = 64  # the initial size of the cache in tokens of a target; it doubles when full


@dataclass(frozen=True)
class Seq2SeqLM:
    """An encoder–decoder as a language model that answers its prompts, the sources."""

    network: EncoderDecoder

    continues = False

    @property
    def longest(self) -> int:
        """The default token limit for targets that don't end by themselves."""
        return 2 * self.network.config.context

    @property
    def longest_prompt(self) -> int:
        """The longest source, in tokens, in training."""
        return self.network.config.context

    @property
    def begins_id(self) -> int:
        """The token that replaces an empty source."""
        return self.network.config.eos_id

    def prefill(self, prompts: Sequence[Sequence[int]], *, room: int) -> Seq2SeqState:
        """Encode sources (at least one token each), to be answered by at most `room` tokens each."""
        return Seq2SeqState(self.network, prompts, room=room)


class Seq2SeqState:
    """A batch of rows, each with the decoder's keys and values of its source, computed once, and of its target so far."""

    def __init__(self, model: EncoderDecoder, sources: Sequence[Sequence[int]], *, room: int) -> None:
        """Encode the sources (at least one token each), to be answered by at most `room` tokens."""
        self.model, self.room = model, room
        config, device = model.config, model.head.device
        lengths = torch.tensor([len(source) for source in sources], device=device)
        ids = pad_sequence([torch.tensor(source, device=device) for source in sources], batch_first=True)
        memory, padding = model.encode(ids, lengths)
        self.bias = torch.zeros(padding.shape, device=device).masked_fill_(padding, -math.inf)[:, None, None]
        self.layers: list[nn.TransformerDecoderLayer] = list(model.decoder.layers)
        self.sources = [self._keys_and_values(layer.multihead_attn, memory) for layer in self.layers]
        shape = (len(sources), config.n_heads, min(room, FIRST_ROOM), config.d_model // config.n_heads)
        self.targets = [(memory.new_zeros(shape), memory.new_zeros(shape)) for _ in self.layers]
        self.length = 0
        self.step(torch.full_like(lengths, config.sos_id))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, d_model) to (B, n_heads, T, d_model / n_heads)."""
        return x.view(*x.shape[:2], self.model.config.n_heads, -1).transpose(1, 2)

    def _keys_and_values(self, layer: nn.MultiheadAttention, memory: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = _projection(layer)
        d_model = memory.shape[2]
        keys, values = F.linear(memory, weight[d_model:], bias[d_model:]).chunk(2, dim=2)
        return self._heads(keys).contiguous(), self._heads(values).contiguous()  # read at every step

    def step(self, ids: Tensor) -> None:
        """Append a token (B,) to each row; `logits` (B, V) are then those of the next token."""
        if self.length == self.targets[0][0].shape[2]:
            self.targets = [(_doubled(keys), _doubled(values)) for keys, values in self.targets]
        x = self.model.embed(ids[:, None], self.length)
        d_model = x.shape[2]
        for layer, (keys, values), source in zip(self.layers, self.targets, self.sources, strict=True):
            weight, bias = _projection(layer.self_attn)
            query, key, value = map(self._heads, F.linear(layer.norm1(x), weight, bias).chunk(3, dim=2))
            keys.select(2, self.length).copy_(key[:, :, 0])
            values.select(2, self.length).copy_(value[:, :, 0])
            past = (keys.narrow(2, 0, self.length + 1), values.narrow(2, 0, self.length + 1))
            x = x + _attended(layer.self_attn, query, past, None)
            weight, bias = _projection(layer.multihead_attn)
            query = self._heads(F.linear(layer.norm2(x), weight[:d_model], bias[:d_model]))
            x = x + _attended(layer.multihead_attn, query, source, self.bias)
            x = x + layer.linear2(F.gelu(layer.linear1(layer.norm3(x))))
        norm = self.model.decoder.norm
        assert norm is not None
        self.logits = self.model.logits(norm(x)[:, 0]).float()
        self.length += 1

    def select(self, rows: list[int]) -> None:
        """Replace row i by row `rows[i]`, to drop rows or to repeat one for several answers to a source."""
        index = torch.tensor(rows, device=self.logits.device)
        self.bias, self.logits = self.bias[index], self.logits[index]
        self.sources = [(keys[index], values[index]) for keys, values in self.sources]
        self.targets = [(keys[index], values[index]) for keys, values in self.targets]


def _projection(layer: nn.MultiheadAttention) -> tuple[Tensor, Tensor]:
    """The weight (3 d, d) and the bias (3 d,) of queries, keys and values."""
    assert layer.in_proj_weight is not None and layer.in_proj_bias is not None
    return layer.in_proj_weight, layer.in_proj_bias


def _attended(layer: nn.MultiheadAttention, query: Tensor, known: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
    """(B, H, 1, D) queries to (B, 1, d_model)."""
    mixed = attention(query, *known, bias)
    projected: Tensor = layer.out_proj(mixed.transpose(1, 2).flatten(2))
    return projected


def _doubled(written: Tensor) -> Tensor:
    return torch.cat((written, torch.zeros_like(written)), dim=2)
