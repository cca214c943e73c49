"""The n-gram baseline: what counting alone achieves in bits per character on the same text.

Interpolated Kneser–Ney with modified discounts (Kneser and Ney, 1995; Chen and Goodman, 1998, "An Empirical
Study of Smoothing Techniques for Language Modeling", the best of the methods compared there), on characters:

    p_k(w | h) = (a(hw) − D(a(hw))) / Σ_v a(hv) + γ(h) · p_{k−1}(w | h'),    γ(h) = Σ_v D(a(hv)) / Σ_v a(hv)

h' is h without its first symbol. In the highest order a is the count; below it, the number of different
symbols seen before hw, except where hw starts at the beginning of a document, before which there is nothing:
there it is the count. p_0 is uniform over all Unicode scalar values and the end of document, so every text
has a probability and the law sums to one in every context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.text.likelihood import bits_per_char
from aigc_cli.metrics.text.symbols import code_points, thin

ALPHABET = 0x110000 - 0x800 + 1  # the Unicode scalar values and the end of document
MAX_ORDER = 8
MAX_TRAIN_CHARS = 6_000_000
MAX_HELD_OUT_CHARS = 4_000_000
_BEGIN, _END, _FIRST = 0, 1, 2
_FALLBACK = (0.5, 1.0, 1.5)  # KenLM's discounts for counts of counts that give none


@dataclass(frozen=True)
class _Law:
    """What one order adds to the lower ones; the last entries, 0 and 1, are for what was never seen."""

    share: NDArray[np.float32]  # (a − D) / Σ a of each n-gram
    gamma: NDArray[np.float32]  # γ of each context


@dataclass(frozen=True)
class _Order:
    """The n-grams of one length. The id of an n-gram is its place in `keys`, which is sorted."""

    keys: NDArray[np.int64]  # (id of the context) · (number of symbols) + the last symbol
    top: _Law  # from counts, for the highest order of a model
    lower: _Law  # from continuation counts, for the orders below the highest


class KneserNey:
    """The models of orders 1 … max_order, fitted together on the characters of the documents.

    Memory: about 80 bytes a training character while fitting and 24 bytes a distinct n-gram of any order.
    """

    def __init__(self, documents: Sequence[str], max_order: int = MAX_ORDER) -> None:
        if max_order < 1:
            raise ValueError(f"the order of an n-gram model is at least 1, not {max_order}")
        self.alphabet = np.unique(code_points("".join(documents)))
        self._symbols = _FIRST + self.alphabet.size + 1  # the last one stands for every unseen character
        self._orders = list(self._fit(documents, max_order))

    def nats(self, documents: Sequence[str]) -> NDArray[np.float64]:
        """−log p of every character and every end of document, in order, under the model of each order.

        Shape (max_order, symbols): a document of n characters has n + 1 symbols.
        """
        symbol, place = self._encode(documents)
        ids: NDArray[np.int64] = np.zeros_like(symbol)
        lower = np.full(symbol.size, 1 / ALPHABET)
        costs = np.empty((len(self._orders), np.count_nonzero(place)))
        for k, order in enumerate(self._orders, start=1):
            # Where the beginning of the document is nearer than k − 1 symbols, all of it was used already.
            context = np.where(place >= k - 1, _previous(ids), -1)
            ids = _find(order.keys, context, symbol, self._symbols)
            costs[k - 1] = -np.log(_interpolate(order.top, context, ids, lower)[place > 0])
            lower = _interpolate(order.lower, context, ids, lower)
        return costs

    def _encode(self, documents: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The symbols, a beginning and an end around each document, and each one's place in its document."""
        lengths = np.array([len(document) + 2 for document in documents], dtype=np.int64)
        ends = np.cumsum(lengths) - 1
        place = np.arange(lengths.sum()) - np.repeat(ends + 1 - lengths, lengths)
        inside = place > 0
        inside[ends] = False
        codes = code_points("".join(documents))
        index = np.searchsorted(self.alphabet, codes)
        seen = np.append(self.alphabet, 0xFFFFFFFF)[index] == codes
        symbol = np.full(place.size, _BEGIN, dtype=np.int64)
        symbol[ends] = _END
        symbol[inside] = np.where(seen, index + _FIRST, self._symbols - 1)
        return symbol, place

    def _fit(self, documents: Sequence[str], max_order: int) -> Iterator[_Order]:
        symbol, place = self._encode(documents)
        # Order 1 lists every symbol; the beginning is never predicted and so never counted.
        keys, ids, begins = np.arange(self._symbols), symbol, np.arange(self._symbols) == _BEGIN
        counts = np.bincount(symbol, minlength=keys.size) * ~begins
        contexts = 1
        for k in range(1, max_order + 1):
            where = np.flatnonzero(place >= k)
            longer, first, inverse, longer_counts = _unique(ids[where - 1] * self._symbols + symbol[where])
            continuations = np.bincount(ids[where[first]], minlength=keys.size)
            context = keys // self._symbols
            yield _Order(
                keys,
                top=_law(counts, context, contexts),
                lower=_law(np.where(begins, counts, continuations), context, contexts),
            )
            contexts = keys.size
            keys, counts, begins = longer, longer_counts, place[where[first]] == k
            ids = np.full_like(symbol, -1)
            ids[where] = inverse


