"""The text of a collection that is most like a given one, by the characters and pairs of characters that both have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_TEXTS = 100_000
_CHARS = 200  # of a text, that are looked at


def _grams(text: str) -> set[str]:
    text = text[:_CHARS]
    return {*text, *(text[i : i + 2] for i in range(len(text) - 1))}


class NearestText:
    """Texts, indexed by their n-grams of 1 and 2 characters. Of more than `MAX_TEXTS` evenly spread ones are looked at."""

    def __init__(self, texts: Sequence[str]) -> None:
        """There is at least one text."""
        self._places = np.arange(0, len(texts), -(-len(texts) // MAX_TEXTS))
        postings: defaultdict[str, list[int]] = defaultdict(list)
        self._sizes = np.zeros(len(self._places))
        for number, place in enumerate(self._places.tolist()):
            grams = _grams(texts[place])
            self._sizes[number] = len(grams)
            for gram in grams:
                postings[gram].append(number)
        self._postings = {gram: np.array(numbers) for gram, numbers in postings.items()}

    def nearest(self, text: str) -> int:
        """The place of the text with the largest Jaccard similarity |A ∩ B| / |A ∪ B| of n-grams; of equals, the first."""
        grams = _grams(text)
        found = [self._postings[gram] for gram in grams if gram in self._postings]
        if not found:
            return 0
        common: NDArray[np.int64] = np.bincount(np.concatenate(found), minlength=len(self._places))
        return int(self._places[np.argmax(common / (self._sizes + len(grams) - common))])
