"""Pairs of a source and a target, as arrays and as training batches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.transformer.loss import IGNORED, spelling_nats
from aigc_cli.data.text.dataset import TokenArrays
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer

Ints = NDArray[np.int64]
#: The number of batches whose pairs are sorted by length together, to reduce padding.
BLOCK = 64


@dataclass(frozen=True)
class Pairs:
    """n documents with two fields: a source and a target, either of which may be empty."""

    arrays: TokenArrays
    middle: Ints  # (n,) positions of the tokens that end sources
    spelling: NDArray[np.float64] | None = None  # (n,) the cost of spelling the unknown words of targets, in nats

    @classmethod
    def of(cls, arrays: TokenArrays, tokenizer: Tokenizer, *, measured: bool = False) -> Pairs:
        """Pairs from documents with two fields; with `measured`, including the cost of spelling."""
        middle = np.flatnonzero(arrays.tokens == tokenizer.field_id)
        assert len(middle) == arrays.n_docs
        pairs = cls(arrays, middle)
        spelling = spelling_nats(arrays, tokenizer) if measured else None
        return pairs if spelling is None else replace(pairs, spelling=pairs.over_targets(spelling))

    def __len__(self) -> int:
        return len(self.middle)

    @property
    def source_lengths(self) -> Ints:
        """The lengths of sources in tokens, (n,)."""
        return self.middle - self.arrays.offsets[:-1]

    @property
    def target_lengths(self) -> Ints:
        """The lengths of targets in tokens, without the end, (n,)."""
        return self.arrays.offsets[1:] - self.middle - 1

    def source(self, i: int) -> list[int]:
        """The tokens of source i."""
        ids: list[int] = self.arrays.tokens[self.arrays.offsets[i] : self.middle[i]].tolist()
        return ids

    def target(self, i: int) -> list[int]:
        """The tokens of target i."""
        ids: list[int] = self.arrays.tokens[self.middle[i] + 1 : self.arrays.offsets[i + 1]].tolist()
        return ids

    def source_text(self, i: int, tokenizer: Tokenizer) -> str:
        return tokenizer.decode(self.arrays.ids(int(self.arrays.offsets[i]), int(self.middle[i])))

    def target_text(self, i: int, tokenizer: Tokenizer) -> str:
        return tokenizer.decode(self.arrays.ids(int(self.middle[i]) + 1, int(self.arrays.offsets[i + 1])))

    def over_targets(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums over targets (n,) of values of tokens (N,)."""
        total = np.concatenate([[0.0], np.cumsum(values)])
        sums: NDArray[np.float64] = total[self.arrays.offsets[1:]] - total[self.middle + 1]
        return sums


def collate_pairs(pairs: Pairs, index: Ints, sos_id: int, eos_id: int, longest: int | None = None) -> dict[str, Tensor]:
    """Some pairs as int64 tensors: `source` (B, S) with ends, and `source_lengths` (B,); `target_in` (B, T), starting with
    `sos_id`; and `targets` (B, T), the token to predict after each of them, IGNORED for padding.

    Sources and targets are truncated to `longest` tokens, including their ends.
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
    """The batch of a step, as a pure function of (seed, step). Every epoch is reshuffled; pairs of similar length share a
    batch."""

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
        """`count` indices of pairs, starting at position `first` of all epochs, each in its own order."""
        n = len(self.pairs)
        parts = []
        while count:
            epoch, place = divmod(first, n)
            part = np.random.default_rng((self.seed, 0, epoch)).permutation(n)[place : place + count]
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return np.concatenate(parts)
