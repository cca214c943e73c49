"""Long recordings as windows: cut into regions that don't overlap, of up to two windows' length, and windows anywhere in them.

A region is a sound of its own: nothing of its neighbours is in its spectrogram. So recordings, or the time of a single one, can
be held out, and the windows of an hour need the memory of one region.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from aigc_cli.data.pictures.decoding.raw import NotDecodable
from aigc_cli.data.sounds.raw import Clip, RawSound, Wave
from aigc_cli.data.splits import DROPPED, REPORT, SELECT, SplitPlan, assign_in_classes, plan_with_val, rough

_PLACE = re.compile(r" from \d+\.\d+ s$")
_FEW = 3  # recordings: with fewer, time is held out
_HELD = 0.1
_SHORTER = 0.1  # the share of a region that a recording may lack
_ROUGH = 100  # held-out parts
_QUIET = 1 / 65_536  # half a step of 16 bits


def regions(raw: RawSound, seconds: float, *, short: bool = False) -> Iterator[RawSound]:
    """The regions of a recording, each of so many `seconds`, but those in which there is nothing to hear. The rest at the end
    is left out; a recording that is a little shorter than a region is padded, or with `short` one of any length.

    Raises `NotDecodable`, at once for a recording that is too short, and for a silent one at its end; a damaged
    one has the regions before the damage only if there are any.
    """
    with raw.open() as recording:
        length, found, start = max(1, round(seconds * recording.rate)), 0, 0
        for wave in _cut(recording.blocks(), length, 1 if short else (1 - _SHORTER) * length):
            if float(np.abs(wave).max()) > _QUIET:
                found += 1
                opener = Clip.opener(wave, recording.rate)
                yield RawSound(f"{raw.name} from {start / recording.rate:.2f} s", opener, raw.label, raw.factors)
            start += length
        if not start:
            raise NotDecodable(
                f"it is shorter than {seconds:.3g} s, a part of a recording; give longer ones, or a smaller --seconds"
            )
        if not found:
            raise NotDecodable("it is silent")


def _cut(blocks: Iterator[Wave], length: int, least: float) -> Iterator[Wave]:
    """Pieces of `length` samples; one that is padded if all of it is shorter, but not than `least`."""
    held: list[Wave] = []
    n, whole = 0, False
    for block in blocks:
        while n + len(block) >= length:
            yield np.concatenate([*held, block[: length - n]])
            block, held, n, whole = block[length - n :], [], 0, True
        held.append(block)
        n += len(block)
    if not whole and n >= least:
        yield np.pad(np.concatenate(held), ((0, length - n), (0, 0)))


def recording_of(name: str) -> str:
    """The recording of a region, by their names."""
    return _PLACE.sub("", name)


def plan_recordings(
    hashes: npt.NDArray[np.uint64], names: Sequence[str], classes: npt.NDArray[np.int64] | None = None
) -> SplitPlan:
    """Hold out whole recordings, given the hash and the name of each of n regions in order. Where there are only one or two, or
    with `classes` (n,) only one of a class, the end of each is held out instead.

    Regions that are copies of others are left out.
    """
    plan = plan_with_val(hashes, np.ones(len(hashes), np.int64), np.empty(0, np.uint64), classes=classes)
    splits = plan.splits
    kept = np.flatnonzero(splits != DROPPED)
    _, first, groups = np.unique([recording_of(names[row]) for row in kept.tolist()], return_index=True, return_inverse=True)
    of_class = np.zeros(len(first), np.int64) if classes is None else classes[kept[first]]
    if len(first) >= _FEW and min(Counter(of_class.tolist()).values()) > 1:
        of_group = np.array([np.bitwise_xor.reduce(hashes[kept[groups == group]]) for group in range(len(first))], np.uint64)
        chosen = assign_in_classes(of_group, of_class, 2)
        splits[kept] = chosen[groups]
        how = f"held out {int((chosen >= SELECT).sum()):,} of {len(first):,} recordings, chosen by a hash of each"
    else:
        for group in range(len(first)):
            rows = kept[groups == group]
            held = max(2, round(_HELD * len(rows)))
            if len(rows) > held:
                splits[rows[-held:]] = SELECT
                splits[rows[len(rows) - held // 2 :]] = REPORT
        how = "held out the last tenth of the recording" + "s" * (len(first) > 1)
    held_out = int((splits >= SELECT).sum())
    few = (rough(f"{held_out} parts"),) if 0 < held_out < _ROUGH else ()
    return replace(plan, splits=splits, notes=(*plan.notes, how, *few))
