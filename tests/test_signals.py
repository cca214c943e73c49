"""Ctrl-C, SIGTERM and SIGHUP at every stage of preparing data, and at every event of training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TOY
from PIL import Image
from sounding import write_beeps

from aigc_cli.data.pictures.dataset import PictureReading, PictureRequest, prepare_pictures
from aigc_cli.data.pictures.format import Wanted
from aigc_cli.data.records.dataset import RecordRequest, prepare_records
from aigc_cli.data.text.dataset import TextRequest, prepare_text
from aigc_cli.engine.events import Bus, Evaluated, Event, Previewed, Saved, Stage, Started, Trained
from aigc_cli.engine.signals import Interrupts, ending_tidily
from aigc_cli.engine.train import train
from aigc_cli.errors import Interrupted

Prepare = Callable[[Path, Callable[..., None]], object]


@dataclass
class Signals:
    """Sends a signal to this process when it is called for the `at`th time."""

    number: int
    at: int
    calls: int = 0

    def __call__(self, *_: object) -> None:
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), self.number)


def _text(folder: Path, progress: Callable[..., None]) -> object:
    (folder / "a.txt").write_text("".join(f"the {n} words of line {n * n}\n" for n in range(200)))
    return prepare_text(TextRequest(str(folder / "a.txt"), tokenizer="bpe", vocab_size=300), progress=progress)


def _draw(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 3), np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number}.png")


def _pictures(folder: Path, progress: Callable[..., None]) -> object:
    _draw(folder)
    return prepare_pictures(PictureRequest(str(folder)), progress=progress)


def _sounds(folder: Path, progress: Callable[..., None]) -> object:
    pytest.importorskip("soundfile")
    from aigc_cli.data.pictures.prepared.preparing import Request
    from aigc_cli.data.sounds.dataset import Asked, WantedSounds, prepare_sounds

    if not (folder / "low").exists():
        write_beeps(folder, n=10)
    return prepare_sounds(Request(str(folder)), Asked(WantedSounds(), 16), progress=progress)


def _records(folder: Path, progress: Callable[..., None]) -> object:
    _draw(folder)
    rows = "".join(f"{number}.png\tpicture {number}\n" for number in range(24))
    (folder / "rows.tsv").write_text(f"picture\tcaption\n{rows}")
    return prepare_records(RecordRequest(str(folder / "rows.tsv")), PictureReading(Wanted()), progress=progress)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("prepare", [_text, _pictures, _sounds, _records])
def test_a_signal_at_any_stage_of_preparing_leaves_nothing_half_done(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "whole"))
    prepare(data, never := Signals(signal.SIGINT, 0))
    assert never.calls > 1
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    for at in range(1, never.calls + 1):
        number = (signal.SIGINT, signal.SIGTERM)[at % 2]
        with Interrupts().installed(), pytest.raises(Interrupted) as caught:
            prepare(data, Signals(number, at))
        assert caught.value.exit_code == 128 + number
        assert not list(tmp_path.glob("cache/**/.tmp-*")), at
    prepare(data, Signals(signal.SIGINT, 0))
    entries = {name: content for name, content in _content(tmp_path / "cache").items() if name.startswith("prepared")}
    assert entries == {name: content for name, content in _content(tmp_path / "whole").items() if name in entries}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(TOY))
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    return __import__("aigc_toy")


def _train(toy: Any, runs: Path, subscriber: Callable[[Event], None], **options: Any) -> None:
    asked = toy.Train(
        run="a", steps=10, eval_every=5, runs_dir=str(runs), threads=1, device="cpu", seed=0, checkpoint_seconds=1e9
    )
    train(toy.Toy(), replace(asked, **options), {}, toy.BACKEND.demo, Bus(subscriber))


def _end(runs: Path) -> dict[str, bytes]:
    """The weights and all else that the last checkpoint holds, but for the time it took."""
    last = max((runs / "toy" / "a" / "checkpoints").glob("step-*"))
    return {name: of for name, of in _content(last).items() if Path(name).name not in ("position.json", "manifest.json")}


#: In one training: the kind of event, and which of them.
EVENTS = [(Started, 0), (Trained, 1), (Evaluated, 0), (Previewed, 0), (Saved, 0), (Saved, -1)]


@pytest.fixture
def undisturbed(toy: Any, tmp_path: Path) -> tuple[list[Event], dict[str, bytes]]:
    """What a run that is left alone tells, and its end."""
    events: list[Event] = []
    _train(toy, tmp_path / "undisturbed", events.append)
    return events, _end(tmp_path / "undisturbed")


def test_a_signal_at_any_event_of_training_is_followed_by_a_checkpoint_to_go_on_from(
    toy: Any, tmp_path: Path, undisturbed: tuple[list[Event], dict[str, bytes]]
) -> None:
    events, end = undisturbed
    for kind, which in EVENTS:
        of_kind = [event for event in events if isinstance(event, kind)]
        where = f"{kind.__name__}-{which}"
        number = signal.SIGTERM if kind in (Trained, Previewed, Saved) else signal.SIGINT
        struck = which % len(of_kind)
        at = Signals(number, struck + 1)

        def strike(event: Event, at: Signals = at, kind: type[Event] = kind) -> None:
            if isinstance(event, kind):
                at()

        finishes = False
        try:
            _train(toy, tmp_path / where, strike)
            finishes = True
        except Interrupted as error:
            assert error.exit_code == 128 + number
            assert "a checkpoint was saved; resume with: aigc train toy --run" in str(error)
        assert at.calls >= at.at, where
        assert finishes is (getattr(of_kind[struck], "step", 0) == 10), where
        _train(toy, tmp_path / where, lambda event: None, resume=True)
        assert _end(tmp_path / where) == end, where


def test_closing_the_terminal_stops_no_training(
    toy: Any, tmp_path: Path, undisturbed: tuple[list[Event], dict[str, bytes]]
) -> None:
    def hang_up(event: Event) -> None:
        os.kill(os.getpid(), signal.SIGHUP)

    _train(toy, tmp_path / "runs", hang_up)
    assert _end(tmp_path / "runs") == undisturbed[1]


def test_before_training_nothing_is_saved_and_the_line_says_so(toy: Any, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Stage) and event.name == "calibrating":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"^interrupted before training started; nothing was saved$"):
        _train(toy, tmp_path / "runs", interrupt, steps=None, minutes=0.1)
    assert not list((tmp_path / "runs").rglob("*.json"))


@pytest.fixture
def ignoring_hang_ups() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_other_commands_tidy_up(number: int) -> None:
    tidied = False
    with pytest.raises(Interrupted) as caught, ending_tidily():
        try:
            os.kill(os.getpid(), number)
        finally:
            tidied = True
    assert tidied and caught.value.exit_code == 128 + number
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ignoring_hang_ups")
def test_below_nohup_hanging_up_is_ignored() -> None:
    with ending_tidily():
        os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_at_once_even_in_the_midst_of_a_long_call(number: int, code: int) -> None:
    program = (
        "import hashlib, os\n"
        "from aigc_cli.engine.signals import Interrupts\n"
        "interrupts = Interrupts()\n"
        "with interrupts.installed(), interrupts.deferred():\n"
        f"    os.kill(os.getpid(), {number})\n"
        "    print('going on', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha512', b'', b'', 10**9)\n"  # an hour
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "going on\n"
    time.sleep(0.1)  # until it is in there
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == code
