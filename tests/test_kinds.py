"""A third kind of data, registered from outside: read, cached, split, learned from, sampled and written by the real commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Shell


@pytest.fixture
def rows(shell: Shell) -> Path:
    folder = shell.cwd / "rows"
    folder.mkdir()
    for name, start in (("a.csv", 0), ("b.csv", 100)):
        np.savetxt(folder / name, np.arange(start, start + 100)[:, None] / 50, "%.4f", delimiter=",")
    return folder


def test_a_third_kind_of_data_is_read_cached_split_and_learned_from(shell: Shell, rows: Path) -> None:
    cache = Path(shell.env["AIGC_CACHE_DIR"])
    before = {*cache.glob("prepared/*/rows.npy")}
    shell.ok("train", "toy", "--data", "rows", "--steps", "30", "--run", "one")
    record = json.loads((shell.cwd / "runs/toy/one/run.json").read_text())
    data = record["data"]
    assert (data["kind"], data["location"], data["files"], data["val"]) == ("numbers", str(rows), 2, None)
    assert data["understood"]["files"] == {"count": 2, "by_suffix": {".csv": 2}, "examples": ["a.csv", "b.csv"]}
    assert 170 <= data["splits"]["train"]["rows"] < 200
    assert any("held out" in reason and "of 200" in reason for reason in record["reasons"])
    (entry,) = {*cache.glob("prepared/*/rows.npy")} - before
    assert np.load(entry).shape == (200, 1)
    made = entry.stat().st_mtime_ns
    assert json.loads(shell.ok("train", "toy", "--run", "one", "--resume", "--steps", "40", "--json"))["steps"] == 40
    assert entry.stat().st_mtime_ns == made

    (rows / "c.csv").write_text("1.0\n")
    changed = shell("train", "toy", "--run", "one", "--resume", "--steps", "50")
    assert changed.returncode == 2
    assert f"{rows} has changed since this run was trained: 3 files now, 2 then" in changed.stderr


def test_its_samples_are_written_as_the_kind_says(shell: Shell, rows: Path) -> None:
    shell.ok("train", "toy", "--data", "rows/a.csv", "--val", "rows/b.csv", "--steps", "5", "--run", "two")
    (line,) = shell.ok("sample", "toy", "--run", "two", "--seed", "1", "-q").splitlines()
    assert line == f"{float(line):.4f}"
    assert shell.ok("sample", "toy", "--run", "two", "--seed", "1", "-n", "3", "--out", "drawn.csv", "-q") == ""
    assert np.loadtxt(shell.cwd / "drawn.csv", delimiter=",").shape == (3,)
    shell.ok("train", "toy", "--data", "drawn.csv", "--steps", "2")  # what is written can be read


def test_a_source_of_another_kind_names_it(shell: Shell, rows: Path) -> None:
    refused = shell("train", "gan", "--data", "rows")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "; it holds " in refused.stderr
    missing = shell("train", "toy", "--data", "demo:verse")
    assert missing.stderr == "aigc: there is no built-in data set 'demo:verse'; there is demo:numbers\n"
