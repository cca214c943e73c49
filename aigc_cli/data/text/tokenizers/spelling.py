"""The cost of spelling a word that is not in the vocabulary.

A model that predicts `<unk>` says only that the word is unknown. To make its likelihood one of the text, comparable with models
of characters, it must also pay for the letters. A unigram model of characters with an end symbol, fitted on the unknown words
of the training text, gives that cost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Spelling:
    """A distribution over words. If the n unknown words of the training text have N characters, T of them different, then with
    M = N + n + T + 2

    p(character c) = count(c)/M,  p(end) = (n + 1)/M,  p(a new character) = (T + 1)/M,

    where a new character is followed by its UTF-8 bytes, each with probability 1/256. (The share of new characters is that of
    Witten and Bell 1991, plus one.)
    """

    counts: Mapping[str, int]  # of each character in the unknown words
    words: int  # the number of unknown words
    _known: dict[bytes, float] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def fit(cls, words: Mapping[str, int]) -> Spelling:
        """Fit to unknown words and their counts."""
        counts: Counter[str] = Counter()
        for word, count in words.items():
            for char in word:
                counts[char] += count
        return cls(dict(sorted(counts.items())), sum(words.values()))

    def nats(self, word: bytes) -> float:
        """-log p of a word in UTF-8."""
        if word not in self._known:
            total = self._total
            cost = math.log(total / (self.words + 1))
            for char in word.decode():
                if char in self.counts:
                    cost += math.log(total / self.counts[char])
                else:
                    cost += math.log(total / (len(self.counts) + 1)) + len(char.encode()) * math.log(256)
            self._known[word] = cost
        return self._known[word]

    @cached_property
    def _total(self) -> int:
        return sum(self.counts.values()) + self.words + len(self.counts) + 2

    def to_json(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "words": self.words}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Spelling:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        return cls({str(char): int(count) for char, count in record["counts"].items()}, int(record["words"]))
