"""Copies and diversity against cases counted by hand and against plain implementations."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.text.copies import TrainingText, copied_lines, lines, longest_copies, novel_ngrams
from aigc_cli.metrics.text.diversity import distinct_n
from aigc_cli.metrics.text.samples import human_like, sample_measures
from aigc_cli.metrics.text.symbols import words

strings = st.text("ab 山", max_size=30)
some_strings = st.lists(strings, max_size=6)
VERSE = "山水疊層層，吾兄涉又登。挂帆春背鴈，尋磬夜逢僧。"


def ngrams(text: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def test_words_by_hand() -> None:
    text = "Well, 3 don't: naïve_1\t山水，カナ ไทย 🙂"
    expected = [
        "Well",
        ",",
        "3",
        "don",
        "'",
        "t",
        ":",
        "naïve_1",
        "山",
        "水",
        "，",
        "カ",
        "ナ",
        "ไ",
        "ท",
        "ย",
        "🙂",
    ]
    assert list(words(text)) == expected


@settings(max_examples=100, deadline=None)
@given(some_strings, some_strings)
def test_longest_copy_equals_the_naive_one(texts: list[str], documents: list[str]) -> None:
    def naive(text: str) -> int:
        spans = (j - i for i in range(len(text)) for j in range(i + 1, len(text) + 1) if occurs(text[i:j]))
        return max(spans, default=0)

    def occurs(span: str) -> bool:
        return any(span in document for document in documents)

    assert longest_copies(texts, TrainingText(documents)).tolist() == [naive(text) for text in texts]


@settings(max_examples=100, deadline=None)
@given(some_strings, some_strings)
def test_novelty_equals_the_naive_one(texts: list[str], documents: list[str]) -> None:
    novel, total = novel_ngrams(texts, TrainingText(documents), max_n=4)
    for n in range(1, 5):
        known = {gram for document in documents for gram in ngrams(list(words(document)), n)}
        each = [ngrams(list(words(text)), n) for text in texts]
        assert total[n - 1].tolist() == [len(grams) for grams in each]
        assert novel[n - 1].tolist() == [sum(gram not in known for gram in grams) for grams in each]


@settings(max_examples=100, deadline=None)
@given(some_strings, st.integers(1, 4))
def test_distinct_n_equals_the_naive_one(texts: list[str], n: int) -> None:
    grams = [gram for text in texts for gram in ngrams(list(words(text)), n)]
    if grams:
        assert distinct_n(texts, n).value == len(set(grams)) / len(grams)
    else:
        with pytest.raises(RequestError, match=f"no text is {n} words long"):
            distinct_n(texts, n)


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_longest_copy_equals_a_naive_search_for_long_copies(rng: random.Random) -> None:
    documents = ["".join(rng.choices("ab", k=rng.randint(1, 900))) for _ in range(5)]
    texts = []
    for _ in range(12):
        source = rng.choice(documents)
        start = rng.randrange(len(source))
        noise = rng.choices("ab", k=20)
        texts.append("".join(noise[:10]) + source[start : start + rng.randint(1, 300)] + "".join(noise[10:]))
    expected = []
    for text in texts:
        best = 0
        for i in range(len(text)):
            while i + best < len(text) and any(text[i : i + best + 1] in document for document in documents):
                best += 1
        expected.append(best)
    assert longest_copies(texts, TrainingText(documents)).tolist() == expected


def test_distinct_n_by_hand() -> None:
    measure = distinct_n(["the cat sat", "the cat ran"], 1)
    assert (measure.value, measure.n) == (4 / 6, 2)
    # Either text alone has 3 different words of 3, so the jackknife sees no spread.
    assert (measure.low, measure.high) == (4 / 6, 4 / 6)
    assert distinct_n(["the cat sat", "the cat ran"], 2).value == 3 / 4
    assert distinct_n(["the cat sat"], 1) == Measure(1.0, None, None, 1)


def test_distinct_n_interval_covers_its_expectation() -> None:
    def draw(seed: int) -> Measure:
        rng = random.Random(seed)
        weights = [1 / (i + 1) for i in range(500)]
        return distinct_n([" ".join(map(str, rng.choices(range(500), weights, k=20))) for _ in range(40)], 1)

    measures = [draw(seed) for seed in range(100)]
    expectation = np.mean([measure.value for measure in measures])
    covered = sum((m.low or 0) <= expectation <= (m.high or 0) for m in measures)
    assert covered >= 88  # 95 less three standard errors; the jackknife may be wide, not narrow


def test_spans_do_not_run_over_the_end_of_a_document() -> None:
    assert longest_copies(["abcd"], TrainingText(["ab", "cd"])).tolist() == [2]
    novel, _ = novel_ngrams(["a b c d"], TrainingText(["a b", "c d"]), max_n=2)
    assert novel.tolist() == [[0], [1]]


def test_a_span_is_found_anywhere_in_a_long_text() -> None:
    rng = random.Random(1)
    edge = 1 << 18  # as many windows are hashed at a time
    document = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=3 * edge))
    starts = [0, edge - 300, edge - 1, edge, 2 * edge - 150, len(document) - 300]
    texts = ["!" + document[start : start + 300] + "?" for start in starts]
    assert longest_copies(texts, TrainingText([document])).tolist() == [300] * len(texts)


def test_a_text_longer_than_the_training_text() -> None:
    assert longest_copies(["xyz" * 200, ""], TrainingText(["zxy"])).tolist() == [3, 0]
    assert longest_copies(["xyz"], TrainingText([])).tolist() == [0]
    assert novel_ngrams(["x y z"], TrainingText([]), max_n=1)[0].tolist() == [[3]]


def test_lines_by_hand() -> None:
    assert lines(VERSE) == ["山水疊層層", "吾兄涉又登", "挂帆春背鴈", "尋磬夜逢僧"]
    assert lines("KING:\n  Now is the winter of our discontent \r\nAy, sir.") == ["Now is the winter of our discontent"]
    assert lines("山水疊層") == []  # twelve bytes


def test_copied_lines_by_hand() -> None:
    training = TrainingText([VERSE, "ROMEO:\nBut, soft! what light through yonder window breaks?"])
    texts = [
        "山水疊層層，此說是中興。",
        "山水疊層，此說是中興。",
        "JULIET:\n But, soft! what light through yonder window breaks? ",
        "But, soft! what light through yonder window breaks",
        "ROMEO:",
        "",
    ]
    assert copied_lines(texts, training).tolist() == [True, False, True, False, False, False]


def test_a_line_that_recurs_everywhere_is_no_copy() -> None:
    for times, copied in ((9, True), (10, False)):
        training = TrainingText(["KING RICHARD III:\nNay.\n" * times, "KING RICHARD II:\nAy.\n"])
        assert copied_lines(["KING RICHARD III:\nWell."], training).tolist() == [copied]
        assert copied_lines(["KING RICHARD II:\nWell."], training).tolist() == [True]


def test_thinned_training_text_is_reported() -> None:
    training = TrainingText(["aaaa", "bbbb", "cccc"], max_chars=8)
    assert (training.chars, training.chars_available) == (8, 12)
    assert longest_copies(["aaaa", "bbbb", "cccc"], training).tolist() == [4, 0, 4]


def random_text(rng: random.Random, n_words: int) -> str:
    return " ".join("".join(rng.choices("abcde", k=rng.randint(1, 3))) for _ in range(n_words))


def test_human_texts_are_as_many_and_as_long() -> None:
    rng = random.Random(2)
    book = random_text(rng, 5000)
    samples = [random_text(rng, n) for n in (40, 3, 25, 60)]
    human = human_like(samples, [book], seed=5)
    assert [len(text) for text in human] == sorted(map(len, samples), reverse=True)
    assert all(text in book for text in human)
    assert human == human_like(samples, [book], seed=5) != human_like(samples, [book], seed=6)


def test_few_human_texts_are_each_used_once() -> None:
    assert human_like(["x" * 9] * 10, ["short", "longer text"]) == ["longer te", "short"]


def test_every_measure_of_copies_of_the_training_text() -> None:
    rng = random.Random(3)
    documents = [random_text(rng, 40) for _ in range(200)]
    measures = sample_measures(documents[:50], documents[100:], TrainingText(documents[:100]))
    longest = sorted(len(document) for document in documents[:50])
    assert measures["copied_lines"].value == 1
    assert measures["copied_lines"].extra["human"].value == 0
    assert measures["longest_copy"].value == np.median(longest)
    assert measures["longest_copy_max"].value == longest[-1]
    assert measures["longest_copy_max"].extra["human"].value < 40
    assert all(measures[f"novelty_{n}"].value == 0 for n in range(1, 13))
    assert measures["novelty_12"].extra["human"].value == 1
    assert measures["novelty_1"].n == measures["novelty_1"].extra["human"].n == 50


def test_measures_of_human_text_are_those_of_other_human_text() -> None:
    rng = random.Random(4)
    documents = [random_text(rng, 30) for _ in range(900)]
    measures = sample_measures(documents[:200], documents[200:400], TrainingText(documents[400:]))
    for name in ("distinct_1", "distinct_2", "novelty_2", "novelty_3"):
        own, human = measures[name], measures[name].extra["human"]
        assert own.low < human.high and human.low < own.high, name


def test_measures_that_no_text_is_long_enough_for_are_left_out() -> None:
    measures = sample_measures(["a b c", "b"], ["c a", "a b c"], TrainingText(["a b c"]))
    assert {name for name in measures if name.startswith(("distinct", "novelty"))} == {
        "distinct_1",
        "distinct_2",
        "distinct_3",
        "novelty_1",
        "novelty_2",
        "novelty_3",
    }
    assert measures["novelty_1"].value == 0
    json.dumps({name: measure.to_json() for name, measure in measures.items()}, allow_nan=False)


def test_nothing_to_compare() -> None:
    with pytest.raises(AigcError, match="every sample is empty"):
        sample_measures(["", ""], ["a b"], TrainingText(["a b"]))
    with pytest.raises(RequestError, match="no held-out text"):
        sample_measures(["a b"], [""], TrainingText(["a b"]))
