"""What a source of pictures is: opened, told apart by its content, looked at again later."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zstandard

from aigc_cli.data import cache, sources
from aigc_cli.data.pictures import arrays as picture_arrays
from aigc_cli.data.pictures import files as picture_files
from aigc_cli.data.pictures.arrays import ArrayReader
from aigc_cli.data.pictures.files import ARCHIVES, ArchiveReader, FileReader
from aigc_cli.data.pictures.format import Fit, Mode, Size, check_size
from aigc_cli.data.pictures.raw import Reader
from aigc_cli.data.pictures.shapes import Shapes
from aigc_cli.data.sources import COMPRESSIONS, JSON, FileRecord, Part, Source
from aigc_cli.errors import RequestError

TABLES = (".parquet", ".arrow")
SUFFIXES = (*picture_files.SUFFIXES, *TABLES, *picture_arrays.SUFFIXES, *ARCHIVES)
"""The suffixes of files that pictures are read from."""

DEMOS = ("shapes",)

_MAGIC = (
    (b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tiff"),
    (b"MM\0*", ".tiff"), (b"\x93NUMPY", ".npy"), (b"PAR1", ".parquet"), (b"ARROW1", ".arrow"),
    (b"\xff\xff\xff\xff", ".arrow"),
)  # fmt: skip


@dataclass(frozen=True)
class PictureRequest:
    """What the user asked for."""

    data: str
    val: str | None = None
    size: Size | None = None  # (height, width)
    mode: Mode | None = None
    fit: Fit = "crop"
    label: str | None = None  # the column or array with the labels
    input_format: str | None = None  # of standard input: png jpg … parquet arrow npy npz tar zip


def check_request(request: PictureRequest) -> None:
    """Raise RequestError for options that contradict one another."""
    check_input_format(request.data, request.input_format)
    if request.size is not None:
        check_size(request.size)


def check_input_format(src: str, input_format: str | None) -> None:
    """Raise RequestError for a format that is given of anything but standard input."""
    if input_format is not None and src != "-":
        raise RequestError("--input-format is for standard input (--data -); a file's name tells its format")


def take_stdin(request: PictureRequest) -> PictureRequest:
    """The request with "-" replaced by a file of the cache with what standard input gave; else unchanged."""
    if request.val == "-":
        raise RequestError("--val cannot be standard input; name a file")
    if request.data != "-":
        return request
    return replace(request, data=str(spool_stdin(request.input_format)), input_format=None)


def spool_stdin(input_format: str | None) -> Path:
    """Copy standard input to a file of the cache. Without `input_format` the first bytes tell what it is."""
    known = [suffix.removeprefix(".") for suffix in SUFFIXES]
    if input_format is not None and input_format not in known:
        raise RequestError(f"--input-format {input_format!r} is not one of {', '.join(known)}")

    def suffix_for(head: bytes) -> str:
        sniffed = sniff(head)
        if input_format is not None:
            packing = Path("x" + (sniffed or "")).suffix
            return f".{input_format}" + (packing if packing in COMPRESSIONS else "")
        if sniffed is None:
            raise RequestError("standard input is of no known format of pictures; name its format with --input-format")
        return sniffed

    return sources.spool_stdin(suffix_for)


def sniff(head: bytes) -> str | None:
    """The suffix that fits a file's first bytes, such as ".png" or ".tar.gz"; None for what is not known."""
    if head.startswith(b"\x1f\x8b"):
        return _sniff_packed(lambda: zlib.decompressobj(wbits=31).decompress(head, 1 << 10), ".gz")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return _sniff_packed(lambda: zstandard.ZstdDecompressor().stream_reader(head).read(1 << 10), ".zst")
    if head.startswith(b"PK\x03\x04"):
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # the name of the first member
        return ".npz" if first.endswith(b".npy") else ".zip"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[257:262] == b"ustar":
        return ".tar"
    return next((suffix for magic, suffix in _MAGIC if head.startswith(magic)), None)


def _sniff_packed(unpack: Callable[[], bytes], packing: str) -> str | None:
    try:
        inner = sniff(unpack())
    except (zlib.error, zstandard.ZstdError):
        return None
    return inner and inner + packing


