"""Sounds as pictures of levels, and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from aigc_cli.data.sounds.format import SoundFormat, bands_and_frames
from aigc_cli.data.sounds.spectrogram import band_decibels, band_edges, levels, waveform

FORMAT = SoundFormat(rate=8000, samples=8000, channels=1, bands=64, frames=64, hop=125)


def tone(hertz: float, amplitude: float = 0.5, seconds: float = 1.0, rate: int = 8000) -> NDArray[np.float32]:
    """(samples, 1)"""
    time = np.arange(round(rate * seconds)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)[:, None]


def pitch(wave: NDArray[np.float32], rate: int = 8000) -> float:
    """The frequency in Hz of the largest peak of a long window's spectrum, by a parabola through the logarithms."""
    middle = wave[len(wave) // 8 : -(len(wave) // 8), 0] * np.blackman(len(wave) * 3 // 4)
    log = np.log(np.abs(np.fft.rfft(middle, 1 << 17)) + 1e-12)
    peak = int(log.argmax())
    left, top, right = log[peak - 1 : peak + 2]
    return (peak + 0.5 * (left - right) / (left - 2 * top + right)) * rate / (1 << 17)


def decibels(wave: NDArray[np.float32]) -> float:
    return 10 * float(np.log10(np.square(wave, dtype=np.float64).mean()))


def test_a_tone_is_in_the_band_around_its_frequency_at_its_level() -> None:
    edges = band_edges(FORMAT)
    assert edges[0] == 0 and edges[-1] == pytest.approx(4000)
    for band in (5, 30, 60):
        picture = levels(tone(edges[band + 1], amplitude=0.1), FORMAT)
        assert picture.shape == (64, 64, 1) and picture.dtype == np.uint8
        middle = picture[::-1, 32, 0].astype(int)  # the lowest band is the bottom row
        assert middle.argmax() == band
        # −20 dB, plus 10 log10 1.5 dB if all of a Hann window's main lobe counts fully, and less as the triangle falls off
        assert 255 * (58 / 80) - 1 <= middle[band] <= 255 * ((60 + 1.77) / 80) + 1


def test_bands_are_equally_spaced_on_their_scale() -> None:
    """O'Shaughnessy's mel, 2595 log10(1 + f / 700), and equation 4 of Glasberg and Moore, 21.4 log10(4.37 F + 1) with F in kHz."""
    mels = 2595 * np.log10(1 + band_edges(FORMAT) / 700)
    np.testing.assert_allclose(np.diff(mels), mels[-1] / 65, rtol=1e-9)
    erbs = 21.4 * np.log10(4.37 * band_edges(replace(FORMAT, scale="erb")) / 1000 + 1)
    np.testing.assert_allclose(np.diff(erbs), erbs[-1] / 65, rtol=1e-9)
    assert band_edges(replace(FORMAT, scale="linear")) == pytest.approx(np.linspace(0, 4000, 66))


def test_silence_is_level_0_and_back() -> None:
    silence = np.zeros((8000, 1), np.float32)
    assert not levels(silence, FORMAT).any()
    assert not waveform(levels(silence, FORMAT), FORMAT).any()
    half = tone(440)
    half[4000:] = 0
    there = waveform(levels(half, FORMAT), FORMAT)
    assert np.abs(there[4400:]).max() < 1e-4  # −80 dB


def test_twice_as_loud_is_six_decibels_more() -> None:
    quiet, loud = (levels(tone(700, amplitude), FORMAT)[:, 32, 0].max() for amplitude in (0.05, 0.1))
    assert int(loud) - int(quiet) == pytest.approx(20 * np.log10(2) * 255 / 80, abs=1)


@pytest.mark.parametrize("hertz", [150, 261.6, 440, 1000, 1700, 2900])
def test_a_tone_comes_back_with_its_pitch_and_loudness(hertz: float) -> None:
    wave = tone(hertz)
    back = waveform(levels(wave, FORMAT), FORMAT)
    assert back.shape == wave.shape and back.dtype == np.float32
    assert abs(1200 * np.log2(pitch(back) / hertz)) < 5  # cents
    assert abs(decibels(back) - decibels(wave)) < 0.5


def test_noise_comes_back_as_loud_and_with_nearly_the_same_levels() -> None:
    random = np.random.default_rng(0)
    wave = (0.05 * random.standard_normal((8000, 1)) * np.linspace(0, 1, 8000)[:, None]).astype(np.float32)
    there = levels(wave, FORMAT)
    back = waveform(there, FORMAT)
    assert abs(decibels(back) - decibels(wave)) < 0.5
    again = levels(back, FORMAT)
    assert np.abs(again.astype(int) - there)[there > 0].mean() * 80 / 255 < 1.5  # dB


def test_a_click_stays_where_it_is() -> None:
    wave = np.zeros((8000, 1), np.float32)
    wave[3000] = 0.9
    back = np.square(waveform(levels(wave, FORMAT), FORMAT)[:, 0])
    centre = (back * np.arange(8000)).sum() / back.sum()
    assert abs(centre - 3000) < FORMAT.hop


def test_the_way_back_is_always_the_same() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 1)).astype(np.uint8)
    first = waveform(picture, FORMAT)
    np.testing.assert_array_equal(first, waveform(picture, FORMAT))
    assert np.isfinite(first).all()


