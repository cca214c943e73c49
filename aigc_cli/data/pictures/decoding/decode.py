"""One picture, in whatever form it comes, as pixels of the requested format.

Pictures are decoded here alone. `output` encodes them with Pillow, and `ui.preview` resizes them.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from aigc_cli.data.pictures.decoding.raw import MAX_PIXELS, Content, NotDecodable
from aigc_cli.data.pictures.decoding.srgb import in_srgb
from aigc_cli.data.pictures.decoding.white import FULL, in_8_bits, range_of, white_of
from aigc_cli.data.pictures.format import GROUNDS, Look, PictureFormat, Size
from aigc_cli.data.pictures.sources.windows import cut, reduced

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]
FORMATS += [name for name, feature in (("AVIF", "avif"), ("JPEG2000", "jpg_2000")) if features.check(feature)]
if find_spec("pillow_heif"):  # the extra `heic`
    import pillow_heif

    pillow_heif.register_heif_opener()
    FORMATS.append("HEIF")

_OF_FRAMES = ("GIF", "TIFF", "WEBP", "PNG", "AVIF")
_LARGE_PIXELS = 1 << 24
_MOST_UNPACKED = 1 << 28  # bytes of a picture that is compressed once more, as in .bmp.gz
_ONE_LARGE = threading.Lock()  # large pictures are decoded one at a time, which bounds the memory
_GREY_TOLERANCE = 2  # levels by which the channels of a grey picture may differ, after lossy compression
_VISIBLE = 24  # levels by which a picture must differ from its ground; scaling alone may add 18 at an edge
_DEEP = re.compile("(RGB[AX]?|LA|CMYK);16")  # Pillow's names of several channels of 16 bits
_BICUBIC = Image.Resampling.BICUBIC  # Pillow's is antialiased; Parmar et al. 2022 compare the resizers in use

_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXCHANGING = (5, 6, 7, 8)  # orientations that swap width and height

# Pillow warns about large pictures and odd metadata. Users should only see our own messages.
warnings.filterwarnings("ignore", module=r"PIL\.")


Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """A picture in the format."""

    pixels: npt.NDArray[np.uint8]  # (height, width, channels)
    size: Size  # before resizing
    digest: int  # of the pixels, 64 bits
    two_valued: bool  # every channel of every pixel is 0 or 255
    lost_colour: bool  # it has colours and was made grey
    laid: bool  # it is transparent somewhere, and was laid on the format's ground
    highest: float | None  # the largest number; None with 8 bits per channel
    high_byte: int | None  # the largest of the first 8 bits, if the others were dropped
    frames: int  # pages or frames of its file, of which it is the first
    left_out: int = 0  # regions of the same picture that aren't kept; told with its first one


class _Opened(NamedTuple):
    """A picture scaled to a format, not padded."""

    image: Image.Image  # in mode L, LA, RGB or RGBA and in sRGB
    size: Size  # before scaling
    highest: float | None  # as in Decoded
    high_byte: int | None
    frames: int


def decode(content: Content, format: PictureFormat) -> Decoded:
    """The picture in the requested format: rotated according to EXIF, in sRGB, 8 bits per channel.

    For an animation, the first frame. Transparent pictures are laid on the format's ground unless the mode is RGBA. Raises
    NotDecodable.
    """
    return _decoded(_open(content, format, format.white), format, lambda pixels: ([pixels], 0))[0]


def decode_regions(content: Content, format: PictureFormat, most: int) -> list[Decoded]:
    """At most `most` regions of a picture at its own scale, as `decode` would return them. Raises NotDecodable, also for a
    picture that is smaller than a region."""
    region = format.stored
    opened = _open(content, format, format.white)
    if opened.image.height < region[0] or opened.image.width < region[1]:
        size, least = (f"{width}×{height}" for height, width in ((opened.image.height, opened.image.width), region))
        raise NotDecodable(f"it is only {size}, and the others are cut into {least}")
    return _decoded(opened, format, lambda pixels: cut(pixels, region, most))


def _decoded(opened: _Opened, format: PictureFormat, parts: Callable[[Pixels], tuple[list[Pixels], int]]) -> list[Decoded]:
    """The parts of a picture in the format."""
    image, size, highest, high_byte, frames = opened
    laid = False
    if format.mode != "RGBA" and image.mode in ("LA", "RGBA"):
        laid = _is_transparent(image)
        image = _laid_on(image, GROUNDS[format.ground])
    lost_colour = format.mode == "L" and _is_coloured(image)
    if format.region is None:
        image = _padded(image.convert(format.mode), format)
    pixels = np.asarray(image.convert(format.mode)).reshape(image.height, image.width, format.channels)
    found, left_out = parts(pixels)
    return [
        Decoded(
            pixels=part,
            size=size,
            digest=int.from_bytes(hashlib.blake2b(part.tobytes(), digest_size=8).digest(), "little"),
            two_valued=not ((part + np.uint8(1)) & 0xFE).any(),
            lost_colour=lost_colour,
            laid=laid,
            highest=highest,
            high_byte=high_byte,
            frames=1 if number else frames,
            left_out=0 if number else left_out,
        )
        for number, part in enumerate(found)
    ]


def look(content: Content) -> Look:
    """Its size, whether it has colours, its largest number and the grounds it would vanish on. Raises NotDecodable."""
    image, size, highest, high_byte, _ = _open(content, PictureFormat(64, 64, "RGBA", "stretch"), None)
    vanishes_on = None
    if _is_transparent(image) and _is_visible(image):
        on = {ground: np.asarray(_laid_on(image, level)).astype(np.int16) - level for ground, level in GROUNDS.items()}
        vanishes_on = frozenset(ground for ground, contrast in on.items() if np.abs(contrast).max() < _VISIBLE)
    of_8_bits = highest is None and high_byte is None
    level = _highest_level(image) if of_8_bits and not _is_transparent(image) else None
    return Look(size, _is_coloured(image), highest, vanishes_on, level)


def upright_size(image: Image.Image) -> Size:
    """The size of a picture that isn't loaded, rotated according to EXIF."""
    exchanged = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _EXCHANGING  # Pillow gives a TIFF's upright
    return (image.width, image.height) if exchanged else (image.height, image.width)


