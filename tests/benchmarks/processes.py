"""Training in several processes, tried whole: equal bits, deaths, two machines, cost.

    python tests/benchmarks/processes.py equal            every backend on 4, 2 and 1 processes: one hash
    python tests/benchmarks/processes.py moved            begun on 4, killed, resumed on 1, killed, resumed on 2
    python tests/benchmarks/processes.py killed -n 10     the second process killed at random times under torchrun --max-restarts
    python tests/benchmarks/processes.py nodes            two network namespaces joined by a cable (Linux, root), as two machines
    python tests/benchmarks/processes.py cost             steps and memory of two processes beside one
    python tests/benchmarks/processes.py cost --before X  steps beside those of an earlier version, whose checkout is the folder X

Each process computes with one thread. A hash is of the last checkpoint (weights, averages, optimisers) and of the lines of metrics
without times.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from aigc_cli.engine.processes.updates import owners

ROOT = Path(__file__).parents[2]
AIGC = ["-m", "aigc_cli"]
#: For torchrun, which without the two dashes takes --run for a flag of its own.
MODULE = ["-m", "--", "aigc_cli"]
SHAPES = ["--data", "demo:shapes?n=600", "--size", "16", "--preset", "nano", "--batch-size", "10", "--eval-items", "32"]
VERSE = ["transformer", "--data", "demo:verse", "--preset", "nano", "--d-model", "64", "--dropout", "0.1"]
MODELS = {
    "gan": ["gan", *SHAPES],
    "gan --conditional": ["gan", *SHAPES, "--conditional"],
    "vae": ["vae", *SHAPES, "--objective", "likelihood", "--free-bits", "0.2"],
    "vae --objective samples": ["vae", *SHAPES, "--objective", "samples"],
    "vae --codes": ["vae", *SHAPES, "--codes"],
    "transformer": [*VERSE, "--n-layers", "2", "--context", "64", "--batch-size", "7"],
    "encoder-decoder": [*VERSE, "--arch", "encoder-decoder", "--source-ratio", "0.5", "--batch-size", "7"],
}
#: For timing: the sizes that a laptop trains.
LARGER = {
    "gan": ["--size", "32", "--batch-size", "32"],
    "vae": ["--size", "32", "--preset", "small", "--batch-size", "64"],
    "vae without free bits": ["--size", "32", "--preset", "small", "--batch-size", "64", "--free-bits", "0"],
    "transformer": ["--d-model", "128", "--n-layers", "4", "--context", "128", "--batch-size", "16"],
    "encoder-decoder": ["--d-model", "128", "--batch-size", "16"],
}
SHARDS = 4


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.failed = folder, 0
        self.env = {**os.environ, "AIGC_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start(self, command: Sequence[object], **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*map(str, command)],
            cwd=self.folder,
            env=self.env | environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def train(self, run: str, *arguments: object, devices: int = 1, check: bool = True) -> str:
        """Train to the end. Returns what was told."""
        command = [sys.executable, *AIGC, "train", *arguments, "--run", run, "--devices", devices]
        process = self.start(command)
        _, told = process.communicate()
        assert not check or process.returncode == 0, told[-2000:]
        return told

    def result(self, run: str) -> str:
        (path,) = self.folder.glob(f"runs/*/{run}")
        last = max((path / "checkpoints").glob("step-*"))
        timed = ("position.json", "manifest.json")
        files = [file for file in sorted(last.rglob("*")) if file.is_file() and file.name not in timed]
        lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        kept = [{name: value for name, value in line.items() if "second" not in name} for line in lines]
        content = b"".join(file.read_bytes() for file in files) + json.dumps(kept).encode()
        return f"{last.name} {hashlib.sha256(content).hexdigest()[:16]}"

    def compare(self, name: str, results: Sequence[str]) -> None:
        same = len(set(results)) == 1
        self.failed += not same
        print(f"| {name} | {results[0]} | {'equal' if same else ' DIFFERS '.join(results)} |", flush=True)


def settings(name: str, steps: int) -> list[object]:
    return [*MODELS[name], "--steps", steps, "--shards", SHARDS, "--threads", 1]


def equal(bench: Bench, options: argparse.Namespace) -> None:
    print(f"| {options.steps} steps, {SHARDS} shards | 1 process | 4, 2 and 3 processes |\n| --- | --- | --- |")
    for name in options.only or MODELS:
        results = []
        for devices in (1, 4, 2, 3):
            run = f"{name.replace(' ', '')}-{devices}"
            bench.train(run, *settings(name, options.steps), devices=devices)
            results.append(bench.result(run))
        bench.compare(name, results)


def wait_for_checkpoint(bench: Bench, run: str, process: subprocess.Popen[str], after: int) -> bool:
    while process.poll() is None:
        steps = [int(path.name[5:]) for path in bench.folder.glob(f"runs/*/{run}/checkpoints/step-*")]
        if max(steps, default=0) > after:
            return True
        time.sleep(0.05)
    return False


def workers(rank: int) -> list[int]:
    """The processes of this rank that a launcher has started here."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"\0RANK={rank}\0".encode() in environ.read_bytes() and b"aigc_cli" in (environ.parent / "cmdline").read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def moved(bench: Bench, options: argparse.Namespace) -> None:
    print("| begun on 4, killed, on 1, killed, on 2 | undisturbed | |\n| --- | --- | --- |")
    for name in options.only or MODELS:
        given = [*settings(name, 40 * options.steps), "--checkpoint-seconds", 0.5, "--eval-every", 10 * options.steps]
        bench.train("whole", *given)
        after = 0
        for devices in (4, 1):
            more = given if devices == 4 else [given[0], "--resume"]
            process = bench.start([sys.executable, *AIGC, "train", *more, "--run", "moved", "--devices", devices])
            if wait_for_checkpoint(bench, "moved", process, after):
                victims = workers(2) if devices == 4 else [process.pid]
                os.kill(victims[0], signal.SIGKILL)
            process.communicate()
            after = max(int(path.name[5:]) for path in bench.folder.glob("runs/*/moved/checkpoints/step-*"))
        bench.train("moved", given[0], "--resume", devices=2)
        bench.compare(name, [bench.result("whole"), bench.result("moved")])
        for run in ("whole", "moved"):
            subprocess.run(["rm", "-r", *bench.folder.glob(f"runs/*/{run}")], check=True)


