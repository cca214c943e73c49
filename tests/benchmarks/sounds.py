"""How sounds become pictures and come back, and how good the sounds of a run are, judged by a classifier of its own.

    python tests/benchmarks/sounds.py transforms --digits FOLDER --drums FOLDER
    python tests/benchmarks/sounds.py judge --digits FOLDER --runs RUN [RUN …] [--conditional | --reconstruct | --field NAME]
    python tests/benchmarks/sounds.py tones --runs RUN [RUN …]
    python tests/benchmarks/sounds.py envelopes --drums FOLDER --runs RUN [RUN …]

FOLDER of digits: train/ and test/ with a folder of sounds for each class. FOLDER of drums: sounds, also in folders (say the Debian
package hydrogen-drumkits, unpacked). Tones are made here. The classifier learns from real sounds, in a spectrogram that has nothing
in common with those of runs; `--judge FILE` keeps it.

The `transforms` table: for each of them, how far the spectrum of a sound that went there and back is from its own (log-spectral
distance, down to 60 dB below the peak), what share of the digits the classifier still gets right, how many cents tones are off,
by how many dB the envelope of drums is, and the seconds for 16 sounds of one second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aigc_cli.data.sounds import spectrogram
from aigc_cli.data.sounds import tones as demo
from aigc_cli.data.sounds.format import SoundFormat
from aigc_cli.data.sounds.spectrogram import levels, waveform
from aigc_cli.metrics.statistics.proportion import proportion

Waves = NDArray[np.float32]
"""(n, samples)"""

SUFFIXES = (".wav", ".flac", ".aiff", ".ogg", ".mp3")
CHOSEN = ("mel", 64, 64)
TRANSFORMS = [
    ("linear", 64, 64),
    ("erb", 64, 64),
    ("mel", 32, 64),
    ("mel", 64, 32),
    CHOSEN,
    ("mel", 64, 128),
    ("mel", 128, 64),
    ("mel", 128, 128),
]
#: Ways back, with the chosen transform: (how it is done, what is set in `spectrogram`).
INVERSES: list[tuple[str, dict[str, Any]]] = [
    ("no iterations", {"_ITERATIONS": 0}),
    ("4 iterations", {"_ITERATIONS": 4}),
    ("64 iterations", {"_ITERATIONS": 64}),
    ("without momentum", {"_MOMENTUM": 0.0}),
    ("bands not made right again", {"_FITTED": 1 << 30}),
    ("bands made right every time", {"_FITTED": 1}),
    ("random phases first", {"_phases": lambda m, f: np.random.default_rng(0).uniform(-np.pi, np.pi, m.shape)}),
    ("power by pseudo-inverse", {"_unmixed": lambda b, t: np.maximum(b @ np.linalg.pinv(t, rcond=1e-3).T, 0)}),
]


# Sounds


def read(paths: Sequence[Path], rate: int, seconds: float = 1.0) -> Waves:
    """Mono, cut or padded."""
    waves = np.zeros((len(paths), round(rate * seconds)), np.float32)
    for wave, path in zip(waves, paths, strict=True):
        sound, its_rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(sound.mean(1), its_rate, rate)[: len(wave)]
        wave[: len(mono)] = mono
    return waves


def digits(folder: Path, rate: int = 8000) -> tuple[Waves, NDArray[np.int64], list[str]]:
    """Sounds, class numbers and the names of the classes."""
    names = sorted(child.name for child in folder.iterdir() if child.is_dir())
    paths = [(path, number) for number, name in enumerate(names) for path in sorted((folder / name).iterdir())]
    return read([path for path, _ in paths], rate), np.array([number for _, number in paths]), names


def tones(n: int, rate: int = 16_000) -> tuple[Waves, NDArray[np.float64]]:
    """Struck, plucked and blown tones of a second, and their pitches in Hz, over three octaves from 110."""
    random = np.random.default_rng(0)
    at = np.arange(rate) / rate
    waves, pitches = np.zeros((n, rate), np.float32), 110 * 2 ** random.uniform(0, 3, n)
    for number, pitch in enumerate(pitches):
        partials = np.arange(1, 21)[:, None]
        partials = partials[partials * pitch < 0.45 * rate][:, None]
        decay, slope = random.uniform(2, 8), random.uniform(0.8, 2)
        attack = np.minimum(1, at / random.uniform(0.002, 0.02))
        envelope = attack * np.exp(-at * decay * partials**0.7) if number % 3 else np.minimum(attack, (1 - at) / 0.1)
        sines = np.sin(2 * np.pi * pitch * partials * at + random.uniform(0, 2 * np.pi, partials.shape))
        wave = (partials**-slope * envelope * sines).sum(0)
        waves[number] = wave / np.abs(wave).max() * random.uniform(0.2, 0.9)
    return waves, pitches


# Distances


def spectra(wave: NDArray[np.float32], length: int) -> NDArray[np.float64]:
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, length // 2), length)[:: length // 4]
    return np.abs(np.fft.rfft(frames * np.hanning(length)))


def log_spectral_distance(real: NDArray[np.float32], other: NDArray[np.float32], rate: int) -> float:
    """The root mean square difference of a frame in dB, averaged over frames."""
    of_real, of_other = (spectra(wave, 512 if rate <= 16_000 else 1024) for wave in (real, other))
    floor = of_real.max() * 1e-3
    difference = 20 * np.log10(np.maximum(of_real, floor) / np.maximum(of_other, floor))
    return float(np.sqrt(np.square(difference).mean(1)).mean())


def pitch(wave: NDArray[np.float32], rate: int, near: float) -> float:
    """The frequency of the largest peak within a semitone, in the middle half."""
    middle = wave[rate // 10 : rate * 6 // 10]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 19))
    hertz = np.arange(len(spectrum)) * rate / (1 << 19)
    inside = np.flatnonzero(np.abs(np.log2(np.maximum(hertz, 1e-9) / near)) < 1 / 12)
    return float(hertz[inside[spectrum[inside].argmax()]])


def envelope(wave: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """The level of every 5 ms in dB, down to 60 below the loudest."""
    frames = wave[: len(wave) // (rate // 200) * (rate // 200)].reshape(-1, rate // 200).astype(np.float64)
    level = np.sqrt(np.square(frames).mean(1))
    return 20 * np.log10(np.maximum(level / max(level.max(), 1e-9), 1e-3))


# The classifier


class Judge(nn.Module):
    """Strided convolutions on a linear log-spectrogram of 32 ms windows, averaged over all places."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = [1, 32, 64, 64, 96]
        self.body = nn.Sequential(
            *(
                layer
                for before, after in pairwise(widths)
                for layer in (nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())
            )
        )
        self.head = nn.Sequential(nn.AdaptiveMaxPool2d((4, 3)), nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 12, classes))

    def forward(self, waves: Tensor) -> Tensor:
        spectrum = torch.stft(waves, 256, 100, window=torch.hann_window(256), return_complex=True).abs()
        logits: Tensor = self.head(self.body((spectrum + 1e-2).log()[:, None]))
        return logits


