"""A run that is killed and resumed ends like an uninterrupted one."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Shell
from PIL import Image
from sounding import write_beeps

#: What is trained here, by its backend: enough steps for several evaluations, checkpoints between them, and the cool-down.
ARGUMENTS = {
    "toy": ["toy", "--steps", "300"],
    "transformer": [
        "transformer", "--data", "demo:verse", "--steps", "120", "--preset", "nano", "--d-model", "32", "--n-layers", "2", "--context", "32", "--batch-size", "4",
        "--eval-items", "16", "--dropout", "0.1",
    ],
    "answers": [
        "transformer", "--arch", "encoder-decoder", "--data", "demo:verse", "--steps", "60", "--preset", "nano", "--d-model", "32",
        "--nhead", "2",
        "--batch-size", "4", "--eval-items", "16", "--dropout", "0.1",
    ],
    "gan": [
        "gan", "--data", "demo:shapes?n=400", "--size", "12", "--steps", "120", "--preset", "nano", "--batch-size", "8", "--flip",
        "--eval-items", "16", "--conditional", "--clusters", "6", "--augment-target", "0.01",
    ],
    "tile": [
        "gan", "--tile", "--data", "textures", "--size", "16", "--steps", "60", "--preset", "nano", "--batch-size", "8",
        "--eval-items", "16",
    ],
    "sounds": [
        "gan", "--data", "beeps", "--longest-side", "16", "--steps", "60", "--preset", "nano", "--batch-size", "8",
        "--eval-items", "16",
    ],
    "vae": [
        "vae", "--data", "demo:shapes?n=400", "--size", "12", "--steps", "120", "--preset", "nano", "--batch-size", "8", "--flip",
        "--eval-items", "16",
    ],
    "samples": [
        "vae", "--objective", "samples", "--data", "demo:shapes?n=400", "--size", "12", "--steps", "60", "--preset", "nano", "--couplings", "2", "--batch-size", "8",
        "--eval-items", "16", "--conditional",
    ],
    "codes": [
        "vae", "--codes", "--data", "demo:shapes?n=400", "--size", "12", "--steps", "60", "--preset", "nano", "--batch-size", "8",
        "--eval-items", "16", "--flip",
    ],
}  # fmt: skip
TIMES = ("seconds", "per_second")

#: What is the engine's own doing is looked at once a backend.
once_a_backend = pytest.mark.parametrize(
    "case",
    [case for case in ARGUMENTS if case not in ("answers", "samples", "codes", "sounds", "tile")],
    indirect=True,
    scope="module",
)


def weights(run: Path) -> dict[str, bytes]:
    """Everything the last checkpoint holds, but for the time it took."""
    last = max((run / "checkpoints").glob("step-*"))
    return {
        str(file.relative_to(last)): file.read_bytes()
        for file in sorted(last.rglob("*"))
        if file.is_file() and file.name not in ("position.json", "manifest.json")
    }


def metrics(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith(TIMES)} for line in lines]


@pytest.fixture(scope="module", params=ARGUMENTS)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backend(case: str) -> str:
    return ARGUMENTS[case][0]


@pytest.fixture(scope="module")
def left_alone(case: str, backend: str, module_shell: Shell) -> Path:
    if case == "tile":
        (module_shell.cwd / "textures").mkdir()
        draw = np.random.default_rng(0)
        Image.fromarray(draw.integers(0, 256, (96, 128), np.uint8)).save(module_shell.cwd / "textures" / "noise.png")
    if case == "sounds":
        write_beeps(module_shell.cwd / "beeps")
    module_shell.ok("train", *ARGUMENTS[case], "--run", f"{case}-alone", "-q")
    return module_shell.cwd / "runs" / backend / f"{case}-alone"


def assert_same_end(run: Path, left_alone: Path) -> None:
    assert weights(run) == weights(left_alone)
    assert metrics(run) == metrics(left_alone)
    assert (run / "model").resolve().parent.name == (left_alone / "model").resolve().parent.name


@pytest.mark.slow
def test_killed_at_random_moments(case: str, backend: str, module_shell: Shell, left_alone: Path) -> None:
    """SIGKILL, with checkpoints as often as the clock allows, several times in one run."""
    name = f"{case}-killed"
    run = module_shell.cwd / "runs" / backend / name
    moments = random.Random(7)
    arguments = [
        "train",
        *ARGUMENTS[case],
        "--run",
        name,
        "--checkpoint-seconds",
        "0.05",
        "-q",
    ]
    for kill in range(2):  # `tests/benchmarks/kills.py` kills more often
        process = module_shell.start(*arguments, *(["--resume"] if run.exists() else []))
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if kill:
            time.sleep(moments.uniform(0.1, 0.5))  # until it trains again
        time.sleep(moments.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    module_shell.ok("train", backend, "--run", name, "--resume", "-q")
    assert_same_end(run, left_alone)


@once_a_backend
def test_interrupted(case: str, backend: str, module_shell: Shell, left_alone: Path) -> None:
    number, code = (signal.SIGINT, 130) if case in ("toy", "vae") else (signal.SIGTERM, 143)
    name = f"{case}-interrupted"
    run = module_shell.cwd / "runs" / backend / name
    process = module_shell.start("train", *ARGUMENTS[case], "--run", name, "--log-every", "1")
    while not (run / "metrics.jsonl").exists() or '"step": 20' not in (run / "metrics.jsonl").read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == code
    assert stderr.splitlines()[-1].startswith("aigc: interrupted at step ")
    assert stderr.splitlines()[-1].endswith(f"resume with: aigc train {backend} --run {name} --resume")
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    module_shell.ok("train", backend, "--run", name, "--resume", "-q")
    assert weights(run) == weights(left_alone)
    assert (run / "model" / "config.json").exists()


@once_a_backend
def test_the_recorded_settings_hold(backend: str, module_shell: Shell, left_alone: Path) -> None:
    name = left_alone.name
    refused = module_shell("train", backend, "--run", name, "--resume", "--lr", "0.5")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"aigc: --lr 0.5 contradicts run runs/{backend}/{name}, which has ")
    refused = module_shell("train", backend, "--run", name)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"aigc: run runs/{backend}/{name} exists; resume it with --resume")


@once_a_backend
def test_a_run_repeated_from_its_record_is_the_same(case: str, backend: str, module_shell: Shell, left_alone: Path) -> None:
    module_shell.ok("train", backend, "--config", left_alone / "run.json", "--run", f"{case}-again", "-q")
    assert_same_end(left_alone.parent / f"{case}-again", left_alone)
