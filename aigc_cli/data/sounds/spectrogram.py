"""A sound as a picture of levels, frequency bands × frames, and back.

Bands are sums of the short-time power spectrum under overlapping triangles, equally spaced on a scale of hearing. The way back
guesses the power spectrum from its bands (by multiplicative updates, which keep it positive) and phases from its peaks and
slopes, and then lets spectrum and sound agree by the fast Griffin–Lim algorithm.

Sources:
    O'Shaughnessy 1987, Speech communication (mel); Glasberg & Moore 1990, Derivation of auditory filter shapes from
        notched-noise data, eq. 4 (ERB)
    Lee & Seung 2000, Algorithms for non-negative matrix factorization, eq. 5
    Beauregard, Harish & Wyse 2015, Single pass spectrogram inversion (phases along peaks)
    Průša, Balazs & Søndergaard 2017, A noniterative method for reconstruction of phase from STFT magnitude (along slopes)
    Griffin & Lim 1984; Perraudin, Balazs & Søndergaard 2013, A fast Griffin-Lim algorithm
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from aigc_cli.data.sounds.format import OVERLAP, Scale, SoundFormat

Floats: TypeAlias = npt.NDArray[np.float32]
Spectrum: TypeAlias = npt.NDArray[np.complex64]

_BREAKS: dict[Scale, float] = {"mel": 700.0, "erb": 1000 / 4.37}  # Hz: linear well below, logarithmic well above

_UNMIXING = 30  # multiplicative updates
_ITERATIONS = 16  # of Griffin–Lim
_FITTED = 4  # in every so many of them, the bands are made right again
_MOMENTUM = 0.99  # α of Perraudin et al.
_SPREAD = 0.25645  # the Gaussian exp(−πt²/γ) most like a Hann window of length L has γ = 0.25645 L² (Průša et al., table I)
_QUIET = 1e-5  # of the largest magnitude: slopes below it are noise
_TINY = 1e-10  # of power: 100 dB below a sine of amplitude 1


def levels(wave: Floats, format: SoundFormat) -> npt.NDArray[np.uint8]:
    """The picture (height, width, 1) of a sound (samples, channels), which is cut or padded to the format's length."""
    decibels = band_decibels(wave, format)
    steps = np.rint((decibels - (format.top - format.range)) * (255 / format.range))
    grey: npt.NDArray[np.uint8] = np.clip(steps, 0, 255).astype(np.uint8)
    return grey[:, :, None]


def band_decibels(wave: Floats, format: SoundFormat) -> Floats:
    """The power (height, width) of each band and frame of a sound (samples, channels) in dB; −100 dB where there is none."""
    length = format.frames * format.hop
    padded = np.zeros((format.channels, length), np.float32)
    cut = wave[: format.samples].T
    padded[:, : cut.shape[1]] = cut
    bins, weights, starts = _taps(format)
    power = np.add.reduceat(_power(_stft(padded, format))[..., bins] * weights, starts, axis=-1)
    decibels: Floats = 10 * np.log10(np.maximum(power, np.float32(_TINY)))
    return decibels.transpose(0, 2, 1)[:, ::-1].reshape(-1, format.frames)


def waveform(levels: npt.NDArray[np.uint8], format: SoundFormat) -> Floats:
    """A sound (samples, channels) with the levels of a picture (height, width, 1), as near as one can be; always the same."""
    rows = levels.reshape(format.channels, format.bands, format.frames)[:, ::-1].transpose(0, 2, 1)
    decibels = rows.astype(np.float32) * np.float32(format.range / 255) + np.float32(format.top - format.range)
    bands = np.where(rows > 0, 10 ** (decibels / 10), np.float32(0))
    sound = np.stack([_invert(of_channel, format) for of_channel in bands], 1)
    return sound[: format.samples]