def killed(bench: Bench, options: argparse.Namespace) -> None:
    """The second of two processes is killed at random times; torchrun starts both again."""
    rng = random.Random(0)
    for name in options.only or ["gan", "vae", "transformer", "encoder-decoder"]:
        given = [*settings(name, 100 * options.steps), "--checkpoint-seconds", 0.5, "--eval-every", 25 * options.steps]
        bench.train("whole", *given)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--max-restarts", 99]
        process = bench.start([*torchrun, *MODULE, "train", *given, "--run", "killed"], LOGLEVEL="CRITICAL")
        times, longest = 0, 0.0
        while times < options.n and process.poll() is None:
            time.sleep(rng.uniform(3, 12))
            victims = workers(1)
            if not victims or process.poll() is not None:
                continue
            os.kill(victims[0], signal.SIGKILL)
            times, at = times + 1, time.monotonic()
            while (again := workers(1)) == victims or not again:
                if process.poll() is not None:
                    break
                time.sleep(0.02)
            longest = max(longest, time.monotonic() - at)
        _, told = process.communicate()
        if process.returncode:
            print(told[-1500:])
        bench.compare(
            f"{name}, killed {times} times; at most {longest:.1f} s until both were there again",
            [bench.result("whole"), bench.result("killed")],
        )
        subprocess.run(["rm", "-r", *bench.folder.glob("runs/*/whole"), *bench.folder.glob("runs/*/killed")], check=True)


