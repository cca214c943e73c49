"""The baselines against hand-computed cases, a plain reference implementation and known sources."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc_cli.errors import RequestError
from aigc_cli.metrics.text.compression import xz_baseline
from aigc_cli.metrics.text.ngram import ALPHABET, KneserNey, ngram_baseline
from aigc_cli.metrics.text.symbols import thin

BEGIN, END = "<s>", "</s>"
documents_of = st.lists(st.text("abc山", max_size=12), max_size=8)


def reference(documents: Sequence[str], order: int) -> Callable[[str, tuple[str, ...]], float]:
    """p(symbol | everything before it in its document), written from the formula with dictionaries."""
    counts: dict[int, Counter[tuple[str, ...]]] = {k: Counter() for k in range(1, order + 1)}
    for document in documents:
        symbols = (BEGIN, *document, END)
        for k in counts:
            counts[k].update(symbols[i : i + k] for i in range(len(symbols) - k + 1))
    del counts[1][(BEGIN,)]
    adjusted = {order: dict(counts[order])}
    for k in range(1, order):
        left: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
        for longer in counts[k + 1]:
            left[longer[1:]].add(longer[0])
        adjusted[k] = {gram: n if gram[0] == BEGIN else len(left[gram]) for gram, n in counts[k].items()}

    def discount(k: int, count: int) -> float:
        n = Counter(adjusted[k].values())
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            all_three = [i - (i + 1) * y * n[i + 1] / n[i] for i in (1, 2, 3)]
            if all(0 < d <= i for i, d in enumerate(all_three, start=1)):
                return all_three[min(count, 3) - 1]
        return 0.5 * min(count, 3)

    def p(symbol: str, context: tuple[str, ...], k: int = order) -> float:
        if k == 0:
            return 1 / ALPHABET
        if len(context) < k - 1:
            return p(symbol, context, k - 1)
        h = context[len(context) - k + 1 :]
        following = {gram[-1]: n for gram, n in adjusted[k].items() if gram[:-1] == h}
        if not following:
            return p(symbol, context, k - 1)
        total = sum(following.values())
        own = following.get(symbol, 0)
        share = (own - discount(k, own)) / total if own else 0.0
        gamma = sum(discount(k, n) for n in following.values()) / total
        return share + gamma * p(symbol, context, k - 1)

    return p


def reference_nats(documents: Sequence[str], held_out: Sequence[str], order: int) -> list[float]:
    p = reference(documents, order)
    contexts = [(BEGIN, *document, END) for document in held_out]
    return [-math.log(p(s[i], s[:i])) for s in contexts for i in range(1, len(s))]


@settings(max_examples=60, deadline=None)
@given(documents_of, st.lists(st.text("abc山d", max_size=8), min_size=1, max_size=3))
def test_equals_the_reference_on_any_small_text(train: list[str], held_out: list[str]) -> None:
    nats = KneserNey(train, 4).nats(held_out)
    for order in range(1, 5):
        assert nats[order - 1] == pytest.approx(reference_nats(train, held_out, order), rel=1e-5)


def test_equals_the_reference_with_estimated_discounts() -> None:
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    draw = [rng.choices(letters, [1 / (i + 1) ** 2 for i in range(26)], k=40) for _ in range(44)]
    train, held_out = ["".join(d) for d in draw[:40]], ["".join(d) for d in draw[40:]]
    nats = KneserNey(train, 3).nats(held_out)
    for order in range(1, 4):
        assert nats[order - 1] == pytest.approx(reference_nats(train, held_out, order), rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(documents_of, st.text("abc山d", max_size=8))
def test_probabilities_sum_to_one_in_every_context(train: list[str], context: str) -> None:
    model = KneserNey(train, 5)
    seen = sorted(set("".join(train)))
    unseen = "z"
    nats = model.nats([context + after for after in [*seen, unseen, ""]])
    lengths = [len(context) + 2] * (len(seen) + 1) + [len(context) + 1]
    at = np.cumsum(lengths) - lengths + len(context)
    p = np.exp(-nats[:, at])
    total = p[:, : len(seen)].sum(1) + p[:, -1] + p[:, len(seen)] * (ALPHABET - 1 - len(seen))
    assert total == pytest.approx(np.ones(5), abs=1e-5)


def test_by_hand() -> None:
    # Too few counts to estimate discounts from, so D(1) = 0.5 and D(2) = 1.
    nats = KneserNey(["ab", "ac"], 2).nats(["ab"])
    u = 1 / ALPHABET
    # Order 1, counts a 2, b 1, c 1, end 2 of 6: γ = (1 + 0.5 + 0.5 + 1) / 6.
    one = {"a": 1 / 6 + u / 2, "b": 0.5 / 6 + u / 2, END: 1 / 6 + u / 2}
    assert np.exp(-nats[0]) == pytest.approx([one["a"], one["b"], one[END]], rel=1e-5)
    # Below order 2, symbols seen before: a 1, b 1, c 1, end 2 of 5: γ = (0.5 · 3 + 1) / 5 = 1/2.
    low = {"a": 0.1 + u / 2, "b": 0.1 + u / 2, END: 0.2 + u / 2}
    # Order 2: the beginning is followed by a twice, a by b and c, b by the end.
    two = [1 / 2 + low["a"] / 2, 0.5 / 2 + low["b"] / 2, 0.5 + 0.5 * low[END]]
    assert np.exp(-nats[1]) == pytest.approx(two, rel=1e-5)


def markov(length: int, seed: int) -> str:
    """Each bit repeats the one before the last with probability 0.9: entropy 0.469 bits, all in order 3."""
    rng = random.Random(seed)
    text = [0, 1]
    while len(text) < length:
        text.append(text[-2] if rng.random() < 0.9 else 1 - text[-2])
    return "".join("ab"[bit] for bit in text)


def test_finds_the_entropy_and_the_order_of_a_known_source() -> None:
    measure = ngram_baseline([markov(50_000, 0)], [markov(10_000, 1)], [markov(20_000, 2)], unit_chars=100)
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert measure.extra["order"] == 3
    assert measure.low is not None and measure.high is not None
    assert measure.low <= entropy * 1.01 and entropy <= measure.high
    assert measure.n == 200


def test_never_worse_than_order_one_on_what_it_is_chosen_on() -> None:
    rng = random.Random(3)
    noise = ["".join(rng.choices("abcdefgh", k=30)) for _ in range(60)]
    chosen = ngram_baseline(noise[:40], noise[40:], noise[40:])
    assert chosen.value <= ngram_baseline(noise[:40], noise[40:], noise[40:], max_order=1).value


def test_units_change_the_interval_and_not_the_value() -> None:
    train, held_out = [markov(5000, 4)], [markov(3050, 5), "", "ab"]
    whole = ngram_baseline(train, held_out, held_out)
    cut = ngram_baseline(train, held_out, held_out, unit_chars=1000)
    assert cut.value == pytest.approx(whole.value)
    assert (whole.n, cut.n) == (3, 6)


def test_the_amount_of_text_is_reported() -> None:
    train = [markov(100, seed) for seed in range(30)]
    measure = ngram_baseline(train, train[:2], train[:3], max_train_chars=1000)
    assert measure.extra["train_chars"] == 1000
    assert measure.extra["train_chars_available"] == 3000
    assert measure.extra["report_chars"] == measure.extra["report_chars_available"] == 300
    assert measure.value == ngram_baseline(train[::3], train[:2], train[:3]).value


def test_thinning_is_even_and_exact() -> None:
    documents = [chr(97 + i) * 10 for i in range(10)]
    assert thin(documents, 100) == documents
    assert thin(documents, 50) == documents[::2]
    assert thin(documents, 45) == documents[::3]
    assert thin(["abcdef"], 4) == ["abcd"]


@pytest.mark.parametrize("empty", [[], ["", ""]])
def test_empty_held_out_text_is_refused(empty: list[str]) -> None:
    with pytest.raises(RequestError, match="no text in it"):
        ngram_baseline(["ab"], ["ab"], empty)
    with pytest.raises(RequestError, match="no text in it"):
        ngram_baseline(["ab"], empty, ["ab"])
    with pytest.raises(RequestError, match="no text in it"):
        xz_baseline(["ab"], empty)


def test_xz_knows_what_it_has_read() -> None:
    rng = random.Random(6)
    documents = ["".join(rng.choices("abcd", k=2000)) for _ in range(20)]
    assert xz_baseline([], documents).value == pytest.approx(2, rel=0.2)  # four equally likely letters: 2 bits
    assert xz_baseline(documents, documents).value < 0.05
    assert xz_baseline(documents[:10], documents[10:]).value == pytest.approx(2, rel=0.2)


def test_xz_reports_the_amount_of_text() -> None:
    measure = xz_baseline(["abc"] * 10, ["山水"] * 4, max_train_chars=15, max_held_out_chars=4)
    assert measure.n == 2
    assert (measure.low, measure.high) == (None, None)
    assert measure.extra == {
        "train_chars": 15,
        "report_chars": 4,
        "train_chars_available": 30,
        "report_chars_available": 8,
    }
