"""Build a cache entry from the pictures of a source: a sample determines the format, then all are decoded.

Threads decode a few pictures at a time. Each is released as soon as it is written.
"""

from __future__ import annotations

import shutil
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from aigc_cli.data import cache
from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.decode import Decoded, NotDecodable, decode, look
from aigc_cli.data.pictures.format import PictureFormat, SizesSeen, Wanted, choose_format
from aigc_cli.data.pictures.raw import Content, RawPicture, Reader
from aigc_cli.data.pictures.readers import open_readers
from aigc_cli.data.pictures.shapes import Shapes, ShapesReader
from aigc_cli.data.pictures.store import StoredColumns, save
from aigc_cli.data.pictures.white import FULL, describe_white, white_of
from aigc_cli.data.sources import opening
from aigc_cli.data.sources.opening import Snapshot
from aigc_cli.data.sources.source import Part
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.errors import RequestError
from aigc_cli.machine import memory, usable_cores

_T = TypeVar("_T")

_SAMPLE = 500  # pictures looked at to choose the format
_AT_ONCE = 8  # pictures that a thread decodes at a time
_REPORT = 64  # pictures between two reports
_LISTED = 1000  # undecodable pictures recorded by name
_TOLERATED = 0.1  # the share of undecodable pictures that is tolerated
_PIXEL_BYTES = 1500  # memory of a training step per pixel and picture, with the smallest networks and any channels


def build_entry(key: str, snapshot: Snapshot, wanted: Wanted, progress: Progress) -> None:
    """Decode the source's pictures and put them into the cache."""
    readers, format, white_is_open = _open(snapshot.part, wanted, progress)
    _check_room(_total(readers), format)
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
    part, total = snapshot.part, _total(readers)
    factors = [name for name in readers[0].factors if all(name in reader.factors for reader in readers)]
    with opening.new_entry(key, [snapshot]) as folder, _Collector(folder, format, factors) as collector:
        for reader in readers:
            columns = [reader.factors.index(name) for name in factors]
            for raw, decoded in _parallel(reader.read(), lambda content: decode(content, format)):
                if isinstance(decoded, NotDecodable):
                    collector.skip(raw.name, str(decoded))
                    _stop_if_too_many(part, collector, total)
                else:
                    if wanted.white is None and decoded.highest is not None:
                        white = white_of([decoded.highest])
                        if white > format.white or (white_is_open and white != format.white):
                            raise _OtherWhite(white)
                    collector.add(raw, decoded, [raw.factors[column] for column in columns])
                if collector.seen % _REPORT == 0:
                    progress("reading pictures", collector.seen, total)
        progress("reading pictures", collector.seen, total)
        if collector.seen == 0:
            raise _no_pictures(part, readers)
        _stop_if_too_many(part, collector, collector.seen)
        notes = list(dict.fromkeys(note for reader in readers for note in reader.notes))
        collector.finish(wanted, list(chain.from_iterable(reader.classes for reader in readers)), notes)


def _open(part: Part, wanted: Wanted, progress: Progress) -> tuple[list[Reader], PictureFormat, bool]:
    """The part's readers, the format for its pictures, and whether white is still undetermined because no picture of the
    sample has more than 8 bits."""
    if part.kind == "demo":  # drawn directly in the format
        format = PictureFormat(*(wanted.size or (32, 32)), wanted.mode or "RGB", wanted.fit)
        return [ShapesReader(Shapes.of(part.location), format)], format, False
    readers = open_readers(part, wanted.label)
    if wanted.size and wanted.mode and (wanted.ground or wanted.mode == "RGBA") and wanted.white:
        return readers, PictureFormat(*wanted.size, wanted.mode, wanted.fit, wanted.ground or "white", wanted.white), False
    looks, failures = [], []
    progress("looking at a sample", 0, None)
    for raw, seen in _parallel(_sample(readers), look):
        if isinstance(seen, NotDecodable):
            failures.append((raw.name, str(seen)))
        else:
            looks.append(seen)
    if not looks:
        raise _too_many_unreadable(part, failures) if failures else _no_pictures(part, readers)
    return readers, choose_format(wanted, looks), all(look.highest is None for look in looks)