def _invert(bands: Floats, format: SoundFormat) -> Floats:
    """The sound (frames · hop,) of the powers (frames, bands) of one channel."""
    if not bands.any():
        return np.zeros(format.frames * format.hop, np.float32)
    triangles = _triangles(format)
    magnitude = np.sqrt(_unmixed(bands, triangles))
    spectrum: Spectrum = (magnitude * np.exp(1j * _phases(magnitude, format))).astype(np.complex64)
    before = None
    for iteration in range(_ITERATIONS):
        consistent = _stft(_istft(spectrum, format), format)
        ahead = consistent if before is None else consistent + np.float32(_MOMENTUM) * (consistent - before)
        before = consistent
        if iteration % _FITTED == _FITTED - 1:
            magnitude = np.sqrt(_corrected(_power(consistent), bands, triangles))
        spectrum = (ahead * (magnitude / np.maximum(np.abs(ahead), np.float32(_TINY)))).astype(np.complex64, copy=False)
    sound = _istft(spectrum, format)
    found = (_power(_stft(sound, format)) @ triangles.T).sum()
    sound *= np.sqrt(bands.sum() / max(found, np.float32(_TINY)))  # what doesn't fit together cancels out: as loud again
    return sound


def _unmixed(bands: Floats, triangles: Floats) -> Floats:
    """A power spectrum (frames, bins) with these bands (frames, bands): what minimises the Kullback–Leibler divergence of its
    bands from them, which leaves few peaks where few are enough."""
    power: Floats = bands @ (triangles / triangles.sum(1, keepdims=True))
    for _ in range(_UNMIXING):
        power = _corrected(power, bands, triangles)
    return power


def _corrected(power: Floats, bands: Floats, triangles: Floats) -> Floats:
    """The power spectrum after one update towards its bands, each bin times the mean ratio of what its bands are to be and
    what they are (Lee & Seung, eq. 5)."""
    ratio = bands / np.maximum(power @ triangles.T, np.float32(_TINY))
    corrected: Floats = power * ((ratio @ triangles) / np.maximum(triangles.sum(0), np.float32(1e-6)))
    return corrected


def _phases(magnitude: Floats, format: SoundFormat) -> npt.NDArray[np.float64]:
    """Phases (frames, bins) with which the peaks of a spectrogram (frames, bins) are sines that go on.

    A peak's frequency is the mean of the power around it, which the bands fix, unlike the peak itself. Its phase is that of
    its place in the frame before, plus the turns of a hop at the mean of both frequencies. From there to the bins around it,
    the phase follows the slope in time: where a bin grows louder, most of its energy comes after the middle of the window.
    """
    frames, bins = magnitude.shape
    logarithm = np.log(np.maximum(magnitude, np.float32(_QUIET) * magnitude.max()))
    beside = np.pad(logarithm, ((1, 1), (0, 0)), mode="edge")
    slope = np.clip(-_SPREAD / 2 * OVERLAP * (beside[2:] - beside[:-2]), -np.pi, np.pi)  # radians a bin
    across = np.cumsum((slope[:, 1:] + slope[:, :-1]) / 2, 1, dtype=np.float64)
    across = np.pad(across, ((0, 0), (1, 0)))
    phases = np.zeros((frames, bins))
    power = np.exp(2 * logarithm.astype(np.float64))
    place = np.arange(bins)
    frequency = place.astype(np.float64)  # in bins, of the peak nearest to each bin of the frame before
    for frame, row in enumerate(logarithm):
        peaks = 1 + np.flatnonzero((row[1:-1] > row[:-2]) & (row[1:-1] >= row[2:]))
        if not len(peaks):
            peaks = np.clip([row.argmax()], 1, bins - 2)
        nearest = np.searchsorted((peaks[1:] + peaks[:-1]) / 2, place)
        weight = power[frame]
        centre = np.bincount(nearest, weight * place) / np.bincount(nearest, weight)
        turns = (centre + frequency[peaks]) / (2 * OVERLAP)
        phase = (phases[frame - 1, peaks] if frame else 0) + 2 * np.pi * turns
        phases[frame] = (phase - across[frame, peaks])[nearest] + across[frame]
        frequency = centre[nearest]
    phases -= np.pi * place  # at the window's start rather than its middle
    return phases


