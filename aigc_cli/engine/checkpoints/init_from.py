"""`--init-from`: start a run from another run's weights. The new run keeps a copy of them, so that it can be repeated."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from aigc_cli.engine.checkpoints.manifest import WEIGHTS, copy_manifest, damage
from aigc_cli.engine.events import Bus, display_path
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.network import load_tensors
from aigc_cli.engine.runs.finding import find_run
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError, first_line
from aigc_cli.files import new_folder

STATES = ("networks.safetensors", "averages.safetensors")


def find_initial(runs_dir: Path, backend: str, wanted: str, bus: Bus) -> Path:
    """The folder (model/ and state/) of a run's best checkpoint, or a copy made by `keep_initial`. Raises `RequestError` if it
    is damaged."""
    if (Path(wanted) / "state" / STATES[0]).exists():
        require_whole(Path(wanted))
        return Path(wanted)
    run = find_run(runs_dir, backend, wanted)
    model = run.require_model(WEIGHTS)
    run.tell(bus)
    return model.resolve().parent


def require_whole(origin: Path) -> None:
    """Raise `RequestError` if the weights of this folder are damaged."""
    if fault := damage(origin, WEIGHTS):
        raise RequestError(f"--init-from: {fault}")


def keep_initial(run: Run, origin: Path) -> Path:
    """Copy the initial weights into the run. Returns the copy's path."""
    kept = (run.path / "init").absolute()
    with new_folder(kept) as aside:
        copy_weights(origin, aside)
    return kept


def copy_weights(origin: Path, folder: Path) -> None:
    """Copy the parts of a checkpoint needed to sample, to evaluate and to start another run."""
    shutil.copytree(origin / "model", folder / "model")
    (folder / "state").mkdir()
    for name in STATES:
        if (origin / "state" / name).exists():
            shutil.copy(origin / "state" / name, folder / "state" / name)
    copy_manifest(origin, folder)


def take_over(learner: Learner, origin: Path) -> str:
    """Copy every weight whose name and shape match, preferring averaged ones. Returns a line that says how many matched.
    Raises `RequestError` if none did."""
    weights: dict[str, Tensor] = {}
    for name in STATES:
        if (origin / "state" / name).exists():
            try:
                weights |= load_tensors(origin / "state" / name)
            except (OSError, SafetensorError) as error:
                raise RequestError(f"--init-from: {display_path(origin / 'state' / name)}: {first_line(error)}") from None
    taken, total = 0, 0
    with torch.no_grad():
        for owner, network in learner.networks.items():
            for name, tensor in network.state_dict().items():
                total += 1
                source = weights.get(f"{owner}/{name}")
                if source is not None and source.shape == tensor.shape:
                    tensor.copy_(source)
                    taken += 1
    if not taken:
        raise RequestError(f"--init-from: no weight of {display_path(origin)} matches this model's names and shapes")
    return f"{taken} of {total} weight tensors initialised from {display_path(origin)}"
