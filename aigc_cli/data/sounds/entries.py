"""Which entry of the cache holds the sounds of a source in a format, and building it if there is none."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from aigc_cli.data import cache
from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.format import LONGEST
from aigc_cli.data.pictures.prepared import store as pictures
from aigc_cli.data.pictures.prepared.store import Store
from aigc_cli.data.pictures.sources.metadata import FoundLabels
from aigc_cli.data.sounds.choose import WantedSounds
from aigc_cli.data.sounds.format import SoundFormat
from aigc_cli.data.sources.opening import Snapshot, cached

_VERSION = 2  # of the cache's content; raised when the same source would be prepared differently


@dataclass(frozen=True)
class Asked:
    """The requested format: as `wanted` and chosen from the sounds, or exactly `format`."""

    wanted: WantedSounds = field(default_factory=WantedSounds)
    longest: int = LONGEST  # the side of the square that has about as many pixels as a sound's picture
    format: SoundFormat | None = None

    @property
    def rate(self) -> int | None:
        """The rate that was asked for."""
        return self.wanted.rate if self.format is None else self.format.rate


@dataclass(frozen=True)
class SoundStore(Store):
    """All n sounds of a source that could be decoded, as pictures."""

    sound: SoundFormat | None = None


def open_store(
    snapshot: Snapshot, asked: Asked, label: str | None, progress: Progress, labels: FoundLabels | None = None
) -> SoundStore:
    """The sounds of a part in the requested format, with the `labels` of a table beside them; decoded now unless they are
    cached.

    Raises RequestError, with nothing left in the cache, if they cannot be used, and AigcError if the cache cannot be written or
    the source changes while it is read.
    """
    if asked.format is None and asked != (chosen := Asked(longest=asked.longest)):
        folder = cache.lookup(_key(snapshot, chosen, label, labels))  # what is asked for may be what is chosen by default
        found = None if folder is None else _load(folder)
        if found is not None and found.sound is not None and _has(found.sound, asked.wanted):
            return found
    key = _key(snapshot, asked, label, labels)

    def build() -> None:
        from aigc_cli.data.sounds.build import build_entry

        build_entry(key, snapshot, asked, label, None if labels is None else labels.labels, progress)

    store, was_cached = cached(key, [snapshot], _load, build)
    return replace(store, cached=was_cached)


def _key(snapshot: Snapshot, asked: Asked, label: str | None, labels: FoundLabels | None) -> str:
    of_table = () if labels is None or labels.digest is None else (labels.digest,)
    return cache.key_of("sounds", _VERSION, snapshot.identity, asdict(asked), label, *of_table)


def _has(format: SoundFormat, wanted: WantedSounds) -> bool:
    """Whether sounds in this format are as asked for."""
    asked = {name: value for name, value in vars(wanted).items() if value is not None}
    return format.region is None and all(getattr(format, name) == value for name, value in asked.items())


def _load(folder: Path) -> SoundStore | None:
    """The content of a cache entry; None if it is damaged."""
    store = pictures.load(folder)
    if store is None:
        return None
    try:
        sound = SoundFormat.from_json(json.loads((folder / "facts.json").read_text(encoding="utf-8"))["sound"])
        seconds = pictures.mapped(folder / "seconds.bin", "float64", len(store.labels))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SoundStore(**{**vars(store), "sound": sound, "seconds": seconds})
