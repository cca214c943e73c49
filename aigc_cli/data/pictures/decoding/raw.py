"""Pictures from a source, before decoding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy.typing as npt

Content: TypeAlias = Callable[[], BinaryIO] | npt.NDArray[Any]
"""A function that opens an encoded picture (or raises an exception that says why there is none), or the pixels of an unencoded
one, (height, width, channels) uint8, uint16 or floating point."""

IMAGE_NAMES = ("image", "img", "picture", "photo")
"""Names of columns and the like that hold pictures, likeliest first."""


@dataclass(frozen=True, eq=False)
class Medium:
    """What a source holds, one in a file, a cell or a member of an archive: pictures, or what is found as pictures are."""

    one: str
    many: str
    suffixes: tuple[str, ...]  # of its files
    remedies: Mapping[str, str]  # by suffix, how to convert files that are not read
    columns: tuple[str, ...]  # names of columns and the like that hold them, likeliest first
    feature: str  # of a column, in Hugging Face's `datasets`
    base64: re.Pattern[str]  # how one begins in base64 (`in_base64`)

    @property
    def read(self) -> tuple[str, ...]:
        """The suffixes of files that they are read from."""
        return (*self.suffixes, *TABLES, *ARRAYS, *ARCHIVES)


def in_base64(media_type: str, beginnings: str) -> re.Pattern[str]:
    """Matches `data:image/png;base64,` and the like, as the group `address`, and files with these beginnings."""
    return re.compile(rf"(?P<address>data:{media_type}/[\w.+-]+;base64,)|(?:{beginnings})[A-Za-z0-9+/\s]")


TABLES = (".parquet", ".arrow")
ARRAYS = (".npy", ".npz")
ARCHIVES = (".tar", ".tgz", ".zip")

MAX_PIXELS = 178_956_970
"""Larger pictures are refused as decompression bombs. This is Pillow's own limit for files it opens."""


class NotDecodable(Exception):
    """The message says why, in a few words."""


def describe_origins(origins: Mapping[str, str]) -> str:
    """ "pictures of the column 'image', labels of the column 'label'"."""
    return ", ".join(f"{what} of {origin}" for what, origin in origins.items())


@dataclass(frozen=True, slots=True)
class RawPicture:
    """One picture of a source."""

    name: str
    content: Content
    label: str | None = None  # the name of its class, or of several (`labels.joined`)
    factors: tuple[float | None, ...] = ()  # values of the reader's factors; None if unknown


class Described(Protocol):
    """The examples of one file, or of the files of a folder that are one example each, in order."""

    @property
    def count(self) -> int | None:
        """The number of examples; None if not known in advance."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in order; empty if the source doesn't define any."""

    @property
    def factors(self) -> tuple[str, ...]:
        """The names of the factors of variation, numbers that every example has."""

    @property
    def origins(self) -> Mapping[str, str]:
        """Where examples and "labels" are from, where that had to be chosen: "the column 'image'"."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user."""


class Reader(Described, Protocol):
    """The pictures of one file, or of the picture files of a folder, in order."""

    def read(self, step: int = 1) -> Iterator[RawPicture]:
        """Every `step`-th picture. Raises `RequestError` if the source can't be read."""
