"""Whatever form a picture comes in, the pixels are those that a viewer would show."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from aigc_cli.data.pictures.decoding.decode import Decoded, decode, look, upright_size
from aigc_cli.data.pictures.decoding.raw import NotDecodable
from aigc_cli.data.pictures.format import PictureFormat

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
GREY = RGB[..., :1]


def _saved(pixels: Any, kind: str, **options: Any) -> Callable[[], io.BytesIO]:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.squeeze())
    file = io.BytesIO()
    image.save(file, kind, **options)
    return partial(io.BytesIO, file.getvalue())


def _decode(content: Any, mode: Any, size: tuple[int, int] = (5, 7), fit: Any = "crop") -> Decoded:
    return decode(content, PictureFormat(*size, mode, fit))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_every_lossless_format_gives_its_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = _decode(_saved(RGB, kind, **options), "RGB")
    assert (decoded.pixels == RGB).all()
    assert decoded.size == (5, 7)
    assert (_decode(_saved(RGB, kind, **options), "RGBA").pixels[..., 3] == 255).all()
    if kind != "WEBP":
        assert (_decode(_saved(GREY, kind), "L").pixels == GREY).all()
        assert (_decode(_saved(GREY, kind), "RGB").pixels == GREY).all()


def test_plain_arrays_are_taken_as_they_are() -> None:
    assert (_decode(RGB, "RGB").pixels == RGB).all()
    assert (_decode(GREY, "L").pixels == GREY).all()
    turned = np.ascontiguousarray(RGB.transpose(2, 0, 1)).transpose(1, 2, 0)  # channels first in memory
    assert (_decode(turned, "RGB").pixels == RGB).all()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_are_near(kind: str) -> None:
    flat = np.full((32, 32, 3), (200, 100, 50), np.uint8)
    assert np.abs(_decode(_saved(flat, kind), "RGB", (32, 32)).pixels.astype(int) - flat).max() <= 3


def test_palettes_one_bit_and_16_bits() -> None:
    image = Image.fromarray(RGB).quantize(16)
    assert (_decode(_saved(image, "PNG"), "RGB").pixels == np.asarray(image.convert("RGB"))).all()
    assert (_decode(_saved(image, "GIF"), "RGB").pixels == np.asarray(image.convert("RGB"))).all()
    bits = GREY[..., 0] > 127
    decoded = _decode(_saved(Image.fromarray(bits), "PNG"), "L")
    assert (decoded.pixels[..., 0] == 255 * bits).all()
    assert decoded.two_valued
    assert not _decode(_saved(GREY, "PNG"), "L").two_valued
    deep = GREY[..., 0].astype(np.uint16) * 257 + 100  # a little brighter, less than half a level
    for kind in ("PNG", "TIFF"):
        assert (_decode(_saved(deep, kind), "L").pixels == GREY).all()


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.fromarray(np.full((5, 7), level, np.uint8)) for level in (10, 200)]
    for kind in ("GIF", "TIFF"):
        content = _saved(frames[0], kind, save_all=True, append_images=frames[1:])
        decoded = _decode(content, "L")
        assert (decoded.pixels == 10).all() and decoded.frames == 2


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_a_second_frame_that_is_broken_leaves_the_first(kind: str) -> None:
    frames = [Image.fromarray(np.full((5, 7), level, np.uint8)) for level in (10, 200)]
    data = _saved(frames[0], kind, save_all=True, append_images=frames[1:])().getvalue()
    first = len(_saved(frames[0], kind)().getvalue())
    for length in range(first, len(data), 3):
        assert (_decode(partial(io.BytesIO, data[:length]), "L").pixels == 10).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_turn_of_exif(orientation: int, kind: str) -> None:
    """Of the EXIF standard: where row 0 and column 0 of the stored picture are on the shown one."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1), 7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }.get(kind, {})
    content = _saved(np.ascontiguousarray(stored), kind, exif=exif, **options)
    decoded = _decode(content, "RGB", (32, 48))
    assert decoded.size == (32, 48)
    assert np.abs(decoded.pixels.astype(int) - upright).max() <= 4
    assert look(content).size == (32, 48)
    with Image.open(content()) as image:
        assert upright_size(image) == (32, 48)


