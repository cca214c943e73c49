"""The text in a collection that is most similar to a given one, by the characters and character pairs they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CHARS = 200  # of each text that are compared


def _grams(text: str) -> set[str]:
    text = text[:_CHARS]
    return {*text, *(text[i : i + 2] for i in range(len(text) - 1))}


class NearestText:
    """Texts, indexed by their n-grams of 1 and 2 characters."""

    def __init__(self, texts: Sequence[str]) -> None:
        """`texts` is not empty."""
        postings: defaultdict[str, list[int]] = defaultdict(list)
        self._sizes = np.zeros(len(texts))
        for number, text in enumerate(texts):
            grams = _grams(text)
            self._sizes[number] = len(grams)
            for gram in grams:
                postings[gram].append(number)
        self._postings = {gram: np.array(numbers) for gram, numbers in postings.items()}

    def nearest(self, text: str) -> int:
        """The index of the text with the largest Jaccard similarity |A ∩ B| / |A ∪ B| of n-grams; the first one on ties."""
        grams = _grams(text)
        found = [self._postings[gram] for gram in grams if gram in self._postings]
        if not found:
            return 0
        common: NDArray[np.int64] = np.bincount(np.concatenate(found), minlength=len(self._sizes))
        return int(np.argmax(common / (self._sizes + len(grams) - common)))
