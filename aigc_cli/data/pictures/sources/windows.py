"""Windows into large pictures, for textures (`--tile`).

Pictures are kept at their own scale and cut into regions of one size that don't overlap, so that a part of a picture can be
held out even if it is the only one. A region is up to twice as high and wide as a window, and windows are anywhere in it, but
none is across the border of two regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aigc_cli.data.pictures.format import Look, PictureFormat, Size, Wanted, describe_size
from aigc_cli.errors import RequestError

Pixels = npt.NDArray[np.uint8]

#: The most bytes of regions to keep, of all pictures together: evenly spread ones of each.
MOST_BYTES = 1 << 29
#: The number of pictures to assume where it is unknown.
ASSUMED = 1000
#: The share of pictures that may be too small for a region. They are skipped.
TOO_SMALL = 0.05
SMALLEST_WINDOW = 16


def in_windows(wanted: Wanted, looks: Sequence[Look]) -> Wanted:
    """The request with the sizes of windows and regions chosen from a sample of the pictures."""
    sizes = [reduced(look.size, wanted.reduced) for look in looks]
    window = wanted.size or choose_window(sizes, wanted.longest)
    return replace(wanted, size=window, region=wanted.region or choose_region(window, sizes))


def choose_window(sizes: Sequence[Size], longest: int) -> Size:
    """The largest power of two that is at most `longest` and a quarter of the pictures' shorter sides."""
    side, shorter = SMALLEST_WINDOW, int(np.quantile([min(size) for size in sizes], TOO_SMALL))
    while 2 * side <= min(longest, shorter // 4):
        side *= 2
    return side, side


def choose_region(window: Size, sizes: Sequence[Size]) -> Size:
    """Twice a window's size, or less where pictures are smaller. Raises RequestError if many are smaller than a window."""
    height, width = (int(np.quantile(sides, TOO_SMALL, method="lower")) for sides in zip(*sizes, strict=True))
    if height < window[0] or width < window[1]:
        smallest = min(sizes, key=lambda size: (size[0] * size[1], size))
        raise RequestError(
            f"--tile cuts windows of {describe_size(window)} from pictures, and some are only {describe_size(smallest)}; "
            "choose a smaller --size or leave them out"
        )
    return min(2 * window[0], height), min(2 * window[1], width)


def reduced(size: Size, longest: int | None) -> Size:
    """The size of a picture whose longer side is reduced to at most `longest`."""
    scale = 1.0 if longest is None else min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def most_regions(format: PictureFormat, pictures: int | None) -> int:
    """How many regions of each picture to keep."""
    assert format.region is not None
    height, width = format.region
    return max(1, MOST_BYTES // (height * width * format.channels * (pictures or ASSUMED)))


def cut(picture: Pixels, region: Size, most: int) -> tuple[list[Pixels], int]:
    """Up to `most` regions of a picture (height, width, channels), evenly spread over it, and how many were left out."""
    (height, width), (tall, wide) = picture.shape[:2], region
    rows, columns = height // tall, width // wide
    top, left = (height - rows * tall) // 2, (width - columns * wide) // 2
    n = rows * columns
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)).tolist() if n else []
    corners = ((top + place // columns * tall, left + place % columns * wide) for place in chosen)
    return [np.ascontiguousarray(picture[y : y + tall, x : x + wide]) for y, x in corners], n - len(chosen)


@dataclass(frozen=True)
class Windows:
    """The windows of n examples in their regions."""

    size: Size
    offsets: npt.NDArray[np.int64]  # (n, 2) of the upper left corner: down, right

    @classmethod
    def of(cls, format: PictureFormat, regions: int) -> Windows:
        """Windows at the corners, the middles of the sides and the middle of each of `regions` regions, in this order."""
        return cls(format.size, np.tile(_places(format), (regions, 1)))

    @staticmethod
    def each(format: PictureFormat) -> int:
        """How many windows a region has."""
        return len(_places(format))

    def at(self, regions: Pixels, rows: npt.NDArray[np.int64], index: npt.NDArray[np.int64]) -> Pixels:
        """The windows of the examples `index`, of which `rows` are the regions: (len(index), height, width, channels)."""
        return self._taken(regions, rows, self.offsets[index])

    def anywhere(self, regions: Pixels, rows: npt.NDArray[np.int64], draw: np.random.Generator) -> Pixels:
        """A window at a random offset of each of the regions `rows`."""
        slack = np.array([region - side for region, side in zip(regions.shape[1:3], self.size, strict=True)])
        return self._taken(regions, rows, draw.integers(0, slack + 1, (len(rows), 2)))

    def _taken(self, regions: Pixels, rows: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> Pixels:
        (height, width), places = self.size, zip(rows.tolist(), offsets.tolist(), strict=True)
        found = np.empty((len(rows), height, width, regions.shape[3]), np.uint8)
        for number, (row, (y, x)) in enumerate(places):
            found[number] = regions[row, y : y + height, x : x + width]
        return found


def _places(format: PictureFormat) -> npt.NDArray[np.int64]:
    """Where the windows of a region are, (n, 2): at its corners, the middles of its sides and its middle."""
    assert format.region is not None
    slack = [region - side for region, side in zip(format.region, format.size, strict=True)]
    places = [sorted({0, most // 2, most}) for most in slack]
    return np.array([(down, right) for down in places[0] for right in places[1]], np.int64)
