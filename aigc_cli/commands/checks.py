"""What is wrong with a machine, judged from facts alone, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aigc_cli.machine import Device, Folder, Memory, Torch
from aigc_cli.ui.terminal import Colours

GB = 10**9
LITTLE_MEMORY, TOO_LITTLE_MEMORY = 2 * GB, GB // 2
LITTLE_DISK, TOO_LITTLE_DISK = 2 * GB, GB // 10


@dataclass(frozen=True)
class Terminal:
    stdout: bool
    stderr: bool
    columns: int
    lines: int
    colours: Colours
    unicode: bool


@dataclass(frozen=True)
class Facts:
    """Everything that `aigc doctor` checks."""

    python: str
    platform: str
    packages: Mapping[str, str | None]
    extras: Mapping[str, str | None]
    cpu: str
    cores: int
    environ: Mapping[str, str]
    """The relevant environment variables that are set."""
    graphics_cards: Sequence[str]
    torch: Torch
    devices: Sequence[Device]
    memory: Memory
    runs: Folder
    n_runs: int
    killed: Mapping[str, str]
    """Runs that are marked as running but are not, with the command that resumes each."""
    cache: Folder
    encodings: Mapping[str, str]
    terminal: Terminal


@dataclass(frozen=True)
class Problem:
    """A problem; a `fatal` one keeps aigc from working."""

    name: str
    text: str
    fatal: bool = False


def problems(facts: Facts) -> list[Problem]:
    """All problems, fatal ones first."""
    found = [*_installed(facts), *_graphics(facts), *_threads(facts), *_space(facts), *_encodings(facts), *_runs(facts)]
    return sorted(found, key=lambda problem: not problem.fatal)


def _installed(facts: Facts) -> Iterator[Problem]:
    missing = [name for name, version in facts.packages.items() if version is None]
    if missing:
        yield Problem("missing_packages", f"not installed: {', '.join(missing)}; pip install {' '.join(missing)}", True)
    if facts.torch.error and "torch" not in missing:
        yield Problem(
            "broken_torch", f"PyTorch cannot be imported ({facts.torch.error}); pip install --force-reinstall torch", True
        )
    if facts.torch.compiles is False:
        yield Problem(
            "no_compiler", "torch.compile does not work, so --compile trains without it; install a C++ compiler (g++)"
        )


def _graphics(facts: Facts) -> Iterator[Problem]:
    for device in facts.devices:
        if device.error:
            yield Problem(
                "broken_device",
                f"{device.device} ({device.name}) does not compute: {device.error}; update its driver, or use --device cpu",
                True,
            )
    if facts.torch.error or any(device.device != "cpu" for device in facts.devices):
        return
    cards, build = ", ".join(facts.graphics_cards), facts.torch.cuda or facts.torch.rocm
    if cards and not build:
        yield Problem(
            "torch_without_gpu",
            f"found {cards}, but this PyTorch ({facts.packages.get('torch')}) is built for CPUs only; "
            "install a GPU build: https://pytorch.org/get-started/locally",
        )
    elif cards:
        hidden = facts.environ.get("CUDA_VISIBLE_DEVICES")
        why = (
            f"CUDA_VISIBLE_DEVICES={hidden} may hide it; unset it"
            if hidden is not None
            else f"its driver may be too old for this PyTorch ({build}); check nvidia-smi and update it"
        )
        yield Problem("gpu_not_seen", f"found {cards}, but PyTorch doesn't see it: {why}")
    elif build:
        yield Problem(
            "gpu_build_without_gpu",
            f"this PyTorch is built for GPUs ({build}), but there is none; it works on the CPU too, but "
            "'pip install torch --index-url https://download.pytorch.org/whl/cpu' is gigabytes smaller",
        )


def _threads(facts: Facts) -> Iterator[Problem]:
    cores, threads = facts.cores, facts.torch.threads
    if threads > cores:
        yield Problem("too_many_threads", f"{threads} threads on {_cores(cores)} compete with each other; unset AIGC_THREADS")
    elif 0 < threads < cores:
        yield Problem("few_threads", f"training uses only {threads} of {_cores(cores)}; unset AIGC_THREADS")
    limit = facts.environ.get("OMP_THREAD_LIMIT", "")
    if limit.isdecimal() and 0 < int(limit) < min(threads, cores):
        yield Problem("omp_thread_limit", f"OMP_THREAD_LIMIT={limit} limits training to {limit} of {_cores(cores)}; unset it")
    omp = facts.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if omp.isdecimal() and 0 < int(omp) < cores:
        yield Problem(
            "omp_num_threads",
            f"OMP_NUM_THREADS={omp} limits numpy, which evaluation uses, to {omp} of {_cores(cores)} (training uses --threads "
            "instead); unset it",
        )
    elif omp.isdecimal() and int(omp) > cores:
        yield Problem(
            "omp_num_threads", f"OMP_NUM_THREADS={omp} is more than {_cores(cores)}, which slows numpy down; unset it"
        )


def _space(facts: Facts) -> Iterator[Problem]:
    free = facts.memory.available
    if free is not None and free < LITTLE_MEMORY:
        whose = "is left to this container" if facts.memory.limited else "is free"
        yield Problem(
            "little_memory",
            f"only {free / GB:.1f} GB of memory {whose}; close other programs, or use a smaller --batch-size",
            free < TOO_LITTLE_MEMORY,
        )
    runs, fix = facts.runs, "use another folder with --runs-dir or AIGC_RUNS"
    if not runs.writable:
        yield Problem("runs_not_writable", f"the runs folder {runs.path} cannot be written to; {fix}", True)
    yield from _disk("runs", runs, fix, fatal=True)
    cache, fix = facts.cache, "use another folder with AIGC_CACHE_DIR"
    if cache.writable:
        yield from _disk("cache", cache, fix, fatal=False)
    else:
        yield Problem(
            "cache_not_writable",
            f"the cache folder {cache.path} cannot be written to, so that data are prepared anew by every command; {fix}",
        )


def _disk(name: str, folder: Folder, fix: str, *, fatal: bool) -> Iterator[Problem]:
    if folder.free < LITTLE_DISK:
        yield Problem(
            f"{name}_disk_full",
            f"only {folder.free / GB:.1f} GB of disk space is free for the {name} folder {folder.path}; "
            f"free disk space, or {fix}",
            fatal and folder.free < TOO_LITTLE_DISK,
        )


def _encodings(facts: Facts) -> Iterator[Problem]:
    for what, encoding in facts.encodings.items():
        if encoding.lower().replace("-", "").replace("_", "") not in ("utf8", "utf8sig"):
            yield Problem(
                f"{what}_not_utf8",
                f"the encoding of {what.replace('_', ' ')} is {encoding}, not UTF-8; set PYTHONUTF8=1 or LANG=C.UTF-8",
            )


def _runs(facts: Facts) -> Iterator[Problem]:
    for path, command in facts.killed.items():
        yield Problem("killed_run", f"{path} was killed during training; resume it with: {command}")


def _cores(n: int) -> str:
    return f"{n} core" + ("s" if n != 1 else "")
