"""Near duplicates among texts: the same text with a word changed, or written with other capitals or spaces.

Texts are compared without white space and in lower case (casefolded). Two are near duplicates if they share at least 0.8 of the
sequences of 5 characters in either (Jaccard similarity); those under 50 characters only if they are the same. Candidates are
found by MinHash: 32 minima in 8 bands of 4 (Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3), which misses
one in 70 pairs of similarity 0.8 and one in 5,000 of similarity 0.9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.near import Near, Pairs, joined, remembered
from aigc_cli.data.splits import TRAIN, SplitPlan
from aigc_cli.data.text.pieces import End
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.data.text.tokens import TokenArrays, documents

Texts: TypeAlias = Callable[[], Iterable[str]]
"""Reads texts from the first on; called twice."""

_GRAM, _SHORT = 5, 50  # characters
_LEAST_SIMILAR = 0.8
_BANDS, _BAND = 8, 4
_MINIMA = _BANDS * _BAND
_LEAST_EQUAL = _MINIMA // 2  # of the minima of two texts that are worth comparing
_AT_ONCE = 1 << 20  # characters hashed at once
_ROWS = 2048  # texts looked up at once
_MOST = 16  # texts with the same minima in a band that a text is compared to
_MULTIPLIERS = np.random.default_rng(0).integers(0, 1 << 31, _MINIMA, np.uint32) * np.uint32(2) + np.uint32(1)
_FEW = 20  # texts, of which one may have been cut
_MOST_TEXTS, _MOST_BYTES = 100_000, 64_000_000
_SHOWN = 40  # characters of an example
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def look_for_near(
    folder: Path, arrays: Mapping[str, TokenArrays], tokenizer: Tokenizer, *, sliced: bool, progress: Progress
) -> tuple[dict[str, Any], list[str]]:
    """A record of the near duplicates in a cache entry, which remembers them, and what to tell about them.

    Nothing is recorded if there are too many texts, or so few of a data set that was `sliced` that one may have been cut.
    """
    train, held = arrays["train"], [arrays[split] for split in (("select", "report") if sliced else ("select",))]
    if sliced and train.n_docs < _FEW:
        return {}, []
    n_held = sum(part.n_docs for part in held)
    if n_held + train.n_docs > _MOST_TEXTS or sum(int(part.bytes.sum()) for part in (train, *held)) > _MOST_BYTES:
        most = f"{_MOST_TEXTS:,} texts or {_MOST_BYTES // 1_000_000} MB"
        return {}, [f"near duplicates of held-out texts were not looked for, as there are over {most}; --dedup near does"]

    def find() -> Near:
        read = (lambda: chain.from_iterable(documents(part, tokenizer) for part in held), lambda: documents(train, tokenizer))
        return near_texts(*read, progress)

    near = remembered(folder / "near.json", find)
    return near.describe(), near.told(n_held)


def without_near(
    plan: SplitPlan, pieces: Callable[[], Iterable[tuple[int, str, End]]], progress: Progress
) -> tuple[SplitPlan, Near]:
    """The plan without training texts that are near duplicates of held-out ones. `pieces` reads all that is not dropped, and
    whole."""

    def read(*, held: bool) -> Iterator[str]:
        parts: list[str] = []
        for split, text, end in pieces():
            if (split != TRAIN) is held:
                parts.append(text)
                if end is End.DOCUMENT:
                    yield "".join(parts)
                    parts.clear()

    near = near_texts(lambda: read(held=True), lambda: read(held=False), progress)
    return near.removed_from(plan), near


def near_texts(held: Texts, train: Texts, progress: Progress) -> Near:
    """The near duplicates of held-out texts among those to train on."""
    minima = _minima_of(held(), progress), _minima_of(train(), progress)
    candidates = _candidates(*minima)
    texts = [_picked(read(), candidates[:, side]) for side, read in enumerate((held, train))]
    grams = [{number: _grams(_plain(text)) for number, text in some.items()} for some in texts]
    similar = [_jaccard(grams[0][a], grams[1][b]) >= _LEAST_SIMILAR for a, b in candidates.tolist()]
    pairs = candidates[np.array(similar, bool)]
    return Near.of(pairs, len(minima[0]), lambda a, b: (_opening(texts[0][a]), _opening(texts[1][b])))


def _picked(texts: Iterable[str], numbers: npt.NDArray[np.int64]) -> dict[int, str]:
    wanted = {*numbers.tolist()}
    return {number: text for number, text in enumerate(texts) if number in wanted} if wanted else {}


def _opening(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[:_SHOWN] + "…")


def _plain(text: str) -> str:
    return "".join(text.casefold().split())


def _grams(plain: str) -> set[str]:
    if len(plain) < _SHORT:
        return {plain}
    return {plain[at : at + _GRAM] for at in range(len(plain) - _GRAM + 1)}


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def _minima_of(texts: Iterable[str], progress: Progress) -> npt.NDArray[np.uint32]:
    """(n, 32): those of n texts."""
    found = [np.empty((0, _MINIMA), np.uint32)]
    batch: list[str] = []
    waiting = done = 0
    for text in texts:
        batch.append(_plain(text))
        waiting += len(text)
        if waiting >= _AT_ONCE:
            found.append(_minima(batch))
            progress("looking for near duplicates", done := done + waiting, None)
            batch, waiting = [], 0
    return np.concatenate([*found, _minima(batch)] if batch else found)


def _minima(plains: Sequence[str]) -> npt.NDArray[np.uint32]:
    """(n, 32): the least of the grams' hashes in 32 orders, for n texts."""
    sizes = np.array([len(plain) for plain in plains])
    counts = np.where(sizes < _SHORT, 1, sizes - _GRAM + 1)
    begins = np.cumsum(counts) - counts
    codes = np.frombuffer("".join(plains).encode("utf-32-le") + bytes(4 * _GRAM), np.uint32).astype(np.uint64)
    hashes = np.zeros(len(codes) - _GRAM + 1, np.uint64)  # (characters + 1,) of the gram that begins at each
    for place in range(_GRAM):
        hashes = (hashes + codes[place : place + len(hashes)]) * _PRIME
        hashes ^= hashes >> np.uint64(29)
    of_grams = np.arange(counts.sum()) + np.repeat(np.cumsum(sizes) - sizes - begins, counts)
    grams = (hashes[of_grams] >> np.uint64(32)).astype(np.uint32)
    for number in np.flatnonzero(sizes < _SHORT).tolist():
        grams[begins[number]] = int.from_bytes(hashlib.blake2b(plains[number].encode(), digest_size=4).digest(), "little")
    return np.column_stack([np.minimum.reduceat(grams * multiplier, begins) for multiplier in _MULTIPLIERS])


