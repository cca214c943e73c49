"""Records with the same first field in one piece: nothing lost, nothing doubled, and no record sees its neighbour."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from networks import random_transformer, small_config
from torch import Tensor

from aigc_cli.backends.transformer.decoder_only.likelihood import token_nats
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, block_diagonal
from aigc_cli.backends.transformer.loss import IGNORED
from aigc_cli.backends.transformer.records.together import GroupBatches, Shared

pytestmark = pytest.mark.usefixtures("one_thread")

EOT, SOS, FIELD = 40, 39, 38
Batch = dict[str, Tensor]


def records(n: int, pictures: int, places: int = 6) -> list[list[int]]:
    """Records of a picture (codes from 20 on), a question and an answer (words below 20), no two of them equal."""
    rng = np.random.default_rng(0)
    codes = rng.integers(20, 38, (pictures, places)).tolist()
    texts = [(rng.integers(0, 20, 1 + number % 4).tolist(), [number % 20, number // 20]) for number in range(n)]
    return [[*codes[number % pictures], FIELD, *question, FIELD, *answer] for number, (question, answer) in enumerate(texts)]


def corpus_of(some: list[list[int]]) -> Corpus:
    tokens = np.array([token for record in some for token in record], np.uint32)
    return Corpus(tokens, np.cumsum([0, *map(len, some)]), EOT, SOS)


def batches(some: list[list[int]], *, share: float = 0.0, length: int = 32, size: int = 1, seed: int = 0) -> GroupBatches:
    shared = Shared(corpus_of(some), FIELD)
    return GroupBatches(shared, length, size, sos_id=SOS, n_leading=2, share=share, seed=seed)


def epoch_of(made: GroupBatches) -> Batch:
    """All rows of the first epoch."""
    assert made.batch_size == 1
    rows = [made(step) for step in range(made.rows)]
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def branches_in(batch: Batch, values: Tensor) -> list[tuple[list[int], list[int], list[float]]]:
    """Of each branch of each group of each row: the ids of its record as far as they are read, the targets, and the values."""
    found = []
    for ids, targets, segments, branches, of in zip(
        batch["ids"], batch["targets"], batch["segments"], batch["branches"], values, strict=True
    ):
        for segment in range(1, int(segments.max()) + 1):
            first = (segments == segment) & (branches == 0)
            for branch in range(1, int(branches[segments == segment].max()) + 1):
                whole = first | ((segments == segment) & (branches == branch))
                found.append((ids[whole].tolist(), targets[whole].tolist(), of[whole].tolist()))
    return found


def test_a_row_written_out() -> None:
    made = batches([[20, 21, FIELD, 1, 2, FIELD, 3], [20, 21, FIELD, 4, FIELD, 5], [22, 23, FIELD, FIELD, 6]], length=20)
    assert (made.rows, made.targets) == (1, 3 + 5 + 4 + 3 + 3)
    ids = [SOS, 20, 21, FIELD, 1, 2, FIELD, 3, FIELD, 4, FIELD, 5, SOS, 22, 23, FIELD, FIELD, 6, SOS, SOS]
    row = next(batch for batch in map(made, range(99)) if batch["ids"][0].tolist() == ids)  # every epoch has another order
    x = IGNORED
    assert row["targets"][0].tolist() == [
        20,
        21,
        FIELD,
        1,
        2,
        FIELD,
        3,
        EOT,
        4,
        FIELD,
        5,
        EOT,
        22,
        23,
        FIELD,
        FIELD,
        6,
        EOT,
        x,
        x,
    ]
    assert row["positions"][0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 0, 0]
    assert row["segments"][0].tolist() == [*[1] * 12, *[2] * 6, 0, 0]
    assert row["branches"][0].tolist() == [*[0] * 3, *[1] * 5, *[2] * 4, *[0] * 3, *[1] * 3, 0, 0]
    assert row["last"][0].tolist() == [*[0] * 6, 1, 1, 0, 0, 1, 1, *[0] * 4, 1, 1, 0, 0]
    assert all(tensor.dtype == torch.int64 for tensor in row.values())


def test_a_branch_sees_itself_and_what_all_share() -> None:
    segments = torch.tensor([[1, 1, 1, 1, 1, 1, 2, 2, 0]])
    branches = torch.tensor([[0, 0, 1, 1, 2, 2, 0, 1, 0]])
    mask = block_diagonal(segments, branches)[0, 0]
    for query in range(9):
        for key in range(9):
            ours = segments[0, key] == segments[0, query] and branches[0, key] in (0, branches[0, query])
            assert mask[query, key] == (key <= query and bool(ours))


def test_a_token_costs_what_it_costs_in_its_record_alone() -> None:
    some = records(40, 7)
    model = random_transformer(small_config(n_layers=3))
    batch = epoch_of(batches(some))
    mask = block_diagonal(batch["segments"], batch["branches"])
    nats = token_nats(model, batch["ids"], batch["targets"], positions=batch["positions"], mask=mask)
    found = branches_in(batch, nats)
    assert Counter(tuple(ids[1:]) for ids, _, _ in found) == Counter(map(tuple, some))
    for ids, targets, costs in found:
        assert targets == [*ids[1:], EOT]
        alone = token_nats(model, torch.tensor([ids]), torch.tensor([targets]))[0]
        torch.testing.assert_close(torch.tensor(costs), alone, atol=1e-5, rtol=1e-5)


def test_the_first_field_is_there_once_a_group() -> None:
    made = batches(records(60, 5), length=64)
    batch = epoch_of(made)
    groups = [(row, segment) for row in range(made.rows) for segment in range(1, int(batch["segments"][row].max()) + 1)]
    assert int((batch["branches"] == 0)[batch["segments"] > 0].sum()) == 7 * len(groups)
    assert int((batch["targets"] != IGNORED).sum()) == made.targets
    assert len(groups) < 30
    assert max(int(batch["branches"].max()), 0) > 3


def test_some_records_are_learned_with_nothing_in_their_leading_fields() -> None:
    some = records(400, 9)
    batch = epoch_of(batches(some, share=0.25))
    nothing = 0
    seen = Counter[tuple[int, ...]]()
    for ids, targets, _ in branches_in(batch, batch["targets"].float()):
        answer = tuple(ids[len(ids) - 1 - ids[::-1].index(FIELD) :])
        seen[answer] += 1
        if set(ids[: -len(answer)]) - {SOS, FIELD}:
            assert targets == [*ids[1:], EOT] and ids[1] != SOS
            continue
        nothing += 1
        assert ids.index(FIELD) == 7
        assert set(targets[: -len(answer)]) == {IGNORED, FIELD}
        assert targets[-len(answer) :] == [*answer[1:], EOT]
    assert 60 < nothing < 140
    assert seen == Counter(tuple(record[len(record) - 1 - record[::-1].index(FIELD) :]) for record in some)


def test_a_batch_follows_from_seed_and_step_alone() -> None:
    some = records(50, 7)
    used = batches(some, share=0.2, size=3)
    for step in (0, 7, 2, 2, 11, 1):
        fresh = batches(some, share=0.2, size=3)(step)
        assert all(torch.equal(tensor, fresh[name]) for name, tensor in used(step).items())
    assert not torch.equal(used(0)["ids"], batches(some, share=0.2, size=3, seed=1)(0)["ids"])


@pytest.mark.parametrize(
    ("n", "pictures", "places", "saved"),
    [(100, 20, 30, True), (100, 100, 30, False), (100, 50, 6, False), (100, 10, 1, False), (1, 1, 30, False)],
)
def test_records_are_learned_together_where_that_saves_a_third(n: int, pictures: int, places: int, saved: bool) -> None:
    shared = Shared(corpus_of(records(n, pictures, places)), FIELD)
    assert shared.saves(40, 0.1) == saved
    assert 40 <= shared.row_length(40, 0.1) <= 80
