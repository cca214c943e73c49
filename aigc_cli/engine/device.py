"""Devices: where to compute, in which precision, with how many threads and within which memory."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from aigc_cli.engine import clock
from aigc_cli.engine.processes.group import current
from aigc_cli.engine.processes.launch import WATCHED, launched, place
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.errors import RequestError
from aigc_cli.machine import memory, usable_cores

Options = TypeVar("Options", bound=TrainOptions)


def named_device(wanted: str) -> torch.device:
    """The device that `--device` names, with a number only if that has one; `auto` takes CUDA, then MPS, then the CPU."""
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


def resolve_device(wanted: str) -> torch.device:
    """The device that `--device` names, and of several GPUs the one that is PyTorch's current one from now on. Each of several
    processes has a GPU of its own, whatever the number.

    A GPU always has its number, because other threads have another current one.
    """
    device = named_device(wanted)
    if device.type == "mps" and launched():
        raise RequestError("there is only one Metal device: leave out --devices, or give --device cpu")
    if device.type != "cuda":
        return device
    found = torch.cuda.device_count()
    if WATCHED in os.environ and current().beside > found:
        raise RequestError(f"--devices {current().beside}: PyTorch sees {found} CUDA devices here; give fewer, or --device cpu")
    if launched():
        device = torch.device("cuda", place() % found)  # a launcher may show each process its own GPU only
    elif device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    torch.cuda.set_device(device)
    return device


def count_devices(wanted: str) -> int:
    """How many devices of the kind that `--device` names there are."""
    return torch.cuda.device_count() if named_device(wanted).type == "cuda" else 1


def open_device(wanted: str) -> torch.device:
    """The device that `--device` names, set up for sampling and evaluation."""
    device = resolve_device(wanted)
    set_threads(None)
    keep_freed_memory()
    keep_float32()
    set_matmul(resolve_matmul("auto", device))
    return device


def claim_device(options: Options) -> tuple[torch.device, Options]:
    """Set up the device and threads for training. Returns the device, and the options with all that was `auto` resolved. These
    name the device as `named_device` does, so that a run can be resumed on any number of GPUs."""
    device = resolve_device(options.device)
    name = str(named_device(options.device))
    threads = set_threads(options.threads)
    set_deterministic(options.deterministic, device)
    keep_freed_memory()
    keep_float32()
    matmul: Any = resolve_matmul(options.matmul, device)
    set_matmul(matmul)
    precision: Any = resolve_precision(options.precision, device)
    return device, dataclasses.replace(options, device=name, threads=threads, matmul=matmul, precision=precision)


def set_threads(threads: int | None) -> int:
    """Set the number of threads: by default, all cores that are there for this process."""
    threads = threads or max(1, usable_cores() // current().beside)
    torch.set_num_threads(threads)
    return threads


def resolve_matmul(wanted: str, device: torch.device) -> str:
    """The library for float32 matrix products on a CPU: PyTorch's own choice ("default", MKL on x86) or "onednn".

    MKL is slow on processors not made by Intel: on an AMD EPYC, training is 1.6 times as fast with oneDNN. But the switch also
    lets oneDNN round its inputs to bfloat16, which it does only on processors with bfloat16 matrix units. A product that is
    exact in float32 but not in bfloat16 tells. The answer is a property of the machine, not a timing, so that runs repeat.
    """
    if wanted != "auto" or device.type != "cpu" or _vendor() in ("", "GenuineIntel"):
        return "default" if wanted == "auto" else wanted
    with _matmul("onednn"):
        fine = torch.full((64, 64), 1 + 2.0**-12)
        exact = torch.equal(fine @ torch.eye(64), fine)
    return "onednn" if exact else "default"


def _mkldnn() -> Any:
    return cast(Any, torch.backends.mkldnn).matmul  # PyTorch's own stubs lack it


def set_matmul(library: str) -> None:
    _mkldnn().fp32_precision = "bf16" if library == "onednn" else "none"


@contextmanager
def _matmul(library: str) -> Iterator[None]:
    before = _mkldnn().fp32_precision
    set_matmul(library)
    try:
        yield
    finally:
        _mkldnn().fp32_precision = before


def _vendor() -> str:
    """The processor's vendor as Linux names it; "" if unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "")


