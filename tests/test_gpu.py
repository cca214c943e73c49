"""What only a GPU can show. Skipped without one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Shell

from aigc_cli.engine.device import is_out_of_memory, resolve_precision
from aigc_cli.metrics.pictures.features import make_extractor

GPU = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
pytestmark = pytest.mark.skipif(GPU is None, reason="no GPU")
ARGUMENTS = [
    "--data",
    "demo:verse",
    "--steps",
    "60",
    "--d-model",
    "64",
    "--n-layers",
    "2",
    "--context",
    "64",
    "--batch-size",
    "16",
]


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def test_it_learns_samples_and_measures_there(shell: Shell) -> None:
    run = shell.cwd / shell.ok("train", "transformer", *ARGUMENTS, "--device", GPU, "-q").strip()
    plan = json.loads((run / "run.json").read_text())["plan"]
    assert plan["device"].startswith(str(GPU))
    assert plan["precision"] == resolve_precision("auto", torch.device(str(GPU)))
    lines = [json.loads(line) for line in run.joinpath("metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "trained"]
    assert losses[-1] < losses[0] - 1
    assert len(shell.ok("sample", "transformer", "-n", "3", "--device", GPU, "-q").splitlines()) == 3
    there, here = (json.loads(shell.ok("eval", "transformer", "-n", "0", "--device", d, "--json", "-q")) for d in (GPU, "cpu"))
    assert there["bits_per_char"]["value"] == pytest.approx(here["bits_per_char"]["value"], rel=1e-3)


@pytest.mark.skipif(GPU != "cuda", reason="deterministic kernels are promised on CUDA")
def test_a_deterministic_run_that_was_interrupted_ends_the_same(shell: Shell) -> None:
    arguments = [*ARGUMENTS, "--device", "cuda", "--deterministic", "-q"]
    shell.ok("train", "transformer", *arguments, "--run", "alone")
    process = shell.start("train", "transformer", *arguments, "--run", "cut", "--log-every", "1")
    run = shell.cwd / "runs/transformer/cut"
    while not (run / "metrics.jsonl").exists() or '"step": 20' not in (run / "metrics.jsonl").read_text():
        assert process.poll() is None
    process.terminate()
    process.wait()
    shell.ok("train", "transformer", "--run", "cut", "--resume", "-q")
    assert weights(run) == weights(run.parent / "alone")


@pytest.mark.skipif(GPU != "cuda", reason="needs a device whose memory can be told")
def test_running_out_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50, device="cuda")
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("name", ["random", "pixels"])
def test_features_of_pictures_are_those_of_the_cpu(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 24, 20, 3), dtype=np.uint8)
    here, there = (make_extractor(name, pixels, device=torch.device(device))(pixels) for device in ("cpu", str(GPU)))
    assert np.allclose(here, there, atol=0.05)