def _candidates(held: npt.NDArray[np.uint32], train: npt.NDArray[np.uint32]) -> Pairs:
    """For each held-out text the most similar training text, by their minima, and the other way round."""
    return np.unique(np.concatenate([_most_similar(held, train), _most_similar(train, held)[:, ::-1]]), axis=0)


def _most_similar(ours: npt.NDArray[np.uint32], theirs: npt.NDArray[np.uint32]) -> Pairs:
    """Of our texts those that agree with another in a band and in half of all minima, each with the one that agrees most."""
    tables = []
    for keys in _bands(theirs):
        order = np.argsort(keys)
        tables.append((keys[order], order))
    found = []
    for start in range(0, len(ours), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(ours)))
        of_bands = zip(tables, _bands(ours[rows]), strict=True)
        pairs = joined([_in_band(keys, order, of_rows, rows) for (keys, order), of_rows in of_bands])
        equal = (ours[pairs[:, 0]] == theirs[pairs[:, 1]]).sum(axis=1)
        best_first = np.lexsort((-equal, pairs[:, 0]))
        best_first = best_first[equal[best_first] >= _LEAST_EQUAL]
        found.append(pairs[best_first][np.unique(pairs[best_first, 0], return_index=True)[1]])
    return joined(found)


def _bands(minima: npt.NDArray[np.uint32]) -> list[npt.NDArray[np.uint64]]:
    """For each band, a key (n,) that is equal where its minima are."""
    keys = []
    for band in range(_BANDS):
        key = np.zeros(len(minima), np.uint64)
        for column in range(band * _BAND, (band + 1) * _BAND):
            key = (key + minima[:, column]) * _PRIME
            key ^= key >> np.uint64(29)
        keys.append(key)
    return keys


def _in_band(
    keys: npt.NDArray[np.uint64], order: npt.NDArray[np.int64], of_rows: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]
) -> Pairs:
    """Our texts `rows`, whose keys are `of_rows`, paired with those of their texts `order` that have the same of the sorted
    `keys`; with 16 at most, and not always with the same."""
    first = np.searchsorted(keys, of_rows)
    counts = np.searchsorted(keys, of_rows, side="right") - first
    taken = np.minimum(counts, _MOST)
    repeated = np.repeat(np.arange(len(rows)), taken)
    place = np.arange(len(repeated)) - np.repeat(np.cumsum(taken) - taken, taken) + rows[repeated]
    return np.column_stack((rows[repeated], order[first[repeated] + place % counts[repeated]]))
