"""Everything that needs a GPU: train, sample, evaluate, kill and resume each backend, and measure the speed.

    python tests/benchmarks/gpu.py --minutes 0.5

Prints a table of measures with the GPU's name, then all failures; exits with 1 if there are any. The tests in tests/test_gpu.py
run last. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
AIGC = [sys.executable, "-m", "aigc_cli.app"]
WARNED = "called a synchronizing CUDA operation"
#: name -> (backend, arguments of train)
MODELS = {
    "decoder-only": ("transformer", ["--data", "demo:verse"]),
    "encoder-decoder": ("transformer", ["--data", "demo:verse", "--arch", "encoder-decoder"]),
    "gan": ("gan", ["--data", "demo:shapes?n=5000"]),
    "vae": ("vae", ["--data", "demo:shapes?n=5000"]),
}
PROMPTS = {"encoder-decoder": ["--prompt", "The golden moon recalls the sea,"]}


class Bench:
    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device
        self.failed: list[str] = []
        self.env = {
            **os.environ,
            "AIGC_CACHE_DIR": str(folder / "cache"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }

    def run(self, *arguments: object, timeout: float = 100, **environ: str) -> subprocess.CompletedProcess[str] | None:
        """The finished command; None, with a note, if it failed."""
        command = [*AIGC, *map(str, arguments), "--debug"]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=self.env | environ, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            self.fail(f"{' '.join(map(str, arguments))}: no end after {timeout:.0f} s")
            return None
        if done.returncode:
            self.fail(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr[-1500:]}")
            return None
        return done

    def fail(self, what: str) -> None:
        self.failed.append(what)
        print(f"FAILED {what}", file=sys.stderr, flush=True)

    def json(self, *arguments: object, **environ: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json", "-q", **environ)
        return json.loads(done.stdout.splitlines()[0]) if done else {}


def trained(bench: Bench, name: str, minutes: float) -> None:
    """A run with a time budget, its samples and its measures, as one row."""
    backend, arguments = MODELS[name]
    began = time.perf_counter()
    result = bench.json("train", backend, *arguments, "--run", name, "--minutes", minutes, "--device", bench.device)
    if not result:
        return
    whole = time.perf_counter() - began
    run = bench.folder / "runs" / backend / name
    plan = json.loads((run / "run.json").read_text())["plan"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [value for line in lines for key, value in line.items() if key.endswith("_per_second")]
    began = time.perf_counter()
    bench.run("sample", backend, "--run", name, "-n", 16, "--seed", 0, "--device", bench.device, *PROMPTS.get(name, []), "-q")
    sampling = time.perf_counter() - began
    there = bench.json("eval", backend, "--run", name, "--device", bench.device)
    objective = {"transformer": "bits_per_char", "gan": "kd_random", "vae": "bits_per_dim"}[backend]
    value = there.get(objective, {})
    interval = f"{value['value']:.4g} [{value['low']:.4g}, {value['high']:.4g}] (n = {value['n']})" if value else "failed"
    rate = sorted(rates)[len(rates) // 2] if rates else 0
    print(
        f"| {name} | {plan['preset']}, batch {plan['batch_size']}, {plan['precision']}, compile {plan['compile']} | {result['steps']:,} "
        f"| {result['seconds']:.1f} of {whole:.1f} s | {rate:,.0f}/s | {objective} {interval} | {sampling:.1f} s |", flush=True
    )  # fmt: skip


def killed(bench: Bench, name: str, steps: int) -> None:
    """A deterministic run that is killed and resumed ends with the same weights as an uninterrupted one."""
    backend, arguments = MODELS[name]
    fixed = [
        *arguments,
        "--preset",
        "nano",
        "--steps",
        steps,
        "--eval-every",
        steps // 4,
        "--deterministic",
        "--device",
        bench.device,
    ]
    if bench.run("train", backend, *fixed, "--run", f"{name}-alone", "-q") is None:
        return
    cut = f"{name}-cut"
    command = [*AIGC, "train", backend, *map(str, fixed), "--run", cut, "-q", "--checkpoint-seconds", "0.2"]
    process = subprocess.Popen(command, cwd=bench.folder, env=bench.env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    runs = bench.folder / "runs" / backend
    while not any(int(path.name[5:]) > steps // 3 for path in (runs / cut / "checkpoints").glob("step-*")):
        if process.poll() is not None:
            bench.fail(f"{cut} ended before it was killed")
            return
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if bench.run("train", backend, "--run", cut, "--resume", "-q") is None:
        return
    same = (runs / cut / "model/model.safetensors").read_bytes() == (
        runs / f"{name}-alone/model/model.safetensors"
    ).read_bytes()
    print(f"{name}: killed and resumed, {'the same weights' if same else 'OTHER WEIGHTS'}", flush=True)
    if not same:
        bench.fail(f"{name}: killed and resumed with --deterministic, it ends with other weights")


def waits(bench: Bench, name: str) -> None:
    """How often a step waits for the device, counted by PyTorch's warnings in steps without report or evaluation."""
    backend, arguments = MODELS[name]
    code = (
        "import sys, warnings, torch; from aigc_cli.engine.step import {step} as Step; call = Step.__call__; count = [0, 0]\n"
        "def counted(self, *a, **k):\n"
        "    count[0] += 1\n"
        "    if count[0] <= 20: return call(self, *a, **k)\n"
        "    torch.cuda.set_sync_debug_mode('warn')\n"
        "    with warnings.catch_warnings(record=True) as caught:\n"
        "        warnings.simplefilter('always'); out = call(self, *a, **k)\n"
        "    torch.cuda.set_sync_debug_mode('default'); seen = [w for w in caught if 'synchroniz' in str(w.message)]; count[1] += len(seen)\n"
        "    if count[0] == 21: print('\\n'.join(sorted({{f'{{w.filename}}:{{w.lineno}}' for w in seen}})))\n"
        "    return out\n"
        "Step.__call__ = counted; sys.argv = ['aigc', *sys.argv[1:]]\n"
        "from aigc_cli.app import run; run(); print('waits a step', count[1] / max(1, count[0] - 20))"
    )
    step = "TrainStep" if "class TrainStep" in (ROOT / "aigc_cli/engine/step.py").read_text() else "Turns"
    command = [
        sys.executable,
        "-c",
        code.format(step=step),
        "train",
        backend,
        *arguments,
        "--preset",
        "nano",
        "--steps",
        "120",
        "--eval-every",
        "60",
    ]
    command += ["--log-every", "60", "--run", f"{name}-waits", "--device", bench.device, "-q"]
    done = subprocess.run(command, cwd=bench.folder, env=bench.env, capture_output=True, text=True, timeout=200)
    found = [line for line in done.stdout.splitlines() if "waits a step" in line or ".py:" in line]
    print(f"{name}: " + ("; ".join(found) if found else f"not counted: {done.stderr[-300:]}"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", default=list(MODELS))
    parser.add_argument("--skip", nargs="*", default=[], choices=["tests", "train", "kill", "waits", "memory"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    card = torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device
    print(f"{card}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}", flush=True)
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, options.device)
    if "train" not in options.skip:
        print("| | plan | steps | training | rate | measured | 16 samples |\n| --- | --- | --- | --- | --- | --- | --- |")
        for name in options.only:
            trained(bench, name, options.minutes)
    if "kill" not in options.skip:
        for name in options.only:
            killed(bench, name, 300)
    if "waits" not in options.skip:
        for name in options.only:
            waits(bench, name)
    if "memory" not in options.skip:
        huge = [
            "--preset",
            "small",
            "--batch-size",
            16384,
            "--steps",
            2,
            "--device",
            options.device,
            "--run",
            "huge",
            "--data",
            "demo:shapes?n=17000",
            "-q",
        ]
        if (done := bench.run("train", "vae", *[a for a in huge if a != "-q"])) is not None:
            told = [line for line in done.stderr.splitlines() if "memory" in line]
            print(f"a batch that does not fit: {told[-1] if told else 'nothing was told'}")
    if "tests" not in options.skip:
        tests = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-o",
            "addopts=",
            "-p",
            "no:cacheprovider",
            str(ROOT / "tests/test_gpu.py"),
        ]
        try:
            done = subprocess.run(tests, cwd=ROOT, env=bench.env, capture_output=True, text=True, timeout=150)
            print(done.stdout[-1500:], flush=True)
            if done.returncode:
                bench.fail(f"tests/test_gpu.py: exit {done.returncode}")
        except subprocess.TimeoutExpired:
            bench.fail("tests/test_gpu.py: no end after 150 s")
    print(f"{len(bench.failed)} failed")
    sys.exit(bool(bench.failed))


if __name__ == "__main__":
    main()
