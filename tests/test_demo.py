"""The distribution of `demo:verse` is exactly as documented."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np
import pytest

from aigc_cli.data.text.verse import DEMOS, Verse

VERSE = DEMOS["verse"]

SMALL = Verse(
    templates=((("the", "the", "my"), ("red", "wide")), (("o",), ("red", "blue")), (("the",), ("wide",))),
    rhymes=(("sea", "tree", "bee"), ("hill", "mill")),
    couplets=(1, 2),
)  # the first and the third template overlap: "the wide" comes of both


def _couplets(grammar: Verse) -> set[str]:
    """Every couplet of a grammar, by enumeration."""
    starts = {" ".join(words) for template in grammar.templates for words in itertools.product(*template)}
    lines = {start[0].upper() + start[1:] for start in starts}
    return {
        f"{first} {a},\n{second} {b}."
        for first, second in itertools.product(lines, lines)
        for rhyme in grammar.rhymes
        for a, b in itertools.permutations(rhyme, 2)
    }


def test_probabilities_sum_to_one() -> None:
    couplets = _couplets(SMALL)
    total = sum(math.exp(-SMALL.nats(couplet)) for couplet in couplets)
    assert total == pytest.approx(0.5)  # one couplet with probability 1/2
    few = Verse(SMALL.templates[:1], SMALL.rhymes[1:], (2,))
    poems = ("\n".join(pair) for pair in itertools.product(_couplets(few), repeat=2))
    assert sum(math.exp(-few.nats(poem)) for poem in poems) == pytest.approx(1.0)


def test_a_line_of_two_templates_has_the_sum_of_their_probabilities() -> None:
    line = (2 / 3 / 2 + 1) / 3  # "the wide": of the first template, and of the third
    expected = -math.log(0.5 * line * line / 2 / 3 / 2)
    assert SMALL.nats("The wide sea,\nThe wide bee.") == pytest.approx(expected)


def test_nats_agrees_with_the_sampler() -> None:
    rng = Random(1)
    for _ in range(200):
        poem, nats = VERSE.sample(rng)
        assert VERSE.nats(poem) == pytest.approx(nats)


def test_the_mean_cost_is_the_entropy() -> None:
    rng = Random(2)
    nats = np.array([VERSE.nats(VERSE.sample(rng)[0]) for _ in range(2000)])
    assert abs(nats.mean() - VERSE.entropy()) < 4 * nats.std(ddof=1) / math.sqrt(len(nats))


def test_no_line_comes_of_two_templates() -> None:
    """What the closed form of the entropy rests on."""
    for a, b in itertools.combinations(VERSE.templates, 2):
        if len(a) == len(b):
            assert any(not set(x) & set(y) for x, y in zip(a, b, strict=True))
    words = [word for rhyme in VERSE.rhymes for word in rhyme]
    assert len(words) == len(set(words))
    assert all(len(rhyme) >= 2 for rhyme in VERSE.rhymes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The golden moon recalls the sea,",
        "The golden moon recalls the sea,\nThe silver star recalls the sea.",  # the same word is no rhyme
        "The golden moon recalls the sea,\nThe silver star recalls the day.",
        "the golden moon recalls the sea,\nThe silver star recalls the tree.",
        "The golden moon recalls the sea,\nThe silver star recalls the tree",
        "The golden moon recalls  the sea,\nThe silver star recalls the tree.",
        "The golden moon recalls the sea,\nThe silver cow recalls the tree.",
    ],
)
def test_other_text_is_impossible(text: str) -> None:
    couplet = "The golden moon recalls the sea,\nThe silver star recalls the tree."
    assert VERSE.nats(f"{couplet}\n{couplet}") < math.inf
    assert VERSE.nats(couplet) == math.inf  # a poem has two couplets at least
    assert VERSE.nats(f"{couplet}\n{text}") == math.inf


def test_the_data_set_is_always_the_same_and_nearly_without_copies() -> None:
    poems = list(VERSE.documents())
    assert len(poems) == 20_000
    assert len(set(poems)) > 19_990
    assert poems[:3] == list(itertools.islice(VERSE.documents(), 3))
    assert {poem.count("\n") for poem in poems} == {3, 5}
    assert Verse(seed=1).fingerprint() != VERSE.fingerprint()
