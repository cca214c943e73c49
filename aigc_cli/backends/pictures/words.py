"""What is said of pictures, said of what is learned as pictures."""

from __future__ import annotations

from collections.abc import Iterable


def said_of(one: str, lines: Iterable[str]) -> list[str]:
    """Lines that speak of pictures, with another word for an example, such as "sound"."""
    return [line.replace("picture", one) for line in lines]
