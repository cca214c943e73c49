"""One process holds the lock of a run, and a dead one doesn't, with `flock` and without."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import pytest

from aigc_cli.engine.runs import lock as of_runs
from aigc_cli.engine.runs.lock import DEAD, LOCK, OWNER, Taken, is_locked, lock
from aigc_cli.engine.runs.run import create_run
from aigc_cli.errors import RequestError

Patch = pytest.MonkeyPatch

HOLDS = """
import errno, fcntl, sys
from pathlib import Path
from aigc_cli.engine.runs.lock import lock

def none(*_):
    raise OSError(errno.ENOLCK, "No locks available")

if sys.argv[1] == "without":
    fcntl.flock = none
with lock(Path()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["with", "without"])
def flock(request: pytest.FixtureRequest, monkeypatch: Patch) -> str:
    if request.param == "without":
        _without_flock(monkeypatch)
    return str(request.param)


@pytest.fixture
def no_flock(monkeypatch: Patch) -> None:
    _without_flock(monkeypatch)


def _without_flock(monkeypatch: Patch, number: int = errno.ENOLCK) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)


def _holder(folder: Path, flock: str) -> subprocess.Popen[str]:
    """Another process that has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, flock], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def _held(folder: Path) -> bool:
    with ExitStack() as held:
        try:
            held.enter_context(lock(folder))
        except Taken:
            return False
        return True


def _owner(folder: Path, age: float = 0.0, **changes: object) -> None:
    """Another owner than this process."""
    (folder / OWNER).write_text(json.dumps(asdict(replace(of_runs._Owner.this_process(), **changes))))  # type: ignore[arg-type]
    os.utime(folder / OWNER, (time.time() - age,) * 2)


def test_another_process_is_refused_until_the_owner_lets_go_or_dies(tmp_path: Path, flock: str) -> None:
    for end in (subprocess.Popen.communicate, subprocess.Popen.kill):
        process = _holder(tmp_path, flock)
        assert is_locked(tmp_path) and not _held(tmp_path)
        end(process)
        process.wait()
        assert not is_locked(tmp_path)
        assert _held(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_run_says_who_trains_it(tmp_path: Path, no_flock: None) -> None:
    run = create_run(tmp_path, "toy", "a", {})
    process = _holder(run.path, "without")
    where = rf"run .*/toy/a is being trained by another process \(process {process.pid} on \S+\)"
    with pytest.raises(RequestError, match=where), run.lock():
        pass
    assert run.status == "running"
    process.kill()
    process.wait()
    assert run.status == "interrupted"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_systems_say_differently_that_they_have_no_flock(tmp_path: Path, monkeypatch: Patch, number: int) -> None:
    _without_flock(monkeypatch, number)
    with lock(tmp_path):
        assert is_locked(tmp_path) and not _held(tmp_path)
    assert not is_locked(tmp_path) and _held(tmp_path)


@pytest.mark.parametrize(
    ("owner", "age", "free"),
    [
        ({"started": "1"}, 0, True),  # its number was given to another process
        ({"process": 2**22 + 1}, 0, True),
        ({"machine": "another"}, 0, False),
        ({"machine": "another"}, DEAD - 20, False),
        ({"machine": "another"}, DEAD + 20, True),
        ({"system": "before a restart, or in another container"}, 0, False),
        ({"system": "before a restart, or in another container"}, DEAD + 20, True),
        ({}, DEAD + 20, False),  # stopped on this machine
    ],
)
def test_an_owner_lives_as_far_as_one_can_know(
    tmp_path: Path, no_flock: None, owner: dict[str, object], age: float, free: bool
) -> None:
    (tmp_path / LOCK).touch()
    _owner(tmp_path, age, **owner)
    assert is_locked(tmp_path) is not free
    assert _held(tmp_path) is free


def test_an_owner_that_was_cut_off_while_writing_its_name_gets_some_time(tmp_path: Path, no_flock: None) -> None:
    (tmp_path / OWNER).touch()
    assert not _held(tmp_path)
    os.utime(tmp_path / OWNER, (time.time() - DEAD - 20,) * 2)
    assert _held(tmp_path)


def test_of_many_that_find_a_dead_owner_one_gets_the_lock(tmp_path: Path, no_flock: None) -> None:
    for round_ in range(20):
        folder = tmp_path / str(round_)
        folder.mkdir()
        _owner(folder, started="1")
        got: list[int] = []
        together, over = threading.Barrier(4), threading.Barrier(4)

        def race(folder: Path, number: int, got: list[int], together: threading.Barrier, over: threading.Barrier) -> None:
            with ExitStack() as held:
                together.wait()
                try:
                    held.enter_context(lock(folder))
                    got.append(number)
                except Taken:
                    pass
                over.wait()

        threads = [threading.Thread(target=race, args=(folder, number, got, together, over)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        assert [path.name for path in folder.iterdir()] == [LOCK]


def test_who_dies_while_taking_over_is_taken_over(tmp_path: Path, no_flock: None) -> None:
    dead = replace(of_runs._Owner.this_process(), started="1")
    _owner(tmp_path, **asdict(dead))
    (tmp_path / f".tmp-owner-{dead.token}").write_text(json.dumps(asdict(replace(dead, token="0" * 16))))
    assert _held(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK]


def test_one_gets_the_lock_where_each_step_of_taking_over_is_slow(tmp_path: Path, no_flock: None, monkeypatch: Patch) -> None:
    """Two that both have read the dead owner's name: the second must not remove the first one's."""
    read, both = of_runs._read, threading.Barrier(2)
    waited: set[int] = set()

    def slow(file: Path) -> object:
        found = read(file)
        if file.name == OWNER and threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            both.wait(30)
            if threading.current_thread() is not threading.main_thread():
                time.sleep(0.2)  # long after the first one has the lock
        return found

    monkeypatch.setattr(of_runs, "_read", slow)
    _owner(tmp_path, started="1")
    got: list[str] = []
    over = threading.Barrier(2)

    def take(name: str) -> None:
        with ExitStack() as held:
            with suppress(Taken):
                held.enter_context(lock(tmp_path))
                got.append(name)
            over.wait(30)

    second = threading.Thread(target=take, args=("second",))
    second.start()
    take("first")
    second.join()
    assert got == ["first"]
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_an_owner_renews_its_name_and_ends_where_another_has_taken_over(
    tmp_path: Path, no_flock: None, monkeypatch: Patch
) -> None:
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)

    monkeypatch.setattr(of_runs, "RENEWED", 0.002)
    before = signal.signal(signal.SIGTERM, handle)
    try:
        with lock(tmp_path):
            os.utime(tmp_path / OWNER, (0, 0))
            _until(lambda: (tmp_path / OWNER).stat().st_mtime > 0)
            assert not received
            theirs = tmp_path / "theirs"
            theirs.mkdir()
            _owner(theirs, machine="another")
            (theirs / OWNER).rename(tmp_path / OWNER)
            _until(lambda: bool(received))
        assert received == [signal.SIGTERM] and (tmp_path / OWNER).exists()
    finally:
        signal.signal(signal.SIGTERM, before)
