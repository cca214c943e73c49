"""Checkpoints: whole or absent, safetensors and JSON, nothing pickled.

checkpoints/step-000400/model/   what the backend writes for `sample`, `eval` and other tools
checkpoints/step-000400/state/   networks, averages and optimisers, and where the run stood
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from aigc_cli.engine.ema import Average, applied
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.run import Run
from aigc_cli.errors import AigcError, first_line
from aigc_cli.files import new_folder, remove_folder


def checkpoint_path(run: Run, step: int) -> Path:
    return run.checkpoints / f"step-{step:06d}"


def save_checkpoint(folder: Path, learner: Learner, averages: Mapping[str, Average], position: Mapping[str, Any]) -> None:
    """Write `folder`: the model with the averaged weights, where there are some, and the state with the networks' own.
    `position` says where the run stands (JSON)."""
    if folder.exists():
        remove_folder(folder)
    with new_folder(folder) as aside:
        (aside / "model").mkdir()
        (aside / "state").mkdir()
        with applied(averages):
            learner.save_model(aside / "model")
        networks = {name: dict(network.state_dict()) for name, network in learner.networks.items()}
        _save(aside / "state" / "networks.safetensors", networks)
        if averages:
            _save(aside / "state" / "averages.safetensors", {name: a.weights for name, a in averages.items()})
        tensors, numbers = {}, {}
        for name, optimizer in learner.optimizers.items():
            tensors[name], numbers[name] = _flatten(optimizer)
        _save(aside / "state" / "optimizers.safetensors", tensors)
        (aside / "state" / "optimizers.json").write_text(json.dumps(numbers))
        (aside / "state" / "position.json").write_text(json.dumps(position, indent=2))


def read_position(folder: Path) -> dict[str, Any]:
    position: dict[str, Any] = json.loads((folder / "state" / "position.json").read_text())
    return position


def load_checkpoint(folder: Path, learner: Learner, averages: Mapping[str, Average]) -> dict[str, Any]:
    """Put everything back; returns the position."""
    try:
        state = folder / "state"
        for name, weights in _load(state / "networks.safetensors").items():
            learner.networks[name].load_state_dict(weights)
        if averages:
            for name, weights in _load(state / "averages.safetensors").items():
                for key, tensor in weights.items():
                    averages[name].weights[key].copy_(tensor)
        tensors = _load(state / "optimizers.safetensors")
        numbers = json.loads((state / "optimizers.json").read_text())
        for name, optimizer in learner.optimizers.items():
            _unflatten(optimizer, tensors.get(name, {}), numbers[name])
        return read_position(folder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise AigcError(f"checkpoint {folder} cannot be read: {first_line(error)}") from error


def _save(path: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Tensors under `owner/name`. A tensor that shares its memory with another (tied weights) is written on its own."""
    flat = {f"{owner}/{name}": t.detach().clone().contiguous() for owner, own in tensors.items() for name, t in own.items()}
    save_file(flat, path)


def _load(path: Path) -> dict[str, dict[str, Tensor]]:
    owners: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(path).items():
        owner, name = key.split("/", 1)
        owners.setdefault(owner, {})[name] = tensor
    return owners


def _flatten(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Any optimiser's state as tensors by `index/key` and everything else as JSON."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}/{key}": value
        for index, entries in state["state"].items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }
    numbers = {
        str(index): {key: value for key, value in entries.items() if not isinstance(value, Tensor)}
        for index, entries in state["state"].items()
    }
    return tensors, {"state": numbers, "param_groups": state["param_groups"]}


def _unflatten(optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in numbers["state"].items()}
    for key, tensor in tensors.items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = tensor
    with torch.no_grad():
        optimizer.load_state_dict({"state": state, "param_groups": numbers["param_groups"]})
    # A file knows no memory format, and a fused optimiser walks through a parameter and its state in step.
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
