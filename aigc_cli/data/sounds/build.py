"""Build a cache entry from the sounds of a source: a sample determines the format, then all are turned into pictures."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.pictures.decoding.raw import NotDecodable
from aigc_cli.data.pictures.many import decoded, in_parallel, looked_at, sampled, shared_factors
from aigc_cli.data.pictures.prepared.collector import Collector
from aigc_cli.data.sounds.choose import ChosenSounds, choose, look, silence_at_ends
from aigc_cli.data.sounds.entries import Asked
from aigc_cli.data.sounds.format import SoundFormat, bands_and_frames
from aigc_cli.data.sounds.raw import RawSound, Wave
from aigc_cli.data.sounds.readers import SoundReader, open_readers
from aigc_cli.data.sounds.spectrogram import band_decibels, levels
from aigc_cli.data.sounds.windows import regions
from aigc_cli.data.sources import opening
from aigc_cli.data.sources.opening import Snapshot
from aigc_cli.data.sources.source import Part
from aigc_cli.errors import RequestError

_RECORDINGS, _EVERY_REGION = 20, 4  # how many recordings, and which of their regions, are searched for the loudest level
_SILENCE = 30.0  # seconds of silence at the start of a sound that are trimmed at most


@dataclass(frozen=True)
class Clip:
    """A sound, or a region of a recording, in the format."""

    name: str
    pixels: npt.NDArray[np.uint8]
    seconds: float  # before it was trimmed, padded or cut


def build_entry(
    key: str,
    snapshot: Snapshot,
    asked: Asked,
    label: str | None,
    labels: Sequence[str | None] | None,
    progress: Progress,
) -> None:
    """Turn the source's sounds into pictures and put them into the cache; `labels` are those of its sound files, by default
    their folders."""
    part = snapshot.part
    readers = open_readers(part, label, labels, asked.rate)
    format, notes = (asked.format, ()) if asked.format is not None else _chosen(part, readers, asked, progress)
    with opening.new_entry(key, [snapshot]) as folder, _SoundCollector(folder, shared_factors(readers)) as collector:
        each = decoded(
            part,
            readers,
            lambda raw: clips_of(raw, format, short=asked.format is not None),
            collector,
            progress,
            things="sounds",
        )
        for raw, clips, factors in each:
            for clip in clips:
                collector.add(raw, clip, factors)
        collector.finish(readers, label, format, notes)


def _chosen(
    part: Part, readers: Sequence[SoundReader], asked: Asked, progress: Progress
) -> tuple[SoundFormat, tuple[str, ...]]:
    """The format for the sounds of a part, and the reasons."""
    looks = looked_at(part, readers, look, progress, things="sounds")
    try:
        chosen = choose(asked.wanted, looks)
    except RequestError as error:
        raise RequestError(f"{part.location}: {error}") from None
    format = format_of(chosen, asked.longest)
    every = 1 if format.region is None else -(-len(looks) // _RECORDINGS)
    loudest = [of for _, of in in_parallel(islice(sampled(readers), None, None, every), lambda raw: _loudest(raw, format))]
    top = max((of for of in loudest if not isinstance(of, NotDecodable)), default=0.0)
    return replace(format, top=float(math.ceil(top))), chosen.notes


def format_of(chosen: ChosenSounds, longest: int) -> SoundFormat:
    """The format of sounds for pictures of about `longest` pixels a side; `top` is still open."""
    bands, frames, hop = bands_and_frames(chosen.rate, chosen.seconds, longest)
    samples = max(1, round(chosen.rate * chosen.seconds))
    region = max(frames, min(2 * frames, int(chosen.region * chosen.rate / hop))) if chosen.windows else None
    return SoundFormat(chosen.rate, samples, chosen.channels, bands, frames, hop, trim=chosen.trim, region=region)


def _loudest(raw: RawSound, format: SoundFormat) -> float:
    """The level of its loudest band and frame in dB; of a recording, in some of its regions."""
    stored = format.stored
    if format.region is None:
        waves = iter([raw.wave(_longest(format))])
    else:
        waves = (region.wave() for region in islice(regions(raw, stored.seconds), None, None, _EVERY_REGION))
    return max(float(band_decibels(_fitted(wave, rate, stored), stored).max()) for wave, rate in waves)


def clips_of(raw: RawSound, format: SoundFormat, *, short: bool = False) -> list[Clip]:
    """The sound in the format; of a recording all regions, one that is too short for a region included if `short`. Raises
    `NotDecodable`."""
    if format.region is not None:
        stored = format.stored
        return [_clip(region, *region.wave(), stored) for region in regions(raw, stored.seconds, short=short)]
    longest = _longest(format)
    wave, rate = raw.wave(longest)
    clip = _clip(raw, wave, rate, format)
    if clip.seconds < 0.99 * longest:
        return [clip]
    with raw.open() as recording:
        return [replace(clip, seconds=max(clip.seconds, recording.seconds))]


def _longest(format: SoundFormat) -> float:
    """How much of a sound is read, in seconds."""
    return format.seconds + (_SILENCE if format.trim else 0.1)


def _clip(raw: RawSound, wave: Wave, rate: int, format: SoundFormat) -> Clip:
    return Clip(raw.name, levels(_fitted(wave, rate, format), format), len(wave) / rate)


def _fitted(wave: Wave, rate: int, format: SoundFormat) -> Wave:
    """A sound (n, channels) in the format's rate and channels, and without the silence at its ends if the format says so."""
    if format.trim:
        lead, tail = silence_at_ends(wave, rate)
        if lead < len(wave) / rate:
            wave = wave[round(lead * rate) : len(wave) - round(tail * rate)]
    if wave.shape[1] != format.channels:
        wave = wave.mean(1, keepdims=True) if wave.shape[1] != 1 else wave
        wave = wave.repeat(format.channels, axis=1)
    if rate == format.rate or not len(wave):
        return wave
    import soxr

    resampled: Wave = soxr.resample(wave, rate, format.rate)
    return resampled


class _SoundCollector(Collector):
    """Also collects the lengths of sounds."""

    def __init__(self, folder: Path, factors: Sequence[str]) -> None:
        super().__init__(folder, factors)
        self._seconds = array("d")

    def add(self, raw: RawSound, clip: Clip, factors: Sequence[float | None]) -> None:
        digest = int.from_bytes(hashlib.blake2b(clip.pixels.tobytes(), digest_size=8).digest(), "little")
        self.put(clip.name, raw.label, factors, clip.pixels, digest, False)
        self._seconds.append(clip.seconds)

    def finish(self, readers: Sequence[SoundReader], label: str | None, format: SoundFormat, notes: Sequence[str]) -> None:
        np.array(self._seconds, np.float64).tofile(self._folder / "seconds.bin")
        self.complete(readers, label, format.picture, notes, sound=format.to_json())
