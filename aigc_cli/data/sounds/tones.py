"""`demo:tones`: single tones of three instruments, with all factors of variation known.

A tone is struck (a tuned bar: partials 1, 4 and 10), plucked (a string) or blown (a pipe with a little breath). Its pitch is
a note of two octaves in equal temperament, A4 = 440 Hz. Timbre, pitch and the other factors are drawn uniformly and
independently. Use `demo:tones?n=5000&seed=1` for other tones, or another number of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from aigc_cli.data import cache
from aigc_cli.data.pictures.labels import joined, label_columns
from aigc_cli.data.sounds.raw import Clip, RawSound, Wave
from aigc_cli.errors import RequestError

NAME = "tones"
TIMBRES = ("struck", "plucked", "blown")
LOWEST = 60
"""The MIDI number of the lowest note, C4."""
_OF_OCTAVE = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
NOTES = tuple(f"{note}{octave}" for octave in (4, 5) for note in _OF_OCTAVE)
FACTORS = ("timbre", "pitch", "loudness", "attack", "decay", "vibrato")
"""timbre, pitch: indices in `TIMBRES` and `NOTES`. loudness: of the peak, in dB of full scale. attack: seconds to full level.
decay: seconds until the level has fallen by 20 dB, of a blown tone after it is held for half a second. vibrato: its depth in
cents, to either side."""

LABELS = {"timbre": TIMBRES, "pitch": NOTES}

RATE, SECONDS = 16_000, 1.0

_VERSION = 1  # of the synthesis
_RANGES = {"loudness": (-20.0, -1.0), "attack": (0.003, 0.06), "decay": (0.12, 0.8), "vibrato": (0.0, 25.0)}
_VIBRATO_RATE = 5.5  # Hz
_HELD = 0.5  # seconds that a blown tone is held
_FADE = 0.02  # seconds at the end
_PICKED = 0.23  # where the string is plucked, as a share of its length
_AT_ONCE = 256


@dataclass(frozen=True)
class Tones:
    """A dataset of `count` tones. A larger one with the same seed starts with the same tones."""

    count: int = 4_000
    seed: int = 0

    @classmethod
    def parse(cls, options: str) -> Tones:
        """Parse options such as `n=5000&seed=1`. Raises `RequestError` for anything else."""
        chosen: dict[str, int] = {}
        for name, value in parse_qsl(options, keep_blank_values=True):
            least = {"n": 1, "seed": 0}.get(name)
            if least is None:
                raise RequestError(f"demo:{NAME} has no option {name!r}, only n and seed")
            if not value.isascii() or not value.isdigit() or not least <= int(value) < 2**32:
                raise RequestError(f"demo:{NAME}: {name}={value!r} must be an integer of at least {least}")
            chosen[name] = int(value)
        return cls(chosen.get("n", cls.count), chosen.get("seed", cls.seed))

    @classmethod
    def of(cls, location: str) -> Tones:
        """The dataset with a name such as `demo:tones?n=5000`."""
        return cls.parse(location.partition("?")[2])

    @property
    def location(self) -> str:
        """The dataset's name, without default options."""
        given = [("n", self.count, Tones.count), ("seed", self.seed, Tones.seed)]
        options = [f"{name}={value}" for name, value, usual in given if value != usual]
        return f"demo:{NAME}" + ("?" if options else "") + "&".join(options)

    def fingerprint(self) -> str:
        """A hash of everything the tones depend on."""
        return cache.key_of(NAME, _VERSION, self.count, self.seed)

    def factors(self) -> Iterator[npt.NDArray[np.float64]]:
        """The factors of each tone in order, (6,) as in `FACTORS`."""
        random = np.random.RandomState(self.seed)  # NumPy guarantees its stream (NEP 19)
        for start in range(0, self.count, _AT_ONCE):
            uniform = random.random_sample((min(_AT_ONCE, self.count - start), len(FACTORS)))
            for column, (name, (low, high)) in enumerate(_RANGES.items(), start=2):
                even = name in ("loudness", "vibrato")
                uniform[:, column] = (
                    low + uniform[:, column] * (high - low) if even else low * (high / low) ** uniform[:, column]
                )
            uniform[:, 0] = np.floor(uniform[:, 0] * len(TIMBRES))
            uniform[:, 1] = np.floor(uniform[:, 1] * len(NOTES))
            yield from uniform


