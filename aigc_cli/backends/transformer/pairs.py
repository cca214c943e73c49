"""Pairs of a source and a target: as arrays, and as batches of a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.transformer.loss import IGNORED
from aigc_cli.data.text import TokenArrays

Ints = NDArray[np.int64]
#: Batches whose pairs are sorted by length together, so that little is padding.
BLOCK = 64


@dataclass(frozen=True)
class Pairs:
    """Documents of two fields. Source i is tokens[begin[i]:middle[i]], its target tokens[middle[i] + 1:end[i]]; both may be
    empty."""

    tokens: NDArray[np.integer]
    begin: Ints  # (n,)
    middle: Ints  # (n,) where the token is that ends the source
    end: Ints  # (n,)

    @classmethod
    def of(cls, arrays: TokenArrays, field_id: int) -> Pairs:
        middle = np.flatnonzero(arrays.tokens == field_id)
        assert len(middle) == arrays.n_docs
        return cls(arrays.tokens, arrays.offsets[:-1], middle, arrays.offsets[1:])

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def source_lengths(self) -> Ints:
        """In tokens, (n,)."""
        return self.middle - self.begin

    @property
    def target_lengths(self) -> Ints:
        """In tokens, without the end, (n,)."""
        return self.end - self.middle - 1

    def source(self, i: int) -> list[int]:
        ids: list[int] = self.tokens[self.begin[i] : self.middle[i]].tolist()
        return ids

    def target(self, i: int) -> list[int]:
        ids: list[int] = self.tokens[self.middle[i] + 1 : self.end[i]].tolist()
        return ids


def collate_pairs(pairs: Pairs, index: Ints, sos_id: int, eos_id: int, longest: int | None = None) -> dict[str, Tensor]:
    """Some pairs as int64 tensors: `source` (B, S), each ended, of `source_lengths` (B,); `target_in` (B, T), begun with
    `sos_id`; and `targets` (B, T), what is to be predicted after each of its tokens, IGNORED in the padding.

    Of a source or a target with its end longer than `longest` the first so many tokens are taken.
    """
    sources = [[*pairs.source(i), eos_id][:longest] for i in index.tolist()]
    targets = [[*pairs.target(i), eos_id][:longest] for i in index.tolist()]
    return {
        "source": _padded(sources, eos_id),
        "source_lengths": torch.tensor([len(source) for source in sources]),
        "target_in": _padded([[sos_id, *target[:-1]] for target in targets], eos_id),
        "targets": _padded(targets, IGNORED),
    }


def _padded(rows: list[list[int]], value: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


class PairBatches:
    """The batch of a step, as a pure function of (seed, step): epochs of shuffled pairs end to end, those of like lengths
    together."""

    def __init__(self, pairs: Pairs, batch_size: int, sos_id: int, eos_id: int, longest: int, seed: int) -> None:
        self.pairs, self.batch_size, self.seed = pairs, batch_size, seed
        self.sos_id, self.eos_id, self.longest = sos_id, eos_id, longest
        self._block, self._batches = -1, list[Ints]()

    def __call__(self, step: int) -> dict[str, Tensor]:
        block, place = divmod(step, BLOCK)
        if block != self._block:
            self._block, self._batches = block, self._of_block(block)
        return collate_pairs(self.pairs, self._batches[place], self.sos_id, self.eos_id, self.longest)

    def _of_block(self, block: int) -> list[Ints]:
        size = BLOCK * self.batch_size
        chosen = self._drawn(block * size, size)
        lengths = self.pairs.target_lengths[chosen], self.pairs.source_lengths[chosen]
        batches = chosen[np.lexsort(lengths)].reshape(BLOCK, self.batch_size)
        return list(np.random.default_rng((self.seed, 1, block)).permutation(batches))

    def _drawn(self, first: int, count: int) -> Ints:
        """Of the numbers of pairs, every epoch in an order of its own, `count` from the place `first` on."""
        n = len(self.pairs)
        parts = []
        while count:
            epoch, place = divmod(first, n)
            part = np.random.default_rng((self.seed, 0, epoch)).permutation(n)[place : place + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return np.concatenate(parts)
