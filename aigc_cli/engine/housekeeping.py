"""The room that runs take, and how to have it back. Free of torch."""

from __future__ import annotations

from aigc_cli.engine.run import DONE, Run
from aigc_cli.errors import RequestError
from aigc_cli.files import remove_folder, size_of

#: What of a checkpoint only going on with the training needs.
OPTIMIZERS = "optimizers.safetensors"


def remove(run: Run) -> int:
    """Delete a run; the bytes that it took. Raises `RequestError` where it is being trained."""
    with run.lock():
        size = size_of(run.path)
        remove_folder(run.path)
    return size


def prune(run: Run) -> int:
    """Leave of a run's checkpoints the weights of the best; the bytes that were freed.

    It can be sampled from, measured, repeated and begun from after it, but not trained longer, which run.json says first.
    Raises `RequestError` where it is being trained or was not trained to its end.
    """
    with run.lock():
        if run.record["status"] not in DONE:
            raise RequestError(
                f"run {run.path} is {run.record['status']}: it needs its checkpoints to go on; "
                f"'aigc runs rm {run.reference}' removes it as a whole"
            )
        before = size_of(run.checkpoints)
        run.update(pruned=True)
        best = run.require_model().resolve().parent
        for folder in (*run.checkpoints.glob("step-*"), run.earlier):
            if folder.exists() and folder.resolve() != best:
                remove_folder(folder)
        (best / "state" / OPTIMIZERS).unlink(missing_ok=True)
        return before - size_of(run.checkpoints)
