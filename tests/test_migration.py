"""Runs of earlier formats, kept in `tests/kept`, open for ever: they are sampled from, evaluated and resumed.

To keep one of a new format: train a tiny run from standard input, stop it between two checkpoints, and pack its folder.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from conftest import Shell

from aigc_cli.engine.runs.run import FORMAT, open_run

KEPT = Path(__file__).parent / "kept"
CPU = ("--run", "old", "--device", "cpu")


@pytest.fixture(params=["format-1", "format-1 without manifests"])
def run(request: pytest.FixtureRequest, shell: Shell) -> Path:
    with tarfile.open(KEPT / f"{request.param.split()[0]}.tar.gz") as archive:
        archive.extractall(shell.cwd, filter="data")
    run = shell.cwd / "runs" / "transformer" / "old"
    if "without" in request.param:
        for manifest in run.rglob("manifest.json"):
            manifest.unlink()
    return run


def test_this_version_s_format_is_kept() -> None:
    assert (KEPT / f"format-{FORMAT}.tar.gz").exists()
    assert sum(file.stat().st_size for file in KEPT.iterdir()) < 200_000


def test_a_run_is_sampled_evaluated_and_resumed(run: Path, shell: Shell) -> None:
    assert open_run(run).status == "interrupted"
    first = shell.ok("sample", "transformer", *CPU, "--seed", "1", "-n", "2")
    assert len(first.splitlines()) == 2
    measures = json.loads(shell.ok("eval", "transformer", *CPU, "--json"))
    assert 0 < measures["bits_per_char"]["value"] < 20
    done = shell("train", "transformer", "--run", "old", "--resume")
    assert done.returncode == 0 and "damaged" not in done.stderr, done.stderr
    assert open_run(run).status == "finished" and open_run(run).checkpoint_steps[-1] == 8
    assert (run / "checkpoints" / "step-000008" / "manifest.json").exists()


def test_a_run_of_a_newer_format_is_refused(run: Path, shell: Shell) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "format": FORMAT + 1}))
    before = sorted(run.rglob("*"))
    for verb in (("train", "transformer", "--resume"), ("sample", "transformer"), ("eval", "transformer")):
        done = shell(*verb, "--run", "old")
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert f"was written by a newer aigc (run format {FORMAT + 1}); update aigc to open it" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert sorted(run.rglob("*")) == before


def test_a_run_opens_wherever_it_is_moved_to(run: Path, shell: Shell) -> None:
    there = shell.cwd / "else where" / "runs" / "transformer"
    there.mkdir(parents=True)
    shutil.move(run, there / "old")
    shell.ok("train", "transformer", "--run", there / "old", "--resume", "-q")
