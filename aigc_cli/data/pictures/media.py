"""A kind of data whose sources are found and opened as those of pictures are: files in folders and archives, tables that hold
or list them, arrays."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from aigc_cli.data.arrays import arrays_of
from aigc_cli.data.encodings import home_encoding
from aigc_cli.data.kinds import Kind
from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.sources.listed import open_listed
from aigc_cli.data.pictures.sources.readers import name_in, picture_files
from aigc_cli.data.sources.archive_names import decode_paths, is_utf8
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.sources.source import Part, Source, suffix_of
from aigc_cli.data.sources.split_names import is_nfc
from aigc_cli.data.tables.table import table_suffix
from aigc_cli.files import user_path

_ROW = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"')  # of JSON Lines


class MediaKind(Kind):
    """A kind whose sources hold one `medium`."""

    medium: ClassVar[Medium]
    beside = re.compile(r"metadata\.arrow|state\.json")
    described_by = re.compile(r"metadata\.(csv|jsonl|parquet)")
    piped = (".jsonl",)

    @abstractmethod
    def recognise_file(self, head: bytes) -> str | None:
        """The suffix of a file of the medium that starts with these bytes; None if unknown."""

    @abstractmethod
    def open_demo(self, src: str) -> Source:
        """The data set with a name such as `demo:shapes?n=500`. Raises RequestError for options that it doesn't have."""

    @abstractmethod
    def splits_of_arrays(self, path: Path) -> Mapping[str, list[str]]:
        """The splits that arrays in a file are named for, with their names; empty if none are."""

    def recognise(self, head: bytes) -> str | None:
        if head.startswith(b"PK\x03\x04"):
            first = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # the name of the first member
            return ".npz" if first.endswith(b".npy") else ".zip"
        if head.startswith(b"\x93NUMPY"):
            return ".npy"
        if head[257:262] == b"ustar":
            return ".tar"
        if _ROW.match(head):
            return ".jsonl"
        return table_suffix(head) or self.recognise_file(head)

    def open(self, src: str) -> Source:
        """Parses the options of demos. A table is opened as the files that it lists, and an .npz whose arrays are named for
        splits (x_train, x_test) has those splits."""
        if src.startswith("demo:"):
            super().open(src.partition("?")[0])
            return self.open_demo(src)
        path = Path(os.path.normpath(user_path(src).absolute()))
        if (listed := open_listed(path, self.medium)) is not None:
            return listed
        source = super().open(src)
        part = source.parts.get("all")
        if part is None:
            return self._with_sizes(source, {split: self._count(of) for split, of in source.parts.items()})
        if len(part.files) != 1 or part.files[0].suffix.lower() != ".npz":
            return source
        keys = self.splits_of_arrays(part.files[0])
        if not keys:
            return source
        understood = replace(source.understood, splits={split: ", ".join(of) for split, of in keys.items()})
        source = replace(source, parts={split: replace(part, split=split) for split in keys}, understood=understood)
        lengths = {array.key: array.shape[0] for array in arrays_of(part.files[0])}
        return self._with_sizes(source, {split: lengths[of[0]] for split, of in keys.items()})

    def convert(self, copy: Path) -> Path:
        """JSON Lines become a Parquet file with the files that they name or hold."""
        if suffix_of(copy, self.piped) is None:
            return copy
        from aigc_cli.data.pictures.sources.piped import pack

        packed = pack(copy, Path.cwd(), self.medium)
        copy.unlink()
        return packed

    def places(self, part: Part) -> list[Any]:
        """The names, if they are those of classes or examples, and the split, which names arrays and isn't a class."""
        named = len(part.files) > 1 or suffix_of(part.files[0], self.medium.suffixes)
        names = [name_in(path, part) for path in part.files] if named else []
        below: list[Any] = [part.split_level] if part.split_level else []
        composed = [] if all(map(is_nfc, names)) else ["NFC"]  # earlier versions read these as other classes
        decoded: list[Any] = [] if all(map(is_utf8, names)) else [decode_paths(names)[0]]
        if home_encoding() is not None:  # which names in archives may be decoded by
            zips = [path for path in part.files if path.suffix.lower() == ".zip"]
            decoded += [note for path in zips for note in Archive(path).notes]
        return [names, part.split, *below, *composed, *decoded]

    def _count(self, part: Part) -> int | None:
        """The number of examples in a part, if it is known without reading them."""
        if len(picture_files(part, self.medium.suffixes)) == len(part.files):
            return len(part.files)
        if any(suffix_of(path, self.medium.read) != ".parquet" for path in part.files):
            return None
        from pyarrow import ArrowException, parquet

        try:
            return sum(int(parquet.read_metadata(path).num_rows) for path in part.files)
        except (OSError, ArrowException):
            return None  # it is refused when it is read

    def _with_sizes(self, source: Source, sizes: Mapping[str, int | None]) -> Source:
        """The source, with a note if its test split is larger than what there is to train on."""
        train, test = sizes.get("train"), sizes.get("test")
        if train is None or test is None or train >= test:
            return source
        note = f"fewer {self.medium.many} in train ({train:,}) than in test ({test:,})"
        return replace(source, remarks=(*source.remarks, note))