def _is_transparent(image: Image.Image) -> bool:
    """Whether any pixel is transparent, partly or fully."""
    return image.mode in ("LA", "RGBA") and cast(tuple[int, int], image.getchannel("A").getextrema())[0] < 255


def _is_visible(image: Image.Image) -> bool:
    """Whether a picture with transparency isn't fully transparent."""
    return cast(tuple[int, int], image.getchannel("A").getextrema())[1] > 0


def _laid_on(image: Image.Image, level: int) -> Image.Image:
    """A picture with transparency, in RGB, laid on a grey ground."""
    image = image.convert("RGBA")
    ground = Image.new("RGB", image.size, (level,) * 3)
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _is_coloured(image: Image.Image) -> bool:
    if image.mode in ("L", "LA"):
        return False
    channels = np.asarray(image.convert("RGBA")).astype(np.int16)
    visible = channels[channels[..., 3] > 0][:, :3]
    return bool((np.ptp(visible, axis=1) > _GREY_TOLERANCE).any())


def _open(content: Content, format: PictureFormat, white: int | None) -> _Opened:
    """The first frame of a picture; `white` is the value of white, None: determined by this picture alone."""
    try:
        if isinstance(content, np.ndarray):
            levels, highest = (content, None) if content.dtype == np.uint8 else _levels(content, white)
            image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
            return _Opened(_scaled(image, format), (image.height, image.width), highest, None, 1)
        with content() as packed, _seekable(packed) as file, Image.open(file, formats=FORMATS) as image:
            frames = _count_frames(image)
            width, height = image.size
            # A JPEG is decoded at a fraction of its size if that is at least twice the requested size.
            zoom = 2 * max(*_zoom((height, width), format), *_zoom((width, height), format))
            drafted = image.draft(None, (math.ceil(width * zoom), math.ceil(height * zoom))) is not None
            deep = any(_DEEP.search(str(tile.args)) for tile in image.tile)
            with _ONE_LARGE if image.width * image.height > _LARGE_PIXELS else nullcontext():
                image.load()
                orientation = image.getexif().get(_ORIENTATION, 1)
                profile = image.info.get("icc_profile")
                if not drafted:
                    width, height = image.size  # Pillow has already rotated a TIFF
                upright, highest = _in_8_bits(image, deep, white)
                if orientation in _TURNS:
                    upright = upright.transpose(_TURNS[orientation])
                size = (width, height) if orientation in _EXCHANGING else (height, width)
                high_byte = _highest_level(image) if deep else None
                return _Opened(in_srgb(_scaled(upright, format), profile), size, highest, high_byte, frames)
    except NotDecodable:
        raise
    except Exception as error:  # the decoders may raise any exception on broken data
        empty = isinstance(error, UnidentifiedImageError) and _is_empty(content)
        raise NotDecodable("it is empty" if empty else _reason(error)) from error


