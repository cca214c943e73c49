"""A trained network as a folder that other tools open: config.json and model.safetensors.

A folder may come from a stranger. So its files are only read as numbers, and what config.json asks for is not allocated unless
model.safetensors, whose header is checked against its size, holds about as much.
"""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook, register_module_parameter_registration_hook

from aigc_cli.errors import RequestError, first_line
from aigc_cli.files import in_utf8, read_json

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)

#: No setting that is a whole number is larger, unless the weights are more.
LARGEST = 1 << 20
#: Bytes from which a file of tensors must be there on disk, and of the blocks in which that is counted.
SPARSE, BLOCK = 1 << 26, 512
#: Modules for each weight, and characters of an error that lists all weights.
MODULES, LONGEST = 50, 300


def save_network(network: nn.Module, config: Mapping[str, Any], folder: Path) -> None:
    """Write both files, with float32 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: weight.float().cpu().contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load_network(folder: Path, read_config: Callable[[dict[str, Any]], Config], build: Callable[[Config], Network]) -> Network:
    """The network that `build` makes from config.json, with its weights loaded, on the CPU and in evaluation mode.

    Raises `RequestError` if the folder is not a complete model, or its weights don't match its configuration.
    """
    try:
        settings = read_json(folder / "config.json")
        weights = load_tensors(folder / "model.safetensors")
        _check_numbers(settings, max(LARGEST, sum(weight.numel() for weight in weights.values())))
        _check_layers(settings, len(weights))
        config = read_config(settings)
    except RequestError:
        raise
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        RecursionError,
        SafetensorError,
    ) as error:
        raise RequestError(f"{folder} is not a readable model folder: {error}") from error
    try:
        with _no_larger_than(weights):
            network = build(config)
        network.load_state_dict(weights)
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError, OverflowError, MemoryError, LookupError) as error:
        reason = " ".join(str(error).split()) or first_line(error)
        reason = reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}…"
        raise RequestError(f"{folder}: the weights do not match the model's config.json: {reason}") from error
    return network.eval()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file, on the CPU. Raises OSError or SafetensorError for anything else: a pipe, or a file
    that is as good as empty on disk, but large enough for whatever its header says."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if found.st_size > SPARSE and 0 < BLOCK * found.st_blocks < found.st_size // 16:
        raise OSError(errno.EINVAL, "it is mostly holes", str(path))
    with in_utf8(path) as file:
        return load_file(file)


def _check_numbers(settings: Any, largest: int) -> None:
    """Raise ValueError for a whole number that can't be the size of anything here."""
    if isinstance(settings, Mapping | list):
        for value in settings.values() if isinstance(settings, Mapping) else settings:
            _check_numbers(value, largest)
    elif isinstance(settings, int) and abs(settings) > largest:
        raise ValueError(f"config.json has the number {settings}, but the weights are only {largest:,} numbers at most")


def _check_layers(settings: Any, weights: int) -> None:
    """Raise ValueError for more layers than weights: some of PyTorch's are copied, which `_no_larger_than` can't notice."""
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if name.endswith("layers") and value > weights:
            raise ValueError(f"config.json has {name} {value}, but there are only {weights} weights")


@contextmanager
def _no_larger_than(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Raise ValueError as soon as the network that is being built has many more weights, or modules, than these. A weight
    counts when it is assigned, which is before it is initialised: until then the system has not given it memory."""
    numbers, tensors, modules = 2 * sum(weight.numel() for weight in weights.values()), 2 * len(weights), MODULES * len(weights)

    def count(module: nn.Module, name: str, weight: Tensor | None) -> None:
        nonlocal numbers, tensors
        if weight is not None:
            numbers, tensors = numbers - weight.numel(), tensors - 1
            if numbers < 0 or tensors < 0:
                raise ValueError("it asks for a larger network")

    def count_module(module: nn.Module, name: str, part: nn.Module | None) -> None:
        nonlocal modules
        modules -= 1
        if modules < 0:
            raise ValueError("it asks for more layers")

    hooks = (register_module_parameter_registration_hook(count), register_module_module_registration_hook(count_module))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
