"""The clock of training: seconds of work. A pause of the process (Ctrl-Z, SIGSTOP, a frozen container) is none.

A process isn't told how long it was stopped. But a thread that looks at the clock every `TICK` seconds is stopped with it, and
finds a gap in which the process hardly computed, nor waited for a core. (If it did, it kept this thread from running, or other
processes did: that counts.) While the machine sleeps, CLOCK_MONOTONIC stands still by itself. The wall clock, which may be set,
has no say. Free of torch.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

#: Seconds between looks, and the shortest pause that doesn't count.
TICK, PAUSE = 0.2, 2.0


def _busy() -> float:
    """The seconds that this process computed, and that its first thread waited for a core, as far as the system says."""
    waited = 0
    with suppress(OSError, ValueError, IndexError):
        waited = int(Path("/proc/self/schedstat").read_bytes().split()[1])
    return time.process_time() + waited / 1e9


class Clock:
    """Counts seconds of work, from `start` on. `now` and `busy` are the system's clocks, of real time and as `_busy`."""

    def __init__(
        self, start: float = 0.0, now: Callable[[], float] = time.monotonic, busy: Callable[[], float] = _busy
    ) -> None:
        self._now, self._busy = now, busy
        self._lock = threading.Lock()
        self._seen, self._seen_busy = now(), busy()
        self._origin = self._seen - start

    def seconds(self) -> float:
        with self._lock:
            now = self._now()
            gap = now - self._seen
            if gap > PAUSE and self._busy() - self._seen_busy < gap / 2:
                self._origin += gap
            self._seen = now
            return now - self._origin

    def look(self) -> None:
        """Notice a pause; to be called every `TICK` seconds."""
        self.seconds()
        self._seen_busy = self._busy()

    def keep_looking(self) -> None:
        while True:
            time.sleep(TICK)
            self.look()


_clock: Clock | None = None
_IMPORTED = time.monotonic()


def start() -> Clock:
    """The clock of this process, which notices pauses from the first call on."""
    global _clock
    if _clock is None:
        _clock = Clock(_age())
        threading.Thread(target=_clock.keep_looking, name="clock", daemon=True).start()
    return _clock


def seconds() -> float:
    """Seconds of work since this process started."""
    return start().seconds()


def _age() -> float:
    """Seconds since this process started (on Linux to 10 ms; elsewhere since this module was imported)."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic() - _IMPORTED