def train_judge(waves: Waves, labels: NDArray[np.int64], classes: int, epochs: int = 16) -> Judge:
    """Sounds are shifted, made louder and softer, and get noise."""
    torch.manual_seed(0)
    judge, x, y = Judge(classes), torch.from_numpy(waves), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.05)
    steps = epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps + 1)
    for step in range(steps):
        if step % (len(x) // 64) == 0:
            order = torch.randperm(len(x))
        index = order[step % (len(x) // 64) * 64 :][:64]
        heard = x[index].roll(int(torch.randint(-600, 600, ())), 1) * torch.empty(64, 1).uniform_(-1.2, 0.7).exp()
        heard = heard + torch.randn_like(heard) * torch.empty(64, 1).uniform_(-9, -5).exp()
        loss = F.cross_entropy(judge(heard), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


@torch.no_grad()
def judged(judge: Judge, waves: Waves) -> NDArray[np.float64]:
    """The probability of each class, (n, classes)."""
    return np.concatenate(
        [judge(torch.from_numpy(some)).softmax(1).double().numpy() for some in np.split(waves, range(100, len(waves), 100))]
    )


def inception_score(p: NDArray[np.float64]) -> tuple[float, float]:
    """exp of the mean divergence of each sound's classes from all sounds' (Salimans et al. 2016), and its standard error."""

    def score(of: NDArray[np.float64]) -> float:
        p = np.maximum(of, 1e-12)
        return float(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean()))

    random = np.random.default_rng(0)
    return score(p), float(np.std([score(p[random.integers(0, len(p), len(p))]) for _ in range(200)]))


def the_judge(arguments: argparse.Namespace) -> tuple[Judge, list[str]]:
    names = sorted(child.name for child in (arguments.digits / "train").iterdir())
    if arguments.judge is not None and arguments.judge.exists():
        judge = Judge(len(names))
        judge.load_state_dict(load_file(arguments.judge))
        judge.eval()
    else:
        waves, labels, _ = digits(arguments.digits / "train")
        judge = train_judge(waves, labels, len(names))
        if arguments.judge is not None:
            save_file(judge.state_dict(), arguments.judge)
    return judge, names


# Commands


def there_and_back(waves: Waves, rate: int, transform: tuple[Any, int, int], top: float = 0.0) -> Waves:
    scale, bands, frames = transform
    format = SoundFormat(rate, waves.shape[1], 1, bands, frames, -(-waves.shape[1] // frames), scale, top)
    return np.stack([waveform(levels(wave[:, None], format), format)[:, 0] for wave in waves])


def transforms(arguments: argparse.Namespace) -> None:
    judge, _ = the_judge(arguments)
    spoken, labels, _ = digits(arguments.digits / "test")
    spoken, labels = spoken[:: arguments.every], labels[:: arguments.every]
    played, pitches = tones(48)
    paths = sorted(path for path in arguments.drums.rglob("*") if path.suffix in SUFFIXES)
    paths = [paths[number] for number in np.random.default_rng(0).permutation(len(paths))[:64]]
    beaten = read(paths, 44_100)
    beaten = beaten[np.abs(beaten).max(1) > 1e-3]
    print(f"{len(spoken)} digits at 8 kHz, {len(played)} tones at 16 kHz, {len(beaten)} drums at 44.1 kHz; of real digits")
    print(f"{(judged(judge, spoken).argmax(1) == labels).mean():.1%} are right")
    print("| | digits: LSD | right | tones: LSD | cents, median and 90 % | drums: LSD | envelope | s: 8 kHz | 44.1 kHz |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")

    def row(name: str, transform: tuple[Any, int, int]) -> None:
        began = time.process_time()
        of_digits = there_and_back(spoken, 8000, transform)
        seconds = 16 * (time.process_time() - began) / len(spoken)
        right = (judged(judge, of_digits).argmax(1) == labels).mean()
        of_tones = there_and_back(played, 16_000, transform)
        cents = [
            abs(1200 * np.log2(pitch(other, 16_000, near) / pitch(real, 16_000, near)))
            for real, other, near in zip(played, of_tones, pitches, strict=True)
        ]
        began = time.process_time()
        of_drums = there_and_back(beaten, 44_100, transform, top=6.0)
        long_seconds = 16 * (time.process_time() - began) / len(beaten)
        distances = [
            np.mean([log_spectral_distance(real, other, rate) for real, other in zip(reals, others, strict=True)])
            for reals, others, rate in ((spoken, of_digits, 8000), (played, of_tones, 16_000), (beaten, of_drums, 44_100))
        ]
        pairs = zip(beaten, of_drums, strict=True)
        shape = np.mean([np.abs(envelope(real, 44_100) - envelope(other, 44_100)).mean() for real, other in pairs])
        print(
            f"| {name} | {distances[0]:.2f} | {right:.1%} | {distances[1]:.2f} | {np.median(cents):.1f}, "
            f"{np.percentile(cents, 90):.1f} | {distances[2]:.2f} | {shape:.2f} | {seconds:.2f} | {long_seconds:.2f} |",
            flush=True,
        )

    for scale, bands, frames in TRANSFORMS:
        row(f"{scale}, {bands} bands × {frames} frames", (scale, bands, frames))
    for name, changes in INVERSES:
        kept = {setting: getattr(spectrogram, setting) for setting in changes}
        vars(spectrogram).update(changes)
        row(name, CHOSEN)
        vars(spectrogram).update(kept)


def samples(run: str, n: int, seed: int = 0, **options: Any) -> Iterator[tuple[dict[str, Any], NDArray[np.float32], int]]:
    """Samples of a run: what is recorded of each, the sound (samples,), its channels averaged, and its rate."""
    from aigc_cli.backends.registry import backends
    from aigc_cli.engine.events import Bus
    from aigc_cli.engine.runs.run import open_run

    opened = open_run(Path(run))
    backend = backends()[opened.backend]
    format = SoundFormat.from_json(opened.record["data"]["sound"])
    for sample in backend.load().sample(opened, backend.options["sample"](n=n, seed=seed, **options), Bus(), None):
        yield sample.record, waveform(sample.content, format).mean(1), format.rate


def drawn(run: str, n: int, **options: Any) -> Waves:
    return np.stack([wave for _, wave, _ in samples(run, n, **options)])


def share(right: Sequence[bool] | NDArray[np.bool_]) -> str:
    """As "93.2% (91.0–94.9%)", with the 95 % interval of Wilson (1927)."""
    measure = proportion(right)
    return f"{measure.value:.1%} ({measure.low:.1%} to {measure.high:.1%}) of {measure.n:,}"


def judge_runs(arguments: argparse.Namespace) -> None:
    """What the classifier says of each run's samples: of each class in turn, with --conditional or --field, or of
    reconstructions of the held-out digits, how many are right; and how varied they are."""
    judge, names = the_judge(arguments)
    real, labels, _ = digits(arguments.digits / "test")
    of_real = judged(judge, real)
    print(f"real: {share(of_real.argmax(1) == labels)} right, inception score {scored(of_real)}")
    for run in arguments.runs:
        if arguments.conditional or arguments.field:
            n = arguments.n // len(names)
            asked = [{"given": (f"{arguments.field}={name}",)} if arguments.field else {"label": name} for name in names]
            p = np.concatenate([judged(judge, drawn(run, n, **options)) for options in asked])
            right = p.argmax(1) == np.repeat(np.arange(len(names)), n)
            of_each = {
                name: round(float(some.mean()), 3) for name, some in zip(names, np.split(right, len(names)), strict=True)
            }
            print(f"{run}: {share(right)} are the digit asked for; {of_each}")
        elif arguments.reconstruct:
            found = [*samples(run, len(real), reconstruct=str(arguments.digits / "test"))]
            p = judged(judge, np.stack([wave for _, wave, _ in found]))
            wanted = [names.index(record["name"].split("/")[0]) for record, _, _ in found]
            print(f"{run}: {share(p.argmax(1) == wanted)} reconstructions are right")
        else:
            p = judged(judge, drawn(run, arguments.n))
        shares = np.bincount(p.argmax(1), minlength=len(names)) / len(p)
        of_each = dict(zip(names, shares.round(3).tolist(), strict=True))
        print(f"{run}: inception score {scored(p)} of {len(p):,}; shares {of_each}", flush=True)


def scored(p: NDArray[np.float64]) -> str:
    score, error = inception_score(p)
    return f"{score:.2f} ± {error:.2f}"


def periodicity(wave: NDArray[np.float32], rate: int) -> float:
    """The pitch in Hz by autocorrelation, averaged over two turns of the vibrato of `demo:tones`.

    The autocorrelation of windows of 40 ms, each divided by its energy, is added up. The period is the shortest at which it has
    a peak nearly as high as the highest.
    """
    finer, length, hop = 8, rate // 25, rate // 100
    heard = wave[rate // 50 : round(rate * (1 / 50 + 2 / 5.5))]
    windows = np.lib.stride_tricks.sliding_window_view(heard, length)[::hop].astype(np.float64)
    energy = np.square(windows).sum(1)
    windows = windows[energy > 1e-5 * energy.max()] * np.hanning(length)
    power = np.square(np.abs(np.fft.rfft(windows, 2 * length)))
    lags = np.fft.irfft(power, 2 * length * finer)[:, : length * finer]  # at fractions of a sample
    taper = np.fft.irfft(np.square(np.abs(np.fft.rfft(np.hanning(length), 2 * length))), 2 * length * finer)[: length * finer]
    sums = (lags / lags[:, :1]).sum(0) / np.maximum(taper / taper[0], 1e-3)
    shortest, longest = (round(rate * finer / hertz) for hertz in (1200, 200))
    part = sums[shortest:longest]
    peaks = 1 + np.flatnonzero((part[1:-1] > part[:-2]) & (part[1:-1] >= part[2:]))
    if not len(peaks):
        return float("nan")
    return rate * finer / (shortest + float(peaks[part[peaks] > 0.9 * part[peaks].max()][0]))


def pitches(arguments: argparse.Namespace) -> None:
    """How many tones of each run with classes for pitches are within 20 cents of the pitch asked for, beside real ones."""

    def told(name: str, waves: Iterator[tuple[int, NDArray[np.float32], int]]) -> None:
        found = [(note, periodicity(wave, rate)) for note, wave, rate in waves]
        cents = np.array([abs(1200 * np.log2(hertz / demo.frequency(note))) for note, hertz in found])
        print(
            f"{name}: {share(cents < 20)} within 20 cents; {share(cents < 50)} within 50; "
            f"median {np.nanmedian(cents):.1f}, 90 % {np.nanpercentile(cents, 90):.1f}",
            flush=True,
        )

    rows = [*demo.Tones(arguments.n, seed=1).factors()]
    told("real", ((int(row[1]), demo.synthesise(row, seed)[:, 0], demo.RATE) for seed, row in enumerate(rows)))
    n = arguments.n // len(demo.NOTES)
    for run in arguments.runs:
        asked = ((note, samples(run, n, label=name)) for note, name in enumerate(demo.NOTES))
        told(run, ((note, wave, rate) for note, found in asked for _, wave, rate in found))


def envelopes(arguments: argparse.Namespace) -> None:
    """Attack and decay of real drums, of these there and back, and of each run's samples."""

    def told(name: str, waves: Sequence[NDArray[np.float32]], rate: int) -> None:
        louder = [wave for wave in waves if np.abs(wave).max() > 1e-3]
        times = np.array([attack_and_decay(wave, rate) for wave in louder])
        columns = [" / ".join(f"{of:.0f}" for of in np.percentile(column, [25, 50, 75])) for column in times.T]
        print(f"| {name} | {' | '.join(columns)} | {1 - len(louder) / len(waves):.1%} | {len(waves)} |", flush=True)

    from aigc_cli.engine.runs.run import open_run

    format = SoundFormat.from_json(open_run(Path(arguments.runs[0])).record["data"]["sound"])
    paths = sorted(path for path in arguments.drums.rglob("*") if path.suffix in SUFFIXES)
    real = read(paths, format.rate, format.seconds)
    print("| | attack, ms: quartiles | decay, ms: quartiles | silent | n |\n| --- | --- | --- | --- | --- |")
    told("real", [*real], format.rate)
    mono = replace(format, channels=1)
    told("there and back", [waveform(levels(wave[:, None], mono), mono)[:, 0] for wave in real], format.rate)
    for run in arguments.runs:
        found = [*samples(run, arguments.n)]
        told(run, [wave for _, wave, _ in found], found[0][2])


def attack_and_decay(wave: NDArray[np.float32], rate: int) -> tuple[float, float]:
    """In ms: from 20 dB below the loudest 5 ms to 1 dB below it, and from the loudest until it stays 20 dB below."""
    level = envelope(wave, rate)
    loud = np.flatnonzero(level >= -20)
    return 5.0 * float(np.argmax(level >= -1) - loud[0]), 5.0 * float(loud[-1] + 1 - level.argmax())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    verbs = {"transforms": transforms, "judge": judge_runs, "tones": pitches, "envelopes": envelopes}
    for name, verb in verbs.items():
        command = commands.add_parser(name, help=verb.__doc__)
        command.set_defaults(run=verb)
        if name in ("transforms", "judge"):
            command.add_argument("--digits", type=Path, required=True)
            command.add_argument("--judge", type=Path)
        if name in ("transforms", "envelopes"):
            command.add_argument("--drums", type=Path, required=True)
        if name == "transforms":
            command.add_argument("--every", type=int, default=1)
        else:
            command.add_argument("--runs", nargs="+", required=True)
            command.add_argument("-n", type=int, default=500 if name == "envelopes" else 1000)
        if name == "judge":
            command.add_argument("--conditional", action="store_true")
            command.add_argument("--field", help="the field that names the digit, of a Transformer that says digits")
            command.add_argument("--reconstruct", action="store_true")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
