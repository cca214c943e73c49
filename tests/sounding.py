"""Sounds for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt


def beep(number: int, pitch: float = 440.0, rate: int = 8000, seconds: float = 0.2) -> npt.NDArray[np.float32]:
    """A decaying tone (samples, 1), different for each number."""
    rng = np.random.default_rng(number)
    t = np.arange(round(rate * seconds * rng.uniform(0.6, 1))) / rate
    tone = 0.5 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * t) * np.exp(-t * rng.uniform(5, 15))
    return tone.astype(np.float32)[:, None]


def write_beeps(
    folder: Path, *, n: int = 20, rate: int = 8000, suffix: str = ".wav", names: tuple[str, str] = ("low", "high")
) -> Path:
    """n low and n high beeps in two subfolders."""
    import soundfile

    for place, (name, pitch) in enumerate(zip(names, (250.0, 1000.0), strict=True)):
        (folder / name).mkdir(parents=True)
        for number in range(n):
            soundfile.write(folder / name / f"{number:02}{suffix}", beep(place * n + number, pitch, rate), rate)
    return folder
