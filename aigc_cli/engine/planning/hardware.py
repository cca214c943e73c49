"""PyTorch's build, the devices it can use on this machine, and their speed."""

from __future__ import annotations

import torch

from aigc_cli.engine.device import (
    can_compile,
    describe,
    measure_flops,
    resolve_device,
    resolve_matmul,
    resolve_precision,
    set_matmul,
    set_threads,
)
from aigc_cli.errors import first_line
from aigc_cli.machine import Device, Torch


def measure_hardware(threads: int | None, *, compile: bool) -> tuple[Torch, list[Device]]:
    """PyTorch's build, and all devices, the CPU first. torch.compile is tried only with `compile`, as that may take a
    minute."""
    computing = set_threads(threads)
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    devices = [_measured(torch.device(name)) for name in names]
    compiles = can_compile(resolve_device("auto")) if compile else None
    return Torch("", torch.version.cuda, torch.version.hip, compiles, computing), devices


def _measured(device: torch.device) -> Device:
    """A device with the precision and library that `train` would use."""
    memory = None
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    elif device.type == "mps":
        memory = torch.mps.recommended_max_memory()
    precision = resolve_precision("auto", device)
    set_matmul(resolve_matmul("auto", device))
    try:
        gflops = round(measure_flops(device, precision) / 1e9, 1)
    except RuntimeError as error:  # for example, this build has no kernels for the GPU
        return Device(str(device), describe(device), memory, precision, None, first_line(error))
    return Device(str(device), describe(device), memory, precision, gflops)