def test_stereo_is_the_left_above_the_right() -> None:
    stereo = SoundFormat(8000, 8000, 2, 32, 64, 125)
    left, right = tone(300), tone(2000)
    both = np.concatenate((left, right), 1)
    picture = levels(both, stereo)
    one = SoundFormat(8000, 8000, 1, 32, 64, 125)
    np.testing.assert_array_equal(picture, np.concatenate((levels(left, one), levels(right, one))))
    back = waveform(picture, stereo)
    assert back.shape == (8000, 2)
    for channel, hertz in enumerate((300, 2000)):
        assert abs(1200 * np.log2(pitch(back[:, channel : channel + 1]) / hertz)) < 5


@pytest.mark.parametrize("length", [0, 1, 700, 8001, 20_000])
def test_other_lengths_are_padded_or_cut(length: int) -> None:
    wave = tone(440, seconds=3)[:length]
    exactly = np.zeros((8000, 1), np.float32)
    exactly[: min(length, 8000)] = wave[:8000]
    np.testing.assert_array_equal(levels(wave, FORMAT), levels(exactly, FORMAT))


@pytest.mark.parametrize("samples, rate", [(160, 8000), (5000, 8000), (44_100, 44_100), (11_025, 22_050)])
def test_any_length_and_rate_has_a_format(samples: int, rate: int) -> None:
    bands, frames, hop = bands_and_frames(rate, samples / rate)
    assert (frames - 4) * hop < samples <= frames * hop and frames % 4 == 0
    format = SoundFormat(rate, samples, 1, bands, frames, hop)
    wave = tone(rate / 40, seconds=samples / rate, rate=rate)
    back = waveform(levels(wave, format), format)
    assert back.shape == (samples, 1)
    assert abs(decibels(back) - decibels(wave)) < 0.5


def test_longer_sounds_get_more_frames() -> None:
    assert bands_and_frames(8000, 1.0) == (64, 64, 125)
    assert bands_and_frames(8000, 2.0) == (64, 100, 160)
    assert bands_and_frames(8000, 60.0)[1] == 256
    assert bands_and_frames(8000, 1.0, longest=128) == (128, 128, 63)
    assert bands_and_frames(44_100, 1.0) == (64, 64, 693)  # 690 has a factor 23


def test_the_levels_of_a_lower_top_are_higher() -> None:
    lower = SoundFormat(8000, 8000, 1, 64, 64, 125, top=-20.0)
    wave = tone(440, amplitude=0.01)
    difference = levels(wave, lower).astype(int) - levels(wave, FORMAT)
    assert abs(difference[difference > 0].max() - 20 * 255 / 80) <= 1
    assert abs(decibels(waveform(levels(wave, lower), lower)) - decibels(wave)) < 0.5


def test_decibels_are_measured_before_they_are_cut() -> None:
    assert band_decibels(tone(1000, amplitude=4.0), FORMAT).max() > 11


def test_a_format_survives_json() -> None:
    format = SoundFormat(44_100, 30_000, 2, 64, 96, 313, "mel", -3.5, 60.0)
    assert SoundFormat.from_json(format.to_json()) == format
    assert format.picture.size == (128, 96) and format.picture.mode == "L"
