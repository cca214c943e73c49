"""Deleting runs, and what only further training needs of them. Free of torch."""

from __future__ import annotations

from aigc_cli.engine.runs.run import DONE, OPTIMIZERS, Run
from aigc_cli.errors import RequestError
from aigc_cli.files import remove_folder, size_of


def remove(run: Run) -> int:
    """Delete a run. Returns its size in bytes. Raises `RequestError` if it is being trained."""
    with run.lock():
        size = size_of(run.path)
        remove_folder(run.path)
    return size


def prune(run: Run) -> int:
    """Delete all of a run's checkpoints but the best one's weights. Returns the number of bytes freed.

    The run can still be sampled from, evaluated, repeated and fine-tuned, but not trained longer; run.json records that first.
    If the best checkpoint's model is damaged, the newest whole one is kept instead.
    Raises `RequestError` if it is being trained or is not done.
    """
    with run.lock():
        if run.record["status"] not in DONE:
            raise RequestError(
                f"run {run.path} is {run.record['status']} and needs its checkpoints to resume; "
                f"to delete it: aigc runs rm {run.reference}"
            )
        run.check_files()
        before = size_of(run.checkpoints)
        best = run.require_model().resolve().parent
        if best.parent != run.checkpoints.resolve():
            raise RequestError(f"run {run.path}: its model is not in its {run.checkpoints.name}, so none of these is deleted")
        run.update(pruned=True)
        if run.fallback is not None:
            run.choose(best)
        for folder in (*run.checkpoints.glob("step-*"), run.earlier):
            if folder.exists() and folder.resolve() != best:
                remove_folder(folder)
        (best / "state" / OPTIMIZERS).unlink(missing_ok=True)
        return before - size_of(run.checkpoints)
