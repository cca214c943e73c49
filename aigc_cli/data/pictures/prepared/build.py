"""Build a cache entry from the pictures of a source: a sample determines the format, then all are decoded.

Threads decode a few pictures at a time. Each is released as soon as it is written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from aigc_cli.data import cache
from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.decoding.decode import Decoded, decode, decode_regions, look
from aigc_cli.data.pictures.decoding.raw import RawPicture, Reader
from aigc_cli.data.pictures.decoding.white import white_of
from aigc_cli.data.pictures.demos.built_in import demo_reader
from aigc_cli.data.pictures.format import Look, PictureFormat, Wanted, choose_format
from aigc_cli.data.pictures.many import AT_ONCE, decoded, looked_at, shared_factors, total_of
from aigc_cli.data.pictures.prepared.collector import PictureCollector
from aigc_cli.data.pictures.sources.readers import open_readers
from aigc_cli.data.pictures.sources.windows import in_windows, most_regions
from aigc_cli.data.sources import opening
from aigc_cli.data.sources.opening import Snapshot
from aigc_cli.data.sources.source import Part
from aigc_cli.errors import RequestError
from aigc_cli.files import bytes_of
from aigc_cli.machine import memory

_BLACK = 3  # levels of 255: as good as black
_PIXEL_BYTES = 1500  # memory of a training step per pixel and picture, with the smallest networks and any channels


def build_entry(key: str, snapshot: Snapshot, wanted: Wanted, labels: Sequence[str | None] | None, progress: Progress) -> None:
    """Decode the source's pictures and put them into the cache; `labels` are those of its picture files, by default their
    folders."""
    readers, format, white_is_open = _open(snapshot.part, wanted, labels, progress)
    _check_room(total_of(readers), format)
    while True:
        try:
            return _fill(key, snapshot, readers, format, white_is_open, wanted, progress)
        except _OtherWhite as found:  # the sample didn't show it; at most once per value of white
            format, white_is_open = replace(format, white=found.white), False


class _OtherWhite(Exception):
    """A picture needs another value of white than the one that pictures are being read with."""

    def __init__(self, white: int) -> None:
        super().__init__()
        self.white = white


def _fill(
    key: str,
    snapshot: Snapshot,
    readers: Sequence[Reader],
    format: PictureFormat,
    white_is_open: bool,
    wanted: Wanted,
    progress: Progress,
) -> None:
    """Decode all pictures in the format. Raises _OtherWhite for one whose numbers are above white, or which is the
    first to determine white, unless white was asked for."""
    whole = format.region is None
    most = 1 if whole else most_regions(format, total_of(readers))

    def parts_of(raw: RawPicture) -> list[Decoded]:
        return [decode(raw.content, format)] if whole else decode_regions(raw.content, format, most)

    factors, at_once = shared_factors(readers), AT_ONCE if whole else 1
    with opening.new_entry(key, [snapshot]) as folder, PictureCollector(folder, format, factors) as collector:
        each = decoded(snapshot.part, readers, parts_of, collector, progress, things="pictures", at_once=at_once)
        for raw, parts, values in each:
            for one in parts:
                if wanted.white is None and one.highest is not None:
                    white = white_of([one.highest])
                    if white > format.white or (white_is_open and white != format.white):
                        raise _OtherWhite(white)
                collector.add(raw, one, values)
        collector.finish(wanted, readers)


def _open(
    part: Part, wanted: Wanted, labels: Sequence[str | None] | None, progress: Progress
) -> tuple[list[Reader], PictureFormat, bool]:
    """The part's readers, the format for its pictures, and whether white is still undetermined because no picture of the
    sample has more than 8 bits."""
    if part.kind == "demo":  # drawn directly in the format
        if wanted.tile:
            raise RequestError(f"--tile cuts windows from large pictures, and those of {part.location} are small; give --data")
        format = PictureFormat(*(wanted.size or (32, 32)), wanted.mode or "RGB", wanted.fit)
        return [demo_reader(part, format, wanted.label)], format, False
    readers = open_readers(part, wanted.label, labels)
    known = wanted.size and (wanted.region or not wanted.tile)
    if known and wanted.size and wanted.mode and (wanted.ground or wanted.mode == "RGBA") and wanted.white:
        return readers, choose_format(wanted, []), False
    looks = looked_at(part, readers, lambda raw: look(raw.content), progress, things="pictures")
    _refuse_black(part, looks)
    if wanted.tile:
        wanted = in_windows(wanted, looks)
    return readers, choose_format(wanted, looks), all(look.highest is None for look in looks)


def _refuse_black(part: Part, looks: Sequence[Look]) -> None:
    """Raise RequestError for masks whose numbers are those of classes: 1 of 255 is as good as black."""
    levels = [look.level for look in looks if look.level is not None]
    if len(levels) == len(looks) and 0 < (highest := max(levels)) <= _BLACK:
        raise RequestError(
            f"the pictures in {part.location} hold only numbers from 0 to {highest} of 255, so all would be black; "
            f"multiply them by {255 // highest}, such as with 'magick mogrify -evaluate multiply {255 // highest} *.png'"
        )


def _check_room(total: int | None, format: PictureFormat) -> None:
    """Raise RequestError if the disk or the memory is too small."""
    pixels = format.height * format.width
    values, limit = math.prod(format.stored) * format.channels, memory().total
    if limit is not None and pixels * _PIXEL_BYTES > limit:
        raise RequestError(
            f"training on pictures of {format.describe()} takes {bytes_of(pixels * _PIXEL_BYTES)} for each, more than the "
            f"{bytes_of(limit)} of memory that this process may use; choose a smaller --size"
        )
    needed = values * (total or 1)
    if needed > (free := cache.room(needed)):
        raise RequestError(
            f"{total or 1:,} pictures of {format.describe()} take {bytes_of(needed)}, and the cache {cache.place()} has "
            f"{bytes_of(free)} left; choose a smaller --size or set AIGC_CACHE_DIR"
        )
