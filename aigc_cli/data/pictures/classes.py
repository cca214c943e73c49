"""Notes on the classes of a data set before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aigc_cli.data.pictures.prepared.store import Store
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.splits import DROPPED, TRAIN
from aigc_cli.data.understood import listed

_COUNTED = 6  # classes listed individually


def class_notes(
    store: Store, splits: npt.NDArray[np.uint8], classes: Sequence[str], one: str = "picture", things: str = "pictures"
) -> list[str]:
    """Notes on the number of examples per class and on anything unusual; `splits` (n,) has each one's split, and `one` and
    `things` are what they are called."""

    def are(count: int) -> str:
        return f"1 {one} is" if count == 1 else f"{count:,} {things} are"

    kept = np.flatnonzero(splits != DROPPED)
    counts = class_counts(store, splits, classes)
    notes = [_counted([*counts.items()], things)] if classes else []
    if conflicts := _in_several(store, kept):
        as_what = listed(f"{name!r} ({count:,})" for name, count in conflicts.most_common())
        notes.append(f"{are(sum(conflicts.values()))} in several classes; kept as {as_what}")
    known = {nfc(name) for name in classes}
    if classes and (gone := [name for name in store.classes if nfc(name) not in known]):
        notes.append(f"no {things} to train on, so no class: {listed(map(repr, gone))}")
    if single := [name for name in classes if counts[name] == 1]:
        trained = {nfc(store.classes[label]) for label in np.unique(store.labels[splits == TRAIN]) if label >= 0}
        use = ", used for training" if {*map(nfc, single)} <= trained else ""
        notes.append(f"classes with a single {one}{use}: {listed(map(repr, single))}")
    folded = Counter(name.strip().casefold() for name in classes)
    if alike := [name for name in classes if folded[name.strip().casefold()] > 1]:
        notes.append(f"classes that differ only in case or spaces: {listed(map(repr, sorted(alike, key=str.casefold)))}")
    unlabelled = kept[store.labels[kept] < 0]
    if classes and len(unlabelled):
        names = listed(store.names.of(unlabelled[:3])) + (f" and {len(unlabelled) - 3:,} more" if len(unlabelled) > 3 else "")
        notes.append(f"{are(len(unlabelled))} in no class: {names}")
    return notes


def class_counts(store: Store, splits: npt.NDArray[np.uint8], classes: Sequence[str]) -> dict[str, int]:
    """The number of pictures in each class, in all splits (n,) and without copies."""
    labels = store.labels[splits != DROPPED]
    of_label = np.bincount(labels[labels >= 0], minlength=len(store.classes))
    counts = {nfc(name): int(count) for name, count in zip(store.classes, of_label, strict=True)}
    return {name: counts.get(nfc(name), 0) for name in classes}


def _counted(counts: Sequence[tuple[str, int]], things: str) -> str:
    told = ", ".join(f"{name} {count:,}" for name, count in counts[:_COUNTED])
    if len(counts) > _COUNTED:
        sizes = [count for _, count in counts]
        told += f", … {len(counts):,} in all, of {min(sizes):,} to {max(sizes):,} {things}"
    return f"classes: {told}"


def _in_several(store: Store, kept: npt.NDArray[np.int64]) -> Counter[str]:
    """For pictures with copies in other classes, how many were kept in which class."""
    by_hash = kept[np.argsort(store.hashes[kept])]
    at = np.searchsorted(store.hashes[by_hash], store.hashes)
    of_kept = by_hash[np.minimum(at, len(by_hash) - 1)]  # (n,) the row that was kept for each picture
    same = store.hashes[of_kept] == store.hashes
    differs = same & (store.labels >= 0) & (store.labels[of_kept] != store.labels)
    return Counter(store.classes[label] for label in store.labels[np.unique(of_kept[differs])] if label >= 0)
