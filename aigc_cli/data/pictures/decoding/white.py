"""Which number is white in pictures with more than 8 bits per channel. Doesn't import numpy at import time.

12 bits in a 16-bit file go up to 4095; read as 16 bits they are nearly black. White is chosen for all pictures of a source
together, so that a dark one stays dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FULL = 65535
"""White if all 16 bits are used; the only value in earlier versions."""

WHITES = (1, 255, 1023, 4095, 16383, FULL)
"""For masks and floating-point numbers, and for 8, 10, 12, 14 and 16 bits."""

_ROUNDING = 1e-4  # how far outside of their range floating-point numbers may lie


def range_of(levels: npt.NDArray[Any]) -> float:
    """The largest number in a picture. Raises ValueError, with the range and what to do, for numbers that can't be levels."""
    lowest, highest = levels.min().item(), levels.max().item()
    floating = levels.dtype.kind == "f"
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError("it holds numbers that are not finite")
    limit, slack = (255, _ROUNDING) if floating else (FULL, 0)
    if lowest >= -slack and highest <= limit + slack:
        return float(highest)
    what = f"it holds {'floats' if floating else 'numbers'} from {lowest:.4g} to {highest:.4g}"
    if floating and lowest >= -1 - slack and highest <= 1 + slack:
        raise ValueError(f"{what}: write them in [0, 1], such as (x + 1) / 2")
    shifted = f"(x {'-' if lowest > 0 else '+'} {abs(lowest):.4g})" if lowest else "x"
    raise ValueError(f"{what}: write floats in [0, 1], such as {shifted} / {highest - lowest:.4g}")


def white_of(greatest: Iterable[float]) -> int:
    """White for pictures with these largest numbers: the smallest of `WHITES` that no number exceeds."""
    highest = max(greatest)
    return next(white for white in WHITES if highest <= white + _ROUNDING)


def describe_white(highest: float, white: int) -> str:
    """A note for when white doesn't follow from the type of the numbers."""
    bits = f" ({white.bit_length()} bits)" if white > 1 else ""
    return f"numbers up to {highest:,.4g}: {white:,}{bits} is white"


def white_without_few(greatest: Sequence[float]) -> int:
    """White if the brightest picture, or the brightest twentieth of them, were missing; `greatest` has each largest number."""
    rest = len(greatest) - max(1, len(greatest) // 20)
    return white_of(sorted(greatest)[: max(rest, 1)])


def describe_few_bits(high_byte: int, count: int) -> str | None:
    """A note on colours stored in 16 bits of which the first are unused; `high_byte` is the largest of the first 8 bits."""
    white = white_of([high_byte << 8 | 255])
    if white == FULL:
        return None
    return (
        f"{count:,} have colours of 16 bits of which {white.bit_length()} are used, so they are dark; "
        f"magick mogrify -evaluate multiply {round(FULL / white)} makes use of all"
    )


def in_8_bits(levels: npt.NDArray[Any], white: int) -> npt.NDArray[np.uint8]:
    """The levels scaled to 0 to 255; numbers above white are white.

    If floats and 16-bit pictures are mixed, `white` applies to one of them, and the other has its default: [0, 1] for floats,
    all 16 bits otherwise.
    """
    floating = levels.dtype.kind == "f"
    if floating and white > 255:
        white = 1
    elif not floating and white == 1 and levels.max() > 1:
        white = FULL
    if floating:
        scaled: npt.NDArray[np.uint8] = (levels.clip(0, white) * (255 / white if white > 1 else 255)).round().astype("uint8")
    else:
        scaled = ((levels.clip(0, white).astype("uint32") * 255 + white // 2) // white).astype("uint8")
    return scaled
