"""Near duplicates among pictures: the same picture compressed again or in another size.

Pictures are compared by the means of 16 × 16 fields. Two are near duplicates if

- their grey means differ by at most a tenth of their contrast (standard deviation), within 1 and 4 of 255 levels (RMS),
- and their colours by at most 8 levels (RMS),
- and at most 10 of the 64 bits of their difference hashes differ: whether a field is darker than the one to its right
  (https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html).

Each of these alone flags simple drawings that have little in common. Pictures that were cropped, turned or shifted are not
found.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.near import Dedup, Near, Pairs, joined, remembered
from aigc_cli.data.pictures.prepared.store import Store
from aigc_cli.data.splits import TRAIN, SplitPlan

Floats = npt.NDArray[np.float32]

_SIDE = 16
_GREY_LEVELS, _COLOUR_LEVELS = 4.0, 8.0  # of 255, RMS
_OF_CONTRAST = 0.1
_HASH_BITS = 10  # of 64
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_CHUNK_VALUES = 1 << 23  # compared or decoded at once: 32 MB
_MOST_PAIRS = 500_000_000
_SAMPLED = 1000  # held-out pictures that are compared if there would be too many pairs


@dataclass(frozen=True)
class Rows:
    """Some rows of an array of pictures (N, height, width, channels)."""

    pixels: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]  # (n,)

    def __len__(self) -> int:
        return len(self.rows)

    def means(self, index: npt.NDArray[np.int64]) -> Floats:
        """The field means of some of them, (len(index), 16, 16, planes), in chunks that fit in memory."""
        at_once = max(1, _CHUNK_VALUES // self.pixels[0].size)
        parts = (index[start : start + at_once] for start in range(0, len(index), at_once))
        return np.concatenate([_means(self.pixels[self.rows[part]]) for part in parts])


def with_near(
    plan: SplitPlan, train: Store, held: Store, rows: npt.NDArray[np.int64], dedup: Dedup, progress: Progress
) -> tuple[SplitPlan, Near]:
    """The plan, with a note on training pictures that are near duplicates of the held-out `rows` of `held`, or without them;
    and what was found, which is remembered in the cache entry of `train`.

    If there are more than 5e8 pairs, 1,000 held-out pictures are compared, unless near duplicates are left out.
    """
    train_rows, index = np.flatnonzero(plan.splits == TRAIN), np.arange(len(rows))
    if dedup == "exact" and len(rows) * len(train_rows) > _MOST_PAIRS:
        index = np.unique(np.linspace(0, len(rows) - 1, _SAMPLED).astype(np.int64))

    def find() -> Near:
        pairs = near_pictures(Rows(held.pixels, rows), Rows(train.pixels, train_rows), index, progress)
        return Near.of(pairs, len(index), lambda a, b: (held.names[rows[a]], train.names[train_rows[b]]))

    what = hashlib.blake2b(plan.splits.tobytes(), digest_size=8)
    what.update(held.hashes[rows[index]].tobytes())
    near = remembered(train.folder / f"near-{what.hexdigest()}.json", find)
    if dedup == "near":
        return near.removed_from(plan), near
    return replace(plan, notes=(*plan.notes, *near.told(len(rows)))), near


def near_pictures(held: Rows, train: Rows, index: npt.NDArray[np.int64], progress: Progress) -> Pairs:
    """Near duplicates of the held-out pictures `index` (m,) and the training pictures, both in the same format."""
    if not len(index) or not len(train):
        return joined([])
    means = held.means(index)
    signatures = _signatures(means)
    twice, norms = -2 * signatures.T, np.square(signatures).sum(axis=1)
    contrast = _greys(means).std(axis=(1, 2)).max(axis=1)
    limits = signatures.shape[1] * np.square(np.clip(_OF_CONTRAST * contrast, 1, _GREY_LEVELS))
    at_once = max(16, min(1024, _CHUNK_VALUES // max(len(index), train.pixels[0].size)))
    found, known = [], np.zeros(len(index), bool)
    for start in range(0, len(train), at_once):
        if start:
            progress("looking for near duplicates", start, len(train))
        chunk = np.arange(start, min(start + at_once, len(train)))
        ours = _signatures(train.means(chunk))
        distances = ours @ twice  # (chunk, m): |a - b|² = |a|² - 2 a·b + |b|²
        distances += norms
        distances += np.square(ours).sum(axis=1)[:, None]
        near = distances <= limits
        rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0) & ~known)
        if len(rows):  # the nearest of each picture: in a film there may be hundreds of millions of pairs
            distances[~near] = np.inf
            of_rows = (index[distances[rows].argmin(axis=1)], chunk[rows])
            of_columns = (index[columns], chunk[distances[:, columns].argmin(axis=0)])
            pairs = np.unique(
                np.column_stack([np.concatenate(sides) for sides in zip(of_rows, of_columns, strict=True)]), axis=0
            )
            found.append(_confirmed(held, train, pairs))
            known |= np.isin(index, found[-1][:, 0])
    return joined(found)


def _confirmed(held: Rows, train: Rows, pairs: Pairs) -> Pairs:
    """Those pairs whose hashes and colours agree too."""
    good = []
    for start in range(0, len(pairs), 1024):
        some = pairs[start : start + 1024]
        a, b = held.means(some[:, 0]), train.means(some[:, 1])
        same_hash = (_hashes(a) != _hashes(b)).sum(axis=1) <= _HASH_BITS
        same_colour = np.square(a - b).mean(axis=(1, 2, 3)) <= _COLOUR_LEVELS**2
        good.append(some[same_hash & same_colour])
    return joined(good)


def _means(pixels: npt.NDArray[np.uint8]) -> Floats:
    """(n, height, width, channels) → (n, 16, 16, planes): the means of grey; of R, G and B; or with transparency of R, G and B
    on black and of the opacity."""
    n, height, width, channels = pixels.shape
    planes = pixels.astype(np.float32)
    if channels == 4:
        planes[..., :3] *= planes[..., 3:] / 255
    fields = np.matmul(_area(_SIDE, height), planes.reshape(n, height, width * channels))
    fields = fields.reshape(n, _SIDE, width, channels).transpose(0, 1, 3, 2) @ _area(_SIDE, width).T
    means: Floats = fields.transpose(0, 1, 3, 2)
    return means


def _greys(means: Floats) -> Floats:
    """(n, 16, 16, planes) → (n, 16, 16, 1 or 2): grey levels; with transparency on black and on white, since white drawings on
    nothing are all alike on white."""
    planes = means.shape[-1]
    if planes == 1:
        return means
    grey = means[..., :3] @ _LUMA
    return np.stack((grey,) if planes == 3 else (grey, grey + 255 - means[..., 3]), axis=-1)


def _signatures(means: Floats) -> Floats:
    """(n, 256 or 512): centred grey levels, so that squares keep their precision."""
    return _greys(means).reshape(len(means), -1) - np.float32(128)


def _hashes(means: Floats) -> npt.NDArray[np.bool_]:
    """(n, 64): the difference hash; a difference below a level is noise."""
    small = _area(8, _SIDE) @ _greys(means).mean(axis=-1) @ _area(9, _SIDE).T  # (n, 8, 9)
    rises: npt.NDArray[np.bool_] = small[:, :, 1:] - small[:, :, :-1] > 1
    return rises.reshape(len(means), 64)


def _area(n_out: int, n_in: int) -> Floats:
    """(n_out, n_in): a matrix that takes the means of n_out equal parts of n_in values."""
    edges = np.linspace(0, n_in, n_out + 1)
    start, end, at = edges[:-1, None], edges[1:, None], np.arange(n_in)
    overlap = np.clip(np.minimum(end, at + 1) - np.maximum(start, at), 0, None)
    parts: Floats = (overlap / (end - start)).astype(np.float32)
    return parts
