"""From a source of pictures to arrays: decoded once, split by content, memory-mapped from the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.format import (
    LONGEST,
    Fit,
    Ground,
    Mode,
    PictureFormat,
    Size,
    Wanted,
    check_size,
    describe_size,
    parse_size,
)
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.labels import Classes
from aigc_cli.data.pictures.prepared.entries import open_store
from aigc_cli.data.pictures.prepared.preparing import (
    PictureArrays,
    PictureDataset,
    Reading,
    Request,
    prepare_as_pictures,
    read_as_pictures,
)
from aigc_cli.data.pictures.prepared.store import Store
from aigc_cli.data.pictures.sources.metadata import FoundLabels
from aigc_cli.data.pictures.sources.readers import PICTURE_FILES
from aigc_cli.data.sources.opening import Opened, Snapshot, open_training
from aigc_cli.data.sources.source import Part
from aigc_cli.errors import RequestError

__all__ = [
    "Fit",
    "Mode",
    "PictureArrays",
    "PictureDataset",
    "PictureFormat",
    "PictureRequest",
    "prepare_pictures",
    "read_pictures",
]


@dataclass(frozen=True)
class PictureRequest(Request):
    """What the user asked for."""

    size: Size | None = None  # (height, width)
    longest: int = LONGEST  # the longest side, without a size
    long: bool = False  # pictures more than 4 times as long as wide may be longer than that
    mode: Mode | None = None
    fit: Fit = "crop"
    ground: Ground | None = None  # what transparent pictures are laid on
    white: int | None = None  # the value of white with more than 8 bits per channel
    tile: bool = False  # windows of pictures at their own scale
    reduced: int | None = None  # with tile: the longest side that pictures are reduced to first

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            self.size,
            self.mode,
            self.fit,
            self.label,
            self.longest,
            self.ground,
            self.white,
            self.long,
            self.tile,
            self.reduced,
        )


class PictureReading(Reading):
    """Decodes pictures to the format that is wanted."""

    kind = PICTURES
    medium = PICTURE_FILES

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted

    def open(
        self, snapshot: Snapshot, label: str | None, progress: Progress, labels: FoundLabels, like: Store | None = None
    ) -> Store:
        wanted = replace(self.wanted, label=label) if like is None else Wanted.exactly(like.format, label)
        return open_store(snapshot, wanted, progress, labels)

    def check(self, parts: Sequence[Part], label: str | None) -> None:
        if self.wanted.size is not None:
            check_size(self.wanted.size)
        super().check(parts, label)

    def looks_alike(self, store: Store) -> bool:
        return self.wanted.tile  # parts of a texture look the same

    def nothing_held_out(self, store: Store, location: str) -> str:
        if self.wanted.tile:
            region = describe_size(store.format.stored)
            return (
                f"--tile cuts pictures into {region}, and {location} holds one such part; give larger pictures or a smaller "
                "--size"
            )
        how = _how_to_split(store) if len(store.hashes) == 1 else ""
        return super().nothing_held_out(store, location) + how

    def counted(self, store: Store) -> str:
        if self.wanted.tile:
            return f"{len(store.labels):,} parts of pictures, windows of {store.format.describe()}"
        return super().counted(store)


def prepare_pictures(request: PictureRequest, *, progress: Progress) -> PictureDataset:
    """Open, decode, split and cache what the request names; a second call finds it in the cache. Raises what
    `prepare_as_pictures` does."""
    with open_training(PICTURES, request.data, request.val, request.input_format) as opened:
        return prepare_opened(request, opened, progress)[0]


def prepare_opened(request: PictureRequest, opened: Opened, progress: Progress) -> tuple[PictureDataset, Store, Store]:
    """As `prepare_pictures`, of a source that is open; also all of its pictures, copies included, and all of those that the
    held-out pictures are from."""
    return prepare_as_pictures(request, opened, progress, PictureReading(request.wanted))


OPTIONS = ("size", "mode", "fit", "ground", "white", "flip", "tile", "binarise")


def prepare(
    request: Request, settings: Mapping[str, Any], longest: int, progress: Progress
) -> tuple[PictureDataset, Mapping[str, Any]]:
    """As `AsPictures.prepare`."""
    tile, size, asked = settings.get("tile", False), settings["size"], settings["longest_side"]
    if tile and settings["fit"] != "crop":
        raise RequestError(f"--fit {settings['fit']} has nothing to fit: --tile cuts windows from pictures of any shape")
    longest = longest if tile else asked or longest
    data = prepare_pictures(
        PictureRequest(
            **vars(request),
            size=None if size is None else parse_size(size),
            longest=longest,
            long=asked is None,
            tile=tile,
            reduced=asked if tile else None,
            **{name: settings[name] for name in ("mode", "fit", "ground", "white")},
        ),
        progress=progress,
    )
    decided: dict[str, Any] = {"longest_side": longest} if size is None and not tile else {}
    if size is None and (tile or max(data.format.size) > longest):  # long pictures, which a plan can't choose again
        decided["size"] = f"{data.format.width}x{data.format.height}"
    decided["white"] = data.format.white
    if data.format.mode != "RGBA":
        decided["ground"] = data.format.ground
    return data, decided


def wanted(settings: Mapping[str, Any], longest: int) -> PictureReading:
    """As `AsPictures.wanted`."""
    size = settings.get("size")
    return PictureReading(Wanted(None if size is None else parse_size(size), settings.get("mode"), longest=longest))


def like(data: Mapping[str, Any]) -> PictureReading:
    """As `AsPictures.like`."""
    return PictureReading(Wanted.exactly(PictureFormat.of_run(data)))


def settings_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """As `AsPictures.settings_of`."""
    format = PictureFormat.of_run(data)
    return {
        "size": f"{format.width}x{format.height}",
        "mode": format.mode,
        "fit": format.fit,
        "ground": format.ground,
        "white": format.white,
    }


def read_pictures(
    source: str,
    format: PictureFormat,
    *,
    classes: Classes = (),
    label: str | None = None,
    split: str | None = None,
    input_format: str | None = None,
    progress: Progress,
) -> PictureArrays:
    """The pictures of another source, or one picture, in the format of a run, as `read_as_pictures` reads them."""
    return read_as_pictures(
        source,
        PictureReading(Wanted.exactly(format)),
        classes=classes,
        label=label,
        split=split,
        input_format=input_format,
        progress=progress,
    )


def _how_to_split(store: Store) -> str:
    """How to make pictures of the pages or frames of the only one; "" if it has no others."""
    if store.frames < 2:
        return ""
    name = store.names[0]
    merged = "" if name.lower().endswith((".tif", ".tiff")) else " -coalesce"  # a frame may hold only what changes
    return f". It has {store.frames:,} pages or frames: 'magick {name}{merged} %04d.png' writes each to a file"
