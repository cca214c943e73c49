"""Near duplicates between held-out and training examples, for every kind of data.

A kind finds pairs of examples that people would call the same: a picture saved again, a text with a word changed. Held-out
figures on such examples tell less, as the model was trained on them. Here is what all kinds share: what was found, how it is
remembered in the cache, and how it is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from aigc_cli.data import cache
from aigc_cli.data.splits import DROPPED, TRAIN, SplitPlan
from aigc_cli.errors import RequestError

Dedup: TypeAlias = Literal["exact", "near"]
"""Which copies are left out: exact ones only, or also training examples that are near duplicates of held-out ones."""

Pairs: TypeAlias = "npt.NDArray[np.int64]"
"""(k, 2): a held-out example and a training example, both counted from 0."""

_EXAMPLES = 3


@dataclass(frozen=True)
class Near:
    """The near duplicates found."""

    held_out: int  # held-out examples that have some in the training data
    compared: int  # held-out examples that were looked at
    training: tuple[int, ...]  # training examples that are near duplicates of held-out ones, in order
    examples: tuple[tuple[str, str], ...]  # the names of a few pairs

    @classmethod
    def of(cls, pairs: Pairs, compared: int, name: Callable[[int, int], tuple[str, str]]) -> Near:
        """What `pairs` tell; `name` gives the names of a held-out and a training example."""
        held, first = np.unique(pairs[:, 0], return_index=True)
        training = np.unique(pairs[:, 1]).tolist()
        examples = tuple(name(*pair) for pair in pairs[first[:_EXAMPLES]].tolist())
        return cls(len(held), compared, tuple(training), examples)

    def told(self, n_held: int) -> list[str]:
        """A note on those of `n_held` held-out examples, if there are any, to someone who trains on them."""
        if not self.held_out:
            return []
        of = f"{n_held:,}" if self.compared == n_held else f"{self.compared:,} (of {n_held:,})"
        have = "has" if self.held_out == 1 else "have"
        return [
            f"{self.held_out:,} of {of} held out {have} near duplicates in the training data{self._such}; "
            "--dedup near removes them from training"
        ]

    def removed_from(self, plan: SplitPlan) -> SplitPlan:
        """The plan without them. Raises RequestError if nothing is left to train on."""
        splits = plan.splits.copy()
        trained = np.flatnonzero(splits == TRAIN)
        if 0 < len(trained) == len(self.training):
            raise RequestError(
                "nothing is left to train on: all training data are near duplicates of what is held out; "
                "hold out other data with --val"
            )
        splits[trained[list(self.training)]] = DROPPED
        n = len(self.training)
        note = f"removed {n:,} from the training data that are near duplicates of {self.held_out:,} held out{self._such}"
        if not n:
            note = "found no near duplicates of what is held out"
        return replace(plan, splits=splits, dropped={**plan.dropped, "near_duplicates": n}, notes=(*plan.notes, note))

    @property
    def _such(self) -> str:
        return " (such as {} and {})".format(*self.examples[0]) if self.examples else ""

    def describe(self) -> dict[str, Any]:
        """What run.json records; nothing if there are none."""
        if not self.held_out:
            return {}
        return {"held_out": self.held_out, "compared": self.compared, "training": len(self.training), "examples": self.examples}


def remembered(path: Path, find: Callable[[], Near]) -> Near:
    """What is stored at `path`, in a cache entry, or what `find` finds, which is then stored if the cache can be written."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        examples = tuple((held, train) for held, train in stored["examples"])
        return Near(stored["held_out"], stored["compared"], tuple(stored["training"]), examples)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    near = find()
    cache.write(path, json.dumps(asdict(near)))
    return near


def joined(found: Sequence[Pairs]) -> Pairs:
    """All pairs of several arrays, of which there may be none."""
    return np.concatenate([np.empty((0, 2), np.int64), *found])
