"""A trained network as a folder that other tools open: config.json and model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from aigc_cli.errors import RequestError

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


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
        config = read_config(json.loads((folder / "config.json").read_text()))
        weights = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise RequestError(f"{folder} is not a readable model folder: {error}") from error
    network = build(config)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"{folder}: the weights do not match the model's config.json: {reason}") from error
    return network.eval()