@lru_cache(maxsize=8)
def _triangles(format: SoundFormat) -> Floats:
    """(bands, bins): how much of each bin of the power spectrum each band gets. No triangle is narrower than two bins."""
    width = format.rate / format.window
    bins = np.arange(format.window // 2 + 1) * width
    edges = band_edges(format)
    below, centre, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    away = np.where(
        bins < centre, (centre - bins) / np.maximum(centre - below, width), (bins - centre) / np.maximum(above - centre, width)
    )
    triangles: Floats = np.maximum(0, 1 - away).astype(np.float32)
    return triangles


@lru_cache(maxsize=8)
def _taps(format: SoundFormat) -> tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.int64]]:
    """The bins of each band one after the other, what the band gets of each, and where each band starts.

    Most of the triangles are zeros. And sums take one thread each, where a product of matrices would take all, in each of the
    threads that sounds are read by.
    """
    triangles = _triangles(format)
    bands, bins = np.nonzero(triangles)
    return bins, triangles[bands, bins], np.searchsorted(bands, np.arange(format.bands))


def band_edges(format: SoundFormat) -> npt.NDArray[np.float64]:
    """The frequencies (bands + 2,) in Hz between which the bands are: band i is a triangle from edge i over i + 1 to i + 2."""
    forth, back = _warp(format.scale)
    edges: npt.NDArray[np.float64] = back(np.linspace(0, forth(np.float64(format.rate / 2)), format.bands + 2))
    return edges


def _warp(scale: Scale) -> tuple[Callable[..., npt.NDArray[np.float64]], Callable[..., npt.NDArray[np.float64]]]:
    if scale == "linear":
        return np.asarray, np.asarray
    corner = _BREAKS[scale]
    return lambda hertz: np.log1p(hertz / corner), lambda warped: corner * np.expm1(warped)


@lru_cache(maxsize=8)
def _hann(length: int) -> Floats:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def _power(spectrum: Spectrum) -> Floats:
    return spectrum.real**2 + spectrum.imag**2


def _before(format: SoundFormat) -> int:
    """How many samples before its frame a window starts: the frame is in its middle."""
    return (format.window - format.hop) // 2


def _stft(sound: Floats, format: SoundFormat) -> Spectrum:
    """The spectrum (…, frames, bins) of a sound (…, frames · hop); a sine's magnitude is its amplitude."""
    before = _before(format)
    padding = [(0, 0)] * (sound.ndim - 1) + [(before, format.window - format.hop - before)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(sound, padding), format.window, -1)[..., :: format.hop, :]
    return np.fft.rfft(windows * (_hann(format.window) * np.float32(4 / format.window))).astype(np.complex64, copy=False)


def _istft(spectrum: Spectrum, format: SoundFormat) -> Floats:
    """The sound (frames · hop,) whose spectrum is nearest to that given (frames, bins) (Griffin & Lim 1984, eq. 6)."""
    windowed = np.fft.irfft(spectrum, format.window).astype(np.float32, copy=False) * _hann(format.window)
    sums = _overlapped(windowed, format) * np.float32(format.window / 4)
    return sums / _overlap(format)


@lru_cache(maxsize=8)
def _overlap(format: SoundFormat) -> Floats:
    """What the squared windows add up to at each sample."""
    return _overlapped(np.broadcast_to(_hann(format.window) ** 2, (format.frames, format.window)), format)


def _overlapped(windows: Floats, format: SoundFormat) -> Floats:
    """Frames (frames, window) added up, each in its place (frames · hop,)."""
    parts = windows.reshape(format.frames, OVERLAP, format.hop)
    total = np.zeros((format.frames + OVERLAP - 1, format.hop), np.float32)
    for number in range(OVERLAP):
        total[number : number + format.frames] += parts[:, number]
    start = _before(format)
    return total.reshape(-1)[start : start + format.frames * format.hop]
