"""`demo:shapes` shows exactly its documented factors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aigc_cli.data.pictures.demos.shapes import COLOURS, FACTORS, SHAPES, Shapes, ShapesReader, draw
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.errors import RequestError

MIDDLE = dict.fromkeys(FACTORS, 0.0) | {"size": 0.3, "x": 0.5, "y": 0.5}
AREAS = {"ellipse": math.pi / 2, "square": 2.0, "triangle": 3 * math.sqrt(3) / 4, "cross": 1.8}  # of reach 1


def _factors(**values: float) -> np.ndarray:
    return np.array([[{**MIDDLE, **values}[name] for name in FACTORS]])


def _alpha(height: int = 64, width: int = 64, **values: float) -> np.ndarray:
    return draw(_factors(**values), PictureFormat(height, width, "RGBA"))[0, ..., 3] / 255


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.0, 0.0), (1.0, 0.3)])
@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_area_and_centre_are_those_of_the_factors(shape: int, place: tuple[float, float]) -> None:
    """Also at the edges of the range, so the shape is whole everywhere."""
    x, y = place
    cover = _alpha(96, 128, shape=shape, size=0.25, x=x, y=y, turn=20)
    reach = 0.25 * 96
    assert cover.sum() == pytest.approx(AREAS[SHAPES[shape]] * reach**2, rel=0.01)
    down, right = np.mgrid[:96, :128] + 0.5
    assert (cover * right).sum() / cover.sum() == pytest.approx(reach + x * (128 - 2 * reach), abs=0.1)
    assert (cover * down).sum() / cover.sum() == pytest.approx(reach + y * (96 - 2 * reach), abs=0.1)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_a_turn_is_anticlockwise_in_degrees(shape: int) -> None:
    assert np.allclose(_alpha(shape=shape, turn=90 + 17), np.rot90(_alpha(shape=shape, turn=17)), atol=0.01)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_all_rotations_differ(shape: int) -> None:
    seen = [_alpha(shape=shape, turn=turn) for turn in range(0, 90, 15)]
    assert min(abs(a - b).sum() for i, a in enumerate(seen) for b in seen[:i]) > 10


def test_colours_are_those_of_the_palette_in_every_mode() -> None:
    factors = np.concatenate([_factors(colour=colour, turn=30) for colour in range(len(COLOURS))])
    rgb, rgba, grey = (draw(factors, PictureFormat(32, 40, mode)).astype(float) for mode in ("RGB", "RGBA", "L"))
    assert [tuple(map(int, picture[16, 20])) for picture in rgb] == list(COLOURS.values())
    alpha = rgba[..., 3:] / 255
    assert np.abs(rgba[..., :3] * alpha + 255 * (1 - alpha) - rgb).max() <= 1.01
    assert np.abs(rgb @ [0.299, 0.587, 0.114] - grey[..., 0]).max() <= 1
    assert (rgba[alpha[..., 0] == 0] == 0).all()
    assert (np.diff(sorted(grey[:, 16, 20, 0])) > 15).all()  # told apart in grey too


def test_the_factors_are_uniform_and_independent() -> None:
    factors = np.concatenate(list(Shapes(20_000).batches(3_000)))
    assert factors.shape == (20_000, 6)
    for column, count in ((0, len(SHAPES)), (1, len(COLOURS))):
        assert np.bincount(factors[:, column].astype(int)) == pytest.approx(np.full(count, 20_000 / count), rel=0.06)
    low, high = [0.18, 0, 0, 0], [0.36, 1, 1, 90]
    assert factors[:, 2:].min(axis=0) == pytest.approx(low, abs=0.01)
    assert factors[:, 2:].max(axis=0) == pytest.approx(high, rel=0.01)
    assert np.abs(np.corrcoef(factors.T) - np.eye(6)).max() < 0.03


def test_pictures_depend_on_the_seed_and_on_their_number_alone() -> None:
    def pictures(shapes: Shapes, step: int = 1) -> list[bytes]:
        return [raw.content.tobytes() for raw in ShapesReader(shapes, PictureFormat(20, 30, "L")).read(step)]

    many = pictures(Shapes(3_000))
    assert pictures(Shapes(100)) == many[:100]
    assert pictures(Shapes(3_000), 7) == many[::7]
    assert len(set(many)) == 3_000
    assert not set(many) & set(pictures(Shapes(100, seed=1)))
    assert len({shapes.fingerprint() for shapes in (Shapes(), Shapes(100), Shapes(seed=1))}) == 3


@pytest.mark.parametrize("format", [PictureFormat(1, 1, "L"), PictureFormat(7, 200, "RGBA"), PictureFormat(64, 48, "RGB")])
def test_any_size_and_mode(format: PictureFormat) -> None:
    (factors,) = Shapes(5).batches(5)
    assert draw(factors, format).shape == (5, format.height, format.width, format.channels)


def test_options_are_part_of_the_name() -> None:
    assert Shapes.parse("") == Shapes()
    assert Shapes.parse("seed=3&n=50") == Shapes(50, 3)
    for name in ("demo:shapes", "demo:shapes?n=50", "demo:shapes?n=50&seed=3"):
        assert Shapes.parse(name.partition("?")[2]).location == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("size=3", "demo:shapes has no option 'size', only n and seed; set size and mode with --size and --mode"),
        ("n=0", "demo:shapes: n='0' must be an integer of at least 1"),
        ("n", "demo:shapes: n='' must be an integer of at least 1"),
        ("n=5&seed=-1", "demo:shapes: seed='-1' must be an integer of at least 0"),
    ],
)
def test_other_options_are_refused(options: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        Shapes.parse(options)
    assert str(caught.value) == message
