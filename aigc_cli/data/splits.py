"""Assign examples to training, model selection and reporting by a hash of their content.

An example therefore keeps its split when others are added or the order changes, and copies share a split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

DROPPED, TRAIN, SELECT, REPORT = range(4)
"""The split of an example, or that it is dropped."""

_FEW = 100
FEW_CHARACTERS = 5000
"""With fewer held-out characters, half of which are reported on, figures are rough: the standard error of bits per character is
at least 0.03."""

_MAY_BE_CUT = 20  # with so few examples almost nothing may be held out: then the longest is cut instead
_LEAST_HELD_OUT = 0.01  # of the total length
_LEAST_TRAIN = 0.1
_LEAST_LENGTH = 2
_AT_ONCE = 1 << 20  # hashes that are sorted at once


@dataclass(frozen=True)
class SplitPlan:
    """The split of each of n examples; one may be cut along its length into parts of several splits."""

    splits: npt.NDArray[np.uint8]  # (n,)
    cut_example: int = -1
    cut: tuple[tuple[int, int], ...] = ()  # (where a part ends, its split), in order
    dropped: dict[str, int] = field(default_factory=dict)  # how many and why: empty, copies, in_validation, near_duplicates
    notes: tuple[str, ...] = ()  # for the user

    def size(self, split: int, lengths: npt.NDArray[np.integer[Any]]) -> int:
        """The total length of a split, given that of each example, shape (n,), in the unit of `cut`."""
        whole = self.splits == split
        if self.cut:
            whole[self.cut_example] = False
        starts = [0, *(end for end, _ in self.cut)]
        parts = (end - start for start, (end, of) in zip(starts, self.cut, strict=False) if of == split)
        return int(lengths.sum(where=whole, dtype=np.int64)) + sum(parts)


def plan_with_slice(
    hashes: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.integer[Any]],
    unit: str,
    *,
    whole: bool = False,
    classes: npt.NDArray[np.int64] | None = None,
    unread: int = 0,
) -> SplitPlan:
    """Hold out a slice of examples, given hash and length (in `unit`) of each, shape (n,).

    Examples of length 0 and all copies but the first are left out. With `classes` (n,), -1 for none, the copy in the smallest
    class is kept, and every class keeps an example to train on if possible. Of a single example the last tenth is held out,
    and a single held-out example is halved, unless examples must stay `whole`, which requires at least three different ones.
    If a few examples leave almost nothing to a split, the last tenth of the longest is held out instead.
    """
    plan = plan_with_val(hashes, lengths, np.empty(0, np.uint64), classes=classes, unread=unread)
    splits, notes = plan.splits, plan.notes
    kept = splits != DROPPED
    n_kept = int(np.count_nonzero(kept))
    if n_kept < (3 if whole else 1):
        return plan
    longest = int(np.argmax(np.where(kept, lengths, 0)))
    length = int(lengths[longest])
    if n_kept == 1:
        return _with_cut(plan, longest, length, unit)
    least = 2 if whole else 1
    splits[kept] = (
        assign(hashes[kept], least=least) if classes is None else assign_in_classes(hashes[kept], classes[kept], least)
    )
    held = np.flatnonzero(splits >= SELECT)
    if not whole and n_kept < _MAY_BE_CUT and _too_little(plan, lengths, length):
        splits[kept] = TRAIN
        return _with_cut(plan, longest, length, unit, f" of the longest of {n_kept}")
    notes += (f"held out {len(held):,} of {n_kept:,}, chosen by a hash of each",)
    if len(held) < _FEW:
        notes += (rough(f"{len(held)} held out"),)
    if len(held) > 1:
        return replace(plan, notes=notes)
    length = int(lengths[held[0]])
    halves = ((length // 2, SELECT), (length, REPORT))
    return replace(plan, cut_example=int(held[0]), cut=halves, notes=notes)


def _with_cut(plan: SplitPlan, example: int, length: int, unit: str, of: str = "") -> SplitPlan:
    """The plan with the last tenth of one example held out, and halved."""
    start = int(length * 0.9)
    middle = start + (length - start + 1) // 2
    cut = ((start, TRAIN), (middle, SELECT), (length, REPORT))
    notes = [f"held out the last {length - start:,} {unit}{of}"]
    if length - start < FEW_CHARACTERS:
        notes.append(rough(f"{length - start:,} {unit}"))
    return replace(plan, cut_example=example, cut=cut, notes=(*plan.notes, *notes))


def rough(held: str) -> str:
    """A note on too little held-out data."""
    return f"figures on only {held} are rough; give more with --val"


def _too_little(plan: SplitPlan, lengths: npt.NDArray[np.integer[Any]], longest: int) -> bool:
    """Whether almost nothing is held out or left to train on, and a tenth of the longest example would be more."""
    held = plan.splits >= SELECT
    n_held, n_all = int(lengths[held].sum()), int(lengths[plan.splits > DROPPED].sum())
    halves = [n_held // 2] if held.sum() == 1 else [plan.size(split, lengths) for split in (SELECT, REPORT)]
    little = n_held < _LEAST_HELD_OUT * n_all or min(halves) < _LEAST_LENGTH
    if n_all - n_held < _LEAST_TRAIN * n_all:
        little, n_held = True, 0
    return little and longest // 10 >= max(2 * _LEAST_LENGTH, n_held)


def plan_with_val(
    hashes: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.integer[Any]],
    val_hashes: npt.NDArray[np.uint64],
    *,
    classes: npt.NDArray[np.int64] | None = None,
    unread: int = 0,
) -> SplitPlan:
    """Train on everything that is not in the validation data, whose hashes are `val_hashes` and which stay whole.

    Examples of length 0 are left out, `unread` of them because they could not be read, and all copies but the first, or with
    `classes` (n,) all but the one in the smallest class.
    """
    splits = np.where(lengths > 0, np.uint8(TRAIN), np.uint8(DROPPED))
    dropped = {"empty": len(splits) - int(np.count_nonzero(splits)) - unread, "copies": 0, "in_validation": 0}
    sizes = None if classes is None else _sizes(classes[splits == TRAIN])
    for low, high in _ranges(max(len(hashes), len(val_hashes))):
        rows = np.flatnonzero((splits == TRAIN) & (low <= hashes) & (hashes <= high))
        if classes is not None and sizes is not None:
            rows = rows[np.argsort(sizes[classes[rows] + 1], kind="stable")]
        first = np.unique(hashes[rows], return_index=True)[1]
        splits[rows] = DROPPED
        dropped["copies"] += len(rows) - len(first)
        rows = rows[first]
        known = np.isin(hashes[rows], val_hashes[(low <= val_hashes) & (val_hashes <= high)])
        splits[rows[~known]] = TRAIN
        dropped["in_validation"] += int(known.sum())
    notes = {
        "empty": f"left out {dropped['empty']:,} empty text{'s' * (dropped['empty'] != 1)}",
        "copies": f"removed {dropped['copies']:,} exact {'copy' if dropped['copies'] == 1 else 'copies'}",
        "in_validation": f"removed {_that(dropped['in_validation'])} in the validation data too",
    }
    return SplitPlan(splits, dropped=dropped, notes=tuple(notes[why] for why, count in dropped.items() if count))


def _that(count: int) -> str:
    return "1 that is" if count == 1 else f"{count:,} that are"


def _sizes(classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The number of examples of no class (-1), which counts as the largest, and of each class."""
    sizes = np.bincount(classes + 1, minlength=1)
    sizes[0] = len(classes) + 1
    return sizes


