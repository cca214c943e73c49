"""Which entry of the cache holds the pictures of a source in a format, and building it if there is none."""

from __future__ import annotations

from dataclasses import replace

from aigc_cli.data import cache
from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.format import LONGEST, Wanted, is_long
from aigc_cli.data.pictures.prepared.store import Store, load
from aigc_cli.data.pictures.sources.metadata import FoundLabels
from aigc_cli.data.sources.opening import Snapshot, cached

_VERSION = 2  # of the cache's content; raised when the same source would be prepared differently


def open_store(snapshot: Snapshot, wanted: Wanted, progress: Progress, labels: FoundLabels | None = None) -> Store:
    """The pictures of a part in the requested format, with the `labels` of a table beside them; decoded now unless they are
    cached.

    Raises RequestError, with nothing left in the cache, if they cannot be used, and AigcError if the cache
    cannot be written or the source changes while it is read.
    """
    if wanted.ground or wanted.white:  # they may equal what is chosen by default
        default = replace(wanted, ground=None, white=None)
        chosen_by_default = wanted.size is not None and (is_long(wanted.size) or wanted.tile)
        of_size = [replace(default, size=None)] if chosen_by_default else []
        for asked in (default, *of_size):
            folder = cache.lookup(_key(snapshot, asked, labels))
            chosen = None if folder is None else load(folder)
            if chosen is not None and _has(chosen, wanted):
                return chosen
    key = _key(snapshot, wanted, labels)
    folder = cache.lookup(key)
    found = None if folder is None or wanted.size is not None else load(folder)
    if found is not None and not _has_size(found, wanted):
        key = cache.key_of(key, "long", wanted.long)  # the entry is from a request, or an earlier version, that chose otherwise

    def build() -> None:
        from aigc_cli.data.pictures.prepared.build import build_entry  # imports Pillow

        build_entry(key, snapshot, wanted, None if labels is None else labels.labels, progress)

    store, was_cached = cached(key, [snapshot], load, build)
    return replace(store, cached=was_cached)


def _key(snapshot: Snapshot, wanted: Wanted, labels: FoundLabels | None) -> str:
    longest = () if wanted.size is not None or wanted.longest == LONGEST else (wanted.longest,)
    asked = (wanted.size, wanted.mode, wanted.fit, wanted.label, *longest)
    if wanted.tile:
        asked += ("tile", wanted.reduced, wanted.region)
    decided = (wanted.ground, wanted.white) if wanted.ground or wanted.white else ()
    of_table = () if labels is None or labels.digest is None else (labels.digest,)
    return cache.key_of("pictures", _VERSION, snapshot.identity, *asked, *decided, *of_table)


def _has(store: Store, wanted: Wanted) -> bool:
    """Whether the pictures were read with the requested size, ground and white."""
    format = store.format
    ground = wanted.ground in (None, format.ground) and format.mode in (wanted.mode, "L", "RGB")
    return ground and wanted.white in (None, format.white) and _has_size(store, wanted)


def _has_size(store: Store, wanted: Wanted) -> bool:
    """Whether the size is the requested one, or was chosen as it would be now."""
    size = store.format.size
    return size == wanted.size if wanted.size is not None else not is_long(size) or store.long == wanted.long
