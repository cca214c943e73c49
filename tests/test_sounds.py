"""Sounds as a kind of data: read as pictures, learned, and written as sounds again."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Shell
from PIL import Image
from sounding import beep, write_beeps

from aigc_cli.backends.pictures.options import changed as check_unchanged
from aigc_cli.data.kinds import find_kind, kind_of
from aigc_cli.data.pictures.prepared.preparing import PictureDataset, Request, read_as_pictures
from aigc_cli.data.sounds.choose import WantedSounds
from aigc_cli.data.sounds.dataset import like, prepare_sounds
from aigc_cli.data.sounds.entries import Asked
from aigc_cli.data.sounds.format import SoundFormat
from aigc_cli.data.sounds.kind import SOUNDS
from aigc_cli.data.sounds.spectrogram import levels
from aigc_cli.errors import RequestError

soundfile = pytest.importorskip("soundfile")
NANO = ("--longest-side", "16", "--preset", "nano", "--batch-size", "4")


def quiet(*_: object) -> None:
    pass


def prepare(folder: Path, longest: int = 16, **wanted: Any) -> PictureDataset:
    return prepare_sounds(Request(str(folder)), Asked(WantedSounds(**wanted), longest), progress=quiet)


@pytest.fixture
def beeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    return write_beeps(tmp_path / "beeps")


def test_a_folder_of_sounds_becomes_pictures_with_classes(beeps: Path) -> None:
    data = prepare(beeps)
    assert (data.things, data.classes, data.format.mode) == ("sounds", ("high", "low"), "L")
    assert len(data.train) + len(data.select) + len(data.report) == 40
    assert data.info["kind"] == "sounds" and data.info["splits"]["train"] == {"sounds": len(data.train)}
    sound = SoundFormat.from_json(data.info["sound"])
    assert data.train.take([0]).shape == (1, *sound.picture.size, 1)
    name = data.train.names[3]
    wave, rate = soundfile.read(beeps / name, always_2d=True)
    assert data.train.seconds is not None and data.train.seconds[3] == len(wave) / rate
    assert abs(data.train.take([3])[0].astype(int) - levels(wave.astype(np.float32), sound)).max() <= 1
    assert data.train.take(range(len(data.train))).max() >= 250  # the loudest uses the levels
    assert prepare(beeps).cached and not data.cached
    assert check_unchanged(data.info) == []
    (beeps / "low" / "00.wav").unlink()
    assert check_unchanged(data.info) == [f"{beeps} has changed since this run was trained: 39 files now, 40 then"]


def test_another_source_is_read_in_the_format_of_a_run(beeps: Path, tmp_path: Path) -> None:
    data = prepare(beeps)
    other = tmp_path / "other.flac"
    soundfile.write(other, np.repeat(beep(3, rate=16000), 2, axis=1), 16000)
    arrays = read_as_pictures(str(other), like(data.info), progress=quiet)
    assert len(arrays) == 1 and arrays.shape == data.train.shape


def test_what_was_asked_for_is_kept(beeps: Path) -> None:
    sound = prepare(beeps, rate=11025, seconds=0.1, channels=2).info["sound"]
    assert (sound["rate"], sound["samples"], sound["channels"]) == (11025, 1102, 2)


def test_long_recordings_are_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    noise = np.random.default_rng(0).normal(0, 0.1, 8000 * 20)
    noise[: 8000 * 5] *= 0.001  # it begins softly
    soundfile.write(tmp_path / "rain.wav", noise, 8000)
    data = prepare(tmp_path / "rain.wav", seconds=0.25)
    levels = data.train.take(range(len(data.train)))
    assert levels.max() > 240 and (levels == 255).mean() < 0.001
    width = data.format.width
    assert data.format.region == (data.format.height, 2 * width)
    a, b = (data.train.take_anywhere([0], np.random.default_rng(seed)) for seed in (0, 1))
    assert a.shape == b.shape == (1, *data.format.size, 1) and (a != b).any()
    times = {split: [float(name.split()[-2]) for name in getattr(data, split).names] for split in ("train", "select", "report")}
    assert max(times["train"]) < min(times["select"]) <= max(times["select"]) < min(times["report"])
    windows = {split: of["windows"] for split, of in data.info["splits"].items()}
    assert windows["train"] == len(data.train) == 3 * len({*data.train.rows})
    n_parts = sum(windows.values()) // 3
    assert data.notes[0].startswith(
        f"{n_parts} parts of {2 * width * data.info['sound']['hop'] / 8000:.3g} s, with {3 * n_parts} windows of 0.25 s"
    )


def test_sounds_of_any_length_are_read_as_a_run_on_recordings_reads_them(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8000 * 20)
    soundfile.write(tmp_path / "rain.wav", noise, 8000)
    run = prepare(tmp_path / "rain.wav", seconds=0.25).info
    for seconds, windows in ((0.1, 1), (0.8, 3)):
        soundfile.write(tmp_path / "other.wav", noise[: int(8000 * seconds)], 8000)
        other = read_as_pictures(str(tmp_path / "other.wav"), like(run), progress=quiet)
        assert len(other) == windows and other.shape == (run["format"]["height"], run["format"]["width"], 1)


def test_damaged_sounds_are_skipped_and_counted(beeps: Path) -> None:
    whole = (beeps / "low" / "00.wav").read_bytes()
    (beeps / "low" / "00.wav").write_bytes(whole[: len(whole) // 2])
    data = prepare(beeps)
    assert any(note.startswith("skipped 1 that cannot be decoded: 'low/00.wav' (") for note in data.notes)
    assert data.info["understood"]["skipped"][0]["what"] == "sounds that cannot be decoded"


# Writing


@pytest.fixture
def of_run() -> Any:
    """The kind of a run's samples, and a sample."""
    sound = SoundFormat(8000, 1600, 1, 32, 32, 50)
    content = levels(beep(1, seconds=0.3), sound)
    return SOUNDS.of_run({"sound": sound.to_json()}), content


