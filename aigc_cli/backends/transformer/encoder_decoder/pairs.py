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
_AT_ONCE = 1 << 20  # tokens that are searched for the ends of sources at once


@dataclass(frozen=True)
class Pairs:
    """n documents with two fields: a source and a target, either of which may be empty."""

    arrays: TokenArrays
    middle: Ints  # (n,) positions of the tokens that end sources
    spelling: NDArray[np.float64] | None = None  # (n,) the cost of spelling the unknown words of targets, in nats

    @classmethod
    def of(cls, arrays: TokenArrays, tokenizer: Tokenizer, *, measured: bool = False) -> Pairs:
        """Pairs from documents with two fields; with `measured`, including the cost of spelling."""
        middle, n = np.empty(arrays.n_docs, np.int64), 0
        for start in range(0, len(arrays.tokens), _AT_ONCE):
            found = start + np.flatnonzero(arrays.tokens[start : start + _AT_ONCE] == tokenizer.field_id)
            middle[n : n + len(found)] = found
            n += len(found)
        assert n == arrays.n_docs
        pairs = cls(arrays, middle)
        spelling = spelling_nats(arrays, tokenizer) if measured else None
        return pairs if spelling is None else replace(pairs, spelling=pairs.over_targets(spelling))

    def __len__(self) -> int:
        return len(self.middle)

    @property
    def source_lengths(self) -> NDArray[np.int32]:
        """The lengths of sources in tokens, (n,)."""
        lengths = np.empty(len(self), np.int32)
        return np.subtract(self.middle, self.arrays.offsets[:-1], out=lengths, casting="same_kind")

    @property
    def target_lengths(self) -> NDArray[np.int32]:
        """The lengths of targets in tokens, without the end, (n,)."""
        lengths = np.empty(len(self), np.int32)
        np.subtract(self.arrays.offsets[1:], self.middle, out=lengths, casting="same_kind")
        return np.subtract(lengths, 1, out=lengths)

    def lengths(self, index: Ints) -> tuple[Ints, Ints]:
        """The lengths in tokens of some sources and of their targets, without ends, as long as `index` each."""
        middle = self.middle[index]
        return middle - self.arrays.offsets[index], self.arrays.offsets[index + 1] - middle - 1

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
        self._epoch, self._order = -1, np.empty(0, np.uint8)

    def __call__(self, step: int) -> dict[str, Tensor]:
        block, place = divmod(step, BLOCK)
        if block != self._block:
            self._block, self._batches = block, self._of_block(block)
        return collate_pairs(self.pairs, self._batches[place], self.sos_id, self.eos_id, self.longest)

    def _of_block(self, block: int) -> list[Ints]:
        size = BLOCK * self.batch_size
        chosen = self._drawn(block * size, size)
        of_sources, of_targets = self.pairs.lengths(chosen)
        batches = chosen[np.lexsort((of_targets, of_sources))].reshape(BLOCK, self.batch_size)
        return list(np.random.default_rng((self.seed, 1, block)).permutation(batches))

    def _drawn(self, first: int, count: int) -> Ints:
        """`count` indices of pairs, starting at position `first` of all epochs, each in its own order."""
        n = len(self.pairs)
        parts = []
        while count:
            epoch, place = divmod(first, n)
            part = self._order_of(epoch)[place : place + count].astype(np.int64)
            parts.append(part)
            first, count = first + len(part), count - len(part)
        return np.concatenate(parts)

    def _order_of(self, epoch: int) -> NDArray[np.unsignedinteger]:
        """The pairs in the order of an epoch, (n,)."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.arange(len(self.pairs), dtype=np.min_scalar_type(len(self.pairs)))
            np.random.default_rng((self.seed, 0, epoch)).shuffle(self._order)
        return self._order
