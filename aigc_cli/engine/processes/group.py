"""What passes between the processes that train one model together. Each of them takes the same steps on the same plan.

The first process (of rank 0) decides whatever depends on time, signals or files, and it alone writes. All others do as it says,
at the same step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from aigc_cli.engine.processes.launch import LOOK, LOST, WATCHED, end_with_launcher, launched, tell_launcher
from aigc_cli.engine.processes.messages import packed, unpacked
from aigc_cli.errors import AigcError, first_line

T = TypeVar("T")

#: Seconds after which a process that waits for others gives up, and the environment variable that sets them.
TIMEOUT, TIMEOUT_VARIABLE = 600.0, "AIGC_TIMEOUT"
#: Bytes of a short message, and of its length before it.
MESSAGE, LENGTH = 256, 8


class LostContact(AigcError):
    """Another process ended or hangs."""

    exit_code = LOST if WATCHED in os.environ else 1


class Processes:
    """`count` processes, of which this is the one of `rank`; `beside` of them, this one included, share its machine."""

    def __init__(self, rank: int = 0, count: int = 1, beside: int = 1) -> None:
        self.rank, self.count, self.beside = rank, count, beside
        self._turns = 0

    @property
    def leads(self) -> bool:
        """Whether this process decides, tells and writes."""
        return self.rank == 0

    def agree(self, value: T, source: int = 0) -> T:
        """The value that the first process (or `source`) has (see `packed` for what can be sent)."""
        if self.count == 1:
            return value
        with contact("agreeing on what to do"):
            text = packed(value) if self.rank == source else b""
            message = torch.zeros(MESSAGE, dtype=torch.uint8)
            if self.rank == source:
                whole = len(text).to_bytes(LENGTH, "little") + text
                message[: len(whole)] = _bytes(whole[:MESSAGE])
            dist.broadcast(message, source)
            length = int.from_bytes(message[:LENGTH].numpy().tobytes(), "little")
            if length <= MESSAGE - LENGTH:
                read = message[LENGTH : LENGTH + length]
            else:
                read = _bytes(text) if self.rank == source else torch.empty(length, dtype=torch.uint8)
                dist.broadcast(read, source)
        agreed: T = unpacked(read.numpy().tobytes())
        return agreed

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of them."""
        if self.count == 1:
            return flag
        with contact("asking whether memory was enough"):
            flags = torch.tensor(int(flag))
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    @contextmanager
    def first(self) -> Iterator[None]:
        """The first process does what is inside before all others do. Inside, each is on its own."""
        if self.count == 1:
            yield
            return
        store, key = dist.distributed_c10d._get_default_store(), f"aigc/turn/{self._turns}"
        self._turns += 1
        if not self.leads:
            with contact("waiting for the first process to prepare"):
                while not store.check([key]):  # a wait in the store would hold up signals
                    time.sleep(LOOK)
        with alone():
            yield
        if self.leads:
            store.set(key, "done")


ALONE = Processes()
_current = ALONE


def current() -> Processes:
    """The processes that train together with this one."""
    return _current


def join() -> Processes:
    """Meet the other processes, if a launcher started several."""
    global _current
    if launched() and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        timeout = timedelta(seconds=float(os.environ.get(TIMEOUT_VARIABLE, TIMEOUT)))
        end_with_launcher()
        with contact("meeting the others"):
            dist.init_process_group(backend, timeout=timeout)
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        _current = Processes(dist.get_rank(), dist.get_world_size(), beside)
    return _current


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, this process works on its own."""
    global _current
    before, _current = _current, ALONE
    try:
        yield
    finally:
        _current = before


@contextmanager
def contact(doing: str) -> Iterator[None]:
    """Raises `LostContact` where the others don't answer. Whoever watches the processes names the one that died; if none did,
    the line that is left for it says what went wrong, such as in NCCL."""
    try:
        yield
    except RuntimeError as error:
        line = f"lost contact with another process while {doing} ({first_line(error)})"
        if WATCHED in os.environ:
            tell_launcher(line)
            raise LostContact("") from error
        raise LostContact(f"{line}; the same command with --resume goes on") from error


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)
