"""What rate, length and channels the sounds of a run have: chosen from a sample of them, with the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aigc_cli.data.sounds.raw import RawSound, Wave
from aigc_cli.errors import RequestError

USUAL_RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
KEPT = 0.999
"""The share of the energy that a rate has to keep, where every frame that is heard counts alike."""
NEARLY_ALL = 0.98
"""The share of sounds that are as short as a clip."""
LONGEST = 6.0
"""Seconds: if more than a few sounds are longer and half of them are longer than half of it, they become windows, unless a
length is asked for."""
WINDOW = 2.0
"""Seconds of a window."""
MOST = 0.9
"""The share of sounds that have faded within a clip, where a few are too long for it."""
FADED = 0.99
"""The share of a sound's energy that has come when it has faded: 20 dB less is still to come."""
LEAST_SECONDS = 0.02

_LOOKED_AT = 20.0  # seconds of a sound
_FRAME = 0.04  # seconds
_HEARD = 40.0  # dB below the loudest frame: softer ones don't count for the rate
_SILENT = 60.0  # dB below the loudest frame: softer frames at the ends are silence
_WORTH_TRIMMING = 0.1  # the share of the length
_MARGIN = 0.01  # seconds kept beside what is trimmed
_SOME = 0.5  # the share of the sounds with a rate or a higher one for which that rate is worth keeping
_WIDE = 0.03  # the share of the energy in the difference of left and right from which a sound is heard as stereo
_LOUD = 1 / 65_536  # half a step of 16 bits


@dataclass(frozen=True)
class WantedSounds:
    """What was asked for; what is None is chosen."""

    rate: int | None = None  # Hz
    seconds: float | None = None
    channels: int | None = None
    trim: bool | None = None  # silence at both ends


@dataclass(frozen=True)
class SoundLook:
    """What a sound is like."""

    rate: int
    channels: int
    seconds: float
    faded: float  # seconds until `FADED` of its energy has come
    lead: float  # seconds of silence before it
    tail: float  # and after it
    below: npt.NDArray[np.float64]  # (len(USUAL_RATES),) the share of its energy that each rate keeps
    side: float  # the share of the energy in the difference of left and right
    silent: bool  # from start to end, as far as was looked


@dataclass(frozen=True)
class ChosenSounds:
    """The rate, length and channels of a run's sounds."""

    rate: int
    seconds: float  # of a clip, or of a window
    channels: int
    trim: bool
    windows: bool  # of longer recordings
    region: float = 0.0  # seconds of the regions that windows are taken from
    notes: tuple[str, ...] = field(default=())  # the reasons, for the user


def look(raw: RawSound) -> SoundLook:
    """The first 20 s of a sound, and its length. Raises `NotDecodable`."""
    wave, rate = raw.wave(_LOOKED_AT)
    seconds = len(wave) / rate
    if seconds > 0.99 * _LOOKED_AT:
        with raw.open() as recording:
            seconds = max(seconds, recording.seconds)
    lead, tail = silence_at_ends(wave, rate)
    power = float(np.square(wave, dtype=np.float64).mean()) if wave.size else 0.0
    side = 0.0
    if wave.shape[1] == 2 and power > 0:
        side = float(np.square((wave[:, 0] - wave[:, 1]) / 2, dtype=np.float64).mean()) / power
    silent = not wave.size or float(np.abs(wave).max()) < _LOUD
    faded = _faded(wave) / rate
    return SoundLook(rate, wave.shape[1], seconds, faded, lead, tail, _below(wave.mean(1), rate), side, silent)


def _faded(wave: Wave) -> int:
    """The samples of a sound until nearly all of its energy has come."""
    energy = np.cumsum(np.square(wave, dtype=np.float64).sum(1))
    return int(np.searchsorted(energy, FADED * energy[-1])) + 1 if len(energy) else 0


