"""Transparency is read in every mode, and pictures are never laid on a ground that hides them."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aigc_cli.backends.gan.config import GANPlan, Train
from aigc_cli.data.pictures.dataset import PictureRequest, prepare_pictures, read_pictures
from aigc_cli.data.pictures.decoding.decode import decode, look
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.options import recorded

RNG = np.random.default_rng(0)
SHAPE = RNG.random((12, 8, 8)) < 0.5  # of 12 drawings, where there is ink
NOTHING = np.array([[True, False]] * 2)  # transparent on the left


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _png(bits: int, colour: int, rows: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 2×2 pixels, byte by byte, since Pillow writes no 16-bit colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    every = ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in every)


def _numbers(dtype: str, left: Any, right: Any) -> np.ndarray:
    return np.array([[left, right]] * 2, dtype)


GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types of the standard
MODES = {
    "1 bit": _png(1, GREY, np.full((2, 1), 0b01000000, np.uint8), (b"tRNS", struct.pack(">H", 0))),
    "8-bit grey": _png(8, GREY, _numbers("u1", 0, 255), (b"tRNS", struct.pack(">H", 0))),
    "16-bit grey": _png(16, GREY, _numbers(">u2", 7, 65535), (b"tRNS", struct.pack(">H", 7))),
    "8-bit RGB": _png(8, RGB, _numbers("u1", (1, 2, 3), (255,) * 3), (b"tRNS", struct.pack(">HHH", 1, 2, 3))),
    "16-bit RGB": _png(16, RGB, _numbers(">u2", (300, 600, 900), (65535,) * 3), (b"tRNS", struct.pack(">HHH", 300, 600, 900))),
    "palette": _png(8, PALETTE, _numbers("u1", 0, 1), (b"PLTE", bytes([0] * 3 + [255] * 3)), (b"tRNS", b"\0")),
    "grey and alpha": _png(8, GREY_ALPHA, _numbers("u1", (9, 0), (255, 255))),
    "RGB and alpha": _png(8, RGB_ALPHA, _numbers("u1", (9, 9, 9, 0), (255,) * 4)),
    "16-bit grey and alpha": _png(16, GREY_ALPHA, _numbers(">u2", (9, 0), (65535,) * 2)),
    "16-bit RGB and alpha": _png(16, RGB_ALPHA, _numbers(">u2", (9, 9, 9, 0), (65535,) * 4)),
}


@pytest.mark.parametrize("ground", ["white", "black", "grey"])
@pytest.mark.parametrize("mode", MODES)
def test_transparency_in_every_mode(mode: str, ground: Any) -> None:
    content = partial(io.BytesIO, MODES[mode])
    kept = decode(content, PictureFormat(2, 2, "RGBA", "crop"))
    assert (kept.pixels[..., 3] == np.where(NOTHING, 0, 255)).all() and not kept.laid
    laid = decode(content, PictureFormat(2, 2, "L", "crop", ground))
    level = {"white": 255, "black": 0, "grey": 128}[ground]
    assert (laid.pixels[..., 0] == np.where(NOTHING, level, 255)).all() and laid.laid
    assert look(content).vanishes_on == {"white"}


def test_what_is_not_transparent_or_wholly_so_vanishes_on_nothing() -> None:
    for alpha in (None, 255, 0):
        pixels = np.full((4, 4, 3 if alpha is None else 4), 255, np.uint8)
        if alpha is not None:
            pixels[..., 3] = alpha
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        assert look(partial(io.BytesIO, file.getvalue())).vanishes_on is None


def _folder(folder: Path, inks: list[int], side: int = 8) -> Path:
    """Drawings in ink of those levels on nothing, in turn."""
    folder.mkdir()
    for i, shape in enumerate(SHAPE):
        ink = np.full((side, side), inks[i % len(inks)], np.uint8)
        alpha = 255 * np.kron(shape, np.ones((side // 8, side // 8))).astype(np.uint8)
        Image.fromarray(np.dstack([ink, ink, ink, alpha])).save(folder / f"{i:02}.png")
    return folder


def _prepare(folder: Path, **options: Any) -> Any:
    return prepare_pictures(PictureRequest(str(folder), **options), progress=lambda *_: None)


GROUNDS = [
    ([0], "white", ""),
    ([255], "black", ", as they vanish on white"),
    ([255, 0], "grey", ", as they vanish on white and on black"),
]


@pytest.mark.parametrize(("inks", "ground", "why"), GROUNDS, ids=[ground for _, ground, _ in GROUNDS])
@pytest.mark.parametrize("options", [{}, {"size": (8, 8), "mode": "L"}], ids=["auto", "size and mode"])
def test_the_ground_is_one_that_hides_nothing(
    inks: list[int], ground: str, why: str, options: dict[str, Any], tmp_path: Path
) -> None:
    folder = _folder(tmp_path / "d", inks)
    dataset = _prepare(folder, **options)
    assert (dataset.format.mode, dataset.format.ground) == ("L", ground)
    assert f"laid 12 of 12 that are transparent on {ground}{why}; --mode RGBA keeps the transparency" in dataset.notes
    again = read_pictures(str(folder), dataset.format, progress=lambda *_: None)
    level = {"white": 255, "black": 0, "grey": 128}[ground]
    for picture, shape, i in zip(again.take(range(12)), SHAPE, range(12), strict=True):
        assert (picture[..., 0] == np.where(shape, inks[i % len(inks)], level)).all()
    # What was chosen, asked for by a resumed run, is the same entry of the cache.
    assert _prepare(folder, ground=ground, **options).cached
    other: Any = "black" if ground == "grey" else "grey"
    assert _prepare(folder, ground=other, **options).format.ground == other


def test_transparency_is_kept_where_every_ground_hides_something(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", [0, 128, 255], side=64)
    dataset = _prepare(folder)
    assert dataset.format.mode == "RGBA"
    kept = "the transparency is kept (RGBA): without it the pictures vanish on white, black and grey; --mode RGB uses grey"
    assert kept in dataset.notes
    assert _prepare(folder, mode="RGB").format == PictureFormat(64, 64, "RGB", "crop", "grey")


def test_formats_of_earlier_versions_have_a_white_ground() -> None:
    fields = {"height": 8, "width": 8, "mode": "L", "fit": "crop"}
    assert PictureFormat.from_json(fields).ground == "white"
    black = PictureFormat(8, 8, "L", "crop", "black")
    assert PictureFormat.from_json(black.to_json()) == black


def test_plans_of_earlier_versions_keep_white_and_the_full_range() -> None:
    plan = GANPlan.of(
        Train(data="d", steps=1, batch_size=1), preset="small", latent=1, gamma=1.0, lr=1.0, cooldown=0.5, ema=1, threads=1,
        compile=False, eval_items=1, ground="black", white=4095, clusters=0,
    )  # fmt: skip
    record = recorded(plan)
    assert (GANPlan.read(record).ground, GANPlan.read(record).white) == ("black", 4095)
    earlier = GANPlan.read({name: value for name, value in record.items() if name not in ("ground", "white")})
    assert (earlier.ground, earlier.white) == ("white", 65535)