def _ranges(n: int) -> Iterator[tuple[np.uint64, np.uint64]]:
    """The range of n uniform 64-bit hashes in parts, first and last included, each with few enough to be sorted in little
    memory."""
    count = -(-n // _AT_ONCE) or 1
    edges = [(1 << 64) * number // count for number in range(count + 1)]
    return ((np.uint64(low), np.uint64(high - 1)) for low, high in pairwise(edges))


def assign_in_classes(hashes: npt.NDArray[np.uint64], classes: npt.NDArray[np.int64], least: int) -> npt.NDArray[np.uint8]:
    """As `assign`, but every class has an example to train on: one that would have none keeps the one with the largest hash."""
    pinned = np.zeros(len(hashes), bool)
    while True:
        splits = assign(hashes, least=least, pinned=pinned)
        untrained = np.setdiff1d(classes[splits != TRAIN], [*classes[splits == TRAIN], -1])
        rows = [max(np.flatnonzero(classes == number), key=lambda row: int(hashes[row])) for number in untrained]
        rows = [row for row in rows if not pinned[row]]
        if not rows:
            return splits
        pinned[rows] = True


def assign(
    hashes: npt.NDArray[np.uint64], *, least: int = 1, pinned: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.uint8]:
    """Shape (n,) → (n,): TRAIN, SELECT or REPORT for each of n > `least` different hashes, uniform over 64 bits.

    Those `pinned` (n,) are held out only if there are too few others.

    Hashes below a share of their range are held out, and halved by their last bit. If fewer than `least` are below it, the
    smallest hashes are held out instead (a single one as SELECT). If one half is empty, they are halved in order.
    """
    n = len(hashes)
    pinned = np.zeros(n, bool) if pinned is None else pinned
    held = np.flatnonzero((hashes < np.uint64(int(held_out_share(n) * 2.0**64))) & ~pinned)
    held = held[np.argsort(hashes[held])]
    if not least <= len(held) < n:
        held = np.lexsort((hashes, pinned))[:least]
    report = (hashes[held] & np.uint64(1)).astype(bool)
    if report.all() or not report.any():
        report = np.arange(len(held)) >= (len(held) + 1) // 2
    splits = np.full(n, TRAIN, np.uint8)
    splits[held] = np.where(report, REPORT, SELECT)
    return splits


def held_out_share(n: int) -> float:
    """The share of n examples to hold out: a tenth, or less if there are many: down to 5,000 examples and 0.5 %."""
    return min(0.10, max(5000 / max(n, 1), 0.005))
