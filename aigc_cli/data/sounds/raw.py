"""Sounds from a source, before they are brought to one rate and length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Wave: TypeAlias = npt.NDArray[np.float32]
"""Samples (n, channels), finite, full scale is 1."""

SOUND_NAMES = ("audio", "sound", "wav", "speech")
"""Names of columns and the like that hold sounds, likeliest first."""

MOST_CHANNELS = 8
RATES = (1_000, 768_000)
"""The rates that are read, in Hz."""
MOST_SECONDS = 24 * 3600
"""No more of a recording is read."""


class Recording(Protocol):
    """An opened sound."""

    @property
    def rate(self) -> int:
        """Samples per second."""

    @property
    def channels(self) -> int: ...

    @property
    def seconds(self) -> float:
        """Its length as its header has it, which may be wrong."""

    def blocks(self) -> Iterator[Wave]:
        """The samples in order, a few at a time. Raises `NotDecodable` where they can't be read."""


Open: TypeAlias = Callable[[], AbstractContextManager[Recording]]
"""Opens a sound. Raises `NotDecodable`, whose message says in a few words why it can't be read."""


@dataclass(frozen=True, slots=True)
class RawSound:
    """One sound of a source."""

    name: str
    open: Open
    label: str | None = None  # the name of its class, or of several (`labels.joined`)
    factors: tuple[float | None, ...] = ()  # values of the reader's factors; None if unknown

    def wave(self, seconds: float = MOST_SECONDS) -> tuple[Wave, int]:
        """Its samples (n, channels), of a longer one those of its first `seconds`, and the rate. Raises `NotDecodable`."""
        with self.open() as recording:
            most, blocks, n = int(seconds * recording.rate), list[Wave](), 0
            for block in recording.blocks():
                blocks.append(block[: most - n])
                n += len(blocks[-1])
                if n >= most:
                    break
            return np.concatenate(blocks) if blocks else np.empty((0, recording.channels), np.float32), recording.rate


@dataclass(frozen=True, slots=True)
class Clip:
    """Samples that are in memory, as a recording."""

    samples: Wave
    rate: int

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def blocks(self) -> Iterator[Wave]:
        yield self.samples

    @classmethod
    def opener(cls, samples: Wave, rate: int) -> Open:
        return partial(_given, cls(samples, rate))


@contextmanager
def _given(clip: Clip) -> Iterator[Clip]:
    yield clip