@pytest.mark.parametrize(("suffix", "format"), [(".wav", "WAV"), (".flac", "FLAC"), (".ogg", "OGG")])
def test_a_sample_is_written_as_a_sound(of_run: Any, suffix: str, format: str) -> None:
    kind, content = of_run
    with soundfile.SoundFile(io.BytesIO(kind.encode(content, suffix))) as file:
        assert (file.format, file.samplerate, file.channels, file.frames) == (format, 8000, 1, 1600)
        wave = file.read()
    assert 0.3 < abs(wave).max() < 0.7 and kind.describe(content) == {}  # as loud as it was


def test_left_and_right_stay_apart() -> None:
    time = np.arange(1600) / 8000
    wave = np.stack([0.5 * np.sin(2 * np.pi * 300 * time), 0.1 * np.sin(2 * np.pi * 1200 * time)], 1).astype(np.float32)
    sound = SoundFormat(8000, 1600, 2, 32, 32, 50)
    kind = SOUNDS.of_run({"sound": sound.to_json()})
    again, _ = soundfile.read(io.BytesIO(kind.encode(levels(wave, sound), ".flac")))
    assert np.abs(np.fft.rfft(again, axis=0)).argmax(0).tolist() == [60, 240]  # in steps of 5 Hz
    assert np.abs(again).max(0) == pytest.approx([0.5, 0.1], rel=0.25)


def test_a_file_that_cannot_hold_so_many_is_refused(of_run: Any) -> None:
    kind, content = of_run
    kind.check_written(content, ".flac", 10**7, 4)
    with pytest.raises(RequestError, match=r"too many for a .wav file; use .flac"):
        kind.check_written(content, ".wav", 10**7, 4)


def test_what_is_too_loud_is_scaled_down_and_not_clipped(of_run: Any) -> None:
    sound = SoundFormat(8000, 1600, 1, 32, 32, 50, top=20.0)  # every level is 20 dB louder
    kind, content = SOUNDS.of_run({"sound": sound.to_json()}), of_run[1]
    wave, _ = soundfile.read(io.BytesIO(kind.encode(content, ".wav")))
    gain = kind.describe(content)["gain"]
    assert 0.1 < gain < 0.4 and (abs(wave) > 0.999).sum() < 3


def test_many_are_written_one_after_the_other_or_as_spectrograms(of_run: Any) -> None:
    kind, content = of_run
    with soundfile.SoundFile(io.BytesIO(kind.sheet([content] * 3, 2, ".wav").content)) as file:
        wave = file.read()
    assert len(wave) == 3 * 1600 + 2 * 1600  # pauses of 0.2 s
    assert not wave[1600:3200].any() and (wave[:1600] == wave[3200:4800]).all()
    sheet = Image.open(io.BytesIO(kind.sheet([content] * 3, 2, ".png").content))
    assert sheet.mode == "L" and sheet.width > 64


def test_the_kind_is_known_by_suffix_and_first_bytes(tmp_path: Path) -> None:
    assert kind_of([Path("a.wav"), Path("b.mp3"), Path("c.png")], find_kind("text")) == "sounds"
    for suffix in (".wav", ".flac", ".ogg", ".aiff"):
        soundfile.write(tmp_path / f"a{suffix}", beep(0), 8000)
        assert SOUNDS.recognise((tmp_path / f"a{suffix}").read_bytes()[:64]) == suffix


