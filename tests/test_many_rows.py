"""What documents take in memory each, where there may be tens of millions."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from aigc_cli.backends.transformer.decoder_only import packing
from aigc_cli.backends.transformer.encoder_decoder.pairs import BLOCK, PairBatches, Pairs
from aigc_cli.data import splits
from aigc_cli.data.text.documents import scan
from aigc_cli.data.text.pieces import End
from aigc_cli.data.text.tokens import TokenArrays

N = 200_000


def bytes_each(work: Callable[[], object], n: int = N) -> float:
    """The bytes that `work` takes at most for each of n documents, with what it returns."""
    tracemalloc.start()
    try:
        kept = work()
        return tracemalloc.get_traced_memory()[1] / n
    finally:
        tracemalloc.stop()
        del kept


def test_a_scan_keeps_a_hash_and_a_length_of_each_document() -> None:
    n = N // 10
    pieces = ((str(number), End.DOCUMENT) for number in range(n))
    assert bytes_each(lambda: scan(pieces, lambda stage, done, total: None), n) < 16


def test_the_plan_of_many_documents_sorts_few_hashes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.random.default_rng(0).integers(0, 1 << 63, N).astype(np.uint64) * np.uint64(2)
    hashes[1::1000] = hashes[::1000]
    lengths = np.ones(N, np.uint32)
    whole = splits.plan_with_slice(hashes, lengths, "characters")
    monkeypatch.setattr(splits, "_AT_ONCE", N // 100)
    assert bytes_each(lambda: splits.plan_with_slice(hashes, lengths, "characters")) < 20
    assert (splits.plan_with_slice(hashes, lengths, "characters").splits == whole.splits).all()
    assert whole.dropped["copies"] == N // 1000


def test_an_epoch_of_many_documents_takes_their_order_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "BLOCK", N // 100)
    offsets = np.arange(0, 3 * N + 1, 3)
    corpus = packing.Corpus(np.zeros(3 * N, np.uint16), offsets, eot_id=1)
    assert bytes_each(lambda: packing.TrainingBatches(corpus, 16, 8, seed=0)(0)) < 8


def test_an_epoch_of_many_pairs_takes_their_order_alone() -> None:
    offsets, nothing = np.arange(0, 3 * N + 1, 3), np.zeros(N, np.int64)
    pairs = Pairs(TokenArrays(np.zeros(3 * N, np.uint16), offsets, nothing, nothing), offsets[:-1] + 1)
    batches = PairBatches(pairs, 8, 1, 2, longest=8, seed=0)
    assert bytes_each(lambda: [batches(step) for step in (0, BLOCK)]) < 8
