"""What it costs to spell a word that a vocabulary does not have.

A model that reads such a word as `<unk>` has said only that it is one of those. To be a code of the text, and so comparable
with models of characters, it must pay for the letters too: here by a distribution over words, character by character up to an
end, whose characters have the frequencies of unknown words in training.
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
    """A distribution over words. With N characters of T kinds in n unknown words of the training text, and M = N + n + T + 2,

    p(character c) = count(c)/M,  p(end) = (n + 1)/M,  p(a character not among them) = (T + 1)/M,

    the last followed by its bytes of UTF-8, each 1/256. (The share of what is new is that of Witten and Bell 1991, as if
    once more of each had been seen.)
    """

    counts: Mapping[str, int]  # of each character in the unknown words
    words: int  # how many unknown words there were
    _known: dict[bytes, float] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def fit(cls, words: Mapping[str, int]) -> Spelling:
        """Of unknown words and how often each was seen."""
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
        """Raises KeyError, TypeError or ValueError for what `to_json` did not give."""
        return cls({str(char): int(count) for char, count in record["counts"].items()}, int(record["words"]))
