"""Signals that end a process. Training finishes the step and writes a checkpoint first; a second Ctrl-C exits at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

from aigc_cli.errors import Interrupted

Handler: TypeAlias = "Callable[[int, FrameType | None], Any] | int | signal.Handlers | None"

#: Signals that end a process unless it says otherwise.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: The message of an interruption that nobody has said anything of yet.
UNTOLD = "interrupted"


@contextmanager
def ending_tidily() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP raise `Interrupted`, so that what was begun is tidied up. Those that are ignored, as SIGHUP is
    below `nohup`, stay so."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(UNTOLD, number)

    with _handling({number: handle for number in ENDING if signal.getsignal(number) != signal.SIG_IGN}):
        yield


@contextmanager
def _handling(handlers: Mapping[int, Handler]) -> Iterator[None]:
    """Handle signals so, if this is the main thread; others can't."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """The signal received, if any. It raises `Interrupted` at once, but within `deferred` it is only recorded."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            if not self._deferred:
                raise Interrupted(UNTOLD, number)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM, and ignore SIGHUP: closing the terminal doesn't stop training."""
        handlers: dict[int, Handler] = {
            signal.SIGINT: self._handle,
            signal.SIGTERM: self._handle,
            signal.SIGHUP: signal.SIG_IGN,
        }
        with _handling(handlers), at_the_second(_end):
            yield


@contextmanager
def at_the_second(act: Callable[[int], object]) -> Iterator[None]:
    """Call `act` with the second SIGINT or SIGTERM. Python would handle it only once the main thread is back from C, where a
    step, fitting a tokenizer or waiting for another process may take a while; so another thread does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, act), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


def _watch(reading: int, act: Callable[[int], object]) -> None:
    received = 0
    with open(reading, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            received += number[0] in (signal.SIGINT, signal.SIGTERM)
            if received == 2:
                act(number[0])


def _end(number: int) -> None:
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")  # the live view hides the cursor
    os._exit(128 + number)