def frequency(note: float) -> float:
    """In Hz, of a note by its index in `NOTES`."""
    return float(440 * 2 ** ((LOWEST + note - 69) / 12))


def synthesise(factors: npt.NDArray[np.float64], seed: int) -> Wave:
    """The tone with these factors (6,), as (samples, 1) at `RATE`; `seed` is that of the breath of a blown one."""
    timbre, note, loudness, attack, decay, vibrato = factors.tolist()
    time = np.arange(int(RATE * SECONDS)) / RATE
    pitch = frequency(note)
    depth = (2 ** (vibrato / 1200) - 1) / (2 * np.pi * _VIBRATO_RATE)  # of the integral of the pitch, in seconds
    turns = pitch * (time + depth * (1 - np.cos(2 * np.pi * _VIBRATO_RATE * time)))
    most = int(RATE / 2 / (pitch * 1.05))  # higher partials would be aliases
    fall = np.log(10) / decay  # of the level, per second
    blown = TIMBRES[int(timbre)] == "blown"
    level = np.exp(-fall * (np.maximum(time - _HELD, 0) if blown else time))  # of the first partial
    match TIMBRES[int(timbre)]:
        case "struck":
            partials, faster = {1: 1.0, 4: 0.5, 10: 0.25}, 0.7
        case "plucked":
            partials, faster = {k: np.sin(np.pi * k * _PICKED) / k for k in range(1, 21)}, 0.15
        case _:
            partials, faster = {k: (1.0 if k % 2 else 0.12) / k**1.2 for k in range(1, 14)}, 0.0
    step = np.exp(2j * np.pi * turns) * level**faster  # from one partial to the next: each falls faster by as much
    sum_of_partials = np.zeros(len(time), np.complex128)
    for number in range(min(most, max(partials)), 0, -1):  # Horner's rule
        sum_of_partials = (sum_of_partials + partials.get(number, 0)) * step
    tone = level ** (1 - faster) * sum_of_partials.imag
    if blown:
        breath = np.random.RandomState(seed).standard_normal(len(time))
        tone += 0.02 * level * np.convolve(breath, [0.25, 0.5, 0.25], "same")
    tone *= np.minimum(time / attack, 1)
    tone *= np.clip((SECONDS - time) / _FADE, 0, 1)
    tone *= 10 ** (loudness / 20) / np.abs(tone).max()
    rounded: Wave = (np.rint(tone * 32767) / 32768).astype(np.float32)[:, None]
    return rounded  # in 16 bits: the same on every machine


class TonesReader:
    """The sounds of `demo:tones`. `label` is timbre (by default), pitch, or both."""

    factors = FACTORS
    notes: tuple[str, ...] = ()
    origins: Mapping[str, str] = MappingProxyType({})

    def __init__(self, tones: Tones, label: str | None = None) -> None:
        self._tones = tones
        self._labels = label_columns(label) or ("timbre",)
        for name in self._labels:
            if name not in LABELS:
                raise RequestError(f"--label {label}: demo:{NAME} has no label {name!r}, only {' and '.join(LABELS)}")
        self.classes = LABELS[self._labels[0]] if len(self._labels) == 1 else ()
        self.count = tones.count

    def read(self, step: int = 1) -> Iterator[RawSound]:
        for number, values in enumerate(self._tones.factors()):
            if number % step == 0:
                seed = (self._tones.seed * 1_000_003 + number) % 2**32
                found = [LABELS[name][int(values[FACTORS.index(name)])] for name in self._labels]
                label = found[0] if len(found) == 1 else joined(found)
                yield RawSound(f"row {number}", partial(_synthesised, values, seed), label, tuple(values.tolist()))


@contextmanager
def _synthesised(factors: npt.NDArray[np.float64], seed: int) -> Iterator[Clip]:
    yield Clip(synthesise(factors, seed), RATE)