def test_a_heic_is_turned_by_its_plugin_alone() -> None:
    """Its EXIF orientation only repeats what the file itself says."""
    pytest.importorskip("pillow_heif")
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24] = (200, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = _saved(stored, "HEIF", exif=exif, quality=-1, chroma=444)
    with content() as file, Image.open(file) as shown:
        expected = np.asarray(shown.convert("RGB")).astype(int)
    decoded = _decode(content, "RGB", expected.shape[:2])
    assert decoded.size == expected.shape[:2]
    assert np.abs(decoded.pixels.astype(int) - expected).max() == 0


def _exchanged_profile() -> bytes:
    """sRGB with the primaries red and green exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for a, b in ((b"rXYZ", b"----"), (b"gXYZ", b"rXYZ"), (b"----", b"gXYZ")):
        assert profile.count(a) == 1
        profile = profile.replace(a, b)
    return profile.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_colours_of_a_profile_become_those_of_srgb(kind: str) -> None:
    red = np.full((16, 16, 3), (220, 40, 30), np.uint8)
    shown = _decode(_saved(red, kind, icc_profile=_exchanged_profile()), "RGB", (16, 16)).pixels
    assert np.abs(shown.astype(int) - (40, 220, 30)).max() <= 4
    for harmless in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"no profile"):
        shown = _decode(_saved(red, kind, icc_profile=harmless), "RGB", (16, 16)).pixels
        assert np.abs(shown.astype(int) - red).max() <= 4


def test_a_profile_leaves_transparency_alone() -> None:
    pixels = np.dstack([np.full((5, 7, 3), (220, 40, 30), np.uint8), GREY])
    shown = _decode(_saved(pixels, "PNG", icc_profile=_exchanged_profile()), "RGBA").pixels
    assert (shown[..., 3:] == GREY).all()
    assert np.abs(shown[..., :3].astype(int) - (40, 220, 30)).max() <= 3


def test_cmyk() -> None:
    ink = Image.new("CMYK", (7, 5), (0, 255, 255, 0))
    assert np.abs(_decode(_saved(ink, "JPEG", quality=100), "RGB").pixels.astype(int) - (255, 0, 0)).max() <= 4


def test_transparency_is_kept_or_laid_on_white() -> None:
    pixels = np.dstack([np.full((5, 7, 3), (0, 100, 0), np.uint8), np.full((5, 7), 0, np.uint8)])
    pixels[:, 3:, 3] = 255
    kept = _decode(_saved(pixels, "PNG"), "RGBA")
    assert (kept.pixels == pixels).all()
    assert not kept.laid
    laid = _decode(_saved(pixels, "PNG"), "RGB")
    assert laid.laid
    assert (laid.pixels[:, :3] == 255).all()
    assert (laid.pixels[:, 3:] == (0, 100, 0)).all()
    palette = Image.fromarray(np.zeros((5, 7), np.uint8)).convert("P")
    palette.putpalette([10, 20, 30] + [0] * 765)
    assert (_decode(_saved(palette, "PNG", transparency=0), "L").pixels == 255).all()
    assert (_decode(_saved(palette, "PNG", transparency=0), "RGBA").pixels[..., 3] == 0).all()


def test_scaling_is_antialiased() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = _decode(_saved(board, "PNG"), "L", (8, 8)).pixels
    assert np.abs(small.astype(int) - 127).max() <= 2
    hidden = np.dstack([np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64), np.uint8)])
    hidden[::2, :, 3] = 255
    hidden[1::2, :, :3] = 0  # the colour of what is not seen does not darken what is
    assert (_decode(_saved(hidden, "PNG"), "RGB", (8, 8)).pixels > 250).all()


@pytest.mark.parametrize("size", [(20, 20), (5, 50), (200, 100), (13, 31)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_flat_picture_stays_flat_in_every_fit(fit: Any, size: tuple[int, int]) -> None:
    flat = np.full((30, 40, 3), (200, 100, 50), np.uint8)
    pixels = _decode(_saved(flat, "PNG"), "RGB", size, fit).pixels
    black = (pixels == 0).all(axis=2)
    assert (pixels[~black] == (200, 100, 50)).all()
    if fit != "pad":
        assert not black.any()
    else:  # the whole picture, as large as it goes, in the middle
        rows, columns = np.flatnonzero(~black.all(axis=1)), np.flatnonzero(~black.all(axis=0))
        scale = min(size[0] / 30, size[1] / 40)
        assert (len(rows), len(columns)) == (max(1, round(30 * scale)), max(1, round(40 * scale)))
        assert abs(rows[0] - (size[0] - 1 - rows[-1])) <= 1
        assert abs(columns[0] - (size[1] - 1 - columns[-1])) <= 1
        assert _decode(_saved(flat, "PNG"), "RGBA", size, fit).pixels[black].sum() == 0


def test_crop_takes_the_middle_and_stretch_everything() -> None:
    sides = np.zeros((10, 30), np.uint8)
    sides[:, 10:20] = 255
    assert (_decode(_saved(sides, "PNG"), "L", (10, 10)).pixels == 255).all()
    stretched = _decode(_saved(sides, "PNG"), "L", (10, 10), "stretch").pixels[..., 0]
    assert stretched[:, [0, -1]].max() == 0
    assert stretched[:, 4:6].min() >= 250
    assert _decode(_saved(sides.T.copy(), "PNG"), "L", (5, 5)).pixels.min() > 230  # its ends see what is beyond them


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same() -> None:
    down, right = np.mgrid[:1200, :1600]
    waves = np.dstack([127 + 100 * np.sin(down / 90), 127 + 100 * np.sin(right / 70), 127 + 100 * np.cos((down + right) / 80)])
    picture = waves.astype(np.uint8)
    near = _decode(_saved(picture, "JPEG", quality=95), "RGB", (48, 64))
    exact = _decode(_saved(picture, "PNG"), "RGB", (48, 64))
    assert near.size == exact.size == (1200, 1600)
    assert np.abs(near.pixels.astype(int) - exact.pixels).max() <= 4


def test_whether_a_picture_has_colours() -> None:
    grey_jpeg = _saved(np.repeat(GREY, 3, axis=2), "JPEG")
    assert not look(grey_jpeg).coloured
    assert not look(_saved(GREY, "PNG")).coloured
    assert look(_saved(RGB, "PNG")).coloured
    assert _decode(_saved(RGB, "PNG"), "L").lost_colour
    assert not _decode(grey_jpeg, "L").lost_colour
    invisible = np.dstack([RGB, np.zeros((5, 7), np.uint8)])
    assert not look(_saved(invisible, "PNG")).coloured


def test_equal_pixels_have_equal_digests_whatever_the_file() -> None:
    digests = {_decode(_saved(RGB, kind), "RGB").digest for kind in ("PNG", "BMP", "TIFF")}
    assert len(digests) == 1
    other = RGB.copy()
    other[0, 0, 0] ^= 1
    assert _decode(_saved(other, "PNG"), "RGB").digest not in digests


def _png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"text", "not a picture in a known format"),
        (_saved(RGB, "PNG")().getvalue()[:60], "image file is truncated"),
        (_png_header(50_000, 50_000), "it has more than 178,956,970 pixels: a decompression bomb"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a known format"),
    ],
)
def test_what_cannot_be_decoded_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(NotDecodable) as caught:
        _decode(partial(io.BytesIO, data), "RGB")
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings(r"ignore:::PIL\.")  # pytest undoes the module's own filter
def test_broken_pictures_are_never_more_than_not_decodable() -> None:
    random = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        whole = _saved(RGB, kind)().getvalue()
        for _ in range(60):
            data = bytearray(whole)
            for place in random.integers(0, len(data), 3):
                data[place] = random.integers(0, 256)
            try:
                decoded = _decode(partial(io.BytesIO, bytes(data)), "RGB")
            except NotDecodable:
                continue
            assert decoded.pixels.shape == (5, 7, 3)
