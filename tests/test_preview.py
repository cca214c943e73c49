"""Pictures as block characters: exact on tiny ones, and through the real commands in a pseudo-terminal."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Shell, make_shell
from PIL import Image
from rich.console import Console
from rich.style import Style
from rich.text import Text
from terminals import Screen, in_terminal

from aigc_cli.data.pictures.output import sheet
from aigc_cli.engine.runs.run import create_run
from aigc_cli.ui.preview import (
    CUBE,
    DARKER,
    GAP,
    LIGHTER,
    half_blocks,
    layout,
    nearest_256,
    preview,
    read_pixels,
    split_sheet,
)
from aigc_cli.ui.terminal import Colours, colours

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)
PALETTE = {16 + 36 * r + 6 * g + b: (CUBE[r], CUBE[g], CUBE[b]) for r, g, b in itertools.product(range(6), repeat=3)} | {
    232 + i: (8 + 10 * i,) * 3 for i in range(24)
}


def opaque(*rows: list[tuple[int, ...]]) -> np.ndarray:
    return np.array([[(*pixel, 255)[:4] if len(pixel) == 3 else pixel for pixel in row] for row in rows], np.uint8)


def ansi(line: Text) -> str:
    """What a terminal is sent."""
    console = Console(force_terminal=True, color_system="truecolor", width=300)
    with console.capture() as captured:
        console.print(line, end="")
    return captured.get()


def code(kind: int, colour: tuple[int, ...] | int) -> str:
    return f"{kind};5;{colour}" if isinstance(colour, int) else f"{kind};2;" + ";".join(map(str, colour))


def test_a_cell_is_two_pixels_and_cells_that_look_the_same_are_said_once() -> None:
    (line,) = half_blocks(opaque([RED, RED, BLUE], [BLUE, BLUE, GREEN]), "24-bit")
    assert ansi(line) == f"\x1b[{code(38, RED)};{code(48, BLUE)}m▀▀\x1b[0m\x1b[{code(38, BLUE)};{code(48, GREEN)}m▀\x1b[0m"


def test_the_last_row_of_an_odd_height_is_half_a_line() -> None:
    first, second = half_blocks(opaque([RED], [BLUE], [GREEN]), "24-bit")
    assert first.plain == "▀"
    assert ansi(second) == f"\x1b[{code(38, GREEN)}m▀\x1b[0m"


def test_what_is_not_painted_is_left_as_the_terminal_is() -> None:
    nothing = (9, 9, 9, 0)
    (line,) = half_blocks(opaque([nothing, nothing, RED], [nothing, RED, nothing]), "24-bit")
    assert ansi(line) == f" \x1b[{code(38, RED)}m▄\x1b[0m\x1b[{code(38, RED)}m▀\x1b[0m"


def test_256_colours() -> None:
    (line,) = half_blocks(opaque([(254, 1, 2)], [(9, 8, 8)]), "256")
    assert ansi(line) == f"\x1b[{code(38, 196)};{code(48, 232)}m▀\x1b[0m"


def test_each_of_the_256_is_the_nearest_that_there_is() -> None:
    draw = np.random.default_rng(0).integers(0, 256, (4000, 3), dtype=np.uint8)
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    numbers, table = np.array(list(PALETTE)), np.array(list(PALETTE.values()))
    for pixels in (draw, greys, table.astype(np.uint8)):
        distance = ((pixels[:, None].astype(int) - table) ** 2).sum(-1)
        chosen = nearest_256(pixels)
        assert chosen.min() >= 16 and chosen.max() <= 255
        np.testing.assert_array_equal(distance[np.arange(len(pixels)), np.searchsorted(numbers, chosen)], distance.min(1))


def painted(lines: list[Text]) -> np.ndarray:
    """The pixels that lines show, (height, width, 4): what a terminal makes of them."""
    rows = []
    for line in lines:
        upper, lower = [], []
        styles = {at: style for start, end, style in line.spans for at in range(start, end)}
        for at, char in enumerate(line.plain):
            style = styles.get(at, Style())
            fore, back = (
                (*colour.triplet, 255) if colour is not None and colour.triplet is not None else (0, 0, 0, 0)
                for colour in (style.color, style.bgcolor)
            )
            above, below = {"▀": (fore, back), "▄": (back, fore), " ": (back, back)}[char]
            upper.append(above)
            lower.append(below)
        rows += [upper, lower]
    return np.array(rows, np.uint8)


def test_small_pictures_are_shown_pixel_by_pixel_with_gaps() -> None:
    pictures = list(np.random.default_rng(1).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8))
    seen = painted(preview(pictures, lines=5, cells=24, colours="24-bit"))
    assert seen.shape == (10, 22, 4)  # three across, two rows of four with a gap
    for number, picture in enumerate(pictures):
        top, left = number // 3 * 6, number % 3 * 8
        np.testing.assert_array_equal(seen[top : top + 4, left : left + 6, :3], picture)
        assert (seen[top : top + 4, left : left + 6, 3] == 255).all()
    assert not seen[4:6].any() and not seen[:, 6:8].any() and not seen[6:, 16:].any()


@pytest.mark.parametrize(
    ("n", "shape", "lines", "cells", "expected"),
    [
        (1, (28, 28), 12, 80, (24, 24, 1, 1)),  # half of 24 lines
        (16, (28, 28), 12, 80, (18, 18, 4, 1)),  # several beside each other rather than the largest
        (16, (28, 28), 30, 200, (28, 28, 6, 2)),  # never enlarged
        (1, (64, 256), 12, 80, (20, 80, 1, 1)),  # the width is the limit
        (9, (64, 256), 12, 80, (9, 39, 2, 2)),
        (3, (1, 1), 1, 1, (1, 1, 1, 1)),
        (2, (3, 4000), 12, 80, (1, 80, 1, 2)),
    ],
)  # fmt: skip
def test_pictures_fit_and_keep_their_proportions(
    n: int, shape: tuple[int, int], lines: int, cells: int, expected: tuple[int, ...]
) -> None:
    fit = layout(n, *shape, lines, cells)
    assert (fit.height, fit.width, fit.across, fit.down) == expected
    shown = preview([np.zeros((*shape, 1), np.uint8)] * n, lines, cells, "256")
    assert len(shown) <= lines and max(len(line.plain) for line in shown) <= cells


def test_no_space_is_too_small_for_any_picture() -> None:
    for n, height, width, lines, cells in itertools.product((1, 5, 70), (1, 31, 900), (1, 32, 700), (1, 2, 13), (1, 7, 80)):
        fit = layout(n, height, width, lines, cells)
        assert 0 < fit.across * (fit.width + GAP) - GAP <= cells and 0 < fit.down * (fit.height + GAP) - GAP <= 2 * lines
        assert n >= fit.across * (fit.down - 1) + 1


def test_grey_and_transparent_pictures() -> None:
    grey = np.array([[[7], [200]], [[0], [255]]], np.uint8)
    np.testing.assert_array_equal(painted(preview([grey], 1, 2, "24-bit"))[:, :, :3], np.repeat(grey, 3, axis=2))
    clear = np.zeros((2, 6, 4), np.uint8)
    clear[0, 0] = (255, 0, 0, 255)
    clear[1, 0] = (255, 0, 0, 102)
    seen = painted(preview([clear], 1, 6, "24-bit"))
    half = round(0.6 * DARKER)
    assert seen[:, :, :3].tolist() == [
        [[255, 0, 0], *[[DARKER] * 3] * 3, *[[LIGHTER] * 3] * 2],
        [[102 + half, half, half], *[[DARKER] * 3] * 3, *[[LIGHTER] * 3] * 2],
    ]


def test_larger_pictures_are_made_smaller() -> None:
    halves = np.zeros((40, 40, 3), np.uint8)
    halves[:, 20:] = 255
    seen = painted(preview([halves], lines=5, cells=30, colours="24-bit"))
    assert seen.shape == (10, 10, 4)
    assert (seen[:, :3, :3] < 5).all() and (seen[:, 7:, :3] > 250).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_sheet_is_taken_apart(tmp_path: Path, channels: int) -> None:
    pictures = list(np.random.default_rng(2).integers(0, 256, (6, 5, 3, channels), dtype=np.uint8))
    laid_out = sheet(pictures, 3)
    Image.fromarray(laid_out[:, :, 0] if channels == 1 else laid_out).save(tmp_path / "sheet.png")
    np.testing.assert_array_equal(split_sheet(read_pixels(tmp_path / "sheet.png"), rows=2, columns=3), pictures)


def test_a_palette_is_read_as_colours(tmp_path: Path) -> None:
    image = Image.new("P", (1, 1))
    image.putpalette([1, 2, 3])
    image.save(tmp_path / "palette.png")
    assert read_pixels(tmp_path / "palette.png").tolist() == [[[1, 2, 3, 255]]]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "24-bit"),
        ({"TERM": "xterm", "COLORTERM": "24bit"}, "24-bit"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "xterm", "NO_COLOR": ""}, "256"),  # an empty one means nothing
        ({"TERM": "xterm", "NO_COLOR": "1", "COLORTERM": "truecolor"}, "none"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
        ({}, "none"),
    ],
)
def test_the_colours_of_a_terminal(environ: dict[str, str], expected: Colours) -> None:
    assert colours(environ) == expected


# Through the real commands


@pytest.fixture
def halves(tmp_path: Path, halves_path: Path, shared_cache: Path) -> Shell:
    """A shell with a run of a toy backend that draws two grey halves, 4 × 6."""
    run = create_run(tmp_path / "runs", "halves", "one", {})
    run.model.mkdir()
    (run.model / "config.json").write_text(json.dumps({"shape": [4, 6, 1]}))
    return make_shell(tmp_path, halves_path, shared_cache)


def test_what_was_drawn_is_shown_below_the_paths(halves: Shell) -> None:
    seen = in_terminal(halves, "sample", "halves", "-n", "2", "--seed", "3")
    screen = Screen(80)
    screen.feed(seen)
    paths = [f"samples/halves-one/seed-3-{i:06d}.png" for i in range(2)]
    assert screen.shown == ["run runs/halves/one", *paths, *["▀▀▀▀▀▀  ▀▀▀▀▀▀"] * 2, ""]
    with Image.open(halves.cwd / "samples/halves-one/seed-3-000001.png") as image:
        left = image.getpixel((0, 0))
    assert seen.count(f"\x1b[38;2;{left};{left};{left};48;2;{left};{left};{left}m▀▀▀\x1b[0m") == 2
    (halves.cwd / "latents.tsv").write_text("mean_0\tmean_1\n0\t1\n")
    cells = "\x1b[38;5;16;48;5;16m▀▀▀\x1b[0m\x1b[38;5;231;48;5;231m▀▀▀\x1b[0m\n"
    assert in_terminal(halves, "decode", "halves", "--from", "latents.tsv", COLORTERM="").endswith(cells * 2)


@pytest.mark.parametrize(
    ("arguments", "streams", "environ"),
    [
        (["-q"], {}, {}),
        (["--json"], {}, {}),
        ([], {}, {"NO_COLOR": "1"}),
        ([], {}, {"TERM": "dumb"}),
        ([], {"stdout": False}, {}),
        ([], {"stderr": False}, {}),
    ],
)
def test_no_preview_without_a_terminal(
    halves: Shell, arguments: list[str], streams: dict[str, bool], environ: dict[str, str]
) -> None:
    seen = in_terminal(halves, "sample", "halves", "-n", "1", "--seed", "3", *arguments, **streams, **environ)
    assert "▀" not in seen and "printing" not in seen
