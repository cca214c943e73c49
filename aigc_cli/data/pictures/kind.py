"""Pictures as a kind of data."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from aigc_cli.data.arrays import arrays_of
from aigc_cli.data.encodings import home_encoding
from aigc_cli.data.kinds import ArrayFile, Kind, Sheet
from aigc_cli.data.pictures import output
from aigc_cli.data.pictures.arrays import splits_of
from aigc_cli.data.pictures.demos import DEMOS, demo_fingerprint, open_demo
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.listed import open_listed
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.data.pictures.readers import READ, REMEDIES, SUFFIXES, name_in, picture_files
from aigc_cli.data.sources.archive_names import decode_paths, is_utf8
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.sources.folder_splits import Naming
from aigc_cli.data.sources.source import Part, Source, suffix_of
from aigc_cli.data.sources.split_names import is_nfc
from aigc_cli.data.tables.table import table_suffix

_MAGIC = (
    (b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tiff"),
    (b"MM\0*", ".tiff"), (b"\x93NUMPY", ".npy"), (b"\0\0\0\x0cjP  ", ".jp2"), (b"P4\n", ".pbm"), (b"P5\n", ".pgm"),
    (b"P6\n", ".ppm"),
)  # fmt: skip
_ROW = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"')  # of JSON Lines


class Pictures(Kind):
    """A source is decoded to one format; a sample is pixels (height, width, channels) uint8, written as a file."""

    name = "pictures"
    suffixes = READ
    naming: ClassVar[Mapping[str, Naming]] = dict.fromkeys(SUFFIXES, "never")  # train.png shows a train
    beside = re.compile(r"metadata\.arrow|state\.json")
    described_by = re.compile(r"metadata\.(csv|jsonl|parquet)")
    remedies = REMEDIES
    demos = DEMOS
    piped = (".jsonl",)
    n_samples = 16
    formats = MappingProxyType({"png": ".png", "jpeg": ".jpg", "webp": ".webp"})
    sheets = output.WRITTEN
    arrays = True

    def recognise(self, head: bytes) -> str | None:
        if head.startswith(b"PK\x03\x04"):
            first = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # the name of the first member
            return ".npz" if first.endswith(b".npy") else ".zip"
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return ".webp"
        if head[4:8] == b"ftyp":
            return ".avif" if head[8:12] in (b"avif", b"avis") else ".heic" if ".heic" in SUFFIXES else None
        if head[257:262] == b"ustar":
            return ".tar"
        if _ROW.match(head):
            return ".jsonl"
        return table_suffix(head) or next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), None)

    def open(self, src: str) -> Source:
        """Parses the options of demos. A table is opened as the pictures that it lists, and an .npz whose arrays are
        named for splits (x_train, x_test) has those splits."""
        if src.startswith("demo:"):
            super().open(src.partition("?")[0])
            return open_demo(src)
        if (listed := open_listed(Path(os.path.normpath(Path(src).expanduser().absolute())))) is not None:
            return listed
        source = super().open(src)
        part = source.parts.get("all")
        if part is None:
            return _with_sizes(source, {split: _count(of) for split, of in source.parts.items()})
        if len(part.files) != 1 or part.files[0].suffix.lower() != ".npz":
            return source
        keys = splits_of(part.files[0])
        if not keys:
            return source
        understood = replace(source.understood, splits={split: ", ".join(of) for split, of in keys.items()})
        source = replace(source, parts={split: replace(part, split=split) for split in keys}, understood=understood)
        lengths = {array.key: array.shape[0] for array in arrays_of(part.files[0])}
        return _with_sizes(source, {split: lengths[of[0]] for split, of in keys.items()})

    def convert(self, copy: Path) -> Path:
        """JSON Lines become a Parquet file with the pictures that they name or hold."""
        if suffix_of(copy, self.piped) is None:
            return copy
        from aigc_cli.data.pictures.piped import pack

        packed = pack(copy, Path.cwd())
        copy.unlink()
        return packed

    def demo_fingerprint(self, location: str) -> str:
        return demo_fingerprint(location)

    def places(self, part: Part) -> list[Any]:
        """The names, if they are those of classes or pictures, and the split, which names arrays and isn't a class."""
        named = len(part.files) > 1 or suffix_of(part.files[0], READ) in SUFFIXES
        names = [name_in(path, part) for path in part.files] if named else []
        below: list[Any] = [part.split_level] if part.split_level else []
        composed = [] if all(map(is_nfc, names)) else ["NFC"]  # earlier versions read these as other classes
        decoded: list[Any] = [] if all(map(is_utf8, names)) else [decode_paths(names)[0]]
        if home_encoding() is not None:  # which names in archives may be decoded by
            zips = [path for path in part.files if path.suffix.lower() == ".zip"]
            decoded += [note for path in zips for note in Archive(path).notes]
        return [names, part.split, *below, *composed, *decoded]

    def show(self, content: Pixels) -> Pixels:
        return content

    def encode(self, content: Pixels, suffix: str) -> bytes:
        return output.encode_picture(content, suffix)

    def example(self, data: Mapping[str, Any]) -> Pixels | None:
        if "format" not in data:
            return None
        format = PictureFormat.from_json(data["format"])
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
        return output.picture_array(folder)


def _count(part: Part) -> int | None:
    """The number of pictures in a part, if it is known without reading them."""
    if len(picture_files(part)) == len(part.files):
        return len(part.files)
    if any(suffix_of(path, READ) != ".parquet" for path in part.files):
        return None
    from pyarrow import ArrowException, parquet

    try:
        return sum(int(parquet.read_metadata(path).num_rows) for path in part.files)
    except (OSError, ArrowException):
        return None  # it is refused when it is read


def _with_sizes(source: Source, sizes: Mapping[str, int | None]) -> Source:
    """The source, with a note if its test split is larger than what there is to train on."""
    train, test = sizes.get("train"), sizes.get("test")
    if train is None or test is None or train >= test:
        return source
    return replace(source, remarks=(*source.remarks, f"fewer pictures in train ({train:,}) than in test ({test:,})"))


PICTURES = Pictures()
