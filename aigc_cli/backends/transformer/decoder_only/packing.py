"""From documents to rows of one context: windows, packing and shuffling.

A document d_1 … d_n is trained on as the n + 1 predictions of `<sos> d_1 … d_n <eot>`, where <sos> and <eot> are the same token
unless tokens are words. A piece is a run of at most `context` predictions. Several pieces can share a row. Each attends only to
itself (positions restart, attention is block-diagonal), so no document sees its neighbours.
"""

from __future__ import annotations

import bisect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aigc_cli.backends.transformer.loss import IGNORED, spelling_nats
from aigc_cli.data.text.dataset import TokenArrays
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer

Ints = NDArray[np.int64]
#: The number of pieces packed into rows together, and of rows kept open for more pieces.
BLOCK, OPEN_ROWS = 1 << 16, 64


@dataclass(frozen=True)
class Corpus:
    """Documents as one array: `tokens` (N,) and `offsets` (n_docs + 1,). The only special tokens are ends of fields and unknown
    words. For evaluation, `spelling` (N,) is the cost in nats of spelling the latter."""

    tokens: NDArray[np.integer]
    offsets: Ints
    eot_id: int
    sos_id: int | None = None  # starts a document; eot_id if None
    spelling: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, arrays: TokenArrays, tokenizer: Tokenizer, *, measured: bool = False) -> Corpus:
        spelling = spelling_nats(arrays, tokenizer) if measured else None
        return cls(arrays.tokens, arrays.offsets, tokenizer.eot_id, tokenizer.sos_id, spelling)

    @property
    def first_predictions(self) -> Ints:
        """The index of each document's first prediction, (n_docs,)."""
        return self.offsets[:-1] + np.arange(len(self.offsets) - 1)

    @property
    def predictions(self) -> int:
        """The number of tokens to predict, including the ends of documents."""
        return len(self.tokens) + len(self.offsets) - 1


@dataclass(frozen=True)
class Pieces:
    """Runs of predictions. Prediction j of document i has the index offsets[i] + i + j in the corpus."""

    document: Ints  # (n,)
    begin: Ints  # (n,) the first prediction, counted within its document
    length: Ints  # (n,)
    context_only: Ints  # (n,) leading predictions that are not scored

    def __getitem__(self, index: Ints) -> Pieces:
        return Pieces(self.document[index], self.begin[index], self.length[index], self.context_only[index])

    def __len__(self) -> int:
        return len(self.document)


@dataclass(frozen=True)
class Windows:
    """All pieces of a corpus in the order of its documents: of each a first window, then windows that each score the next
    `stride` predictions. Only documents that are longer than a context take memory."""

    corpus: Corpus
    context: int
    stride: int
    document: Ints  # (k,) the longer documents, in order; before them a document −1 of one piece
    first: Ints  # (k,) the predictions of their first windows
    counts: Ints  # (k,) their pieces
    starts: Ints  # (k,) the numbers of their first pieces

    @classmethod
    def of(cls, corpus: Corpus, context: int, stride: int, first: Callable[[Ints], Ints]) -> Windows:
        """`first` gives the lengths of the first windows, at most a context, of documents with so many predictions (n,). It is
        called for all documents in order, but those that fit into a context stay whole."""
        found = [(np.array([-1]), np.array([1]), np.array([1]))]
        for at in range(0, len(corpus.offsets) - 1, BLOCK):
            predictions = np.diff(corpus.offsets[at : at + BLOCK + 1]) + 1
            chosen = first(predictions)
            longer = np.flatnonzero(predictions > context)
            counts = 1 - (chosen[longer] - predictions[longer]) // stride
            found.append((at + longer, chosen[longer], counts))
        document, chosen, counts = (np.concatenate(column) for column in zip(*found, strict=True))
        more = counts - 1
        return cls(corpus, context, stride, document, chosen, counts, document + np.cumsum(more) - more)

    def __len__(self) -> int:
        return len(self.corpus.offsets) - 1 + int((self.counts - 1).sum())

    def __getitem__(self, numbers: Ints) -> Pieces:
        """The pieces with these numbers (n,)."""
        longer = np.searchsorted(self.starts, numbers, side="right") - 1  # the last that starts at the piece or before
        number = numbers - self.starts[longer]
        inside = number < self.counts[longer]
        after = self.document[longer] + 1 + number - self.counts[longer]
        document, number = np.where(inside, self.document[longer], after), np.where(inside, number, 0)
        predictions = self.corpus.offsets[document + 1] - self.corpus.offsets[document] + 1
        first = np.where(inside, self.first[longer], predictions)
        scored_from = np.where(number == 0, 0, first + (number - 1) * self.stride)
        end = np.minimum(first + number * self.stride, predictions)
        begin = np.where(number == 0, 0, np.maximum(scored_from - (self.context - self.stride), 0))
        return Pieces(document, begin, end - begin, scored_from - begin)


def training_windows(corpus: Corpus, context: int, rng: np.random.Generator) -> Windows:
    """Short documents whole; longer ones in windows that start at a random offset, so that every epoch cuts differently."""
    return Windows.of(corpus, context, context, lambda predictions: rng.integers(1, context + 1, len(predictions)))


