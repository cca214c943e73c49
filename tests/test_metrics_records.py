"""Whether pictures suit their texts: a judge learns it from real pairs alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aigc_cli.metrics.records.agreement import agreement
from aigc_cli.metrics.records.judge import BUCKETS, contrastive, hashed, train_judge

pytestmark = pytest.mark.usefixtures("one_thread")
COLOURS = {"red": (200, 30, 30), "green": (30, 180, 60), "blue": (30, 60, 200), "black": (20, 20, 20), "grey": (140, 140, 140)}
PLACES = {"at the top left": (0, 0), "at the top right": (0, 8), "at the bottom left": (8, 0), "at the bottom right": (8, 8)}


def pairs(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Noisy squares of five colours at four places, and what they show."""
    draw = np.random.default_rng(seed)
    pixels, texts = draw.integers(215, 256, (n, 16, 16, 3), dtype=np.uint8), []
    for picture in pixels:
        colour, place = draw.choice([*COLOURS]), draw.choice([*PLACES])
        top, left = PLACES[place]
        picture[top + 1 : top + 7, left + 1 : left + 7] = COLOURS[colour]
        texts.append(f"a {colour} square {place}")
    return pixels, texts


def test_a_judge_finds_the_texts_of_pictures_that_it_has_not_seen_and_guesses_for_others() -> None:
    pixels, texts = pairs(300, seed=0)
    before = torch.get_rng_state()
    judge = train_judge(lambda index: pixels[index], texts)
    assert torch.equal(before, torch.get_rng_state())
    others, truth = pairs(300, seed=1)
    of_texts = judge.of_texts(truth)
    real = agreement(judge.of_pictures(others), of_texts, truth)
    assert real.value > 0.95 and real.n == 300
    assert (real.extra["among"], real.extra["chance"]) == (16, 1 / 16)
    noise = np.random.default_rng(2).integers(0, 256, others.shape, dtype=np.uint8)
    guessed = agreement(judge.of_pictures(noise), of_texts, truth)
    assert guessed.value < 0.2


def test_the_same_pairs_make_the_same_judge() -> None:
    pixels, texts = pairs(20, seed=0)
    one, other = (train_judge(lambda index: pixels[index], texts).of_pictures(pixels) for _ in range(2))
    assert np.array_equal(one, other)


def test_agreement_is_the_share_of_pictures_whose_own_text_is_closest() -> None:
    texts = [f"text {number % 40}" for number in range(80)]
    vectors = np.eye(40, dtype=np.float32)[np.arange(80) % 40]
    assert agreement(vectors, vectors, texts).value == 1
    assert agreement(np.roll(vectors, 1, axis=0), vectors, texts).value == 0
    half = np.concatenate([vectors[:40], np.zeros_like(vectors[40:])])  # a tie is no find
    assert agreement(half, vectors, texts).value == 0.5
    blind = np.random.default_rng(0).normal(size=(4000, 40)).astype(np.float32)
    assert agreement(blind, np.tile(vectors, (50, 1)), texts * 50).value == pytest.approx(1 / 16, abs=0.015)


def test_with_few_texts_chance_is_higher() -> None:
    texts = ["red", "green", "blue"] * 5
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 2] * 5]
    measure = agreement(vectors, vectors, texts)
    assert (measure.value, measure.extra["among"], measure.extra["chance"]) == (1, 3, 1 / 3)
    with pytest.raises(ValueError, match="two different texts"):
        agreement(vectors, vectors, ["red"] * 15)


def test_the_loss_is_that_of_finding_the_partner_among_those_that_differ() -> None:
    x = torch.eye(3)
    scale = torch.tensor(2.0)
    e = torch.e**2
    assert contrastive(x, x, np.array([0, 1, 2]), scale).item() == pytest.approx(np.log((e + 2) / e))
    # Of the first two, which have the same text, each is told apart from the third alone.
    expected = (2 * np.log((e + 1) / e) + np.log((e + 2) / e)) / 3
    assert contrastive(x, x, np.array([0, 0, 2]), scale).item() == pytest.approx(expected)


def test_parts_of_texts_tell_the_order_of_words() -> None:
    assert hashed("a red square") == hashed("A  red square!")
    assert {*hashed("left of red")} != {*hashed("red of left")}
    assert hashed("") and all(0 <= part < BUCKETS for part in hashed("红色的方块 \U0001f600"))
    assert {*hashed("红色")} & {*hashed("红色的方块")}