def keep_freed_memory() -> None:
    """Make the C library keep the large buffers that every step frees and allocates again, instead of returning them to the
    system. Saves a tenth of a small model's step time. Does nothing without glibc."""
    with suppress(OSError, AttributeError):
        _set_malloc(ctypes.CDLL(None), mapped_from=1 << 30, kept=2**31 - 1)


def return_freed_memory() -> None:
    """Return to the system what is free, and from now on buffers of 32 MB when they are freed: for measures whose large arrays
    no later step has room in."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        _set_malloc(libc, mapped_from=1 << 25, kept=1 << 26)
        libc.malloc_trim(0)


def _set_malloc(libc: ctypes.CDLL, *, mapped_from: int, kept: int) -> None:
    """The least bytes of a buffer that is mapped, and so returned when it is freed, and the most free ones that are kept."""
    trim_threshold, mmap_threshold = -1, -3
    libc.mallopt(mmap_threshold, mapped_from)
    libc.mallopt(trim_threshold, kept)


def keep_float32() -> None:
    """Make float32 convolutions on a GPU float32. By default cuDNN rounds their inputs to TF32's 10 bits of mantissa, in which
    neighbouring levels of a pixel are only eight steps apart. Matrix products are float32 by default."""
    torch.backends.cudnn.allow_tf32 = False


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works on the device. On a CPU it needs a C++ compiler, on a GPU Triton."""
    try:
        return bool(torch.compile(lambda x: x + 1)(torch.zeros(1, device=device)).item() == 1)
    except Exception:  # whatever it raises, the answer is no
        return False


def set_deterministic(deterministic: bool, device: torch.device) -> None:
    if device.type == "cuda" and deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


@contextmanager
def not_deterministic() -> Iterator[None]:
    """Allow nondeterministic kernels, for evaluation and previews: some sampling kernels have no deterministic version on a
    GPU, and they change no weights."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def resolve_precision(wanted: str, device: torch.device) -> str:
    """float32 on a CPU (most have no fast bfloat16); bfloat16 autocast on a GPU that supports it natively."""
    if wanted != "auto":
        return wanted
    if device.type != "cuda":
        return "fp32"
    with torch.cuda.device(device):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def derive_seed(*keys: object) -> int:
    """A 63-bit seed that is a pure function of `keys`. Draws are keyed by (seed, step), so there is no random state to save."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_everything(*keys: object) -> None:
    torch.manual_seed(derive_seed(*keys))


def peak_memory(device: torch.device) -> int:
    """The peak memory of this process on the device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident * (1 if sys.platform == "darwin" else 1024)


def available_memory(device: torch.device) -> int | None:
    """The memory this process can still allocate on the device, in bytes; None if the system doesn't tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return memory().available


def is_out_of_memory(error: BaseException) -> bool:
    words = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "bad_alloc")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def to_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    if device.type != "cuda":
        return {name: tensor.to(device) for name, tensor in batch.items()}
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}


def batches(
    make: Callable[[int], dict[str, Tensor]], first: int, stop: int, device: torch.device
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """The batches of steps `first` … `stop` − 1, on the CPU and on `device`. With a GPU, the next batch is made and copied
    while the GPU computes; on a CPU, a second thread would only compete for cores."""
    # PyTorch crashes where two threads use Metal at the same time (pytorch/pytorch#197805).
    copies_ahead = device.type != "mps"

    def made(step: int) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        batch = make(step)
        return batch, to_device(batch, device) if copies_ahead else None

    if device.type == "cpu":
        for step in range(first, stop):
            batch = make(step)
            yield batch, to_device(batch, device)
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(made, first)
        for step in range(first, stop):
            batch, moved = coming.result()
            if step + 1 < stop:
                coming = pool.submit(made, step + 1)
            yield batch, to_device(batch, device) if moved is None else moved


def describe(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def measure_flops(device: torch.device, precision: str, seconds: float = 0.1) -> float:
    """Floating-point operations per second of a matrix product with the shape of a small network's."""
    width = 256 if device.type == "cpu" else 2048
    a = torch.ones(2048, width, device=device)
    b = torch.ones(width, width, device=device)
    with torch.inference_mode(), autocast(device, precision):
        for _ in range(3):
            a @ b
        synchronize(device)
        start, products = clock.seconds(), 0
        while (elapsed := clock.seconds() - start) < seconds or products < 5:
            for _ in range(5):
                a @ b
            synchronize(device)
            products += 5
    return 2.0 * products * a.shape[0] * width * width / elapsed