def _seekable(file: BinaryIO) -> BinaryIO:
    """A file, or the content of one that is compressed once more, which Pillow would read whole, whatever its size."""
    if file.seekable():
        return file
    data = file.read(_MOST_UNPACKED + 1)
    if len(data) > _MOST_UNPACKED:
        raise NotDecodable(f"it unpacks to more than {_MOST_UNPACKED:,} bytes")
    return io.BytesIO(data)


def _count_frames(image: Image.Image) -> int:
    """The number of pages or frames; 1 if those after the first are broken. The picture must not be loaded yet."""
    if image.format not in _OF_FRAMES:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # the decoders may raise any exception on broken data
        image.seek(0)
        return 1


def _highest_level(image: Image.Image) -> int:
    """The largest level of its colours, 0 to 255."""
    highest = np.asarray(image.getextrema()).reshape(-1, 2)[:, 1]  # one pair, or a pair a channel
    return max(int(level) for level, band in zip(highest, image.getbands(), strict=True) if band != "A")


def _is_empty(content: Content) -> bool:
    if isinstance(content, np.ndarray):
        return False
    with content() as file:
        return not file.read(1)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MAX_PIXELS:,} pixels: a decompression bomb"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a known format"
    text = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
    return text or type(error).__name__


def _levels(numbers: npt.NDArray[Any], white: int | None) -> tuple[npt.NDArray[np.uint8], float]:
    """The numbers scaled to 0 to 255, and the largest before scaling."""
    highest = range_of(numbers)
    return in_8_bits(numbers, white_of([highest]) if white is None else white), highest


def _in_8_bits(image: Image.Image, deep: bool, white: int | None) -> tuple[Image.Image, float | None]:
    """The same picture in a mode that can be scaled, with 8 bits per channel: L, LA, RGB, RGBA or CMYK; and its largest
    number if there were more bits.

    `deep`: it is stored with several channels of 16 bits. Pillow drops the last 8 bits of each, but not those of the
    transparent colour.
    """
    mode, transparent = image.mode, image.info.get("transparency")
    if mode in ("I", "F") or mode.startswith("I;16"):
        numbers = np.asarray(image)
        scaled = image.format == "PPM"  # Pillow has scaled the file's white to that of 16 bits
        levels, highest = _levels(numbers, FULL if scaled else white)
        grey = Image.fromarray(levels)
        if transparent is not None:
            grey.putalpha(Image.fromarray(np.where(numbers == transparent, 0, 255).astype(np.uint8)))
        return grey, None if scaled else highest
    if deep and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(level >> 8 for level in transparent)
    if image.has_transparency_data:
        return image.convert("LA" if mode in ("1", "L", "LA", "La") else "RGBA"), None
    if mode == "1":
        return image.convert("L"), None
    return image if mode in ("L", "RGB", "CMYK") else image.convert("RGB"), None


def _zoom(size: Size, format: PictureFormat) -> tuple[float, float]:
    """The factors for height and width."""
    if format.region is not None:
        zoom = reduced(size, format.reduced)[0] / size[0]
        return zoom, zoom
    vertical, horizontal = format.height / size[0], format.width / size[1]
    if format.fit == "stretch":
        return vertical, horizontal
    zoom = max(vertical, horizontal) if format.fit == "crop" else min(vertical, horizontal)
    return zoom, zoom


def _scaled(image: Image.Image, format: PictureFormat) -> Image.Image:
    """The picture at the format's size, or before padding at the largest size that fits."""
    vertical, horizontal = _zoom((image.height, image.width), format)
    width, height = format.width, format.height
    left = top = 0.0
    if format.region is not None:
        height, width = reduced((image.height, image.width), format.reduced)
    elif format.fit == "crop":
        left, top = (image.width - width / horizontal) / 2, (image.height - height / vertical) / 2
        left, top = max(left, 0.0), max(top, 0.0)  # rounding
    elif format.fit == "pad":
        width, height = max(1, round(image.width * horizontal)), max(1, round(image.height * vertical))
    if (width, height) == image.size:
        return image
    box = (left, top, image.width - left, image.height - top)
    return image.resize((width, height), _BICUBIC, box=box, reducing_gap=3.0)


def _padded(image: Image.Image, format: PictureFormat) -> Image.Image:
    """The picture centred at the format's size; around it black, or transparent if the mode has transparency."""
    if image.size == (format.width, format.height):
        return image
    canvas = Image.new(format.mode, (format.width, format.height))
    canvas.paste(image, ((format.width - image.width) // 2, (format.height - image.height) // 2))
    return canvas
