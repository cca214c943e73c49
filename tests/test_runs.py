"""Runs: the table, and how to free their disk space."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Shell
from terminals import in_terminal

from aigc_cli.backends.transformer.config import DecoderOnlyPlan, Train
from aigc_cli.engine.runs.finding import free_name, list_runs
from aigc_cli.engine.runs.removal import prune, remove
from aigc_cli.engine.runs.run import Run, age, create_run
from aigc_cli.errors import RequestError
from aigc_cli.files import bytes_of, point_link, size_of
from aigc_cli.options import recorded
from aigc_cli.ui.text import span

KB = 1000
PLAN = DecoderOnlyPlan.of(
    Train(data="/data/poems.tsv", steps=30, threads=1, compile=False), lr=0.01, batch_size=4, preset="nano", context=32,
    n_layers=1, d_model=32, n_heads=1, n_kv_heads=1, d_ff=64, tied=True, dropout=0.0, together=False, last_field=0.0,
)  # fmt: skip


def a_run(runs: Path, name: str, status: str = "finished", backend: str = "transformer") -> Run:
    """A run as training leaves it: the best checkpoint, a newer one and the one before the cool-down, of 3 kB each."""
    record = {
        "asked": {},
        "data": {"location": "/data/poems.tsv"},
        "plan": recorded(PLAN),
        "reasons": ["tokenizer: small"],
    }
    run = create_run(runs, backend, name, record)
    for step in (10, 20, 30):
        for part, file in (
            ("model", "model.safetensors"),
            ("state", "networks.safetensors"),
            ("state", "optimizers.safetensors"),
        ):
            folder = run.checkpoints / f"step-{step:06d}" / part
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(bytes(KB))
        (run.checkpoints / f"step-{step:06d}" / "model" / "config.json").write_text("{}")
    point_link(run.model, "checkpoints/step-000020/model")
    lines = [{"event": "trained", "step": 10, "loss": 3.0}, {"event": "evaluated", "step": 10, "bits_per_char": 4.0}]
    lines += [{"event": "trained", "step": 20, "loss": 2.0}, {"event": "evaluated", "step": 20, "bits_per_char": 3.5}]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run.samples / "step-000020.txt").write_text("a poem")
    run.update(status=status, steps=30, seconds=1.0, best={"step": 20, "bits_per_char": 3.5})
    return run


def test_the_table_has_a_row_a_run_in_a_pipe_in_json_and_on_a_terminal(shell: Shell) -> None:
    run = a_run(shell.cwd / "runs", "verse")
    head, row = (line.split("\t") for line in shell.ok("runs").splitlines())
    assert head == ["name", "backend", "status", "steps", "best", "data", "created", "bytes"]
    assert dict(zip(head, row, strict=True)) == {
        "name": "verse", "backend": "transformer", "status": "finished", "steps": "30", "best": "bits_per_char 3.5",
        "data": "/data/poems.tsv", "created": run.record["created"], "bytes": str(size_of(run.path)),
    }  # fmt: skip
    (listed,) = json.loads(shell.ok("runs", "--json"))["runs"]
    assert listed["bytes"] == size_of(run.path) > 9 * KB
    shown = in_terminal(shell, "runs")
    assert "poems.tsv" in shown and "/data" not in shown and "kB" in shown and " s " in shown


def test_an_interrupted_run_shows_its_progress(shell: Shell) -> None:
    run = a_run(shell.cwd / "runs", "verse", "interrupted")
    del run.record["steps"]
    run.update()
    (listed,) = json.loads(shell.ok("runs", "--json"))["runs"]
    assert listed["steps"] == 30  # by its newest checkpoint


def test_a_run_is_named_so_that_one_may_type_it(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shell.cwd)
    verse = a_run(Path("runs"), "verse")
    assert verse.reference == "verse"
    other = a_run(Path("runs"), "verse", backend="gan")
    assert (verse.reference, other.reference) == ("runs/transformer/verse", "runs/gan/verse")
    assert free_name(Path("runs"), "verse") == "verse-1"
    a_run(Path("runs"), "verse-1", backend="gan")
    assert free_name(Path("runs"), "verse") == "verse-2"
    assert shell("runs", "show", verse.reference).returncode == 0


def test_a_run_is_shown_with_its_reasons_its_curves_and_its_newest_sample(shell: Shell) -> None:
    a_run(shell.cwd / "runs", "verse")
    shown = dict(line.split("\t") for line in shell.ok("runs", "show", "verse").splitlines())
    assert shown["reason"] == "tokenizer: small"
    assert (shown["loss"], shown["bits_per_char"]) == ("3 █▁ 2", "4 █▁ 3.5")
    assert shown["sample"] == "runs/transformer/verse/samples/step-000020.txt"
    assert shown["plan.lr"] == "0.01" and shown["steps"] == "30"


@pytest.mark.parametrize(("width", "data"), [(80, False), (120, True)])
def test_a_run_takes_one_line_even_in_a_narrow_terminal(shell: Shell, width: int, data: bool) -> None:
    for name in ("a-name-of-some-length", "b"):
        a_run(shell.cwd / "runs", name)
    lines = in_terminal(shell, "runs", size=(width, 24)).splitlines()
    assert [line.split()[0] for line in lines] == ["name", "b", "a-name-of-some-length"]
    assert [("data" in lines[0].split()), *("poems.tsv" in line for line in lines[1:])] == [data] * 3


def test_a_pruned_run_keeps_the_best_weights_and_cannot_be_resumed(shell: Shell) -> None:
    run = a_run(shell.cwd / "runs", "verse")
    freed = 3 * KB * 2 + 2 * 2 + KB  # two checkpoints, and the optimisers of the third
    done = shell("runs", "prune", "verse", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "runs/transformer/verse\n", f"{bytes_of(freed)} freed\n")
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-000020"]
    assert {path.name for path in run.model.iterdir()} == {"model.safetensors", "config.json"}
    assert {path.name for path in (run.checkpoints / "step-000020" / "state").iterdir()} == {"networks.safetensors"}
    assert shell.ok("runs", "prune", "--yes", "-q") == ""  # once is enough
    alone = shell("train", "transformer", "--run", "verse", "--resume")
    assert alone.returncode == 0 and "it was pruned" in alone.stderr and "--init-from verse" in alone.stderr
    wrong = shell("train", "transformer", "--run", "verse", "--resume", "--steps", "60")
    assert wrong.returncode == 2 and "was pruned" in wrong.stderr and "--init-from verse" in wrong.stderr


def test_prune_alone_means_every_run_that_is_done(shell: Shell) -> None:
    runs = [a_run(shell.cwd / "runs", name, status) for name, status in (("a", "finished"), ("b", "stopped"), ("c", "failed"))]
    pruned = json.loads(shell.ok("runs", "prune", "--yes", "--json"))
    assert sorted(pruned["runs"]) == ["runs/transformer/a", "runs/transformer/b"]
    assert pruned["bytes"] > 2 * 6 * KB
    assert len(list(runs[2].checkpoints.iterdir())) == 3
    wrong = shell("runs", "prune", "c", "--yes")
    assert wrong.returncode == 2 and "is failed and needs its checkpoints to resume" in wrong.stderr


def test_removed_runs_are_gone_and_the_others_are_not(shell: Shell) -> None:
    for name in ("a", "b", "c"):
        a_run(shell.cwd / "runs", name)
    assert shell.ok("runs", "rm", "a", "runs/transformer/b", "a", "--yes") == "runs/transformer/a\nruns/transformer/b\n"
    assert [run.name for run in list_runs(shell.cwd / "runs")] == ["c"]
    assert [path.name for path in (shell.cwd / "runs" / "transformer").iterdir()] == ["c"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rm"], "aigc: name the runs to remove; 'aigc runs' lists them\n"),
        (["rm", "verse"], "aigc: can't ask for confirmation without a terminal; add --yes\n"),
        (["rm", "verse", "vers", "--yes"], "aigc: no run 'vers' in runs; 'aigc runs' lists them; did you mean 'verse'?\n"),
    ],
)
def test_nothing_is_deleted_for_a_wrong_request(shell: Shell, arguments: list[str], line: str) -> None:
    run = a_run(shell.cwd / "runs", "verse")
    done = shell("runs", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
    assert run.model.exists()


@pytest.mark.parametrize("free", [remove, prune])
def test_a_run_in_training_is_not_deleted(tmp_path: Path, free: object) -> None:
    run = a_run(tmp_path, "verse")
    before = size_of(run.path)
    with run.lock(), pytest.raises(RequestError, match="being trained"):
        free(run)  # type: ignore[operator]
    assert size_of(run.path) == before


@pytest.mark.parametrize(("answer", "left", "status"), [("y\n", False, 0), ("n\n", True, 1)])
def test_on_a_terminal_it_asks(shell: Shell, answer: str, left: bool, status: int) -> None:
    run = a_run(shell.cwd / "runs", "verse")
    assert "remove? [y/N]" in in_terminal(shell, "runs", "rm", "verse", answer=answer, status=status)
    assert run.path.exists() == left


def test_a_run_that_is_being_deleted_is_not_listed(tmp_path: Path) -> None:
    run = a_run(tmp_path, "verse")
    run.path.rename(run.path.with_name(".tmp-old-verse-1"))
    assert list_runs(tmp_path) == []


def test_ages_are_short(tmp_path: Path) -> None:
    assert [span(seconds) for seconds in (-1, 0, 119, 120, 7199, 7200, 172799, 172800)] == [
        "0 s", "0 s", "119 s", "2 min", "120 min", "2 h", "48 h", "2 d",
    ]  # fmt: skip
    assert 0 <= age(a_run(tmp_path, "verse")) < 60
