"""How much of a text was copied from the training text: whole lines, the longest span, and n-grams.

Human writers repeat earlier text too, so each figure means something only beside the same figure for held-out
human text of the same lengths; every function here takes either.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from aigc_cli.metrics.text.matching import Queries, covered, occurring
from aigc_cli.metrics.text.symbols import SEPARATOR, code_points, number_words, thin, words

MAX_TRAIN_CHARS = 64_000_000
MIN_LINE_BYTES = 15
MOST_RECURRING = 9
MAX_N = 12
_OTHER = 0xFFFFFFFF  # a word that no text has, and the end of a document

# Han verse is often set without line breaks, its lines ended by these marks.
_LINE_END = re.compile(r"[\n\r，。！？；]+")


class TrainingText:
    """The training documents, thinned to `max_chars` by taking every k-th one.

    `chars` of the `chars_available` characters are used. The measures take about 15 bytes a character.
    """

    def __init__(self, documents: Sequence[str], *, max_chars: int = MAX_TRAIN_CHARS) -> None:
        self.documents = thin(documents, max_chars)
        self.chars = sum(map(len, self.documents))
        self.chars_available = sum(map(len, documents))


def lines(text: str) -> list[str]:
    """The lines of at least `MIN_LINE_BYTES` bytes of UTF-8, without the white space around them.

    Line breaks and the full-width marks ，。！？； end a line. Fifteen bytes are five Han characters or
    fifteen Latin letters; shorter lines recur by chance in anybody's text.
    """
    stripped = (line.strip() for line in _LINE_END.split(text))
    return [line for line in stripped if len(line.encode()) >= MIN_LINE_BYTES]


def copied_lines(texts: Sequence[str], training: TrainingText) -> NDArray[np.bool_]:
    """Whether each text has a line that is also, exactly, a line of the training text. Shape (texts,).

    A line that the training text has more than `MOST_RECURRING` times is a formula, such as the name of who speaks in a play,
    and not counted.
    """
    own = [set(lines(text)) for text in texts]
    wanted = set().union(*own)
    found = Counter(line for document in training.documents for line in lines(document) if line in wanted)
    copied = {line for line, times in found.items() if times <= MOST_RECURRING}
    return np.array([not copied.isdisjoint(mine) for mine in own], dtype=bool)


def longest_copies(texts: Sequence[str], training: TrainingText) -> NDArray[np.int64]:
    """The characters in each text's longest span that occurs in a training document too. Shape (texts,).

    Every part of a span that occurs, occurs as well. So one look at the training text finds the largest power
    of two that each text reaches, and a binary search goes on from there, in no more than those parts of the
    training text that have a span of that many characters in common with the texts concerned.
    """
    corpus = code_points(chr(SEPARATOR).join(training.documents))
    queries = Queries([code_points(text) for text in texts])
    longest = np.zeros_like(queries.lengths)
    powers = [1 << k for k in range(int(queries.lengths.max(initial=0)).bit_length())]
    ngrams = {n: queries.ngrams(n) for n in powers}
    for n, found in occurring(corpus, {n: hashes for n, (hashes, _) in ngrams.items()}).items():
        longest[ngrams[n][1][found]] = n
    for n in powers:
        hashes, owner = ngrams[n]
        reached = longest == n
        if reached.any():
            shared = covered(corpus, n, hashes[reached[owner]], separator=SEPARATOR)
            longest[reached] = _search(shared, queries, reached, n)[reached]
    return longest


def _search(corpus: NDArray[np.uint32], queries: Queries, reached: NDArray[np.bool_], power: int) -> NDArray[np.int64]:
    """The longest copies of the texts `reached`, which are at least `power` and less than twice that long."""
    # A span of `low` characters occurs, one of `high` characters does not.
    low = np.where(reached, power, 0)
    high = np.where(reached, np.minimum(2 * power, queries.lengths + 1), 1)
    while (undecided := high - low > 1).any():
        trial = np.where(undecided, (low + high) // 2, 0)
        hashes, owners = {}, {}
        for n in np.unique(trial[undecided]).tolist():
            every, owner = queries.ngrams(n)
            tried = trial[owner] == n
            hashes[n], owners[n] = every[tried], owner[tried]
        occurs = np.zeros_like(reached)
        for n, found in occurring(corpus, hashes).items():
            occurs[owners[n][found]] = True
        low = np.where(undecided & occurs, trial, low)
        high = np.where(undecided & ~occurs, trial, high)
    return low


def novel_ngrams(
    texts: Sequence[str], training: TrainingText, max_n: int = MAX_N
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of each text's n-grams of words occur in no training document, and how many it has.

    Both of shape (max_n, texts), for n = 1 … max_n. Their ratio is the n-gram novelty of McCoy et al. (2023,
    "How Much Do Language Models Copy From Their Training Data? Evaluating Linguistic Novelty in Text
    Generation Using RAVEN"): an n-gram counts as often as it is generated. Words are `symbols.words`.
    """
    numbered, vocabulary = number_words(texts)
    queries = Queries(numbered)
    ended = ([vocabulary.get(word, _OTHER) for word in words(document)] + [_OTHER] for document in training.documents)
    corpus = np.fromiter(chain([_OTHER], chain.from_iterable(ended)), dtype=np.uint32)
    ngrams = {n: queries.ngrams(n) for n in range(1, max_n + 1)}
    found = occurring(corpus, {n: hashes for n, (hashes, _) in ngrams.items()})
    novel = [np.bincount(owner[~found[n]], minlength=len(texts)) for n, (_, owner) in ngrams.items()]
    total = [np.bincount(owner, minlength=len(texts)) for _, owner in ngrams.values()]
    return np.array(novel), np.array(total)