def ngram_baseline(
    train: Sequence[str],
    select: Sequence[str],
    report: Sequence[str],
    *,
    max_order: int = MAX_ORDER,
    max_train_chars: int = MAX_TRAIN_CHARS,
    max_held_out_chars: int = MAX_HELD_OUT_CHARS,
    unit_chars: int | None = None,
    seed: int = 0,
) -> Measure:
    """Bits per character of the `report` documents under the order that is best on the `select` documents.

    The cost of each end of document is included. Longer inputs are thinned to the caps by taking every k-th
    document; `extra` says how much was used (`train_chars` of `train_chars_available`, and so on). The units
    of the interval are documents, or with `unit_chars` stretches of that many characters of each document.

    Raises `RequestError` when the `select` or the `report` documents are empty.
    """
    if not any(select) or not any(report):
        raise RequestError("there is nothing to measure: the held-out data has no text in it")
    used = [thin(train, max_train_chars), *(thin(half, max_held_out_chars) for half in (select, report))]
    model = KneserNey(used[0], max_order)
    order = 1 + int(model.nats(used[1]).sum(axis=1).argmin())
    nats, chars = _by_unit(model.nats(used[2])[order - 1], used[2], unit_chars)
    names = ("train_chars", "select_chars", "report_chars")
    sizes = {name: sum(map(len, documents)) for name, documents in zip(names, used, strict=True)}
    given = zip(names, (train, select, report), strict=True)
    available = {f"{name}_available": sum(map(len, documents)) for name, documents in given}
    return bits_per_char(nats, chars, seed=seed).beside(order=order, **sizes, **available)


def _by_unit(
    nats: NDArray[np.float64], documents: Sequence[str], unit_chars: int | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The cost and the characters of each unit; the end of a document belongs to its last unit."""
    starts, chars, offset = [], [], 0
    for document in documents:
        size = unit_chars or max(1, len(document))
        for start in range(0, max(1, len(document)), size):
            starts.append(offset + start)
            chars.append(min(size, len(document) - start))
        offset += len(document) + 1
    return np.add.reduceat(nats, starts), np.array(chars)


def _law(counts: NDArray[np.int64], context: NDArray[np.int64], contexts: int) -> _Law:
    discounted = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(context, counts, minlength=contexts)
    gamma = np.bincount(context, discounted, minlength=contexts)
    seen = total > 0  # a context that nothing follows leaves everything to the lower orders
    total = np.where(seen, total, 1)
    return _Law(
        share=np.append((counts - discounted) / total[context], 0).astype(np.float32),
        gamma=np.append(np.where(seen, gamma / total, 1), 1).astype(np.float32),
    )


def _discounts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """D(0) = 0, D(1), D(2) and D(3 or more), from the numbers of n-grams counted once to four times."""
    once, twice, thrice, four = (int(n) for n in np.bincount(np.minimum(counts, 5), minlength=6)[1:5])
    if min(once, twice, thrice) > 0:
        y = once / (once + 2 * twice)
        found = (1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * four / thrice)
        if all(0 < discount <= k for k, discount in enumerate(found, start=1)):
            return np.array([0, *found])
    return np.array([0, *_FALLBACK])


def _interpolate(
    law: _Law, context: NDArray[np.int64], ids: NDArray[np.int64], lower: NDArray[np.float64]
) -> NDArray[np.float64]:
    return law.share[ids] + law.gamma[context] * lower


def _previous(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The id of the n-gram that ends one symbol earlier."""
    return np.concatenate([ids[:1], ids[:-1]])


def _find(keys: NDArray[np.int64], context: NDArray[np.int64], symbol: NDArray[np.int64], symbols: int) -> NDArray[np.int64]:
    """The ids of the n-grams `context` · `symbol`, −1 where one was never seen."""
    if keys.size == 0:
        return np.full_like(context, -1)
    wanted = context * symbols + symbol
    place = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where((keys[place] == wanted) & (context >= 0), place, -1)


def _unique(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """`np.unique` with a first index, inverse and counts, by the default sort, which is the fast one."""
    order = np.argsort(keys)
    ranked = keys[order]
    new = np.concatenate([[True], ranked[1:] != ranked[:-1]])[: keys.size]
    starts = np.flatnonzero(new)
    inverse = np.empty_like(order)
    inverse[order] = np.cumsum(new) - 1
    return ranked[starts], order[starts], inverse, np.diff(starts, append=keys.size)
