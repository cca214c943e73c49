"""Paths of any bytes, disks that are full or read-only, and runs that are deleted while they are trained."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import TOY, Shell
from places import read_only, small_disk

from aigc_cli.engine.events import Bus, Evaluated, Event, Saved, Started, Trained
from aigc_cli.engine.train import train
from aigc_cli.errors import AigcError, RequestError

TINY = ["--d-model", "32", "--n-layers", "1", "--context", "32", "--batch-size", "4", "--eval-items", "4", "--device", "cpu"]
ODD = '-it\'s a "b"\n\udcff\udcfe é $(id) [bold]*?'


def test_paths_of_any_bytes(shell: Shell) -> None:
    folder = shell.cwd / ODD
    folder.mkdir()
    (folder / f"{ODD}.tsv").write_text("text\n" + "".join(f"the line {n} of {n * n}\n" for n in range(40)))
    where = ("--runs-dir", f"{ODD}/runs", "--run", "a")
    path = Path(ODD, "runs", "transformer", "a")
    result = json.loads(shell.ok("train", "transformer", "--data", f"{ODD}/{ODD}.tsv", "--steps", "4", *TINY, *where, "--json"))
    assert Path(result["run"]) == path and (shell.cwd / path / "run.json").exists()
    recorded = json.loads((shell.cwd / path / "run.json").read_text(encoding="utf-8"))
    assert Path(recorded["data"]["location"]) == folder / f"{ODD}.tsv"
    done = shell("train", "transformer", "--steps", "8", "--resume", *where)
    assert (done.returncode, done.stdout) == (0, f"{path}\n") and done.stderr.isascii() is False
    shell.ok("sample", "transformer", "-n", "2", *where, "--out", f"{ODD}/{ODD}.txt")
    assert (folder / f"{ODD}.txt").exists()
    measured = json.loads(shell.ok("eval", "transformer", *where, "--json", "-q"))
    assert Path(measured["run"]) == path
    (listed,) = json.loads(shell.ok("runs", "list", *where[:2], "--json"))["runs"]
    assert Path(listed["path"]) == path
    assert len(shell.ok("runs", "list", *where[:2]).splitlines()) == 2
    assert shell.ok("runs", "path", "a", *where[:2]) == f"{path}\n"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(TOY))
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    return __import__("aigc_toy")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run that is left alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOY))
        folder = tmp_path_factory.mktemp("whole")
        patch.setenv("AIGC_CACHE_DIR", str(folder / "cache"))
        return _weights(_train(__import__("aigc_toy"), folder, lambda event: None))


def _train(toy: Any, runs: Path, do: Callable[[Event], object], **options: Any) -> Path:
    asked = toy.Train(run="a", steps=10, eval_every=5, runs_dir=str(runs), threads=1, device="cpu", seed=0, **options)
    return train(toy.Toy(), asked, {}, toy.BACKEND.demo, Bus(do)).run


@pytest.mark.parametrize(("when", "away"), [(Started, "deleted"), (Evaluated, "moved"), (Saved, "deleted")])
def test_a_run_that_is_deleted_while_it_is_trained_stays_deleted(
    toy: Any, tmp_path: Path, when: type[Event], away: str
) -> None:
    run = tmp_path / "toy" / "a"

    def remove(event: Event) -> None:
        if isinstance(event, when) and run.exists():
            shutil.rmtree(run) if away == "deleted" else run.rename(tmp_path / "elsewhere")

    with pytest.raises(AigcError, match=r"run .*/toy/a was deleted or moved while it was trained; start it again$"):
        _train(toy, tmp_path, remove)
    assert not run.exists()


def test_a_disk_that_is_full_ends_training_and_what_was_saved_goes_on(toy: Any, tmp_path: Path, whole: bytes) -> None:
    filled: list[Path] = []

    def fill(event: Event) -> None:
        if isinstance(event, Saved) and event.step >= 5 and not filled:
            filled.append(tmp_path / "disk" / "filler")
            with filled[0].open("wb") as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(1 << 10))
                    file.flush()

    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", "2m"):
        with pytest.raises(
            AigcError, match=r"No space left on device.*; free disk space for .*; the checkpoint of step 5 is saved"
        ) as caught:
            _train(toy, tmp_path / "disk", fill)
        assert "\n" not in str(caught.value)
        filled[0].unlink()
        run = _train(toy, tmp_path / "disk", lambda event: None, resume=True)
        assert _weights(run) == whole
        assert not list((tmp_path / "disk").rglob(".tmp-*"))


def test_a_disk_that_becomes_read_only_ends_training_and_what_was_saved_goes_on(toy: Any, tmp_path: Path, whole: bytes) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    with pytest.raises(AigcError, match=r"the checkpoint of step 5 is saved; resume with: aigc train toy") as caught:
        _train_until_read_only(toy, runs)
    assert "\n" not in str(caught.value) and ("Read-only" in str(caught.value) or "Permission" in str(caught.value))
    run = _train(toy, runs, lambda event: None, resume=True)
    assert _weights(run) == whole


def _train_until_read_only(toy: Any, runs: Path) -> None:
    with ExitStack() as held:

        def shut(event: Event) -> None:
            if isinstance(event, Saved) and event.step == 5:
                held.enter_context(read_only(runs / "toy" / "a"))

        _train(toy, runs, shut)


def test_the_wall_clock_decides_nothing(toy: Any, tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be set back and forth by years at any time."""
    jumps = itertools.cycle([1e9, 2e9, 0.0, 1.5e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    seconds: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Trained):
            seconds.append(event.seconds)

    run = _train(toy, tmp_path / "runs", note, checkpoint_seconds=600.0)
    assert _weights(run) == whole
    assert seconds == sorted(seconds) and 0 < seconds[-1] < 60


def _weights(run: Path) -> bytes:
    return (max((run / "checkpoints").glob("step-*")) / "model" / "model.safetensors").read_bytes()


def test_runs_that_cannot_be_written_are_refused_before_the_data_are_read(toy: Any, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with (
        read_only(tmp_path / "runs"),
        pytest.raises(RequestError, match=r"^--runs-dir .*/runs cannot be written to; choose another$"),
    ):
        _train(toy, tmp_path / "runs", lambda event: None, data="not-there.txt")
