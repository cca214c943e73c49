"""A piece as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from symusic import Score

_PER_BEAT = 4  # columns of a quarter note
_MOST = 256  # columns
_PAPER, _INK = 255, 40
_AROUND = 2  # semitones shown above and below the notes
_LEAST = 24  # rows


def piano_roll(score: Score) -> npt.NDArray[np.uint8]:
    """Pitches (rows, high ones at the top) by time (a column a sixteenth), (height, width, 1); the start of a long one."""
    notes = [
        (note.time * _PER_BEAT // score.tpq, max(1, note.duration * _PER_BEAT // score.tpq), note.pitch)
        for track in score.tracks
        for note in track.notes
    ]
    low = min((pitch for _, _, pitch in notes), default=60) - _AROUND
    high = max((pitch for _, _, pitch in notes), default=60) + _AROUND
    width = min(_MOST, max((start + length for start, length, _ in notes), default=1))
    roll = np.full((max(_LEAST, high - low + 1), width, 1), _PAPER, np.uint8)
    for start, length, pitch in notes:
        row = roll[high - pitch]
        row[start : start + length] = _INK
        if length > 1 and start + length < width:
            row[start + length - 1] = (_PAPER + _INK) // 2  # so that repeated notes are seen
    return roll


def as_png(rolls: Sequence[npt.NDArray[np.uint8]], scale: int = 3) -> bytes:
    """Rolls below one another, enlarged, as a PNG."""
    from PIL import Image

    width = max(roll.shape[1] for roll in rolls)
    rows = [np.pad(roll[..., 0], ((1, 1), (0, width - roll.shape[1])), constant_values=_PAPER) for roll in rolls]
    pixels = np.concatenate(rows).repeat(scale, 0).repeat(scale, 1)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
