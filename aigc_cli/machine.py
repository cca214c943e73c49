"""The hardware and software of this machine, read from the system without torch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from aigc_cli.files import existing, size_of, writable

ROOT = Path("/")


@dataclass(frozen=True)
class Memory:
    """Memory in bytes: `total` is the most this process may use, `available` what it could get now (None if the system doesn't
    say), `limited` whether its control group allows less than the machine has."""

    total: int | None
    available: int | None
    limited: bool


@dataclass(frozen=True)
class Folder:
    """A folder that may not exist yet: whether it can be written to, the bytes in it, and the bytes free on its disk."""

    path: str
    writable: bool
    bytes: int
    free: int


@dataclass(frozen=True)
class Device:
    """A device that PyTorch sees, and its measured speed in that precision, or the error if it doesn't compute."""

    device: str
    name: str
    memory: int | None
    precision: str
    gflops: float | None
    error: str = ""


@dataclass(frozen=True)
class Torch:
    """The installed PyTorch: why it can't be imported ("" if it can), the GPUs it is built for, whether torch.compile works
    (None if not tried), and its number of threads."""

    error: str = ""
    cuda: str | None = None
    rocm: str | None = None
    compiles: bool | None = None
    threads: int = 0


def usable_cores(root: Path = ROOT) -> int:
    """The CPU cores this process may use: its affinity, capped by the quota of its control group and those around it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for hierarchy, group in _control_groups(root, "cpu"):
        if hierarchy == 2:
            quota, _, period = _read(group / "cpu.max").strip().partition(" ")
        else:  # a quota of -1 is none
            quota, period = (_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdecimal() and period.isdecimal() and int(period):
            cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def memory(root: Path = ROOT) -> Memory:
    """The memory of the machine, as Linux reports it, within the limits of this process's control groups (version 1 or 2)."""
    machine = dict(re.findall(r"^(\w+): +(\d+) kB", _read(root / "proc/meminfo"), flags=re.M))
    total, available = (int(machine[key]) << 10 if key in machine else None for key in ("MemTotal", "MemAvailable"))
    if total is None and root == ROOT:
        with suppress(ValueError, OSError):
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limited = False
    for limit, used in _group_limits(root):
        if total is None or limit < total:
            total, limited = limit, True
        available = max(0, min(limit - used, available if available is not None else limit))
    return Memory(total, available, limited)


def _group_limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, bytes in use that can't be dropped) of this process's control group and of those around it, where one is set."""
    for hierarchy, group in _control_groups(root, "memory"):
        if hierarchy == 2:
            limit_name, used_name, cached_name = "memory.max", "memory.current", "inactive_file"
        else:
            limit_name, used_name, cached_name = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        limit, used = _read(group / limit_name).strip(), _read(group / used_name).strip()
        if limit.isdecimal() and int(limit) < 1 << 62:  # version 1 writes "none" as a very large number
            cached = re.search(rf"^{cached_name} (\d+)$", _read(group / "memory.stat"), flags=re.M)
            yield int(limit), int(used or 0) - (int(cached[1]) if cached else 0)


def _control_groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """(1 or 2 for its cgroup version, folder) of each control group that limits this process, from its own outwards."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            hierarchy, base = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            hierarchy, base = 1, root / "sys/fs/cgroup" / controller
        else:
            continue
        inner = base / path.strip("/")
        for group in (inner, *inner.parents):
            yield hierarchy, group
            if group == base:
                break


def cpu_model(root: Path = ROOT) -> str:
    """The processor's name, or its architecture if the system doesn't say."""
    match = re.search(r"^model name\s*: *(.+)$", _read(root / "proc/cpuinfo"), flags=re.M)
    return match[1].strip() if match else platform.processor() or platform.machine()


def graphics_cards(root: Path = ROOT) -> list[str]:
    """Graphics cards that the system sees, whether or not PyTorch can use them: NVIDIA's by name, AMD's by its driver."""
    cards = []
    for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        model = re.search(r"^Model:\s*(.+)$", _read(file), flags=re.M)
        cards.append(model[1].strip() if model else "NVIDIA GPU")
    if not cards and root == ROOT and shutil.which("nvidia-smi"):
        with suppress(OSError, subprocess.SubprocessError):
            listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10)
            cards = re.findall(r"^GPU \d+: (.+?) \(UUID", listed.stdout, flags=re.M)
    return cards or (["AMD GPU"] if (root / "dev/kfd").exists() else [])


def folder(path: Path) -> Folder:
    """Describe a folder that may not exist yet."""
    return Folder(str(path), writable(path), size_of(path), shutil.disk_usage(existing(path)).free)


def packages() -> tuple[dict[str, str | None], dict[str, str | None]]:
    """Versions by name of the required packages, and of those in extras (except `dev`); None if not installed."""
    needed: dict[str, str | None] = {}
    optional: dict[str, str | None] = {}
    for need in requires("aigc-cli") or ():
        name = re.match(r"[\w.-]+", need)
        extra = re.search(r"extra == ['\"]([\w-]+)", need)
        if name is None or (extra and extra[1] == "dev"):
            continue
        try:
            found = version(name[0])
        except PackageNotFoundError:
            found = None
        (optional if extra else needed)[name[0]] = found
    return needed, optional


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
