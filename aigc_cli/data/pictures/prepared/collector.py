"""Collect decoded examples into a cache entry, and notes about pictures."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from aigc_cli.data.pictures.decoding.decode import Decoded
from aigc_cli.data.pictures.decoding.raw import Described, RawPicture, Reader
from aigc_cli.data.pictures.decoding.white import FULL, describe_few_bits, describe_white, white_of, white_without_few
from aigc_cli.data.pictures.format import PictureFormat, SizesSeen, Wanted
from aigc_cli.data.pictures.labels import SEPARATOR, in_order, label_columns
from aigc_cli.data.pictures.prepared.store import StoredColumns, save
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.understood import listed

_LISTED = 1000  # undecodable examples recorded by name


class Collector:
    """Writes the examples of an entry as they arrive: pixels, names, labels and factors."""

    def __init__(self, folder: Path, factors: Sequence[str]) -> None:
        self.skipped = 0
        self.unreadable: list[tuple[str, str]] = []
        self._folder = folder
        self._pixels = (folder / "pixels.bin").open("wb")
        self._names = (folder / "names.bin").open("wb")
        self._ends, self._hashes, self._two_valued, self._labels = array("q", [0]), array("Q"), array("B"), array("q")
        self._factors = {name: array("d") for name in factors}
        self._classes: dict[str, int] = {}  # in order of appearance

    def __enter__(self) -> Self:
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

    def put(
        self,
        name: str,
        label: str | None,
        factors: Sequence[float | None],
        pixels: npt.NDArray[np.uint8],
        digest: int,
        two_valued: bool,
    ) -> None:
        """Write an example; for `digest` and `two_valued` see `Store`."""
        self._pixels.write(pixels.tobytes())
        encoded = name.encode("utf-8", "surrogateescape")
        self._names.write(encoded)
        self._ends.append(self._ends[-1] + len(encoded))
        self._hashes.append(digest)
        self._two_valued.append(two_valued)
        self._labels.append(-1 if label is None else self._classes.setdefault(nfc(label), len(self._classes)))
        for values, value in zip(self._factors.values(), factors, strict=True):
            values.append(np.nan if value is None else value)

    def complete(
        self, readers: Sequence[Described], label: str | None, format: PictureFormat, told: Sequence[str | None], **facts: Any
    ) -> None:
        """Complete the entry with what the readers say: their classes, in the source's order, and notes; with the notes `told`
        and more `facts`."""
        notes = dict.fromkeys(note for reader in readers for note in reader.notes)
        origins: dict[str, list[str]] = {}
        for what, origin in dict.fromkeys(pair for reader in readers for pair in reader.origins.items()):
            origins.setdefault(what, []).append(origin)
        declared = [nfc(name) for reader in readers for name in reader.classes]
        classes = {name: i for i, name in enumerate(dict.fromkeys([*declared, *in_order(self._classes.keys() - {*declared})]))}
        number_of = np.array([*(classes[name] for name in self._classes), -1], np.int64)  # -1 stays -1
        known = {name: np.array(values) for name, values in self._factors.items() if not np.isnan(values).any()}
        whole = {name: (values == np.rint(values)).all() for name, values in known.items()}
        skipped = f"skipped {self.skipped:,} that cannot be decoded: {listed_failures(self.unreadable)}"
        unknown = [name for name in self._factors if name not in known]
        told = [*told, *(f"{name!r} is not known for every example, so it isn't a factor" for name in unknown)]
        save(
            self._folder,
            StoredColumns(
                ends=np.array(self._ends, np.int64),
                hashes=np.array(self._hashes, np.uint64),
                two_valued=np.array(self._two_valued, np.bool_),
                labels=number_of[np.array(self._labels, np.int64)],
                factors={name: values.astype(np.int64) if whole[name] else values for name, values in known.items()},
            ),
            format=format.to_json(),
            classes=list(classes),
            **({"labels": label_columns(label)} if any(SEPARATOR in name for name in classes) else {}),
            notes=[*notes, *([skipped] if self.skipped else []), *(note for note in told if note)],
            n_unreadable=self.skipped,
            origins={what: listed(of) for what, of in origins.items()},
            unreadable=[{"name": name, "reason": reason} for name, reason in self.unreadable],
            **facts,
        )

    def _name(self, row: int) -> str:
        self._names.flush()
        text = (self._folder / "names.bin").read_bytes()[self._ends[row] : self._ends[row + 1]]
        return text.decode("utf-8", "surrogateescape")


class PictureCollector(Collector):
    """Also collects notes about the pictures."""

    def __init__(self, folder: Path, format: PictureFormat, factors: Sequence[str]) -> None:
        super().__init__(folder, factors)
        self._format = format
        self._sizes = SizesSeen()
        self._lost_colour = self._laid = self._above_white = 0
        self._greatest = array("d")  # the largest number of each; NaN with 8 bits
        self._left_out = 0
        self._frames = array("q")  # of those with several
        self._high_bytes = array("B")  # of pictures of which Pillow drops 8 bits

    def add(self, raw: RawPicture, decoded: Decoded, factors: Sequence[float | None]) -> None:
        self.put(raw.name, raw.label, factors, decoded.pixels, decoded.digest, decoded.two_valued)
        self._sizes.add(decoded.size)
        self._lost_colour += decoded.lost_colour
        self._laid += decoded.laid
        self._greatest.append(np.nan if decoded.highest is None else decoded.highest)
        if decoded.highest is not None:
            self._above_white += white_of([decoded.highest]) > self._format.white
        self._left_out += decoded.left_out
        if decoded.frames > 1:
            self._frames.append(decoded.frames)
        if decoded.high_byte is not None:
            self._high_bytes.append(decoded.high_byte)

    def finish(self, wanted: Wanted, readers: Sequence[Reader]) -> None:
        n = len(self._labels)
        told = [
            self._sizes.note(self._format, wanted),
            f"{self._left_out:,} more parts of this size are left out, evenly" if self._left_out else None,
            self._frames_note(),
            self._ground_note(n, wanted),
            self._white_note(n, wanted),
            describe_few_bits(max(self._high_bytes), len(self._high_bytes)) if self._high_bytes else None,
            f"{self._lost_colour:,} of {n:,} are in colour and were made grey; --mode RGB keeps the colours"
            if self._lost_colour and wanted.mode is None
            else None,
        ]
        self.complete(readers, wanted.label, self._format, told, long=wanted.long, frames=max(self._frames, default=1))

    def _frames_note(self) -> str | None:
        """A note on files of several pages or frames, if there are any."""
        if not self._frames:
            return None
        most = f"{'up to ' if min(self._frames) < max(self._frames) else ''}{max(self._frames):,} pages or frames"
        have = "1 picture has" if len(self._frames) == 1 else f"{len(self._frames):,} pictures have"
        return f"{have} {most}, of which the first is used"

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

    def _white_note(self, n: int, wanted: Wanted) -> str | None:
        """A note on which number is white, unless it is obvious."""
        white = self._format.white
        if self._above_white:
            return f"{self._above_white:,} of {n:,} have numbers above white ({white:,})"
        greatest = [number for number in self._greatest if not np.isnan(number)]
        if not greatest:
            return None
        if wanted.white is None and (usual := white_without_few(greatest)) < white:
            bright = [row for row, number in enumerate(self._greatest) if number == number and white_of([number]) > usual]
            return (
                f"white is {white:,} because of {len(bright):,} of {n:,} ({listed(map(self._name, bright))}), "
                f"so the others are dark; --white {usual} suits them"
            )
        return describe_white(max(greatest), white) if white != FULL else None


def listed_failures(failures: Sequence[tuple[str, str]], most: int = 10) -> str:
    """The first examples that can't be decoded, with the reasons."""
    shown = ", ".join(f"{name!r} ({reason})" for name, reason in failures[:most])
    return shown + (", …" if len(failures) > most else "")
