"""Which n-grams of a few short texts occur in a long one.

The short texts are hashed and the long one streams past, so memory is that of the long one's symbols and a
few megabytes, and nothing is built beforehand. The hash of an n-gram x is Σ_j r(x_j) B^j modulo 2⁶⁴ (after
Karp and Rabin, 1987), with r a random 64-bit word for each symbol; those of all windows come from prefix
sums, multiplied by B^−i. Two different n-grams agree with probability about 2⁻⁶⁴: for 10⁶ wanted n-grams
against 10⁸ windows, some 5 · 10⁻⁶ in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

_BASE = 0xD1342543DE82EF95  # odd, so it has an inverse modulo 2⁶⁴
_INVERSE = pow(_BASE, -1, 1 << 64)
_CHUNK = 1 << 18  # windows hashed at once: 2 MiB an array, which stays in the processor's cache


class Queries:
    """Short texts, each an array of symbols, and the hashes of their n-grams."""

    def __init__(self, texts: Sequence[NDArray[np.uint32]]) -> None:
        self.lengths = np.array([text.size for text in texts], dtype=np.int64)
        self._starts = np.cumsum(self.lengths) - self.lengths
        self._hasher = _Hasher(np.concatenate([np.empty(0, np.uint32), *texts]))

    def ngrams(self, n: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The hash of every n-gram inside a text, and the number of the text that it belongs to."""
        counts = np.maximum(0, self.lengths - n + 1)
        owner = np.repeat(np.arange(counts.size), counts)
        offset = np.arange(owner.size) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._hasher.windows(n)[self._starts[owner] + offset], owner


def occurring(corpus: NDArray[np.uint32], wanted: Mapping[int, NDArray[np.uint64]]) -> dict[int, NDArray[np.bool_]]:
    """For each length n, which of the hashes `wanted[n]` are those of an n-gram of `corpus`; in one pass."""
    searches = {n: _Missing(hashes) for n, hashes in wanted.items()}
    for _, hasher in _chunks(corpus, max(searches, default=1)):
        for n, search in searches.items():
            search.look_in(hasher.windows(n))
    return {n: search.found(wanted[n]) for n, search in searches.items()}


def covered(corpus: NDArray[np.uint32], n: int, hashes: NDArray[np.uint64], *, separator: int) -> NDArray[np.uint32]:
    """What is left of `corpus` without the symbols that are in no n-gram with one of the hashes.

    A separator stands for each stretch left out, so every longer string made of such n-grams still occurs,
    and none that did not. At least one hash is needed.
    """
    search = _Missing(hashes)
    places = [start + search.places(hasher.windows(n))[0] for start, hasher in _chunks(corpus, n)]
    place = np.concatenate([np.empty(0, np.int64), *places])
    if place.size == 0:
        return corpus[:0]
    gap = np.diff(place) > n
    begins, ends = place[np.append(True, gap)], place[np.append(gap, True)] + n
    ends = ends[ends < corpus.size]
    step = np.zeros(corpus.size, dtype=np.int8)
    step[begins], step[ends] = 1, -1
    left_out = step == -1
    kept = np.cumsum(step, dtype=np.int8).astype(bool) | left_out
    rest: NDArray[np.uint32] = corpus[kept]
    rest[left_out[kept]] = separator
    return rest


def _chunks(corpus: NDArray[np.uint32], longest: int) -> Iterator[tuple[int, _Hasher]]:
    """Stretches of the corpus and their starts, overlapping so that every window is inside one of them."""
    step = max(_CHUNK, longest)
    for start in range(0, corpus.size, step):
        yield start, _Hasher(corpus[start : start + step + longest - 1])


class _Missing:
    """The hashes of one length that were not found yet.

    A table of their leading bits turns away nearly all other windows at the price of one look-up. What is
    found is no longer looked for, and frequent n-grams are found at once, so few windows get past the table.
    """

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        self._missing = np.unique(hashes)
        self._shift = np.uint64(64 - int(np.clip(self._missing.size.bit_length() + 4, 10, 24)))
        self._tabulate()

    def _tabulate(self) -> None:
        self._table = np.zeros(1 << (64 - int(self._shift)), dtype=bool)
        self._table[self._missing >> self._shift] = True

    def look_in(self, windows: NDArray[np.uint64]) -> None:
        """Strike off what occurs among the windows."""
        if self._missing.size == 0:
            return
        _, which = self.places(windows)
        if which.size:
            self._missing = np.delete(self._missing, which)
            self._tabulate()

    def places(self, windows: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the windows are ones that are still looked for, and which of those they are."""
        likely = np.flatnonzero(self._table[windows >> self._shift])
        which = np.searchsorted(self._missing[:-1], windows[likely])  # never past the last
        found = self._missing[which] == windows[likely]
        return likely[found], which[found]

    def found(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the hashes are no longer looked for."""
        return np.isin(hashes, self._missing, invert=True)


class _Hasher:
    """The prefix sums of one stretch of symbols."""

    def __init__(self, symbols: NDArray[np.uint32]) -> None:
        self._sums = np.zeros(symbols.size + 1, dtype=np.uint64)
        np.cumsum(_random_word(symbols) * _powers(_BASE, symbols.size), out=self._sums[1:])

    def windows(self, n: int) -> NDArray[np.uint64]:
        """The hash of each window of n symbols, shape (max(0, size − n + 1),)."""
        difference = self._sums[n:] - self._sums[: max(0, self._sums.size - n)]
        return difference * _powers(_INVERSE, difference.size)


def _random_word(symbols: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood, 2014): a fixed random 64-bit word for each symbol."""
    z = (symbols.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _powers(base: int, size: int) -> NDArray[np.uint64]:
    """base⁰ … base^(size − 1) modulo 2⁶⁴."""
    return _power_table(base, max(20, (size - 1).bit_length()))[:size]


@cache
def _power_table(base: int, bits: int) -> NDArray[np.uint64]:
    table = np.full(1 << bits, base, dtype=np.uint64)
    table[0] = 1
    return np.cumprod(table)
