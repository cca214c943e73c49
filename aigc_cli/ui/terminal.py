"""What a terminal can show. Pure: the environment and the stream are arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TextIO, TypeAlias

Colours: TypeAlias = Literal["none", "256", "24-bit"]
SYSTEMS: Mapping[Colours, Literal["256", "truecolor"] | None] = {"none": None, "256": "256", "24-bit": "truecolor"}
"""Rich's names for them."""


def colours(environ: Mapping[str, str]) -> Colours:
    """The colours of a terminal with these variables: "none" if unwanted (NO_COLOR) or impossible (TERM=dumb)."""
    if environ.get("NO_COLOR") or environ.get("TERM", "dumb") == "dumb":
        return "none"
    return "24-bit" if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit") else "256"


def writes_unicode(stream: TextIO) -> bool:
    """Whether the stream can encode block characters."""
    try:
        "▀▁█…".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def shows_pictures(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether this is a terminal that can show pictures made of block characters."""
    return stream.isatty() and colours(environ) != "none" and writes_unicode(stream)
