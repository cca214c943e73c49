"""A command with an eye on its memory, open files and progress. Shared by the benchmarks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

AIGC = (sys.executable, "-m", "aigc_cli.app")
NOTHING: Callable[[], float] = lambda: 0.0  # noqa: E731


@dataclass(frozen=True)
class Look:
    """What a moment was like: seconds since the start, bytes of memory that can't be dropped, open files, and progress."""

    seconds: float
    memory: int
    files: int
    progress: float


@dataclass
class Watched:
    """A command that has ended, after so many seconds, and seconds of computing. `peak` is its largest resident size in bytes,
    files that are mapped included, `held` what of it could not be dropped."""

    code: int
    seconds: float
    cpu: float
    peak: int
    held: int
    output: str
    looks: list[Look] = field(default_factory=list)

    def level(self, begin: float, end: float) -> tuple[float, float]:
        """The median memory and number of open files while progress was within these shares of its end."""
        last = self.looks[-1].progress
        some = [look for look in self.looks if begin * last <= look.progress <= end * last]
        memory, files = (sorted(getattr(look, name) for look in some) for name in ("memory", "files"))
        return memory[len(memory) // 2], files[len(files) // 2]


def held(pid: int) -> int:
    """The bytes of a process that the system can't drop: neither mapped files nor what was swapped out."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return sum(int(kilobytes) << 10 for kilobytes in re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", status, flags=re.M))


def watch(
    command: Sequence[str],
    folder: Path,
    *,
    environ: Mapping[str, str] | None = None,
    progress: Callable[[], float] = NOTHING,
    every: float = 0.05,
    each: Callable[[int], bool] = lambda memory: True,
) -> Watched:
    """Run a command in a folder, with its cache there. `each` gets the bytes it holds at every look; the command is killed where
    it returns False."""
    environ = {**os.environ, "AIGC_CACHE_DIR": str(folder / "cache"), **(environ or {})}
    began = time.monotonic()
    with (folder / "told").open("w+b") as told:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=told, stderr=subprocess.STDOUT)
        looks: list[Look] = []
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            memory = held(process.pid)
            try:
                files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
            except OSError:
                break
            if memory:
                looks.append(Look(time.monotonic() - began, memory, files, progress()))
            if not each(memory):
                process.send_signal(signal.SIGKILL)
            time.sleep(every)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        told.seek(0)
        output = told.read().decode("utf-8", "replace")
    most = max((look.memory for look in looks), default=0)
    cpu = usage.ru_utime + usage.ru_stime
    return Watched(process.returncode, seconds, cpu, usage.ru_maxrss << 10, most, output, looks)