def open_pictures(src: str) -> Source:
    """Find what `src` names among the sources of pictures. Raises RequestError when nothing is there.

    An .npz whose arrays are named for splits (x_train, x_test) is a source with these splits.
    """
    if src.startswith("demo:"):
        name, _, options = src.partition("?")
        sources.open_source(name, suffixes=SUFFIXES, demos=DEMOS)
        location = Shapes.parse(options).location
        return Source(location, {"all": Part(location, "demo")})
    source = sources.open_source(src, suffixes=SUFFIXES, demos=DEMOS)
    parts = {name: _named(part, name) for name, part in source.parts.items()}
    if (part := parts.get("all")) and len(part.files) == 1 and part.files[0].suffix.lower() == ".npz":
        splits = picture_arrays.splits_of(part.files[0])
        parts = {name: _named(part, name) for name in splits} or parts
    return replace(source, parts=parts)


def _named(part: Part, split: str) -> Part:
    """The part, which knows what split it is, where it is one."""
    return replace(part, split=split) if part.kind == "files" and split != "all" else part


def check_label_applies(parts: Sequence[Part], label: str | None) -> None:
    """Raise RequestError for a --label that would do nothing."""
    suffixes = {sources.suffix_of(path, SUFFIXES) for part in parts for path in part.files}
    if label is not None and not suffixes & {*TABLES, ".npz"} and all(part.kind != "hub" for part in parts):
        raise RequestError(f"--label is for tables and .npz files; {parts[0].location} has neither")


def open_readers(part: Part, label: str | None) -> list[Reader]:
    """What reads the pictures of a part that is not drawn; picture files together, then each other file."""
    if part.kind == "hub":
        from aigc_cli.data.pictures.tables import open_hub

        return [open_hub(part.location, part.split, label)]
    readers: list[Reader] = []
    pictures = [path for path in part.files if sources.suffix_of(path, SUFFIXES) in picture_files.SUFFIXES]
    if pictures:
        readers.append(FileReader(pictures, [_name(path, part) for path in pictures], part.split))
    several = len(part.files) > 1
    for path in part.files:
        suffix = sources.suffix_of(path, SUFFIXES)
        prefix = _name(path, part) if several else ""
        if suffix in ARCHIVES:
            readers.append(ArchiveReader(path, prefix + "/" * several))
        elif suffix in picture_arrays.SUFFIXES:
            readers.append(ArrayReader(path, part.split, label, prefix + " " * several))
        elif suffix in TABLES:
            from aigc_cli.data.pictures.tables import open_table

            readers.append(open_table(path, label, prefix + " " * several))
    return readers


def _name(path: Path, part: Part) -> str:
    """The file's path in the folder that is the source; its own name where it is the source itself."""
    return path.name if str(path) == part.location else path.relative_to(part.location).as_posix()


def identity(part: Part, records: Sequence[FileRecord]) -> list[Any]:
    """What the content of a part depends on; equal for equal content at another place."""
    if part.kind == "demo":
        return [shapes_of(part).fingerprint()]
    if part.kind == "hub":
        return [part.location, part.split]
    suffixes = [sources.suffix_of(path, SUFFIXES) for path in part.files]
    named = len(suffixes) > 1 or suffixes[0] in picture_files.SUFFIXES
    names = [_name(path, part) for path in part.files] if named else []
    return [sources.content_fingerprint(records), suffixes, names, part.split]


def shapes_of(part: Part) -> Shapes:
    return Shapes.parse(part.location.partition("?")[2])


def described(part: Part, records: Sequence[FileRecord]) -> dict[str, JSON]:
    """What run.json keeps of a part; not every file, of which there may be a million."""
    return {
        "location": part.location,
        "split": part.split,
        "files": len(records),
        "fingerprint": cache.key_of(identity(part, records)),
    }


def check_unchanged(info: Mapping[str, Any]) -> list[str]:
    """What differs now from the source that `info`, of a `PictureDataset` or run.json, describes, a line each.

    Sources of the hub are not looked up: their location names the revision.
    """
    return [line for described in (info, info["val"]) if described and (line := _difference(described))]


def _difference(then: Mapping[str, Any]) -> str | None:
    location = then["location"]
    if location.startswith("hf:"):
        return None
    if not location.startswith("demo:") and not Path(location).exists():
        return f"{location} is gone"
    try:
        part = open_pictures(location).parts.get(then["split"] or "all")
        records = sources.record_files(part) if part else []
    except RequestError as error:
        return str(error)
    if part is None:
        return f"{location} no longer has the split {then['split']}"
    if cache.key_of(identity(part, records)) == then["fingerprint"]:
        return None
    if part.kind == "demo":
        return f"{location} is made otherwise by this version of aigc"
    counts = f": {len(records):,} files now, {then['files']:,} then" if len(records) != then["files"] else ""
    return f"{location} has changed since this run was trained{counts}"
