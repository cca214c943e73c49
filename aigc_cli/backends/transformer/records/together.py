"""Records with the same first field in one piece: that field once, and after it the rest of each record as a branch.

A piece is `<sos> first_field` and for each of its records `<field> second_field …`, with positions that go on from the end of
the first field. A branch sees the first field and itself. So each of its tokens costs what it costs in its record alone, but a
picture that is asked about five times is read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.transformer.decoder_only.packing import BLOCK, Corpus, Ints, RowBatches, pack
from aigc_cli.backends.transformer.loss import IGNORED

#: The least share of tokens in rows that has to be saved.
LEAST_SAVED = 1 / 3
#: The number of first fields that decide on the length of rows.
SAMPLE = 5000


@dataclass(frozen=True)
class Groups:
    """Pieces: the records of group i are records[offsets[i] : offsets[i + 1]]."""

    records: Ints  # (n_records,)
    offsets: Ints  # (n + 1,)
    length: Ints  # (n,) tokens
    without: NDArray[np.bool_]  # (n,) whether the records are learned with nothing in their leading fields

    def __len__(self) -> int:
        return len(self.length)

    def of(self, group: int) -> list[int]:
        found: list[int] = self.records[self.offsets[group] : self.offsets[group + 1]].tolist()
        return found


class Shared:
    """Which records of a corpus have the same first field. Each has at least two."""

    def __init__(self, corpus: Corpus, field_id: int) -> None:
        self.corpus, self.field_id = corpus, field_id
        ends = np.flatnonzero(corpus.tokens == field_id)
        self.ends: Ints = ends[np.searchsorted(ends, corpus.offsets[:-1])]
        """Where each record's first field ends, (n_records,)."""
        self.first: Ints = self.ends - corpus.offsets[:-1] + 1
        """The length of <sos> and the first field, (n_records,)."""
        self.rest: Ints = corpus.offsets[1:] - self.ends
        """The length of what is after it, with the end of the field and without <eot>, (n_records,)."""
        numbers: dict[bytes, int] = {}
        spans = zip(corpus.offsets[:-1].tolist(), self.ends.tolist(), strict=True)
        contents = (corpus.tokens[start:end].tobytes() for start, end in spans)
        self.same: Ints = np.array([numbers.setdefault(content, len(numbers)) for content in contents], np.int64)
        """The number of each record's first field, (n_records,)."""

    def row_length(self, context: int, share: float) -> int:
        """The length of rows in which a sample of the records takes the fewest tokens, with padding: at least a context, which
        no record exceeds, and at most two."""
        some = np.flatnonzero(self.same < SAMPLE)
        lengths = range(context, 2 * context + 1, 8)
        return min(lengths, key=lambda length: self._padded(length, share, some))

    def saves(self, context: int, share: float) -> bool:
        """Whether rows of groups have fewer tokens than rows of single records, padding included, enough to matter."""
        some = np.flatnonzero(self.same < SAMPLE)
        alone = len(pack((self.first + self.rest)[some], context)) * context
        return self._padded(self.row_length(context, share), share, some) <= (1 - LEAST_SAVED) * alone

    def _padded(self, length: int, share: float, some: Ints) -> int:
        groups = self.groups(length, share, np.random.default_rng(0), some)
        return len(pack(groups.length, length)) * length

    def groups(self, room: int, share: float, rng: np.random.Generator, some: Ints | None = None) -> Groups:
        """All records, or `some`, once, in groups of at most `room` tokens. A random `share` of them is learned with nothing in
        the leading fields, which they therefore share."""
        without = rng.random(len(self.same)) < share
        key = np.where(without, len(self.same) + self.first, self.same)
        order = rng.permutation(len(self.same) if some is None else some)
        order = order[np.argsort(key[order], kind="stable")]
        begins, lengths, before, length = list[int](), list[int](), -1, 0
        rows = zip(key[order].tolist(), self.first[order].tolist(), self.rest[order].tolist(), strict=True)
        for number, (of, first, rest) in enumerate(rows):
            if of != before or length + rest > room:
                begins.append(number)
                lengths.append(length)
                length = first
            length += rest
            before = of
        offsets = np.array([*begins, len(order)], np.int64)
        return Groups(order, offsets, np.array([*lengths[1:], length][: len(begins)], np.int64), without[order[offsets[:-1]]])


class GroupBatches(RowBatches[Groups]):
    """Batches of groups. Every epoch groups and shuffles the records differently, and leaves other leading fields out.

    To the batch of `packing.collate` comes `branches`, the number of the branch of a group or 0 for what its records share, and
    `last`, 1 for targets in the last field or of its end.
    """

    def __init__(
        self, shared: Shared, length: int, batch_size: int, *, sos_id: int, n_leading: int, share: float, seed: int
    ) -> None:
        self.shared, self.length, self.sos_id = shared, length, sos_id
        self.n_leading, self.share, self.seed = n_leading, share, seed
        one = shared.groups(length, share, np.random.default_rng((seed, 0)))
        self.targets, self.rows = int(one.length.sum()), len(pack(one.length, length))
        """The targets and the rows of an epoch."""
        super().__init__(batch_size)

    def blocks(self) -> Iterator[tuple[Groups, list[list[int]]]]:
        epoch = 0
        while True:
            groups = self.shared.groups(self.length, self.share, np.random.default_rng((self.seed, epoch)))
            rng = np.random.default_rng((self.seed, epoch, 1))
            order = rng.permutation(len(groups))
            for at in range(0, len(order), BLOCK):
                block = order[at : at + BLOCK]
                rows = pack(groups.length[block], self.length)
                yield groups, [block[rows[i]].tolist() for i in rng.permutation(len(rows))]
            epoch += 1

    def collate(self, parts: list[tuple[Groups, list[int]]]) -> dict[str, Tensor]:
        shape = (len(parts), self.length)
        names = ("positions", "segments", "branches", "last")
        arrays = {"ids": np.full(shape, self.sos_id), "targets": np.full(shape, IGNORED)}
        arrays |= {name: np.zeros(shape, np.int64) for name in names}
        for row, (groups, numbers) in enumerate(parts):
            at = 0
            for segment, number in enumerate(numbers, 1):
                end = at + int(groups.length[number])
                written = {name: array[row, at:end] for name, array in arrays.items()}
                self._write(written, groups.of(number), bool(groups.without[number]))
                written["segments"][:] = segment
                at = end
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def _write(self, to: dict[str, NDArray[np.int64]], records: list[int], without: bool) -> None:
        """Write a group of records, each array (its length,)."""
        shared, corpus = self.shared, self.shared.corpus
        at = n = int(shared.first[records[0]])
        end = int(shared.ends[records[0]])
        if not without:
            to["ids"][1:n] = to["targets"][: n - 1] = corpus.tokens[end - n + 1 : end]
        to["targets"][n - 1] = shared.field_id
        to["positions"][:n] = np.arange(n)
        for branch, record in enumerate(records, 1):
            ids = corpus.tokens[shared.ends[record] : corpus.offsets[record + 1]].astype(np.int64)
            targets = np.append(ids[1:], corpus.eot_id)
            separators = ids == shared.field_id
            field = np.cumsum(separators)  # the number of the field that a token is in or begins
            if without:
                leading = (field < self.n_leading) & ~separators
                ids[leading] = self.sos_id
                targets[:-1][leading[1:]] = IGNORED
            here = slice(at, at + len(ids))
            to["ids"][here], to["targets"][here] = ids, targets
            to["positions"][here] = n + np.arange(len(ids))
            to["branches"][here] = branch
            to["last"][here] = field >= self.n_leading
            at += len(ids)
