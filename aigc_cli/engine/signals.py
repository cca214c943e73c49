"""Ctrl-C and SIGTERM: finish the step, write a checkpoint, then exit. A second Ctrl-C exits at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from aigc_cli.errors import Interrupted

#: The message of an interruption that nobody has said anything of yet.
UNTOLD = "interrupted"


class Interrupts:
    """The signal received, if any. It raises `Interrupted` at once, but within `deferred` it is only recorded."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if os.isatty(2):
                os.write(2, b"\x1b[?25h\n")  # the live view hides the cursor
            os._exit(128 + number)
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
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM), self._handle)
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        if hasattr(signal, "SIGHUP"):
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
