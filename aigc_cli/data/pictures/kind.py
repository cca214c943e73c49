"""Pictures as a kind of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from aigc_cli.data.kinds import ArrayFile, Sheet
from aigc_cli.data.pictures import output
from aigc_cli.data.pictures.demos.built_in import DEMOS, demo_fingerprint, open_demo
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.media import MediaKind
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.data.pictures.sources.arrays import splits_of
from aigc_cli.data.pictures.sources.readers import PICTURE_FILES, READ, REMEDIES, SUFFIXES
from aigc_cli.data.sources.folder_splits import Naming
from aigc_cli.data.sources.source import Source

_MAGIC = (
    (b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tiff"),
    (b"MM\0*", ".tiff"), (b"\0\0\0\x0cjP  ", ".jp2"), (b"P4\n", ".pbm"), (b"P5\n", ".pgm"),
    (b"P6\n", ".ppm"),
)  # fmt: skip


class Pictures(MediaKind):
    """A source is decoded to one format; a sample is pixels (height, width, channels) uint8, written as a file."""

    name, one = "pictures", "picture"
    medium = PICTURE_FILES
    suffixes = READ
    naming: ClassVar[Mapping[str, Naming]] = dict.fromkeys(SUFFIXES, "never")  # train.png shows a train
    remedies = REMEDIES
    demos = DEMOS
    n_samples = 16
    formats = MappingProxyType({"png": ".png", "jpeg": ".jpg", "webp": ".webp"})
    sheets = output.WRITTEN
    arrays = True
    in_records = True
    as_pictures = "aigc_cli.data.pictures.dataset"

    def recognise_file(self, head: bytes) -> str | None:
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return ".webp"
        if head[4:8] == b"ftyp":
            return ".avif" if head[8:12] in (b"avif", b"avis") else ".heic" if ".heic" in SUFFIXES else None
        return next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), None)

    def open_demo(self, src: str) -> Source:
        return open_demo(src)

    def splits_of_arrays(self, path: Path) -> Mapping[str, list[str]]:
        return splits_of(path)

    def demo_fingerprint(self, location: str) -> str:
        return demo_fingerprint(location)

    def show(self, content: Pixels) -> Pixels:
        return content

    def encode(self, content: Pixels, suffix: str) -> bytes:
        return output.encode_picture(content, suffix)

    def example(self, data: Mapping[str, Any]) -> Pixels | None:
        if "format" not in data:
            return None
        format = PictureFormat.of_run(data)
        return np.zeros((*format.size, format.channels), np.uint8)

    def check_written(self, content: Pixels, suffix: str, n: int, columns: int) -> None:
        height, width, channels = content.shape
        scale = output.enlargement(height, width) if n > 1 else 1
        output.check_format(*output.sheet_size(n, columns, scale * height, scale * width), channels, suffix)

    def sheet(self, contents: Sequence[Pixels], columns: int, suffix: str) -> Sheet:
        """Small pictures are enlarged for viewing; a single one stays as it is."""
        scale = output.enlargement(*contents[0].shape[:2]) if len(contents) > 1 else 1
        drawn = output.encode_picture(output.sheet(contents, columns, scale), suffix)
        return Sheet(drawn, {"columns": columns, "scale": scale})

    def array(self, folder: Path) -> AbstractContextManager[ArrayFile]:
        return output.spooled_array(folder, self.name, np.dtype(np.uint8))


PICTURES = Pictures()
