"""Checkpoints: whole or absent, safetensors and JSON, nothing pickled.

checkpoints/step-000400/model/   what the backend writes for `sample`, `eval` and other tools
checkpoints/step-000400/state/   networks, averages, optimisers and the training state
checkpoints/step-000400/manifest.json   sizes and digests of all of that
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from aigc_cli.engine.checkpoints.manifest import damage, write_manifest
from aigc_cli.engine.ema import EMA, applied
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.network import load_tensors
from aigc_cli.errors import AigcError, first_line
from aigc_cli.files import new_folder, read_json, remove_folder


@dataclass
class TrainState:
    """The state of a training run: everything a checkpoint holds besides tensors."""

    step: int = 0  # steps done
    seconds: float = 0.0  # of training
    plan_steps: int = 0  # steps of the current plan; a run that is trained longer gets a new plan
    micro_batches: int = 1
    best_step: int | None = None
    best: float | None = None
    mark: float | None = None  # the objective when it last improved by more than chance
    stale: int = 0  # evaluations since then
    concerns: list[str] = field(default_factory=list)  # names of the concerns at the last evaluation
    lr_scale: float = 1.0
    rollbacks: int = 0
    norms: dict[str, list[float]] = field(default_factory=dict)  # of each optimiser's latest gradients, before clipping
    skips: int = 0  # consecutive
    skipped: int = 0  # in total
    planned: bool = True  # saved at a step fixed by the plan, so it is a target for roll-back
    sums: dict[str, float] = field(default_factory=dict)  # of losses since the last report
    summed: int = 0
    metrics_bytes: int = 0

    def add(self, values: Mapping[str, float]) -> None:
        """Add a step's values to the next report."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.summed += 1

    def take_means(self) -> dict[str, float]:
        """Mean values over the steps since the last report. Resets the sums."""
        means = {name: total / self.summed for name, total in self.sums.items()}
        self.sums, self.summed = {}, 0
        return means


def save_checkpoint(folder: Path, learner: Learner, ema: Mapping[str, EMA], state: TrainState) -> None:
    """Write `folder`: the model with averaged weights (if the learner averages), and the state with the networks' own
    weights."""
    if folder.exists():
        remove_folder(folder)
    with new_folder(folder) as aside:
        (aside / "model").mkdir()
        (aside / "state").mkdir()
        with applied(ema):
            learner.save_model(aside / "model")
        networks = {name: dict(network.state_dict()) for name, network in learner.networks.items()}
        _save(aside / "state" / "networks.safetensors", networks)
        if ema:
            _save(aside / "state" / "averages.safetensors", {name: average.weights for name, average in ema.items()})
        tensors, numbers = {}, {}
        for name, optimizer in learner.optimizers.items():
            tensors[name], numbers[name] = _flatten(optimizer)
        _save(aside / "state" / "optimizers.safetensors", tensors)
        (aside / "state" / "optimizers.json").write_text(json.dumps(numbers))
        (aside / "state" / "position.json").write_text(json.dumps(asdict(state), indent=2))
        write_manifest(aside)


def read_state(folder: Path) -> TrainState:
    """The training state of a checkpoint. Raises `AigcError` if it is unreadable."""
    try:
        state = TrainState(**read_json(folder / "state" / "position.json"))
    except (OSError, ValueError, TypeError) as error:
        raise AigcError(f"checkpoint {folder} cannot be read: {first_line(error)}") from error
    for name, kind in get_type_hints(TrainState).items():
        if not _is(value := getattr(state, name), kind) or (isinstance(value, int) and value < 0):
            raise AigcError(f"checkpoint {folder} cannot be read: its position.json has no such {name} as {value!r:.60}")
    return state


def _is(value: Any, kind: Any) -> bool:
    """Whether a value that was read is of an annotated type."""
    of = get_args(kind)
    if get_origin(kind) is types.UnionType:
        return any(_is(value, each) for each in of)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_is(key, of[0]) and _is(each, of[1]) for key, each in value.items())
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is(each, of[0]) for each in value)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def load_checkpoint(folder: Path, learner: Learner, ema: Mapping[str, EMA]) -> TrainState:
    """Restore the learner and its averages. Returns the training state. Raises `AigcError` for a damaged checkpoint."""
    if fault := damage(folder):
        raise AigcError(f"{fault}; resuming continues from the newest whole checkpoint")
    try:
        state = folder / "state"
        for name, weights in _load(state / "networks.safetensors").items():
            learner.networks[name].load_state_dict(weights)
        if ema:
            for name, weights in _load(state / "averages.safetensors").items():
                for key, tensor in weights.items():
                    ema[name].weights[key].copy_(tensor)
        tensors = _load(state / "optimizers.safetensors")
        numbers = read_json(state / "optimizers.json")
        for name, optimizer in learner.optimizers.items():
            _unflatten(optimizer, tensors.get(name, {}), numbers[name])
        return read_state(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise AigcError(f"checkpoint {folder} cannot be read: {first_line(error)}") from error


def _save(path: Path, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Save tensors as `owner/name`. Tensors that share memory (tied weights) are written separately. A GPU's are copied to the
    CPU one by one, so that saving takes none of its memory."""
    flat = {
        f"{owner}/{name}": t.detach().to("cpu", copy=True).contiguous()
        for owner, own in tensors.items()
        for name, t in own.items()
    }
    save_file(flat, path)


def _load(path: Path) -> dict[str, dict[str, Tensor]]:
    owners: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_tensors(path).items():
        owner, name = key.split("/", 1)
        owners.setdefault(owner, {})[name] = tensor
    return owners


def _flatten(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Any optimiser's state: tensors by `index/key`, and everything else as JSON."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}/{key}": value
        for index, entries in state["state"].items()
        for key, value in entries.items()
        if isinstance(value, Tensor)
    }
    numbers = {
        str(index): {key: value for key, value in entries.items() if not isinstance(value, Tensor)}
        for index, entries in sorted(state["state"].items())
    }
    return tensors, {"state": numbers, "param_groups": state["param_groups"]}


def _unflatten(optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in numbers["state"].items()}
    for key, tensor in tensors.items():
        index, name = key.split("/", 1)
        state.setdefault(int(index), {})[name] = tensor
    with torch.no_grad():
        optimizer.load_state_dict({"state": state, "param_groups": numbers["param_groups"]})
    # Files don't keep memory formats, but a fused optimiser expects a parameter and its state to have the same one.
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
