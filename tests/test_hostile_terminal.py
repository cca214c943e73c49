"""What comes from data, names of files included, is harmless where a person or a log reads it, and exact in JSON."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import Shell
from hostile import aigc
from hypothesis import given
from hypothesis import strategies as st
from terminals import in_terminal

from aigc_cli import app
from aigc_cli.commands.output import print_path
from aigc_cli.engine.events import Evaluated, Event, Finished, Note, Previewed, Stage, Started, Trained
from aigc_cli.engine.meanings import Meanings
from aigc_cli.ui import live
from aigc_cli.ui.live import LiveView
from aigc_cli.ui.progress import PlainLines, json_printer
from aigc_cli.ui.tables import measures_table, table
from aigc_cli.ui.text import one_line, printable

#: Sets the title, clears the screen, turns the line around, is rich's markup, and begins a line that looks like ours.
EVIL = "\x1b]0;t\x07\x9b2J\u202eabc\u2066[bold red]x[/bold red][link=http://a]\nwarning: all is lost\u2028\r\x00\ud800"
NAME = EVIL.replace("/", "").replace("\x00", "").replace("\ud800", "")
EVENTS: list[Event] = [
    Note(EVIL),
    Note(EVIL, "warning"),
    Stage(EVIL, 0),
    Stage(EVIL, 3, 9),
    Started(EVIL, 9, 0, EVIL),
    Trained(3, 9, {EVIL: 1.0}, 0.1, 10.0, "texts", 1.0, 2.0),
    Evaluated(3, {EVIL: 1.0}, EVIL, True),
    Previewed(3, EVIL, EVIL),
    Finished(EVIL, "finished", 9, 3.0, {EVIL: 1.0}),
]


def check_harmless(shown: str, *, styled: bool = False) -> None:
    """Nothing of what `EVIL` would do is in it; colours and moves of our own may be."""
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown) if styled else shown
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]", shown)
    assert not any(line.startswith("warning: all is lost") for line in shown.splitlines())


def test_plain_lines() -> None:
    stream = io.StringIO()
    lines = PlainLines(stream, Meanings())
    for event in EVENTS:
        lines(event)
        lines.shown = 0.0
    check_harmless(stream.getvalue())
    assert "[bold red]x[/bold red]" in stream.getvalue() and stream.getvalue().count("\n    ") == 4  # of the preview


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_the_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_FRAMES", 0.0)
    monkeypatch.setattr(live, "SECONDS_BETWEEN_MOVES", 3600.0)
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", "300"), ("LINES", "60")):
        monkeypatch.setenv(name, value)
    stream = Terminal()
    view = LiveView(stream, Meanings())
    for event in EVENTS:
        view(event if not isinstance(event, Previewed) else Previewed(3, EVIL.replace("\n", ""), EVIL))  # its lines are shown
    view.close()
    check_harmless(stream.getvalue(), styled=True)
    assert "[bold red]x[/bold red]" in stream.getvalue()


def test_json_is_exact() -> None:
    stream = io.StringIO()
    show = json_printer(stream)
    for event in EVENTS:
        show(event)
    texts = [json.loads(line).get("text") for line in stream.getvalue().splitlines()]
    assert EVIL in texts and stream.getvalue().isascii()


def test_tables() -> None:
    check_harmless(table(["name", "value"], [[EVIL, EVIL]], EVIL))
    measures = {EVIL: {"value": 1.0, "low": None, "high": None, "n": EVIL, EVIL: {"value": EVIL}}}
    check_harmless(measures_table(measures, Meanings(), EVIL))


def test_errors(capsys: pytest.CaptureFixture[str]) -> None:
    app._fail(EVIL, 1)
    check_harmless(said := capsys.readouterr().err)
    assert said.count("\n") == 1 and said.startswith("aigc: ")


def test_paths_are_their_very_bytes_except_on_a_terminal(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    path = "a\x1b[2J\nb\udcff\u202e"
    print_path(path)
    assert capfdbinary.readouterr().out == b"a\x1b[2J\nb\xff\xe2\x80\xae\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_path(path)
    assert capfdbinary.readouterr().out == b"a\\x1b[2J\\nb\\xff\\u202e\n"


@given(st.text(st.characters()))
def test_printable_text_is_harmless_and_says_which_character_it_was(text: str) -> None:
    shown = printable(text, keep="")
    check_harmless(shown)
    if text.isprintable():
        assert shown == text
    assert "\n" not in one_line(text) and "\r" not in one_line(text)


@pytest.fixture(scope="module")
def odd(module_shell: Shell) -> Shell:
    """Runs whose names and records are full of it."""
    module_shell.ok("train", "toy", "--steps", "4", "--hidden", "2", "--run", "r", "-q")
    run = module_shell.cwd / "runs/toy/r"
    record = json.loads((run / "run.json").read_text())
    record |= {"reasons": [EVIL], "best": {"step": 4, EVIL: 0.5}, "status": EVIL, "device": EVIL, "plan": {**record["plan"], EVIL: EVIL}}  # fmt: skip
    record["data"] = {**record["data"], "location": EVIL}
    shutil.copytree(run, run.parent / NAME, symlinks=True)
    (run.parent / NAME / "run.json").write_text(json.dumps(record))
    shutil.rmtree(run)
    return module_shell


@pytest.mark.parametrize("verb", [("runs", "list"), ("runs", "show"), ("runs", "path"), ("report", "--no-eval"), ("sample", "toy", "-n", "2")])  # fmt: skip
def test_a_run_of_such_a_name(odd: Shell, toy: None, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]) -> None:
    monkeypatch.chdir(odd.cwd)
    told = aigc(*verb)
    check_harmless(told.err)
    assert told.code == 0, told
    if verb[0] == "runs" and verb[1] != "path":
        check_harmless(told.out)
    if verb[0] != "sample":
        found = json.loads(aigc(*verb, "--json").out)
        path = (found["runs"][0] if "runs" in found else found)["path"]
        assert path.startswith(f"runs/toy/{NAME}") and Path(path).exists()


def test_a_run_of_such_a_name_in_a_terminal(odd: Shell) -> None:
    for verb in (("runs", "path"), ("eval", "toy")):
        check_harmless(in_terminal(odd, *verb), styled=True)
    assert (odd.cwd / "runs/toy" / NAME).exists()