# Commands


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    write_beeps(module_shell.cwd / "beeps")
    module_shell.ok("train", "gan", "--data", "beeps", "--conditional", "--steps", "3", *NANO, "--run", "g", "-q")
    module_shell.ok("train", "vae", "--data", "beeps", "--steps", "3", *NANO, "--run", "v", "-q")
    return module_shell


def test_sampling_writes_sounds(trained: Shell) -> None:
    lines = trained.ok("sample", "gan", "-n", "2", "--seed", "1", "--label", "low", "--json", "-q").splitlines()
    paths = [json.loads(line)["path"] for line in lines]
    assert paths == ["samples/gan-g/seed-1-000000.wav", "samples/gan-g/seed-1-000001.wav"]
    info = soundfile.info(trained.cwd / paths[0])
    assert (info.samplerate, info.subtype) == (8000, "PCM_16")
    trained.ok("sample", "gan", "-n", "2", "--seed", "1", "--label", "low", "--out", "all.npz", "-q")
    arrays = np.load(trained.cwd / "all.npz")
    wave, _ = soundfile.read(trained.cwd / paths[1], always_2d=True)
    assert int(arrays["rate"]) == 8000 and np.abs(arrays["sounds"][1] - wave).max() < 1e-4
    command = [*trained.command, "sample", "gan", "-n", "2", "--seed", "1", "--format", "flac", "--out", "-", "-q"]
    piped = subprocess.run(command, cwd=trained.cwd, env=trained.env, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(piped.stdout)) as tar:
        assert tar.getnames() == ["seed-1-000000.flac", "seed-1-000001.flac"]
    refused = trained("sample", "gan", "--format", "png")
    assert (refused.returncode, refused.stderr) == (2, "aigc: --format png: sounds are written as wav, flac, ogg\n")


def test_the_vae_morphs_reconstructs_and_encodes_sounds(trained: Shell) -> None:
    trained.ok("sample", "vae", "--interpolate", "beeps/low/00.wav", "beeps/high/00.wav", "-n", "3", "--out", "way.flac", "-q")
    info = soundfile.info(trained.cwd / "way.flac")
    assert info.frames == 3 * trained_samples(trained, "vae/v") + 2 * 1600
    trained.ok("sample", "vae", "--reconstruct", "beeps", "-n", "2", "--out", "again/", "-q")
    assert len([*(trained.cwd / "again").glob("*.wav")]) == 2
    trained.ok("encode", "vae", "--data", "beeps", "--out", "latents.npz", "-q")
    decoded = trained.ok("decode", "vae", "--from", "latents.npz", "--out", "decoded/", "-q").splitlines()
    assert len(decoded) == 40 and decoded[0] == "decoded/decoded-000000.wav"
    rows = json.loads(trained.ok("sample", "vae", "--traverse", "-n", "2", "--out", "latents.ogg", "--json", "-q"))
    assert rows["n"] == 2 * SOUNDS.rows


def trained_samples(shell: Shell, run: str) -> int:
    record = json.loads((shell.cwd / "runs" / run / "run.json").read_text())
    return int(record["data"]["sound"]["samples"])


def test_eval_measures_sounds(trained: Shell) -> None:
    found = json.loads(trained.ok("eval", "gan", "--data", "beeps", "--json", "-q"))
    assert found["fd_random"]["n"] >= 20 and found["recall"]["n"] == found["fd_random"]["n"]
    for share in (found["silent"], found["clipped"]):
        assert 0 <= share["value"] <= 1 and share["floor"]["value"] == 0
    score = found["inception_score"]
    assert 1 <= score["value"] <= 2 and score["floor"]["value"] > 1.5 and score["accuracy"]["value"] == 1


def test_what_is_said_of_files_keeps_their_names(trained: Shell) -> None:
    folder = write_beeps(trained.cwd / "my pictures")
    (folder / "about.xyz").write_text("no sound")
    told = trained("eval", "vae", "--data", folder, "-n", "8")
    assert told.returncode == 0 and "in my pictures" in told.stderr.replace(f"{trained.cwd}/", "") and "sounds" in told.stderr