def evaluation_pieces(corpus: Corpus, context: int) -> Pieces:
    """Every prediction is scored once; those after a document's first window have at least half a context."""
    windows = Windows.of(corpus, context, max(1, context // 2), lambda predictions: np.minimum(predictions, context))
    return windows[np.arange(len(windows))]


def pack(lengths: Ints, context: int) -> list[list[int]]:
    """Pack pieces into rows of at most `context` in total: best fit among the open rows, in the given order. A piece that fits
    nowhere starts a new row; none is dropped."""
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (room left, row), sorted
    for piece, length in enumerate(lengths.tolist()):
        at = bisect.bisect_left(open_rows, (length, -1))
        if at < len(open_rows):
            room, row = open_rows.pop(at)
            rows[row].append(piece)
        else:
            room, row = context, len(rows)
            rows.append([piece])
        if room > length:
            bisect.insort(open_rows, (room - length, row))
            if len(open_rows) > OPEN_ROWS:
                open_rows.pop(0)
    return rows


def collate(corpus: Corpus, pieces: Pieces, rows: list[list[int]], context: int) -> dict[str, Tensor]:
    """Rows as int64 tensors (rows, context): `ids`, `targets` (IGNORED for no target) and, unless every row is a single piece,
    `positions` and `segments` (the number of the piece within the row; 0 for padding)."""
    shape = (len(rows), context)
    begins = corpus.eot_id if corpus.sos_id is None else corpus.sos_id
    ids, targets = np.full(shape, begins), np.full(shape, IGNORED)
    positions, segments = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for r, row in enumerate(rows):
        at = 0
        for number, piece in enumerate(row, 1):
            document, begin = int(pieces.document[piece]), int(pieces.begin[piece])
            length, hidden = int(pieces.length[piece]), int(pieces.context_only[piece])
            start, stop = int(corpus.offsets[document]), int(corpus.offsets[document + 1])
            end = begin + length
            read = slice(start + max(begin - 1, 0), start + end - 1)
            ids[r, at + (begin == 0) : at + length] = corpus.tokens[read]
            answers = corpus.tokens[start + begin + hidden : min(start + end, stop)]
            targets[r, at + hidden : at + hidden + len(answers)] = answers
            if start + end > stop:
                targets[r, at + length - 1] = corpus.eot_id
            positions[r, at : at + length] = np.arange(length)
            segments[r, at : at + length] = number
            at += length
    batch = {"ids": torch.from_numpy(ids), "targets": torch.from_numpy(targets)}
    if any(len(row) > 1 for row in rows):
        batch |= {"positions": torch.from_numpy(positions), "segments": torch.from_numpy(segments)}
    return batch


def block_diagonal(segments: Tensor, branches: Tensor | None = None) -> Tensor:
    """The attention mask (B, 1, T, T): a token sees itself and earlier tokens of its own piece. With `branches` (B, T), it sees
    only those of its own branch of the piece and of branch 0, which all share."""
    same = segments[:, None, :, None] == segments[:, None, None, :]
    if branches is not None:
        seen = branches[:, None, None, :]
        same &= (branches[:, None, :, None] == seen) | (seen == 0)
    return same.tril_()


Block = TypeVar("Block")


class RowBatches(ABC, Generic[Block]):
    """The batch of a step, as a pure function of (seed, step)."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._first_row, self._rows = 0, list[list[int]]()
        self._blocks = self.blocks()

    def __call__(self, step: int) -> dict[str, Tensor]:
        first = step * self.batch_size
        if first < self._first_row:  # an earlier row: start again from the first epoch
            self._first_row, self._rows = 0, []
            self._blocks = self.blocks()
        parts = []
        for row in range(first, first + self.batch_size):
            while row >= self._first_row + len(self._rows):
                self._first_row += len(self._rows)
                self._block, self._rows = next(self._blocks)
            parts.append((self._block, self._rows[row - self._first_row]))
        return self.collate(parts)

    @abstractmethod
    def blocks(self) -> Iterator[tuple[Block, list[list[int]]]]:
        """The rows of all epochs in blocks, packed lazily: each row the numbers of its pieces in the block."""

    @abstractmethod
    def collate(self, parts: list[tuple[Block, list[int]]]) -> dict[str, Tensor]:
        """Rows as tensors."""


class TrainingBatches(RowBatches[Pieces]):
    """Batches of documents. Every epoch cuts and shuffles them differently."""

    def __init__(self, corpus: Corpus, context: int, batch_size: int, seed: int) -> None:
        self.corpus, self.context, self.seed = corpus, context, seed
        super().__init__(batch_size)

    def blocks(self) -> Iterator[tuple[Pieces, list[list[int]]]]:
        epoch = 0
        while True:
            rng = np.random.default_rng((self.seed, epoch))
            windows = training_windows(self.corpus, self.context, rng)
            order = np.arange(len(windows), dtype=np.min_scalar_type(len(windows)))
            rng.shuffle(order)
            for at in range(0, len(order), BLOCK):
                block = windows[order[at : at + BLOCK].astype(np.int64)]
                rows = pack(block.length, self.context)
                yield block, [rows[i] for i in rng.permutation(len(rows))]
            epoch += 1

    def collate(self, parts: list[tuple[Pieces, list[int]]]) -> dict[str, Tensor]:
        chosen = [pieces[np.asarray(row)] for pieces, row in parts]
        together = Pieces(
            *(np.concatenate([getattr(c, name) for c in chosen]) for name in ("document", "begin", "length", "context_only"))
        )
        ends = np.cumsum([len(c) for c in chosen]).tolist()
        rows = [list(range(end - len(c), end)) for c, end in zip(chosen, ends, strict=True)]
        return collate(self.corpus, together, rows, self.context)
