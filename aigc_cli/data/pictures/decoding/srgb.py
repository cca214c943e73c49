"""Colours converted from a picture's profile to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, cast

from PIL import Image, ImageCms


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The colours converted from the profile to sRGB, which is assumed if the profile is missing or broken.

    The picture is already small: converting before scaling changes little and is slow.
    """
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    plain = image if alpha is None else image.convert(image.mode[:-1])
    transform = _transform(profile, plain.mode) if profile else None
    if transform is not None:
        plain = cast(Image.Image, ImageCms.applyTransform(plain, transform))
    elif plain.mode == "CMYK":
        plain = plain.convert("RGB")
    else:
        return image
    if alpha is not None:
        plain.putalpha(alpha)
    return plain


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> Any:
    """The transform from a profile to sRGB; None if it changes nothing or isn't possible."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(opened):
            return None
        target = ImageCms.createProfile("sRGB")
        # A transform caches its last pixel, so threads must not share it.
        return ImageCms.buildTransform(opened, target, mode, "RGB", flags=ImageCms.Flags.NOCACHE)
    except (ImageCms.PyCMSError, OSError):
        return None
