"""Rows of one context: nothing lost, nothing doubled, and no document sees its neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_transformer, small_config
from torch import Tensor

from aigc_cli.backends.transformer.decoder_only import packing
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoder_only.packing import (
    Corpus,
    Pieces,
    TrainingBatches,
    Windows,
    block_diagonal,
    collate,
    evaluation_pieces,
    pack,
    training_windows,
)
from aigc_cli.backends.transformer.loss import IGNORED, cross_entropy

pytestmark = pytest.mark.usefixtures("one_thread")

Batch = dict[str, Tensor]


def numbered(lengths: Sequence[int]) -> Corpus:
    """Documents of these lengths in which no token occurs twice, so that a token tells where it stands."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Corpus(np.arange(offsets[-1], dtype=np.uint32), offsets, eot_id=int(offsets[-1]))


def documents(corpus: Corpus) -> list[list[int]]:
    """Each document between two end-of-text tokens."""
    return [[corpus.eot_id, *corpus.tokens[a:b].tolist(), corpus.eot_id] for a, b in pairwise(corpus.offsets.tolist())]


def all_predictions(corpus: Corpus) -> list[tuple[int, int]]:
    """Every token with the one after it, the ends of documents among them, in order."""
    return sorted(pair for document in documents(corpus) for pair in pairwise(document))


def all_pieces(windows: Windows) -> Pieces:
    return windows[np.arange(len(windows))]


def segments_of(batch: Batch) -> list[tuple[list[int], list[int], list[int]]]:
    """The ids, targets and positions of each piece of each row, as the network can tell them apart. A row of one piece has no
    segments: there, padding comes last and has no targets."""
    found = []
    for row in range(len(batch["ids"])):
        ids, targets = batch["ids"][row], batch["targets"][row]
        if "segments" in batch:
            segments, positions = batch["segments"][row], batch["positions"][row]
            pieces = [segments == number for number in segments.unique().tolist() if number > 0]
            assert (targets[segments == 0] == IGNORED).all()
        else:
            pieces, positions = [torch.arange(len(ids)) <= (targets != IGNORED).nonzero().max()], torch.arange(len(ids))
        found += [(ids[piece].tolist(), targets[piece].tolist(), positions[piece].tolist()) for piece in pieces]
    return found


def predictions_in(batch: Batch) -> list[tuple[int, int]]:
    """The token that each target follows, and the target. Every piece is a run of one document, its positions from 0 on."""
    pairs = []
    for ids, targets, positions in segments_of(batch):
        assert positions == list(range(len(ids)))
        assert all(target in (after, IGNORED) for target, after in zip(targets, ids[1:], strict=False))
        pairs += [(token, target) for token, target in zip(ids, targets, strict=True) if target != IGNORED]
    return pairs


def epochs_of(batches: TrainingBatches, count: int) -> list[list[Batch]]:
    """The rows of the first epochs, one a batch: an epoch ends where as many predictions were made as the corpus has."""
    assert batches.batch_size == 1
    step, epochs = 0, []
    for _ in range(count):
        rows, seen = [], 0
        while seen < batches.corpus.predictions:
            rows.append(batches(step))
            seen += int((rows[-1]["targets"] != IGNORED).sum())
            step += 1
        epochs.append(rows)
    return epochs


@st.composite
def corpora(draw: st.DrawFn) -> tuple[Corpus, int]:
    """Documents of all lengths around a context: of one token, of nearly a context, of many."""
    context = draw(st.integers(1, 40))
    near = st.integers(max(1, context - 2), context + 2)
    lengths = draw(st.lists(st.just(1) | near | st.integers(1, 5 * context), min_size=1, max_size=20))
    return numbered(lengths), context