def carried(spaces: Sequence[str]) -> int:
    """The bytes that both ends of the cable have sent."""
    total = 0
    for side, space in enumerate(spaces):
        counter = f"/sys/class/net/aigcv{side}/statistics/tx_bytes"
        done = subprocess.run(["ip", "netns", "exec", space, "cat", counter], capture_output=True, text=True, check=True)
        total += int(done.stdout)
    return total


def nodes(bench: Bench, options: argparse.Namespace) -> None:
    """Two network namespaces, each with an agent of torchrun and two processes."""

    def ip(command: str) -> None:
        subprocess.run(["ip", *command.split()], check=True)

    spaces = [f"aigc{os.getpid()}{side}" for side in "ab"]
    for side, space in enumerate(spaces):
        ip(f"netns add {space}")
        if side == 0:
            ip(f"link add aigcv0 netns {space} type veth peer name aigcv1")
    try:
        ip(f"link set aigcv1 netns {spaces[1]}")
        for side, space in enumerate(spaces):
            ip(f"-n {space} addr add 10.77.0.{side + 1}/24 dev aigcv{side}")
            ip(f"-n {space} link set aigcv{side} up")
            ip(f"-n {space} link set lo up")

        def begin(side: int, *arguments: object, each: int = 2, **environ: str) -> subprocess.Popen[str]:
            launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", 2, "--nproc-per-node", each]
            launcher += [
                "--rdzv-backend",
                "c10d",
                "--rdzv-endpoint",
                "10.77.0.1:29400",
                "--rdzv-conf",
                f"is_host={1 - side}",
                "--rdzv-id",
                "two",
                "--local-addr",
                f"10.77.0.{side + 1}",
            ]
            command = ["ip", "netns", "exec", spaces[side], *launcher, *MODULE, "train", *arguments]
            return bench.start(command, GLOO_SOCKET_IFNAME=f"aigcv{side}", LOGLEVEL="CRITICAL", **environ)

        given = settings("transformer", options.steps)
        bench.train("one", *given)
        both = [begin(side, *given, "--run", "two") for side in (0, 1)]
        told = [process.communicate()[1] for process in both]
        if any(process.returncode for process in both):
            print(*told, sep="\n")
        bench.compare("two nodes of two processes", [bench.result("one"), bench.result("two")])

        sent = []
        for steps in (options.steps, 3 * options.steps):
            before = carried(spaces)
            more = [
                "--steps",
                steps,
                "--shards",
                2,
                "--eval-every",
                steps,
                "--checkpoint-seconds",
                1000,
                "--run",
                f"sent-{steps}",
            ]
            for process in [begin(side, *MODELS["transformer"], "--threads", 1, *more, each=1) for side in (0, 1)]:
                process.communicate()
            sent.append(carried(spaces) - before)
        (path,) = bench.folder.glob("runs/*/one/model/model.safetensors")
        a_step = (sent[1] - sent[0]) / (2 * options.steps) / 2
        print(
            f"sent by each of two processes, a step: {a_step:,.0f} bytes = {a_step / path.stat().st_size:.2f} × the model's",
            flush=True,
        )

        seconds = 20.0
        both = [
            begin(side, *settings("transformer", 100_000), "--checkpoint-seconds", 1, "--run", "cut", AIGC_TIMEOUT=str(seconds))
            for side in (0, 1)
        ]
        assert wait_for_checkpoint(bench, "cut", both[0], 0), both[0].communicate()[1]
        ip(f"-n {spaces[1]} link set aigcv1 down")  # nobody says goodbye
        at = time.monotonic()
        first = workers(0)
        while any(
            Path(f"/proc/{pid}").exists() and b"Z" not in Path(f"/proc/{pid}/stat").read_bytes().split(b")")[1][:3]
            for pid in first
        ):
            time.sleep(0.05)
            assert time.monotonic() - at < 10 * seconds
        noticed = time.monotonic() - at
        for process in both:
            process.kill()
        (line,) = re.findall(r"aigc: .*", both[0].communicate()[1])[-1:] or ["nothing"]
        bench.failed += noticed > seconds + 10
        print(f"the cable cut: noticed after {noticed:.1f} s of at most {seconds:.0f}; told: {line}")
        for pid in workers(1) + workers(2) + workers(3):
            os.kill(pid, signal.SIGKILL)
    finally:
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)


