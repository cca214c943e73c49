"""Pictures as a source gives them, before they are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Content: TypeAlias = Callable[[], BinaryIO] | npt.NDArray[np.uint8]
"""What opens an encoded picture (an exception that it raises is the reason why there is none), or the pixels of
a plain one, (height, width, channels)."""

MAX_PIXELS = 178_956_970
"""A larger picture is refused as a decompression bomb; Pillow's own limit, to which it holds what it opens."""


@dataclass(frozen=True, slots=True)
class RawPicture:
    """One picture of a source."""

    name: str
    content: Content
    label: str | None = None  # the name of its class
    factors: tuple[float | None, ...] = ()  # a value for each of the reader's factors; None where it is unknown


class Reader(Protocol):
    """The pictures of one file, or of the picture files of a folder, in order."""

    @property
    def count(self) -> int | None:
        """How many there are; None where that is not known beforehand."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in their order; empty where the source gives none."""

    @property
    def factors(self) -> tuple[str, ...]:
        """The names of the numbers that are known of every picture."""

    @property
    def notes(self) -> tuple[str, ...]:
        """For the person."""

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        """Every `step`-th picture. Raises RequestError for what cannot be read."""