def test_a_dry_run_shows_the_longest_and_the_shortest(trained: Shell) -> None:
    told = json.loads(trained.ok("train", "gan", "--data", "beeps", *NANO, "--dry-run", "--json"))
    assert told["data"]["kind"] == "sounds" and "sounds" in told["data"]["splits"]["train"]
    names = [name for folder in ("low", "high") for name in files(trained, folder)]
    seconds = {name: soundfile.info(trained.cwd / "beeps" / name).duration for name in names}
    by_length = sorted(told["examples"], key=seconds.__getitem__)
    longest, shortest = by_length[-1], by_length[0]
    assert seconds[longest] > 0.19 and seconds[shortest] < 0.13


def files(shell: Shell, folder: str) -> list[str]:
    return [f"{folder}/{path.name}" for path in (shell.cwd / "beeps" / folder).iterdir()]


def test_the_report_has_players_whose_sounds_are_the_samples(trained: Shell) -> None:
    trained.ok("report", "g", "--no-eval", "-q")
    page = (trained.cwd / "runs" / "gan" / "g" / "report.html").read_text()
    assert "media-src data:;" in page.replace("&#39;", "'") and "connect-src" not in page
    players = re.findall(r'<audio controls src="data:audio/wav;base64,([^"]+)"', page)
    assert len(players) == 12
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(players[0])))
    assert (rate, len(wave)) == (8000, trained_samples(trained, "gan/g"))


BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
DRIVER = """
document.querySelectorAll("audio").forEach((one) => {
  one.addEventListener("canplaythrough", () => { one.dataset.plays = one.duration; });
  one.load();
});
"""


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_the_players_of_the_report_play_in_a_browser(trained: Shell, tmp_path: Path) -> None:
    """Under the page's own policy, which for the test allows the script that looks."""
    trained.ok("report", "g", "--no-eval", "-q")
    page = (trained.cwd / "runs" / "gan" / "g" / "report.html").read_text()
    digest = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    (tmp_path / "page.html").write_text(page.replace("</body>", f"<script>{DRIVER}</script></body>"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ]
    try:
        done = subprocess.run(
            [str(BROWSER), *options, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{BROWSER} does not start here")
    if "</html>" not in done.stdout:
        pytest.skip(f"{BROWSER} does not start here")
    seconds = trained_samples(trained, "gan/g") / 8000
    assert [float(of) for of in re.findall(r'data-plays="([\d.]+)"', done.stdout)] == pytest.approx([seconds] * 12)


def test_messages_speak_of_sounds(trained: Shell) -> None:
    told = (
        trained("eval", "gan", "--data", "beeps", "-n", "0").stderr
        + trained("train", "vae", "--data", "beeps", *NANO, "--steps", "1", "--run", "w").stderr
    )
    assert "only" in told and "training sounds" in told and "picture" not in told
    refused = trained("sample", "vae", "--interpolate", "beeps", "beeps/low/00.wav")
    assert refused.stderr == "aigc: --interpolate beeps has 40 sounds; give two files with one sound each\n"


@pytest.mark.parametrize("options", [("--size", "32"), ("--flip",), ("--tile",), ("--mode", "RGB"), ("--ground", "white")])
def test_options_of_pictures_are_refused(trained: Shell, options: tuple[str, ...]) -> None:
    refused = trained("train", "gan", "--data", "beeps", *options)
    expected = f"aigc: {options[0]} is not for sounds, which {trained.cwd}/beeps holds; remove it\n"
    assert (refused.returncode, refused.stderr.splitlines(keepends=True)[-1]) == (2, expected)


def test_options_of_sounds_are_refused_for_pictures(trained: Shell) -> None:
    refused = trained("train", "vae", "--data", "demo:shapes?n=20", "--rate", "8000", "-q")
    expected = "aigc: --rate is not for pictures, which demo:shapes?n=20 holds; remove it\n"
    assert (refused.returncode, refused.stderr) == (2, expected)


def test_a_wrong_length_is_refused(beeps: Path) -> None:
    with pytest.raises(RequestError, match="--seconds 1000 must be from"):
        prepare(beeps, seconds=1000)


def test_codes_of_sounds_are_made_and_undone(trained: Shell) -> None:
    trained.ok("train", "vae", "--codes", "--data", "beeps", "--steps", "2", *NANO, "--run", "c", "-q")
    trained.ok("sample", "vae", "--run", "c", "--reconstruct", "beeps", "-n", "2", "--out", "two.wav", "-q")
    assert soundfile.info(trained.cwd / "two.wav").frames == 2 * trained_samples(trained, "vae/c") + 1600
    refused = trained("sample", "vae", "--run", "c")
    expected = "aigc: run c turns sounds into codes and back, and draws none; give it some: --reconstruct SRC\n"
    assert (refused.returncode, refused.stderr) == (2, expected)
