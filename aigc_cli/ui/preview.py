"""Pictures in a terminal: each character cell is two pixels, a ▀ in the upper one's colour on the lower one's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from aigc_cli.ui.terminal import SYSTEMS, Colours

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Pixels: TypeAlias = npt.NDArray[np.uint8]
    """(height, width, channels); channels are 1 (grey), 3 (RGB) or 4 (RGBA)."""

GAP = 2
"""Pixels between pictures, here and on a sheet."""
MAX_PIXELS = 1 << 24
"""Of a picture file to show."""
SEVERAL = 4
"""At least this many of several pictures are shown, made smaller if needed."""
SQUARE, DARKER, LIGHTER = 4, 102, 153
"""The size and the greys of the checkerboard behind transparent pixels."""
CUBE, GREYS = (0, 95, 135, 175, 215, 255), range(8, 239, 10)
"""The levels of red, green and blue in colours 16 to 231 of the 256, and the greys 232 to 255. The first sixteen are not used:
terminals let users change them."""


@dataclass(frozen=True)
class Layout:
    """A grid of pictures of (height, width) pixels, so many across and down."""

    height: int
    width: int
    across: int
    down: int


def layout(n: int, height: int, width: int, lines: int, cells: int) -> Layout:
    """The layout of n pictures of (height, width) pixels in so many lines and cells: at their own size, or smaller so that all
    of them, or at least several, fit."""
    several, scale = min(n, SEVERAL), 0.0
    for across in range(1, several + 1):
        down = math.ceil(several / across)
        wide, high = (cells + GAP) / across - GAP, (2 * lines + GAP) / down - GAP
        scale = max(scale, min(1.0, wide / width, high / height))
    height, width = (max(1, int(side * scale + 1e-6)) for side in (height, width))
    across = min(n, max(1, (cells + GAP) // (width + GAP)))
    down = min(math.ceil(n / across), max(1, (2 * lines + GAP) // (height + GAP)))
    return Layout(height, width, across, down)


def preview(pictures: Sequence[Pixels], lines: int, cells: int, colours: Colours) -> list[Text]:
    """The first of these pictures of one size, side by side in at most this many lines and cells."""
    import numpy as np

    height, width, _ = pictures[0].shape
    fit = layout(len(pictures), height, width, lines, cells)
    high, wide = fit.height + GAP, fit.width + GAP
    canvas = np.zeros((fit.down * high - GAP, fit.across * wide - GAP, 4), np.uint8)
    for number, picture in enumerate(pictures[: fit.across * fit.down]):
        top, left = number // fit.across * high, number % fit.across * wide
        canvas[top : top + fit.height, left : left + fit.width] = _on_squares(_resized(picture, fit.height, fit.width))
    return half_blocks(canvas, colours)


def half_blocks(pixels: Pixels, colours: Colours) -> list[Text]:
    """A line for every two rows of RGBA pixels; pixels with alpha 0 keep the terminal's background."""
    import numpy as np

    if len(pixels) % 2:
        pixels = np.concatenate([pixels, np.zeros_like(pixels[:1])])
    painted = pixels[:, :, 3] > 0
    codes = nearest_256(pixels[:, :, :3])[:, :, None] if colours == "256" else pixels[:, :, :3]
    pairs = [
        [tuple(code) if on else None for code, on in zip(*row, strict=True)]
        for row in zip(codes.tolist(), painted, strict=True)
    ]
    return [_line(upper, lower) for upper, lower in zip(pairs[::2], pairs[1::2], strict=True)]


Code: TypeAlias = tuple[int, ...]
"""A colour: (red, green, blue), or the number of one of the 256."""


def _line(upper: Sequence[Code | None], lower: Sequence[Code | None]) -> Text:
    """One line of text; runs of equal cells become one span."""
    text, cells = Text(no_wrap=True), list(zip(upper, lower, strict=True))
    start = 0
    for end in range(1, len(cells) + 1):
        if end == len(cells) or cells[end] != cells[start]:
            above, below = cells[start]
            block = "▀" if above else "▄" if below else " "
            text.append(block * (end - start), _style(above, below) if above else _style(below, None))
            start = end
    return text


