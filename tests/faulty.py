"""What an input of `test_faults.py` is: files as people have them, and what `aigc train` is to make of them."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

Make: TypeAlias = Callable[[Path], None]
"""Writes an input to a folder."""
Content: TypeAlias = "str | bytes | Image.Image"


@dataclass(frozen=True)
class Input:
    """An input, and what `aigc train` makes of it."""

    make: Make
    data: str
    n: int = 0  # examples in training and held out, where it is read
    backend: str = "transformer"
    options: str = ""
    told: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # parts of the line, where it is refused
    understood: Mapping[str, Any] = field(default_factory=dict)  # part of it
    label: str = ""  # a class that is sampled
    small: bool = True  # the model, to be quick
    environ: Mapping[str, str] = field(default_factory=dict)


def packed(content: Content, suffix: str = ".png") -> bytes:
    """The bytes of a file with this content."""
    if isinstance(content, Image.Image):
        file = io.BytesIO()
        content.save(file, Image.registered_extensions()[suffix])
        return file.getvalue()
    return content.encode() if isinstance(content, str) else content


def files(contents: Mapping[str, Content]) -> Make:
    """Files by their paths."""

    def make(folder: Path) -> None:
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(packed(content, path.suffix))

    return make


def together(*makes: Make) -> Make:
    def make(folder: Path) -> None:
        for each in makes:
            each(folder)

    return make