def _frames(wave: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """(n, length) frames that don't overlap; the last one padded."""
    length = max(1, int(_FRAME * rate))
    n = max(1, -(-len(wave) // length))
    return np.pad(wave, (0, n * length - len(wave))).reshape(n, length)


def _below(mono: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float64]:
    """The share of the energy below half of each usual rate, averaged over the frames that are heard."""
    frames = _frames(mono, rate)
    power = np.abs(np.fft.rfft(frames * np.hanning(frames.shape[1]).astype(np.float32))) ** 2
    energy = power.sum(1)
    heard = energy > energy.max() * 10 ** (-_HEARD / 10)
    if not heard.any():
        return np.ones(len(USUAL_RATES))
    kept = np.cumsum(power[heard] / energy[heard, None], 1).mean(0)
    places = [min(len(kept) - 1, int(usual / 2 / rate * frames.shape[1])) for usual in USUAL_RATES]
    return np.array([1.0 if usual >= rate else kept[place] for usual, place in zip(USUAL_RATES, places, strict=True)])


def silence_at_ends(wave: Wave, rate: int) -> tuple[float, float]:
    """The seconds of silence before and after a sound, but for a margin; all of it is before a silent one."""
    length = max(1, int(_MARGIN * rate))
    n = -(-len(wave) // length)
    level = np.pad(np.abs(wave).max(1), (0, n * length - len(wave))).reshape(n, length).max(1) if len(wave) else np.zeros(0)
    loud = np.flatnonzero(level > max(_LOUD, level.max(initial=0) * 10 ** (-_SILENT / 20)))
    if not len(loud):
        return len(wave) / rate, 0.0
    start, end = max(0, int(loud[0]) - 1) * length, min(len(wave), (int(loud[-1]) + 2) * length)
    return start / rate, (len(wave) - end) / rate


def choose(wanted: WantedSounds, looks: Sequence[SoundLook]) -> ChosenSounds:
    """Raises RequestError if all sounds are silent, and for a rate or a length that can't be used."""
    check_wanted(wanted)
    heard = [seen for seen in looks if not seen.silent]
    if not heard:
        raise RequestError("all sounds are silent" if len(looks) > 1 else "the sound is silent")
    rate, of_rate = _rate(wanted, heard)
    channels, of_channels = _channels(wanted, heard)
    whole = np.array([seen.seconds for seen in heard])
    inside = np.array([seen.seconds - seen.lead - seen.tail for seen in heard])
    trim = wanted.trim
    if trim is None:
        trim = bool(_quantile(inside) < (1 - _WORTH_TRIMMING) * _quantile(whole)) and _quantile(inside) <= LONGEST
    of_trim = ("silence at both ends is trimmed" + (", which makes them shorter; --no-trim keeps it" * (wanted.trim is None)),)
    lengths = inside if trim else whole
    notes = (of_rate, *of_channels, *(of_trim if trim else ()))
    seconds, is_window, of_seconds = _seconds(wanted, lengths, np.array([seen.faded for seen in heard]))
    if not is_window:
        return ChosenSounds(rate, seconds, channels, trim, False, notes=(*notes, of_seconds))
    region = min(2 * seconds, max(seconds, float(np.quantile(lengths, 1 - NEARLY_ALL, method="lower"))))
    return ChosenSounds(rate, seconds, channels, False, True, region, (of_rate, *of_channels, of_seconds))


def check_wanted(wanted: WantedSounds) -> None:
    """Raise RequestError for what no sounds can have."""
    if wanted.rate is not None and not USUAL_RATES[0] <= wanted.rate <= USUAL_RATES[-1]:
        raise RequestError(f"--rate {wanted.rate} must be from {USUAL_RATES[0]} to {USUAL_RATES[-1]} Hz")
    if wanted.seconds is not None and not LEAST_SECONDS <= wanted.seconds <= 60:
        raise RequestError(f"--seconds {wanted.seconds:g} must be from {LEAST_SECONDS} to 60")


def _quantile(lengths: npt.NDArray[np.float64]) -> float:
    return float(np.quantile(lengths, NEARLY_ALL, method="higher"))


def _rate(wanted: WantedSounds, looks: Sequence[SoundLook]) -> tuple[int, str]:
    counts = Counter(seen.rate for seen in looks)
    source = max(rate for rate in counts if sum(counts[of] for of in counts if of >= rate) >= _SOME * len(looks))
    shown = f"{source:,} Hz" if len(counts) == 1 else f"{min(counts):,} to {max(counts):,} Hz"
    kept = np.mean([seen.below for seen in looks], axis=0)
    if wanted.rate is not None:
        share = kept[[usual >= wanted.rate for usual in USUAL_RATES].index(True)]
        lost = f", keeps {share:.1%} of the energy" if share < KEPT else ""
        return wanted.rate, f"rate: {wanted.rate:,} Hz, as asked{lost} (the sounds have {shown})"
    own = min(max(source, USUAL_RATES[0]), USUAL_RATES[-1])
    enough = np.flatnonzero(kept >= KEPT)
    number = int(enough[0]) if len(enough) else -1
    lowest = USUAL_RATES[number]
    if lowest >= own:
        alike = own == source and len(counts) == 1
        return own, f"rate: {own:,} Hz, that of the sounds" if alike else f"rate: {own:,} Hz (the sounds have {shown})"
    below = f"{kept[number]:.1%} of the energy is below {lowest / 2000:g} kHz"
    return lowest, f"rate: {lowest:,} Hz, as {below} (the sounds have {shown})"


def _channels(wanted: WantedSounds, looks: Sequence[SoundLook]) -> tuple[int, tuple[str, ...]]:
    stereo = [seen for seen in looks if seen.channels == 2]
    if wanted.channels is not None:
        return wanted.channels, (f"{_word(wanted.channels)}, as asked",)
    wide = sum(seen.side >= _WIDE for seen in stereo)
    if 2 * wide > len(looks):
        return 2, (f"stereo: left and right differ in {wide:,} of {len(looks):,}; --channels 1 makes it half as high",)
    more = sum(seen.channels > 1 for seen in looks)
    if not more:
        return 1, ()
    why = f"left and right differ in only {wide:,} of {len(looks):,}" if wide else "left and right hardly differ"
    return 1, (f"mono: {why}; --channels 2 keeps both",)


def _word(channels: int) -> str:
    return "mono" if channels == 1 else "stereo"


def _seconds(wanted: WantedSounds, lengths: npt.NDArray[np.float64], faded: npt.NDArray[np.float64]) -> tuple[float, bool, str]:
    """The length, whether it is that of windows, and why."""
    longest, most = float(lengths.max()), _quantile(lengths)
    spread = describe_lengths(float(lengths.min()), longest)
    if wanted.seconds is not None:
        if float(np.median(lengths)) >= 3 * wanted.seconds:
            return wanted.seconds, True, f"windows of {wanted.seconds:g} s, as asked, of recordings of {spread}"
        return wanted.seconds, False, f"length: {wanted.seconds:g} s, as asked (the sounds have {spread})"
    if most > LONGEST and float(np.median(lengths)) > LONGEST / 2:
        window = min(WINDOW, max(LEAST_SECONDS, float(np.quantile(lengths, 1 - NEARLY_ALL, method="lower"))))
        window = max(LEAST_SECONDS, float(np.floor(window * 100) / 100))
        return window, True, f"windows of {window:g} s, as the recordings are long ({spread}); --seconds chooses the length"
    why = ""
    if most > LONGEST:
        most = min(LONGEST, float(np.quantile(faded, MOST, method="higher")))
        why = f", in which {MOST:.0%} of them have faded"
    seconds = max(LEAST_SECONDS, float(np.ceil(most * 100) / 100))
    longer = float((lengths > seconds).mean())
    told = f"length: {seconds:g} s{why} (the sounds have {spread})"
    return seconds, False, told + f"; the {longer:.1%} that are longer are cut" * bool(longer)


def describe_lengths(shortest: float, longest: float) -> str:
    """ "0.35 to 0.8 s", "12 s", "1:02:00"."""
    low, high = _clock(shortest), _clock(longest)
    if low == high:
        return high
    return f"{low.removesuffix(' s')} to {high}" if high.endswith(" s") else f"{low} to {high}"


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h" if minutes >= 60 else f"{minutes}:{rest:02} min"
