"""From a source of sounds to arrays: each turned into a picture once, split by content, memory-mapped from the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.changes import Changes
from aigc_cli.data.pictures.prepared.preparing import (
    PictureDataset,
    Reading,
    Request,
    prepare_as_pictures,
)
from aigc_cli.data.pictures.prepared.store import Store
from aigc_cli.data.pictures.sources.metadata import FoundLabels
from aigc_cli.data.pictures.sources.windows import Windows
from aigc_cli.data.sounds.choose import WantedSounds
from aigc_cli.data.sounds.entries import Asked, SoundStore, open_store
from aigc_cli.data.sounds.format import SoundFormat
from aigc_cli.data.sounds.kind import SOUNDS
from aigc_cli.data.sounds.raw import Wave
from aigc_cli.data.sounds.readers import SOUND_FILES
from aigc_cli.data.sounds.spectrogram import waveform
from aigc_cli.data.sounds.windows import plan_recordings
from aigc_cli.data.sources.opening import Snapshot, open_training
from aigc_cli.data.splits import SplitPlan

CHANGES = Changes(down=0, across=1 / 8, beyond=-1.0, brightness=0.15, contrast=False, black_stays=True, reconstructed=True)
"""Sooner or later, and louder or softer by up to 6 dB of a range of 80; never of another pitch, which a label may name."""


class SoundReading(Reading):
    """Turns sounds into pictures of the format that is asked for."""

    kind = SOUNDS
    medium = SOUND_FILES
    changes = CHANGES

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    def open(
        self, snapshot: Snapshot, label: str | None, progress: Progress, labels: FoundLabels, like: Store | None = None
    ) -> Store:
        asked = self.asked if like is None else Asked(format=_sound(like))
        return open_store(snapshot, asked, label, progress, labels)

    def looks_alike(self, store: Store) -> bool:
        return store.format.region is not None  # windows of one recording

    def plan(self, store: Store, classes: Any) -> SplitPlan:
        if store.format.region is None:
            return super().plan(store, classes)
        return plan_recordings(store.hashes, store.names, classes)

    def nothing_held_out(self, store: Store, location: str) -> str:
        if store.format.region is None:
            return super().nothing_held_out(store, location)
        seconds = _sound(store).stored.seconds
        return f"{location} is too short to hold out parts of {seconds:.3g} s; give more recordings, or a smaller --seconds"

    def described(self, store: Store) -> str:
        return _sound(store).describe()

    def counted(self, store: Store) -> str:
        n, described = len(store.labels), self.described(store)
        if store.format.region is None:
            return f"{n:,} sounds of {described}"
        windows = n * Windows.each(store.format)
        return f"{n:,} parts of {_sound(store).stored.seconds:.3g} s, with {windows:,} windows of {described}"

    def heard(self, store: Store) -> Callable[[npt.NDArray[np.uint8]], Wave]:
        return partial(waveform, format=_sound(store))

    def record(self, store: Store) -> dict[str, Any]:
        return {"sound": _sound(store).to_json()}


def _sound(store: Store) -> SoundFormat:
    assert isinstance(store, SoundStore) and store.sound is not None
    return store.sound


def prepare_sounds(request: Request, asked: Asked, *, progress: Progress) -> PictureDataset:
    """Open, read, split and cache what the request names; a second call finds it in the cache. Raises what
    `prepare_as_pictures` does."""
    with open_training(SOUNDS, request.data, request.val, request.input_format) as opened:
        return prepare_as_pictures(request, opened, progress, SoundReading(asked))[0]


OPTIONS = ("rate", "seconds", "channels", "trim")


def prepare(
    request: Request, settings: Mapping[str, Any], longest: int, progress: Progress
) -> tuple[PictureDataset, Mapping[str, Any]]:
    """As `AsPictures.prepare`. The longest side is that of the square that has about as many pixels as a sound's picture."""
    longest = settings["longest_side"] or longest
    return prepare_sounds(request, wanted(settings, longest).asked, progress=progress), {"longest_side": longest}


def wanted(settings: Mapping[str, Any], longest: int) -> SoundReading:
    """As `AsPictures.wanted`."""
    return SoundReading(Asked(WantedSounds(**{name: settings.get(name) for name in OPTIONS}), longest))


def like(data: Mapping[str, Any]) -> SoundReading:
    """As `AsPictures.like`. Of a run on windows of recordings, sounds are cut into windows one after the other."""
    format = SoundFormat.of_run(data)
    return SoundReading(Asked(format=format if format.region is None else replace(format, region=format.frames)))


def settings_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """As `AsPictures.settings_of`."""
    format = SoundFormat.of_run(data)
    of_format = {name: getattr(format, name) for name in OPTIONS}
    return {**of_format, "longest_side": format.bands}
