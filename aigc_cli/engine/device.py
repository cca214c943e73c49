"""Where to compute, how precisely, with how many threads, and what does not fit: decided here and nowhere else."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from aigc_cli.errors import RequestError


def resolve_device(wanted: str) -> torch.device:
    """The device that `--device` names; `auto` takes CUDA, then MPS, then the CPU."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise RequestError(f"--device must be auto, cpu, cuda, cuda:N or mps, not {wanted!r}")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise RequestError(f"--device {wanted}: PyTorch sees {found} CUDA devices here; use --device auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RequestError("--device mps: PyTorch sees no Metal device here; use --device auto")
    return device


def usable_cores() -> int:
    """Cores this process may really use: its affinity, capped by its control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def set_threads(threads: int | None) -> int:
    threads = threads or usable_cores()
    torch.set_num_threads(threads)
    return threads


def set_deterministic(deterministic: bool, device: torch.device) -> None:
    if device.type == "cuda" and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def resolve_precision(wanted: str, device: torch.device) -> str:
    """float32 on a CPU (bfloat16 has no fast path on most); bfloat16 autocast on a GPU that computes in it."""
    if wanted != "auto":
        return wanted
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def derive_seed(*keys: object) -> int:
    """A 63-bit seed that is a pure function of `keys`: draws follow (seed, step), so there is no random state to save."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_everything(*keys: object) -> None:
    torch.manual_seed(derive_seed(*keys))


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    if device.type != "cuda":
        return {name: tensor.to(device) for name, tensor in batch.items()}
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}


def batches(
    make: Callable[[int], dict[str, Tensor]], first: int, stop: int, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """The batches of steps `first` … `stop` − 1 on `device`. Beside a GPU the next one is made and copied while it computes;
    on a CPU a second thread would only take the cores from the computation."""
    if device.type == "cpu":
        yield from map(make, range(first, stop))
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(lambda: to_device(make(first), device))
        for step in range(first, stop):
            batch = coming.result()
            if step + 1 < stop:
                coming = pool.submit(lambda at: to_device(make(at), device), step + 1)
            yield batch


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def measure_flops(device: torch.device, precision: str, seconds: float = 0.1) -> float:
    """Operations a second in a matrix product of a small network's shape."""
    width = 256 if device.type == "cpu" else 2048
    a = torch.ones(2048, width, device=device)
    b = torch.ones(width, width, device=device)
    with torch.inference_mode(), autocast(device, precision):
        for _ in range(3):
            a @ b
        synchronize(device)
        start, products = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or products < 5:
            for _ in range(5):
                a @ b
            synchronize(device)
            products += 5
    return 2.0 * products * a.shape[0] * width * width / elapsed