@settings(max_examples=60, deadline=None)
@given(corpora(), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_an_epoch_has_every_prediction_once(case: tuple[Corpus, int], seed: int, block: int) -> None:
    corpus, context = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK", block)
        for epoch in epochs_of(TrainingBatches(corpus, context, 1, seed), 3):
            assert all(row["ids"].shape == row["targets"].shape == (1, context) for row in epoch)
            assert sorted(pair for row in epoch for pair in predictions_in(row)) == all_predictions(corpus)


@pytest.mark.parametrize("length", [1, 14, 15, 16, 17, 31, 32, 33, 160])
def test_lengths_at_the_edge_of_the_context(length: int) -> None:
    """A document of 15 tokens has 16 predictions and is whole in a context of 16; one of 16 is cut."""
    corpus = numbered([length] * 5)
    rows = epochs_of(TrainingBatches(corpus, 16, 1, 3), 1)[0]
    assert sorted(pair for row in rows for pair in predictions_in(row)) == all_predictions(corpus)
    whole = [ids for row in rows for ids, _, _ in segments_of(row) if len(ids) == length + 1]
    assert len(whole) == (5 if length < 16 else 0)


def test_a_document_of_nothing_is_the_prediction_of_its_end() -> None:
    corpus = Corpus(np.array([4, 5], np.uint16), np.array([0, 0, 2, 2]), eot_id=9)
    rows = epochs_of(TrainingBatches(corpus, 8, 1, 0), 1)[0]
    assert sorted(pair for row in rows for pair in predictions_in(row)) == [(4, 5), (5, 9), (9, 4), (9, 9), (9, 9)]


def test_a_batch_is_the_rows_of_its_step() -> None:
    corpus = numbered([3, 50, 7, 1, 16, 15, 17, 29] * 3)
    one, four = (TrainingBatches(corpus, 16, size, 5) for size in (1, 4))
    for step in range(12):
        parts = [pair for row in range(4) for pair in predictions_in(one(4 * step + row))]
        assert predictions_in(four(step)) == parts


@settings(max_examples=40, deadline=None)
@given(corpora(), st.lists(st.integers(0, 40), max_size=12), st.integers(1, 7), st.integers(1, 9))
def test_a_batch_follows_from_seed_and_step_alone(
    case: tuple[Corpus, int], steps: list[int], batch_size: int, block: int
) -> None:
    corpus, context = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK", block)
        used = TrainingBatches(corpus, context, batch_size, 7)
        for step in steps:
            assert same(used(step), TrainingBatches(corpus, context, batch_size, 7)(step))


def same(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_another_seed_another_order_and_every_epoch_its_own() -> None:
    corpus = numbered([*range(1, 60)])
    a, b = (epochs_of(TrainingBatches(corpus, 64, 1, seed), 2) for seed in (0, 1))
    orders = [[pair for row in epoch for pair in predictions_in(row)] for epoch in (*a, *b)]
    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))
    assert {tuple(sorted(order)) for order in orders} == {tuple(all_predictions(corpus))}


def test_a_long_document_is_cut_differently_in_every_epoch() -> None:
    """Any token begins a window as often as any other."""
    context = 16
    corpus = numbered([10 * context])
    cuts = [
        {ids[0] for row in epoch for ids, _, _ in segments_of(row)}
        for epoch in epochs_of(TrainingBatches(corpus, context, 1, 0), 400)
    ]
    assert len({frozenset(epoch) for epoch in cuts}) == context
    begins = np.bincount([token for epoch in cuts for token in epoch if token != corpus.eot_id], minlength=10 * context)
    inner = begins[: 9 * context]  # the last window may end before the last tokens
    expected = len(cuts) / context
    assert abs(inner - expected).max() < 5 * np.sqrt(expected)
    assert all(max(np.diff(sorted(epoch - {corpus.eot_id})), default=0) <= context for epoch in cuts)


def test_rows_of_short_documents_start_with_a_document() -> None:
    corpus = numbered([*range(1, 32)] * 4)
    for epoch in epochs_of(TrainingBatches(corpus, 32, 1, 1), 2):
        assert all(row["ids"][0, 0] == corpus.eot_id for row in epoch)
        pieces = [ids for row in epoch for ids, _, _ in segments_of(row)]
        assert sorted(pieces) == sorted(document[:-1] for document in documents(corpus))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 50), st.data())
def test_pack_puts_every_piece_into_one_row_with_room_for_it(context: int, data: st.DataObject) -> None:
    lengths = np.array(data.draw(st.lists(st.integers(1, context), max_size=200)), np.int64)
    rows = pack(lengths, context)
    assert sorted(piece for row in rows for piece in row) == list(range(len(lengths)))
    assert all(0 < lengths[row].sum() <= context for row in rows)


def test_pack_takes_the_row_with_the_least_room_that_is_enough() -> None:
    assert pack(np.array([6, 8, 2, 4, 9, 1]), 10) == [[0, 3], [1, 2], [4, 5]]


def test_packing_leaves_less_than_a_tenth_empty() -> None:
    rng = np.random.default_rng(0)
    corpus = numbered(rng.integers(20, 101, 4000).tolist())
    pieces = all_pieces(training_windows(corpus, 128, rng))
    assert corpus.predictions / (128 * len(pack(pieces.length, 128))) > 0.9


@settings(max_examples=100, deadline=None)
@given(corpora(), st.integers(1, 9), st.integers(0, 3))
def test_pieces_are_numbered_by_document_and_found_in_any_order(case: tuple[Corpus, int], at_once: int, seed: int) -> None:
    """Each document's first window has a random length, drawn for short ones too, and its others a context."""
    corpus, context = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK", at_once)
        windows = training_windows(corpus, context, np.random.default_rng(seed))
    expected = []
    firsts = np.random.default_rng(seed).integers(1, context + 1, len(corpus.offsets) - 1)
    for document, (length, first) in enumerate(zip((np.diff(corpus.offsets) + 1).tolist(), firsts.tolist(), strict=True)):
        edges = [0, length] if length <= context else [0, *range(first, length, context), length]
        expected += [(document, begin, end - begin, 0) for begin, end in pairwise(edges)]
    order = np.random.default_rng(seed).permutation(len(windows))
    found = windows[order]
    columns = (found.document, found.begin, found.length, found.context_only)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == [expected[number] for number in order]


