"""The format of a run's sounds: rate, length and channels, and the bands, frames and levels of the picture of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any, Literal, TypeAlias, get_args

from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.errors import understood

Scale: TypeAlias = Literal["mel", "erb", "linear"]

OVERLAP = 4
"""How many windows each sample is in. At 4, squared Hann windows add up to a constant."""

_LARGEST = 1 << 30  # of any size
_SHORTEST_HOP = 8  # samples
_LONGEST_HOP = 0.02  # seconds: above it, longer sounds get more frames,
_MOST_FRAMES = 4  # up to so many times the longest side
_SMALL_FACTORS = 2 * 3 * 5 * 7 * 11  # what hops are made of


@dataclass(frozen=True)
class SoundFormat:
    """The format of every sound of a run, and of its picture.

    A picture has a column per frame of `hop` samples, and a row per frequency band, the lowest at the bottom; in stereo, the
    left channel is above the right one. Levels 1 to 255 are equal steps in dB, 255 being `top`; level 0 is silence, or less
    than `top` − `range` dB.
    """

    rate: int  # Hz
    samples: int
    channels: int  # 1 or 2
    bands: int
    frames: int
    hop: int  # samples; frames × hop is at least `samples`
    scale: Scale = "mel"
    top: float = 0.0
    """dB of level 255; 0 dB is a sine of amplitude 1 in the centre of a band"""
    range: float = 80.0  # dB
    trim: bool = False  # silence at both ends is cut off
    region: int | None = None
    """The frames of the regions of long recordings that windows of `frames` are cut from; None if sounds are kept whole"""

    @property
    def window(self) -> int:
        """The length of a frame's window in samples."""
        return OVERLAP * self.hop

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    @property
    def picture(self) -> PictureFormat:
        height = self.bands * self.channels
        return PictureFormat(height, self.frames, "L", region=None if self.region is None else (height, self.region))

    @property
    def stored(self) -> SoundFormat:
        """The format of what is kept of each sound: the sound itself, or a region of a recording."""
        if self.region is None:
            return self
        return replace(self, frames=self.region, samples=self.region * self.hop, region=None)

    def describe(self) -> str:
        """For display: "1 s at 8,000 Hz, 64 bands × 64 frames"; "stereo" after the rate if so."""
        stereo = ", stereo" if self.channels == 2 else ""
        return f"{self.seconds:.3g} s at {self.rate:,} Hz{stereo}, {self.bands} bands × {self.frames} frames"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> SoundFormat:
        """Raises ValueError or TypeError for anything else."""
        found = cls(**fields)
        sizes = [found.rate, found.samples, found.channels, found.bands, found.frames, found.hop]
        sizes += [] if found.region is None else [found.region]
        if not all(isinstance(size, int) and 0 < size <= _LARGEST for size in sizes) or found.channels > 2:
            raise ValueError(f"{sizes} are no sizes of sounds")
        if found.scale not in get_args(Scale) or not all(abs(of) < _LARGEST for of in (found.top, found.range)):
            raise ValueError(f"{found.scale!r} from {found.top!r} over {found.range!r} dB is no scale")
        return found

    @classmethod
    def of_run(cls, data: Mapping[str, Any]) -> SoundFormat:
        """That of a run with this record of its data. Raises RequestError if it has none."""
        with understood("the format of the sounds in run.json"):
            return cls.from_json(data["sound"])


def bands_and_frames(rate: int, seconds: float, longest: int = 64) -> tuple[int, int, int]:
    """(bands, frames, hop) of sounds of a length, for pictures of about `longest` pixels a side.

    As many bands as `longest`, and about as many frames, or up to four times as many for sounds in which a frame would be
    longer than 20 ms. Frames are a multiple of 4, which networks halve, and a hop has no large prime factors, which would make
    Fourier transforms slow.
    """
    samples = max(1, round(rate * seconds))
    wanted = min(max(longest, samples / rate / _LONGEST_HOP), _MOST_FRAMES * longest)
    frames = 4 * max(1, round(min(wanted, samples / _SHORTEST_HOP) / 4))
    hop = next(hop for hop in count(-(-samples // frames)) if pow(_SMALL_FACTORS, 32, hop) == 0)
    return longest, 4 * -(-samples // (4 * hop)), hop