@lru_cache(maxsize=4096)
def _style(colour: Code | None, background: Code | None) -> Style:
    return Style(color=_colour(colour), bgcolor=_colour(background))


def _colour(code: Code | None) -> Color | None:
    if code is None:
        return None
    return Color.from_ansi(code[0]) if len(code) == 1 else Color.from_rgb(*code)


def nearest_256(pixels: Pixels) -> npt.NDArray[np.int64]:
    """For RGB (…, 3), the nearest of the cube's colours and the greys (…) in Euclidean distance; ties go to the cube."""
    import numpy as np

    cube, greys = np.array(CUBE), np.array(GREYS)
    levels = np.abs(pixels[..., None] - cube).argmin(-1)  # each channel's nearest is independent
    grey = np.abs(pixels.mean(-1)[..., None] - greys).argmin(-1)  # the mean decides, for any three channels
    to_cube = ((pixels - cube[levels]) ** 2).sum(-1)
    to_grey = ((pixels - greys[grey][..., None]) ** 2).sum(-1)
    chosen: npt.NDArray[np.int64] = np.where(to_grey < to_cube, 232 + grey, 16 + levels @ np.array([36, 6, 1]))
    return chosen


def split_sheet(sheet: Pixels, rows: int, columns: int) -> list[Pixels]:
    """The pictures of a full sheet, row by row."""
    height, width = (sheet.shape[0] + GAP) // rows, (sheet.shape[1] + GAP) // columns
    return [
        sheet[top : top + height - GAP, left : left + width - GAP]
        for top in range(0, rows * height, height)
        for left in range(0, columns * width, width)
    ]


def read_pixels(path: Path) -> Pixels:
    """A PNG file as grey, RGB or RGBA; palettes and other modes are converted. Raises OSError, ValueError or SyntaxError."""
    import numpy as np
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:  # for others, such as PostScript, programs are started
        if image.width * image.height > MAX_PIXELS:
            raise OSError(f"{path} is too large to be shown")
        mode = image.mode if image.mode in ("L", "RGB", "RGBA") else "RGBA"
        pixels = np.asarray(image.convert(mode))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _resized(pixels: Pixels, height: int, width: int) -> Pixels:
    import numpy as np
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    resized = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    return resized[:, :, None] if resized.ndim == 2 else resized


def _on_squares(pixels: Pixels) -> Pixels:
    """Opaque RGBA, with a grey checkerboard behind transparent pixels."""
    import numpy as np

    height, width, channels = pixels.shape
    opaque = np.full((height, width, 4), 255, np.uint8)
    if channels == 4:
        light = np.add.outer(np.arange(height) // SQUARE, np.arange(width) // SQUARE) % 2
        squares = np.where(light, LIGHTER, DARKER)[:, :, None]
        alpha = pixels[:, :, 3:] / 255
        opaque[:, :, :3] = np.rint(alpha * pixels[:, :, :3] + (1 - alpha) * squares)
    else:
        opaque[:, :, :3] = pixels
    return opaque


class FirstPictures:
    """Keeps as many of the pictures passing by as a preview on this terminal can show, and shows them."""

    def __init__(self, stream: TextIO, colours: Colours) -> None:
        self.colours = colours
        self.console = Console(file=stream, color_system=SYSTEMS[colours], force_terminal=True, highlight=False)
        self.space = max(1, self.console.height // 2), self.console.width
        self.kept: list[Pixels] = []
        self.most = 1
        self.n = 0

    def add(self, pixels: Pixels) -> None:
        self.n += 1
        if self.n == 1:
            height, width, _ = pixels.shape
            fit = layout(10**6, height, width, *self.space)
            self.most = max(SEVERAL, fit.across * fit.down)
        if len(self.kept) < self.most:
            self.kept.append(pixels)

    def show(self) -> None:
        if not self.kept:
            return
        for line in preview(self.kept, *self.space, self.colours):
            self.console.print(line)
