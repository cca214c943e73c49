"""The clock of training counts work, and no pause."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from aigc_cli.engine.clock import PAUSE, TICK, Clock


class System:
    """The clocks of a system of which `cores` are busy with this process while it runs."""

    def __init__(self, cores: float) -> None:
        self.cores, self.now, self.busy = cores, 1000.0, 5.0
        self.clock = Clock(7.0, now=lambda: self.now, busy=lambda: self.busy)

    def runs(self, seconds: float) -> None:
        """Nothing keeps the clock from being looked at."""
        for _ in range(round(seconds / TICK)):
            self.holds(TICK)
            self.clock.look()

    def holds(self, seconds: float) -> None:
        """No other thread gets to run."""
        self.now += seconds
        self.busy += seconds * self.cores

    def stops(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("cores", [0.0, 0.9, 2.0, 16.0])
def test_a_pause_does_not_count(cores: float) -> None:
    system = System(cores)
    for _ in range(3):
        system.runs(10)
        system.holds(TICK / 2)
        system.stops(3600)
        system.runs(10)
    assert system.clock.seconds() == pytest.approx(7 + 60, abs=3 * TICK)


@pytest.mark.parametrize("cores", [0.6, 1.0, 16.0])
def test_work_that_lets_no_other_thread_run_counts(cores: float) -> None:
    system = System(cores)
    system.runs(1)
    system.holds(100)
    assert system.clock.seconds() == pytest.approx(7 + 101)


def test_waiting_for_a_device_or_another_process_counts() -> None:
    system = System(0.0)
    system.runs(100)
    assert system.clock.seconds() == pytest.approx(7 + 100)


def test_what_is_shorter_than_a_pause_counts() -> None:
    system = System(1.0)
    for _ in range(10):
        system.stops(PAUSE - 0.1)
        system.clock.look()
    assert system.clock.seconds() == pytest.approx(7 + 10 * (PAUSE - 0.1))


def test_a_process_that_is_stopped_and_continued_does_not_count_it() -> None:
    code = "import sys\nfrom aigc_cli.engine import clock\nfor line in sys.stdin: print(clock.seconds(), flush=True)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None

    def seconds() -> float:
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    asked = time.monotonic()
    first = seconds()
    time.sleep(0.1)
    process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(PAUSE + 1)
    paused = time.monotonic() - stopped
    process.send_signal(signal.SIGCONT)
    second = seconds()
    process.communicate()
    assert 0 <= second - first <= time.monotonic() - asked - paused + 0.5