@settings(max_examples=100, deadline=None)
@given(corpora())
def test_evaluation_scores_every_prediction_once_with_half_a_context_before_it(case: tuple[Corpus, int]) -> None:
    corpus, context = case
    pieces = evaluation_pieces(corpus, context)
    assert pieces.length.max() <= context
    rows = pack(pieces.length, context)
    scored = []
    for row in rows:
        batch = collate(corpus, pieces, [row], context)
        scored += predictions_in(batch)
        for ids, targets, _ in segments_of(batch):
            before = [at for at, target in enumerate(targets) if target != IGNORED]
            assert before == list(range(before[0], len(ids)))
            assert before[0] >= context // 2 or ids[0] == corpus.eot_id
    assert sorted(scored) == all_predictions(corpus)


def test_evaluation_windows_of_a_document() -> None:
    """Eleven predictions at a context of 4: the first four, then two at a time with two before them."""
    pieces = evaluation_pieces(numbered([10]), 4)
    assert pieces.begin.tolist() == [0, 2, 4, 6, 8]
    assert pieces.length.tolist() == [4, 4, 4, 4, 3]
    assert pieces.context_only.tolist() == [0, 2, 2, 2, 2]


def test_a_row_written_out() -> None:
    """Documents a b c and d e at a context of 8, and the tail of a longer one."""
    corpus = Corpus(np.array([1, 2, 3, 4, 5, 6, 7, 8], np.uint16), np.array([0, 3, 5, 8]), eot_id=0)
    pieces = Pieces(np.array([0, 1, 2]), np.array([0, 0, 2]), np.array([4, 3, 2]), np.array([0, 0, 1]))
    batch = collate(corpus, pieces, [[0, 1], [2]], 8)
    x = IGNORED
    assert batch["ids"].tolist() == [[0, 1, 2, 3, 0, 4, 5, 0], [7, 8, 0, 0, 0, 0, 0, 0]]
    assert batch["targets"].tolist() == [[1, 2, 3, 0, 4, 5, 0, x], [x, 0, x, x, x, x, x, x]]
    assert batch["positions"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 0], [0, 1, 0, 0, 0, 0, 0, 0]]
    assert batch["segments"].tolist() == [[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 0, 0, 0, 0, 0, 0]]
    assert collate(corpus, pieces, [[0], [2]], 8).keys() == {"ids", "targets"}
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_block_diagonal_is_its_definition() -> None:
    segments = torch.tensor([[1, 1, 1, 2, 2, 3, 0, 0], [1, 2, 2, 2, 3, 3, 3, 3], [1, 1, 1, 1, 1, 1, 1, 1]])
    mask = block_diagonal(segments)
    assert mask.shape == (3, 1, 8, 8) and mask.dtype == torch.bool
    for row in range(3):
        for query in range(8):
            for key in range(8):
                sees = key <= query and segments[row, key] == segments[row, query]
                assert mask[row, 0, query, key] == sees
    assert mask.any(-1).all()


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_transformer(small_config(n_layers=3))


def poems(lengths: Sequence[int]) -> Corpus:
    rng = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Corpus(rng.integers(0, 40, offsets[-1], np.uint16), offsets, eot_id=40)


def test_a_packed_document_has_the_logits_that_it_has_alone(model: Transformer) -> None:
    corpus = poems([1, 5, 9, 2, 31, 13, 14, 3, 7, 8])
    pieces = evaluation_pieces(corpus, 32)
    rows = pack(pieces.length, 32)
    assert min(len(row) for row in rows) == 1 and max(len(row) for row in rows) >= 3
    batch = collate(corpus, pieces, rows, 32)
    with torch.no_grad():
        together = model.logits(model(batch["ids"], positions=batch["positions"], mask=block_diagonal(batch["segments"])))
        for r, row in enumerate(rows):
            ends = np.cumsum(pieces.length[row])
            for piece, end in zip(row, ends.tolist(), strict=True):
                ids = documents(corpus)[piece][:-1]
                alone = model.logits(model(torch.tensor([ids])))[0]
                torch.testing.assert_close(together[r, end - len(ids) : end], alone, atol=1e-5, rtol=1e-5)


def test_a_packed_batch_has_the_loss_and_gradient_of_its_documents(model: Transformer) -> None:
    """The mean over all predictions, whichever rows they are in and however much padding there is."""
    corpus = poems([1, 5, 9, 2, 31, 13, 14, 3, 7, 8])
    pieces = all_pieces(training_windows(corpus, 32, np.random.default_rng(0)))
    batch = collate(corpus, pieces, pack(pieces.length, 32), 32)
    hidden = model(batch["ids"], positions=batch["positions"], mask=block_diagonal(batch["segments"]))
    loss, targets = cross_entropy(hidden, model.head, batch["targets"])
    assert int(targets) == corpus.predictions
    total = torch.zeros(())
    for document in documents(corpus):
        one, count = cross_entropy(model(torch.tensor([document[:-1]])), model.head, torch.tensor([document[1:]]))
        total = total + one * count / corpus.predictions
    torch.testing.assert_close(loss, total)
    parameters = list(model.parameters())
    for packed, alone in zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(total, parameters), strict=True):
        torch.testing.assert_close(packed, alone, atol=1e-6, rtol=1e-4)
