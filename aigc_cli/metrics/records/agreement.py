"""How often a judge finds the text that a picture was made for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.statistics.proportion import proportion

AMONG = 16


def agreement(
    of_pictures: NDArray[np.float32], of_texts: NDArray[np.float32], texts: Sequence[str], *, seed: int = 0
) -> Measure:
    """The share of n pictures that are closer to their own text than to each of 15 others, drawn at random from those that
    differ from it and from one another; with `among` how many, if there are fewer texts, and `chance`.

    of_pictures, of_texts: unit vectors (n, d) of pictures and of the texts that they belong to. The same texts and seed give
    the same choices. Raises ValueError if all texts are the same.
    """
    first: dict[str, int] = {}
    for at, text in enumerate(texts):
        first.setdefault(text, at)
    if len(first) < 2:
        raise ValueError("agreement needs at least two different texts")
    rng = np.random.default_rng(seed)
    among = min(AMONG, len(first))
    number_of = {text: number for number, text in enumerate(first)}
    distinct = of_texts[[*first.values()]]
    right = []
    for picture, text in zip(of_pictures, texts, strict=True):
        own = number_of[text]
        others = rng.permutation(len(first) - 1)[: among - 1]
        others = others + (others >= own)  # all but its own
        right.append(bool((distinct[others] @ picture).max() < distinct[own] @ picture))
    return proportion(right).beside(among=among, chance=1 / among)
