"""The measures of sampled text, each with the same measure of human text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, mean, median, ratio_of_sums
from aigc_cli.metrics.text.copies import (
    MAX_N,
    MIN_LINE_BYTES,
    TrainingText,
    copied_lines,
    longest_copies,
    novel_ngrams,
)
from aigc_cli.metrics.text.diversity import distinct_n
from aigc_cli.metrics.text.symbols import number_words

DISTINCT = (1, 2, 3, 4)


def human_like(samples: Sequence[str], held_out: Sequence[str], *, seed: int = 0) -> list[str]:
    """Held-out human texts to compare the samples with: as many, and as long.

    A held-out document is one text, or is cut into several of the longest sample's length. They are drawn at
    random without replacement, paired with the samples by rank of length, and cut where longer than their
    partner. There are fewer if the held-out data is short, and a text is shorter than its partner if human texts
    are shorter.

    Raises `AigcError` if every sample is empty.
    """
    longest = max(map(len, samples), default=0)
    if longest == 0:
        raise AigcError("every sample is empty, so there is no text to measure")
    pool = [text[i : i + longest] for text in held_out if text for i in range(0, max(1, len(text) - longest + 1), longest)]
    drawn = np.random.default_rng(seed).permutation(len(pool))[: len(samples)]
    texts = sorted((pool[i] for i in drawn), key=len, reverse=True)
    lengths = sorted(map(len, samples), reverse=True)
    return [text[:length] for text, length in zip(texts, lengths, strict=False)]


def sample_measures(
    samples: Sequence[str], held_out: Sequence[str], train: TrainingText, *, seed: int = 0
) -> dict[str, Measure]:
    """Every measure of a set of samples, with the same measure of human text under `human` in its `extra`.

    - `distinct_1` … `distinct_4`: `distinct_n`, over equally many and equally long texts of both;
    - `copied_lines`: the share of samples with a line of the training text, `copied_lines`;
    - `longest_copy`, `longest_copy_max`: the median and the maximum over samples of `longest_copies`;
    - `novelty_1` … `novelty_12`: the share of n-grams that are not in the training text, `novel_ngrams`.

    A measure of n-grams is left out if no sample or no human text is long enough.
    """
    human = human_like(samples, held_out, seed=seed)
    if not human:
        raise RequestError("there is no held-out text to compare the samples with")
    by_length = sorted(samples, key=len, reverse=True)
    alike = [sample[: len(text)] for sample, text in zip(by_length, human, strict=False)]
    measures = {}
    for n in DISTINCT:
        if n <= min(map(_most_words, (alike, human))):
            measures[f"distinct_{n}"] = distinct_n(alike, n).beside(human=distinct_n(human, n))
    used = {"train_chars": train.chars, "train_chars_available": train.chars_available}
    both, half = [*samples, *human], len(samples)

    copied = copied_lines(both, train)
    measures["copied_lines"] = mean(copied[:half], seed=seed).beside(
        human=mean(copied[half:], seed=seed), min_line_bytes=MIN_LINE_BYTES, **used
    )
    spans = longest_copies(both, train)
    measures["longest_copy"] = median(spans[:half], unit="chars", seed=seed).beside(
        human=median(spans[half:], unit="chars", seed=seed), **used
    )
    measures["longest_copy_max"] = _maximum(spans[:half]).beside(human=_maximum(spans[half:]), **used)
    novel, total = novel_ngrams(both, train)
    for n in range(1, MAX_N + 1):
        row, of = novel[n - 1], total[n - 1]
        if of[:half].any() and of[half:].any():
            measures[f"novelty_{n}"] = ratio_of_sums(row[:half], of[:half], seed=seed).beside(
                human=ratio_of_sums(row[half:], of[half:], seed=seed), **used
            )
    return measures


def _most_words(texts: Sequence[str]) -> int:
    return max(text.size for text in number_words(texts)[0])


def _maximum(values: NDArray[np.int64]) -> Measure:
    # No interval: the bootstrap is inconsistent for a maximum.
    return Measure(float(values.max()), None, None, values.size, "chars")