def largest_share(parameters: Sequence[torch.nn.Parameter], processes: int) -> int:
    """What the process with most parameters updates."""
    found = owners(parameters, processes)
    return max(sum(p.numel() for p, owner in found.items() if owner == rank) for rank in range(processes))


def cost(bench: Bench, options: argparse.Namespace) -> None:
    """Seconds a step, alternating, and what a process keeps."""

    def rate(name: str, run: str, *more: object, devices: int = 1, root: Path = ROOT) -> float:
        bench.env["PYTHONPATH"] = str(root)
        asked = [
            *MODELS[name.removesuffix(" without free bits")],
            *LARGER[name],
            "--steps",
            options.steps,
            "--eval-every",
            options.steps,
            "--log-every",
            options.steps // 2,
            *more,
        ]
        module = "aigc_cli.app" if root != ROOT else "aigc_cli"
        flags = ["--devices", devices] if root == ROOT else []
        process = bench.start([sys.executable, "-m", module, "train", *asked, "--run", run, *flags])
        _, told = process.communicate()
        assert process.returncode == 0, told
        (path,) = bench.folder.glob(f"runs/*/{run}")
        lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        seconds = [line["seconds"] for line in lines if line["event"] == "trained"]
        subprocess.run(["rm", "-r", path], check=True)
        return (seconds[1] - seconds[0]) / (options.steps - options.steps // 2)

    def compared(head: str, one: Callable[[str], float], two: Callable[[str], float]) -> None:
        print(f"| {head} | ratio (median, least and most of pairs) |\n| --- | --- | --- | --- |")
        for name in options.only or LARGER:
            pairs = [(one(name), two(name)) for _ in range(options.n)]
            first, second = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
            ratios = sorted(b / a for a, b in pairs)
            told = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} … {ratios[-1]:.2f}, n = {len(ratios)})"
            print(f"| {name} | {first:.1f} | {second:.1f} | {told} |", flush=True)

    if options.before is not None:
        compared(
            "a step with one shard, ms | before | now",
            lambda name: rate(name, "a", "--threads", 1, root=options.before),
            lambda name: rate(name, "b", "--threads", 1),
        )
        return
    compared(
        "a step, ms | 1 process of 2 threads | 2 of 1 thread",
        lambda name: rate(name, "a", "--threads", 2, "--shards", 1),
        lambda name: rate(name, "b", "--threads", 1, "--shards", 2, devices=2),
    )
    print("| bytes of the optimisers' states | 1 process | each of 2 | each of 4 |\n| --- | --- | --- | --- |")
    for name in [name for name in options.only or MODELS if name in MODELS]:
        bench.train("kept", *settings(name, 4))
        (path,) = bench.folder.glob("runs/*/kept/checkpoints/step-000004/state/optimizers.safetensors")
        sizes: dict[str, int] = {}
        for key, tensor in load_file(path).items():
            parameter = key.rsplit("/", 1)[0]
            sizes[parameter] = sizes.get(parameter, 0) + tensor.nbytes
        parameters = [torch.nn.Parameter(torch.empty(size, device="meta")) for size in sizes.values()]
        kept = [largest_share(parameters, processes) for processes in (1, 2, 4)]
        print(
            f"| {name} | {kept[0]:,} | {kept[1]:,} ({kept[1] / kept[0]:.2f}) | {kept[2]:,} ({kept[2] / kept[0]:.2f}) |",
            flush=True,
        )
        subprocess.run(["rm", "-r", path.parents[3]], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = {"equal": equal, "moved": moved, "killed": killed, "nodes": nodes, "cost": cost}
    parser.add_argument("what", choices=what)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("-n", type=int, default=10, help="kills, or pairs")
    parser.add_argument("--only", nargs="+", choices=MODELS | LARGER)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        what[options.what](bench, options)
    sys.exit(bool(bench.failed))


if __name__ == "__main__":
    main()