def _sample(readers: Sequence[Reader]) -> Iterator[RawPicture]:
    """Some of the pictures, spread over the source, or the first ones if their number is unknown."""
    total = _total(readers)
    if total is None:
        return islice(chain.from_iterable(reader.read() for reader in readers), _SAMPLE)
    step = max(1, -(-total // _SAMPLE))
    return chain.from_iterable(reader.read(step) for reader in readers)


def _total(readers: Sequence[Reader]) -> int | None:
    counts = [reader.count for reader in readers]
    return None if None in counts else sum(count or 0 for count in counts)


def _no_pictures(part: Part, readers: Sequence[Reader]) -> RequestError:
    """With what the readers found instead."""
    found = "; ".join(note for reader in readers for note in reader.notes)
    return RequestError(f"there are no pictures in {part.location}" + (found and f" ({found})"))


def _check_room(total: int | None, format: PictureFormat) -> None:
    """Raise RequestError if the disk or the memory is too small."""
    pixels = format.height * format.width
    values, limit = pixels * format.channels, memory().total
    if limit is not None and pixels * _PIXEL_BYTES > limit:
        raise RequestError(
            f"training on pictures of {format.describe()} takes {pixels * _PIXEL_BYTES / 1e9:.1f} GB for each, more than the "
            f"{limit / 1e9:.1f} GB of memory that this process may use; choose a smaller --size"
        )
    folder = cache.cache_dir()
    while not folder.exists():
        folder = folder.parent
    free, needed = shutil.disk_usage(folder).free, values * (total or 1)
    if needed > free:
        raise RequestError(
            f"{total or 1:,} pictures of {format.describe()} take {needed / 1e9:.1f} GB, and the cache {cache.cache_dir()} has "
            f"{free / 1e9:.1f} GB left; choose a smaller --size or set AIGC_CACHE_DIR"
        )


def _stop_if_too_many(part: Part, collector: _Collector, total: int | None) -> None:
    """Raise RequestError once more than a tenth of `total` pictures cannot be decoded."""
    if total is not None and collector.skipped > _TOLERATED * total:
        raise _too_many_unreadable(part, collector.unreadable)


def _too_many_unreadable(part: Part, failures: Sequence[tuple[str, str]]) -> RequestError:
    if part.files == (Path(part.location),) and failures[0][0] == part.files[0].name:
        return RequestError(f"{part.location} cannot be decoded: {failures[0][1]}")
    return RequestError(f"more than a tenth of the pictures in {part.location} cannot be decoded: {_listed(failures)}")


def _listed(failures: Sequence[tuple[str, str]], most: int = 10) -> str:
    shown = ", ".join(f"{name!r} ({reason})" for name, reason in failures[:most])
    return shown + (", …" if len(failures) > most else "")


def _parallel(
    pictures: Iterable[RawPicture], function: Callable[[Content], _T]
) -> Iterator[tuple[RawPicture, _T | NotDecodable]]:
    """The results of `function` for each picture, or why it failed, in order; a bounded number are in memory."""

    def run(batch: list[RawPicture]) -> list[tuple[RawPicture, _T | NotDecodable]]:
        results: list[tuple[RawPicture, _T | NotDecodable]] = []
        for raw in batch:
            try:
                results.append((raw, function(raw.content)))
            except NotDecodable as error:
                results.append((raw, error))
        return results

    left = iter(pictures)
    workers = min(8, usable_cores())
    pending: deque[Future[list[tuple[RawPicture, _T | NotDecodable]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        while batch := list(islice(left, _AT_ONCE)):
            pending.append(pool.submit(run, batch))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


class _Collector:
    """Writes the pictures of an entry as they arrive, and collects notes about them."""

    def __init__(self, folder: Path, format: PictureFormat, factors: Sequence[str]) -> None:
        self.skipped = 0
        self.unreadable: list[tuple[str, str]] = []
        self._folder, self._format = folder, format
        self._pixels = (folder / "pixels.bin").open("wb")
        self._names = (folder / "names.bin").open("wb")
        self._ends, self._hashes, self._two_valued, self._labels = array("q", [0]), array("Q"), array("B"), array("q")
        self._factors = {name: array("d") for name in factors}
        self._classes: dict[str, int] = {}  # in order of appearance
        self._sizes = SizesSeen()
        self._lost_colour = self._laid = self._above_white = 0
        self._highest: float | None = None

    def __enter__(self) -> _Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self._pixels.close()
        self._names.close()

    @property
    def seen(self) -> int:
        return len(self._labels) + self.skipped

    def skip(self, name: str, reason: str) -> None:
        self.skipped += 1
        if len(self.unreadable) < _LISTED:
            self.unreadable.append((name, reason))

    def add(self, raw: RawPicture, decoded: Decoded, factors: Sequence[float | None]) -> None:
        self._pixels.write(decoded.pixels.tobytes())
        name = raw.name.encode("utf-8", "surrogateescape")
        self._names.write(name)
        self._ends.append(self._ends[-1] + len(name))
        self._hashes.append(decoded.digest)
        self._two_valued.append(decoded.two_valued)
        self._labels.append(-1 if raw.label is None else self._classes.setdefault(nfc(raw.label), len(self._classes)))
        for values, value in zip(self._factors.values(), factors, strict=True):
            values.append(np.nan if value is None else value)
        self._sizes.add(decoded.size)
        self._lost_colour += decoded.lost_colour
        self._laid += decoded.laid
        if decoded.highest is not None:
            self._highest = max(decoded.highest, self._highest or 0)
            self._above_white += white_of([decoded.highest]) > self._format.white

    def finish(self, wanted: Wanted, declared: Sequence[str], notes: Sequence[str]) -> None:
        """Complete the entry; `declared` are the classes in the source's order."""
        n = len(self._labels)
        declared = [*map(nfc, declared)]
        classes = {name: i for i, name in enumerate(dict.fromkeys([*declared, *_in_order(self._classes.keys() - {*declared})]))}
        number_of = np.array([*(classes[name] for name in self._classes), -1], np.int64)  # -1 stays -1
        known = {name: np.array(values) for name, values in self._factors.items() if not np.isnan(values).any()}
        whole = {name: (values == np.rint(values)).all() for name, values in known.items()}
        told = [
            self._sizes.note(self._format, wanted),
            f"skipped {self.skipped:,} that cannot be decoded: {_listed(self.unreadable)}" if self.skipped else None,
            self._ground_note(n, wanted),
            self._white_note(n),
            f"{self._lost_colour:,} of {n:,} are in colour and were made grey; --mode RGB keeps the colours"
            if self._lost_colour and wanted.mode is None
            else None,
            *(f"{name!r} is not known for every picture, so it isn't a factor" for name in self._factors if name not in known),
        ]
        save(
            self._folder,
            StoredColumns(
                ends=np.array(self._ends, np.int64),
                hashes=np.array(self._hashes, np.uint64),
                two_valued=np.array(self._two_valued, np.bool_),
                labels=number_of[np.array(self._labels, np.int64)],
                factors={name: values.astype(np.int64) if whole[name] else values for name, values in known.items()},
            ),
            format=self._format.to_json(),
            classes=list(classes),
            notes=[*notes, *(note for note in told if note)],
            unreadable=[{"name": name, "reason": reason} for name, reason in self.unreadable],
        )

    def _ground_note(self, n: int, wanted: Wanted) -> str | None:
        """A note on how transparency was handled, if there was any."""
        format = self._format
        if format.mode == "RGBA" and wanted.mode is None:
            return (
                "the transparency is kept (RGBA): without it the pictures vanish on white, black and grey; --mode RGB uses grey"
            )
        if not self._laid:
            return None
        vanishing = {"white": "", "black": ", as they vanish on white", "grey": ", as they vanish on white and on black"}
        why = vanishing[format.ground] if wanted.ground is None else ""
        return f"laid {self._laid:,} of {n:,} that are transparent on {format.ground}{why}; --mode RGBA keeps the transparency"

    def _white_note(self, n: int) -> str | None:
        """A note on which number is white, unless it is obvious."""
        white = self._format.white
        if self._above_white:
            return f"{self._above_white:,} of {n:,} have numbers above white ({white:,})"
        return describe_white(self._highest, white) if self._highest is not None and white != FULL else None


def _in_order(names: set[str]) -> list[str]:
    """Sorted as numbers if all are numbers, otherwise as strings."""
    numbers = all(name.isascii() and name.removeprefix("-").isdigit() for name in names)
    return sorted(names, key=int) if numbers else sorted(names)
