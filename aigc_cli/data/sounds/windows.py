"""Long recordings as windows: cut into regions that don't overlap, of up to two windows' length, and windows anywhere in them.

A region is a sound of its own: nothing of its neighbours is in its spectrogram. So recordings, or the time of a single one, can
be held out, and the windows of an hour need the memory of one region.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from aigc_cli.data.pictures.raw import NotDecodable
from aigc_cli.data.sounds.raw import Clip, RawSound, Wave
from aigc_cli.data.splits import DROPPED, REPORT, SELECT, SplitPlan, assign, plan_with_val, rough

_PLACE = re.compile(r" from \d+\.\d+ s$")
_FEW = 3  # recordings: with fewer, time is held out
_HELD = 0.1
_QUIET = 1 / 65_536  # half a step of 16 bits


def regions(raw: RawSound, seconds: float) -> Iterator[RawSound]:
    """The regions of a recording, each of so many `seconds`, but those in which there is nothing to hear. The rest at the end
    is left out.

    Raises `NotDecodable`, at once for a recording that is shorter than a region, and for a silent one at its end; a damaged
    one has the regions before the damage only if there are any.
    """
    with raw.open() as recording:
        length, found, start = max(1, round(seconds * recording.rate)), 0, 0
        for wave in _cut(recording.blocks(), length):
            if float(np.abs(wave).max()) > _QUIET:
                found += 1
                opener = Clip.opener(wave, recording.rate)
                yield RawSound(f"{raw.name} from {start / recording.rate:.2f} s", opener, raw.label, raw.factors)
            start += length
        if not start:
            raise NotDecodable(f"it is shorter than the others' parts of {seconds:g} s")
        if not found:
            raise NotDecodable("it is silent")


def _cut(blocks: Iterator[Wave], length: int) -> Iterator[Wave]:
    held: list[Wave] = []
    n = 0
    for block in blocks:
        while n + len(block) >= length:
            yield np.concatenate([*held, block[: length - n]])
            block, held, n = block[length - n :], [], 0
        held.append(block)
        n += len(block)


def recording_of(name: str) -> str:
    """The recording of a region, by their names."""
    return _PLACE.sub("", name)


def plan_recordings(hashes: npt.NDArray[np.uint64], names: Sequence[str]) -> SplitPlan:
    """Hold out whole recordings, given the hash and the name of each of n regions in order; of one or two, the end of each.

    Regions that are copies of others are left out.
    """
    plan = plan_with_val(hashes, np.ones(len(hashes), np.int64), np.empty(0, np.uint64))
    splits, notes = plan.splits, plan.notes
    _, groups = np.unique([recording_of(name) for name in names], return_inverse=True)
    kept = np.flatnonzero(splits != DROPPED)
    present = np.unique(groups[kept])
    if len(present) >= _FEW:
        of_group = np.array([np.bitwise_xor.reduce(hashes[kept[groups[kept] == group]]) for group in present], np.uint64)
        held = assign(of_group, least=2)
        splits[kept] = held[np.searchsorted(present, groups[kept])]
        n = int((held >= SELECT).sum())
        notes = (*notes, f"held out {n:,} of {len(present):,} recordings, chosen by a hash of each")
    else:
        for group in present:
            rows = kept[groups[kept] == group]
            held_out = max(2, round(_HELD * len(rows)))
            if len(rows) <= held_out:
                continue
            splits[rows[-held_out:]] = SELECT
            splits[rows[len(rows) - held_out // 2 :]] = REPORT
        notes = (*notes, "held out the last tenth of the recording" + "s" * (len(present) > 1))
    held_rows = int((splits >= SELECT).sum())
    if 0 < held_rows < 100:
        notes = (*notes, rough(f"{held_rows} parts"))
    return SplitPlan(splits, dropped=plan.dropped, notes=notes)
