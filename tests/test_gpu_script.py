"""The script that checks everything that needs a GPU, on a CPU with tiny models, so that it works when a GPU is there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from conftest import Shell


@pytest.mark.slow
def test_every_check_for_a_gpu_works_and_holds_on_a_cpu(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in shell.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(Path(__file__).parent / "benchmarks")
    gpu = importlib.import_module("gpu")
    assert gpu.main(["--device", "cpu", "--quick", "--folder", str(shell.cwd)], shell.command) == 0
    told = capsys.readouterr().out
    assert told.count("| yes |") >= 13 and "**no**" not in told
    # What fails is told, and the rest goes on.
    failing = ["--device", "cpu", "--quick", "--folder", str(shell.cwd / "none"), "--only", "numbers", "draws"]
    assert gpu.main(failing, shell.command) == 1
    told = capsys.readouterr().out
    assert (told.count("**no**"), told.count("| yes |")) == (4, 1) and "4 failed" in told
