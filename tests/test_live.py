"""The live view of training, in terminals of any size and after resizing."""

from __future__ import annotations

import io
from pathlib import Path
from threading import Semaphore

import numpy as np
import pytest
from PIL import Image
from rich.console import Console, ConsoleDimensions
from rich.text import Text
from terminals import Screen

from aigc_cli.data.pictures.output import sheet
from aigc_cli.engine.events import (
    Bus,
    Evaluated,
    Finished,
    Previewed,
    Printing,
    Saved,
    Started,
    Trained,
)
from aigc_cli.engine.meanings import Meanings
from aigc_cli.ui import live
from aigc_cli.ui.frame import Frame
from aigc_cli.ui.live import LiveView


class Terminal(io.StringIO):
    encoding = "utf-8"

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self.screen = screen

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.screen.feed(text)
        return len(text)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """An 80 × 24 terminal in which every event is drawn immediately and nothing is animated."""
    monkeypatch.setattr(live, "SECONDS_BETWEEN_FRAMES", 0.0)
    monkeypatch.setattr(live, "SECONDS_BETWEEN_MOVES", 3600.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    return Screen(80)


def resize(view: LiveView, screen: Screen, columns: int, lines: int) -> None:
    view.console.size = ConsoleDimensions(columns, lines)
    screen.width, screen.height = columns, lines


def steps(bus: Bus, first: int, last: int, losses: tuple[str, ...] = ("loss",)) -> None:
    for step in range(first, last + 1):
        bus.emit(Trained(step, 1000, dict.fromkeys(losses, 1 / step), 0.001, 1234.4, "tokens", step / 10, 100 - step / 10))


def test_what_happens_before_the_first_step_has_a_bar(screen: Screen) -> None:
    view = LiveView(Terminal(screen), Meanings())
    bus = Bus(view)
    assert screen.shown == ["━" * 24 + " starting", ""]
    bus.note("no --data given")
    bus.stage("reading", 12345, None)
    assert screen.shown == ["no --data given", "━" * 24 + " reading 12,345", ""]
    bus.stage("tokenising", 0, 60)
    assert screen.shown[1].endswith("━ tokenising")
    bus.stage("tokenising", 30, 60)
    assert screen.shown[1] == "━" * 12 + "╺" + "━" * 11 + " tokenising   50 %"
    view.stage_since -= 59 * 5
    bus.stage("tokenising", 59, 60)
    assert screen.shown[1].endswith("tokenising   98 %   5 s left")
    view.close()
    assert screen.shown == ["no --data given", ""]


def test_the_bar_moves_by_itself_until_there_are_steps(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_MOVES", 0.001)
    drawn = Semaphore(0)
    terminal = Terminal(screen)
    monkeypatch.setattr(terminal, "flush", drawn.release)
    view = LiveView(terminal, Meanings())
    for _ in range(5):
        assert drawn.acquire(timeout=60)
    view(Started("runs/transformer/a", 1000, 0))
    while drawn.acquire(blocking=False):
        pass
    assert not drawn.acquire(timeout=0.1)
    view.close()


def test_training_shows_progress_and_the_next_commands(screen: Screen) -> None:
    view = LiveView(Terminal(screen), Meanings())
    bus = Bus(view)
    bus.emit(Started("runs/transformer/a", 1000, 0, "4 layers"))
    steps(bus, 1, 250)
    bus.emit(Evaluated(250, {"bits_per_char": 2.5}, "bits_per_char", True))
    bus.emit(Previewed(250, "One line\nand another", "samples/step.txt"))
    bus.emit(Saved(250, "checkpoints/step-000250"))
    state = screen.shown
    assert state[0] == "runs/transformer/a: 4 layers"
    assert state[1].endswith("step 250/1,000   1,234 tokens/s   1:15 left")
    assert state[2:4] == ["loss 0.004", "held-out  bits per char 2.5"]
    assert len(state[4]) == live.CURVE and state[4].startswith("█") and state[4].endswith("▁")
    assert state[5:] == ["", "One line", "and another", ""]
    bus.emit(Finished("runs/transformer/a", "finished", 1000, 100.0))
    bus.note("next: aigc sample transformer --run a -n 4")
    view.close()
    assert screen.shown == [
        *state[:-1],
        "finished after 1000 steps, 1:40: runs/transformer/a",
        "next: aigc sample transformer --run a -n 4",
        "",
    ]


@pytest.mark.parametrize(("columns", "lines"), [(60, 20), (100, 40), (30, 10), (7, 4)])
def test_another_size_leaves_no_garbage(screen: Screen, tmp_path: Path, columns: int, lines: int) -> None:
    """The terminal rewraps its content, and the next drawing replaces everything visible: the result is the same as in a terminal
    that always had this size."""
    pictures = list(np.random.default_rng(0).integers(0, 256, (9, 20, 20, 3), dtype=np.uint8))
    Image.fromarray(sheet(pictures, 3)).save(tmp_path / "step.png")

    def train(screen: Screen, columns: int, lines: int) -> LiveView:
        view = LiveView(Terminal(screen), Meanings())
        resize(view, screen, columns, lines)
        bus = Bus(view)
        bus.note("a note")
        bus.emit(Started("runs/gan/a", 1000, 0, "a model that is described in so many words that they do not fit into a line"))
        steps(bus, 1, 90, losses=("generator_loss", "discriminator_loss", "penalty_of_real", "penalty_of_drawn"))
        bus.emit(Previewed(1, "", str(tmp_path / "step.png"), grid=(3, 3)))
        return view

    view = train(screen, 80, 24)
    assert max(map(len, screen.shown)) <= 80 and any("▀" in row for row in screen.shown)
    for size in ((columns, lines), (80, 24)):
        resize(view, screen, *size)
        view(Saved(90, "checkpoints/step-000090"))
        expected = Screen(80)
        train(expected, *size)
        frame = [row for row in expected.shown if row != "a note"]
        assert frame[0].startswith("runs") and max(map(len, frame)) <= size[0] and len(frame) <= size[1]
        assert screen.shown[-len(frame) :] == frame
        if size == (columns, lines):  # back at the first size a terminal may also show what had scrolled away
            assert screen.shown in (expected.shown, frame)


def test_measures_get_two_lines_and_stay_whole(screen: Screen) -> None:
    bus = Bus(LiveView(Terminal(screen), Meanings()))
    bus.emit(Trained(1, 9, {f"measure_{i}": i for i in range(14)}, 0.001, 1.0, "pictures", 1.0, 8.0))
    first = "  ".join(f"measure {i} {i}" for i in range(6))
    second = "  ".join(f"measure {i} {i}" for i in range(6, 14))
    assert screen.shown[1:3] == [first, second[:79] + "…"]


def test_the_latest_pictures_are_shown_with_the_rest(screen: Screen, tmp_path: Path) -> None:
    pictures = [np.full((10, 10, 1), 3 * i, np.uint8) for i in range(64)]
    Image.fromarray(sheet(pictures, 8)[:, :, 0]).save(tmp_path / "step.png")
    view = LiveView(Terminal(screen), Meanings())
    bus = Bus(view)
    bus.emit(Started("runs/vae/a", 1000, 0))
    steps(bus, 1, 9)
    bus.emit(Evaluated(9, {"loss": 1.0}, "loss", True))
    bus.emit(Previewed(9, "", str(tmp_path / "step.png"), grid=(8, 8)))
    row = "  ".join(["▀" * 10] * 6)
    assert screen.shown[6:-1] == [*[row] * 5, "", *[row] * 5]
    assert len(screen.shown) + live.BELOW <= 24 + 1  # with what is said at the end
    bus.emit(Previewed(10, "", str(tmp_path / "gone.png"), grid=(8, 8)))
    assert len(screen.shown) == 6
    (tmp_path / "broken.png").write_bytes((tmp_path / "step.png").read_bytes()[:60])
    bus.emit(Previewed(11, "", str(tmp_path / "broken.png")))
    assert bus.subscribers == [view]


def test_pictures_are_not_shown_without_colours(monkeypatch: pytest.MonkeyPatch, screen: Screen, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "step.png")
    monkeypatch.setenv("NO_COLOR", "1")
    bus = Bus(LiveView(Terminal(screen), Meanings()))
    bus.emit(Previewed(9, "", str(tmp_path / "step.png")))
    assert "▀" not in "".join(screen.shown)


def test_results_replace_the_progress_bar(screen: Screen) -> None:
    view = LiveView(Terminal(screen), Meanings())
    bus = Bus(view)
    for number in range(2):
        bus.stage("reading", 1, 2)
        bus.emit(Printing())
        screen.feed(f"samples/{number}.png\n")
    view.close()
    assert screen.shown == ["samples/0.png", "samples/1.png", ""]


def test_a_frame_is_one_write_that_erases_nothing_it_draws() -> None:
    class Writes(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def write(self, text: str) -> int:
            self.seen += [text] if text else []
            return len(text)

    writes = Writes()
    frame = Frame(Console(file=writes, width=6, height=4, force_terminal=True, color_system=None))
    frame.draw([Text("one"), Text("across")])
    frame.draw([Text("1"), Text("2"), Text("3"), Text("4")], above=[Text("stays")])
    frame.draw([Text("one")])
    frame.draw()
    assert writes.seen == [
        "one\x1b[K\nacross\n",
        "\x1b[2A\rstays\x1b[K\n1\x1b[K\n2\x1b[K\n3\x1b[K\n",
        "\x1b[3A\rone\x1b[K\n\x1b[K\n\x1b[K\n\x1b[2A\r",
        "\x1b[1A\r\x1b[K\n\x1b[1A\r",
    ]


def test_a_terminal_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch, screen: Screen) -> None:
    terminal = Terminal(screen)
    monkeypatch.setattr(terminal, "write", lambda text: (_ for _ in ()).throw(OSError()))
    bus = Bus(LiveView(terminal, Meanings()))
    bus.note("nobody reads this")
    assert bus.subscribers == []
