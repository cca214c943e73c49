"""Pictures as a kind of data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aigc_cli.data.kinds import Kind
from aigc_cli.data.pictures.arrays import splits_of
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.data.pictures.readers import READ, SUFFIXES, name_in
from aigc_cli.data.pictures.shapes import Shapes
from aigc_cli.data.sources import Part, Source, suffix_of
from aigc_cli.data.tables import table_suffix

_MAGIC = (
    (b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tiff"),
    (b"MM\0*", ".tiff"), (b"\x93NUMPY", ".npy"),
)  # fmt: skip


class Pictures(Kind):
    """A source is decoded to one format; a sample is pixels (height, width, channels) uint8, written as a file."""

    name = "pictures"
    suffixes = READ
    demos = ("shapes",)
    n_samples = 16

    def recognise(self, head: bytes) -> str | None:
        if head.startswith(b"PK\x03\x04"):
            first = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # the name of the first member
            return ".npz" if first.endswith(b".npy") else ".zip"
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return ".webp"
        if head[257:262] == b"ustar":
            return ".tar"
        return table_suffix(head) or next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), None)

    def open(self, src: str) -> Source:
        """Of demo:shapes the options too; an .npz whose arrays are named for splits (x_train, x_test) is a source of these."""
        if src.startswith("demo:"):
            name, _, options = src.partition("?")
            super().open(name)
            location = Shapes.parse(options).location
            return Source(location, {"all": Part(location, "demo")})
        source = super().open(src)
        part = source.parts.get("all")
        if part is None or len(part.files) != 1 or part.files[0].suffix.lower() != ".npz":
            return source
        named = {split: replace(part, split=split) for split in splits_of(part.files[0])}
        return replace(source, parts=named or source.parts)

    def demo_fingerprint(self, location: str) -> str:
        return Shapes.of(location).fingerprint()

    def places(self, part: Part) -> list[Any]:
        """The names, where they name classes or pictures, and the split, which names arrays."""
        named = len(part.files) > 1 or suffix_of(part.files[0], READ) in SUFFIXES
        return [[name_in(path, part) for path in part.files] if named else [], part.split]

    def show(self, content: Pixels) -> Pixels:
        return content


PICTURES = Pictures()
