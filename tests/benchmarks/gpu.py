"""Everything that needs a GPU, in about eight minutes: every backend used whole, and what only a GPU computes otherwise.

    python tests/benchmarks/gpu.py                         on the GPU, with nothing else running on the machine
    python tests/benchmarks/gpu.py --device cpu --quick    tiny models on a CPU, to see that the script works

With --text FILE and --pictures SRC (Tiny Shakespeare, MNIST) a model is trained on each for two minutes more. With checkouts of
nanoGPT and pytorch/examples (--nanogpt, --examples) their training steps are timed beside ours.

Prints a table with the device's name. What fails is told, and the rest goes on; exits with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gpu_peers
import torch
from gpu_inside import differences, last, speed, trained, waits, wrong_draws

from aigc_cli.backends.gan import config as gan
from aigc_cli.backends.gan.backend import GANBackend
from aigc_cli.backends.transformer import config as transformer
from aigc_cli.backends.transformer.backend import TransformerBackend
from aigc_cli.backends.vae import config as vae
from aigc_cli.backends.vae.backend import VAEBackend
from aigc_cli.engine.device import open_device, resolve_precision
from aigc_cli.engine.settings import TrainOptions

ROOT = Path(__file__).parents[2]
AIGC = [sys.executable, "-m", "aigc_cli.app"]
BACKENDS: dict[str, Any] = {"gan": GANBackend(), "transformer": TransformerBackend(), "vae": VAEBackend()}
TRAIN: dict[str, Any] = {"gan": gan.Train, "transformer": transformer.Train, "vae": vae.Train}
#: By name, the backend of a model, and the options of `train` that make it.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "decoder-only": ("transformer", {}),
    "encoder-decoder": ("transformer", {"arch": "encoder-decoder"}),
    "gan": ("gan", {}),
    "vae": ("vae", {}),
    "codes": ("vae", {"codes": True}),
    "samples": ("vae", {"objective": "samples"}),
    "records": ("transformer", {"fields": "caption,picture"}),
}
SMALL = {"preset": "nano", "batch_size": 8, "eval_items": 16}
OBJECTIVES = {"transformer": "bits_per_char", "gan": "kd_random", "vae": "bits_per_dim"}
#: Those whose numbers are compared with the CPU's.
COMPARED = ("decoder-only", "encoder-decoder", "gan", "vae")
#: The most that numbers may differ from the CPU's, as shares of the largest.
FP32, BF16 = 1e-4, {"transformer": 1e-2, "gan": 3e-2, "vae": 3e-2}
#: The most of the time that the device may wait for data.
WAITS = 0.05
LIMITED = 3e9  # bytes that a run may use which does not fit


class Failed(Exception):
    pass


def as_flags(options: Mapping[str, Any]) -> list[str]:
    named = [(f"--{name.replace('_', '-')}", value) for name, value in options.items()]
    return [part for flag, value in named for part in ([flag] if value is True else [flag, str(value)])]


class Bench:
    """Where the runs are, and the table."""

    def __init__(self, folder: Path, device: str, *, quick: bool, command: Sequence[str] = AIGC) -> None:
        self.folder, self.device, self.quick, self.command = folder, device, quick, command
        self.failed = 0
        self.env = {**os.environ, "AIGC_CACHE_DIR": str(folder / "cache")}
        if command is AIGC:  # also where the package isn't installed
            self.env["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        rows = [f"what is {n} and {n + 1}?\tthe sum is {2 * n + 1}, the product {n * (n + 1)}" for n in range(400)]
        (folder / "pairs.tsv").write_text("\n".join(["first\tsecond", *rows]))

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def data(self, name: str) -> dict[str, str]:
        """The options of a model's data."""
        if MODELS[name][0] != "transformer":
            return {"data": "demo:shapes?n=200", "size": "16"} if self.quick else {"data": "demo:shapes?n=5000"}
        if name == "records":
            return {"data": "demo:scenes"}
        if not self.quick:
            return {"data": "demo:verse"}
        columns = {"source": "first", "target": "second"} if name == "encoder-decoder" else {"column": "second"}
        return {"data": str(self.folder / "pairs.tsv"), **columns}

    def chosen(self, name: str) -> dict[str, Any]:
        """The options of `train` for a model."""
        return {**self.data(name), **MODELS[name][1], "device": self.device, **(SMALL if self.quick else {})}

    def arguments(self, name: str, **changed: Any) -> list[str]:
        """The command that trains a model."""
        return ["train", MODELS[name][0], *as_flags({**self.chosen(name), **changed})]

    def options(self, name: str, **changed: Any) -> TrainOptions:
        """The options for training a model within this process."""
        found: TrainOptions = TRAIN[MODELS[name][0]](**{**self.chosen(name), "steps": 1000, "compile": False, **changed})
        return found

    def run(self, *arguments: object, command: Sequence[str] | None = None, timeout: float = 120, **environ: str) -> str:
        """What a command prints. Raises `Failed` if it fails."""
        line = " ".join(map(str, arguments))
        try:
            done = subprocess.run(
                [*(command or self.command), *map(str, arguments)],
                cwd=self.folder, env=self.env | environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failed(f"{line}: no end after {timeout:.0f} s") from None
        if done.returncode:
            raise Failed(f"{line}: exit {done.returncode}\n{done.stderr[-1500:]}")
        return done.stdout + done.stderr if "-q" not in arguments else done.stdout

    def path(self, name: str, run: str) -> Path:
        return self.folder / "runs" / MODELS[name][0] / run

    def weights(self, name: str, run: str) -> bytes:
        return (self.path(name, run) / "model" / "model.safetensors").read_bytes()

    def row(self, what: str, name: str, check: Callable[[], tuple[str, bool]]) -> None:
        """Make a check and print its figure, and whether what it must show holds."""
        began = time.perf_counter()
        try:
            figure, holds = check()
        except Exception as error:
            if not isinstance(error, Failed):
                traceback.print_exc()
            figure, holds = str(error).partition("\n")[0][:300], False
            print(f"FAILED {what}, {name}: {error}", file=sys.stderr, flush=True)
        self.failed += not holds
        seconds = time.perf_counter() - began
        print(f"| {what} | {name} | {figure} | {'yes' if holds else '**no**'} | {seconds:.0f} s |", flush=True)


def used(bench: Bench, name: str, minutes: float) -> tuple[str, bool]:
    """Train, sample, evaluate, encode and decode."""
    backend, on = MODELS[name][0], ["--device", bench.device]
    asked = ["--steps", 8] if bench.quick else ["--minutes", minutes] if name in COMPARED else ["--steps", 60]
    made = json.loads(bench.run(*bench.arguments(name), *asked, "--run", name, "--json", "-q").splitlines()[0])
    plan = json.loads((bench.path(name, name) / "run.json").read_text())["plan"]
    lines = [json.loads(line) for line in (bench.path(name, name) / "metrics.jsonl").read_text().splitlines()]
    rates = sorted(value for line in lines for key, value in line.items() if key.endswith("_per_second"))
    n = ["-n", 40] if bench.quick else []
    measured = json.loads(bench.run("eval", backend, "--run", name, *n, *on, "--json", "-q").splitlines()[0])
    objective = {"codes": "psnr", "samples": "kd_random"}.get(name, OBJECTIVES[backend])
    value = measured[objective]
    if name != "codes":
        few = ["--max-tokens", 8] if bench.quick and backend == "transformer" else []
        asks = ["--prompt", "what is 3 and 4?"] if name == "encoder-decoder" else []
        bench.run("sample", backend, "--run", name, "-n", 4, "--seed", 0, *few, *asks, *on, "-q")
    if backend == "vae":
        bench.run("encode", "vae", "--data", bench.data(name)["data"], "--run", name, "--out", f"{name}.npz", *on, "-q")
        bench.run("decode", "vae", "--from", f"{name}.npz", "--run", name, "--out", f"{name}-decoded", *on, "-q")
    interval = f"[{value['low']:.4g}, {value['high']:.4g}]" if value.get("low") is not None else ""
    shape = f"{plan['preset']}, batch {plan['batch_size']}, {plan['precision']}"
    rate = rates[len(rates) // 2] if rates else 0
    figure = f"{objective} {value['value']:.4g} {interval} (n = {value['n']})"
    return f"{shape}: {made['steps']:,} steps, {rate:,.0f}/s; {figure}", True


def same(bench: Bench, name: str) -> tuple[str, bool]:
    """Two deterministic runs, and one that is killed and resumed, end with the same weights."""
    steps = 12 if bench.quick else 200
    fixed = [*bench.arguments(name, preset="nano", steps=steps, eval_every=steps // 4, deterministic=True), "-q"]
    for run in ("alone", "again"):
        bench.run(*fixed, "--run", f"{name}-{run}")
    cut = f"{name}-cut"
    process = subprocess.Popen(
        [*bench.command, *map(str, fixed), "--run", cut, "--checkpoint-seconds", "0.01"],
        cwd=bench.folder, env=bench.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    saved = bench.path(name, cut) / "checkpoints"
    while not any(int(path.name[5:]) >= steps // 3 for path in saved.glob("step-*")):
        if process.poll() is not None:
            raise Failed(f"{cut} ended before it was killed")
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    bench.run("train", MODELS[name][0], "--run", cut, "--resume", "-q")
    alone, *others = (bench.weights(name, f"{name}-{run}") for run in ("alone", "again", "cut"))
    again, resumed = ("the same" if other == alone else "OTHER" for other in others)
    return f"again: {again} weights; killed and resumed: {resumed} weights", others == [alone, alone]


def rounded(bench: Bench, name: str) -> tuple[str, bool]:
    """Losses in bfloat16 are those in float32, as far as those of two seeds are alike."""
    backend, steps = BACKENDS[MODELS[name][0]], 10 if bench.quick else 300
    exact, other, rough = (
        last(trained(backend, bench.options(name, precision=precision, seed=seed), steps, bench.folder).losses)
        for precision, seed in (("fp32", 0), ("fp32", 1), ("bf16", 0))
    )
    figure = f"last losses {rough:.4g} in bf16, {exact:.4g} in fp32, {other:.4g} with another seed"
    return figure, abs(rough - exact) <= 2 * abs(other - exact) + 0.02 * abs(exact)


def compiled(bench: Bench, name: str) -> tuple[str, bool]:
    """Losses with and without --compile are alike, and what it gains."""
    backend, steps = BACKENDS[MODELS[name][0]], 200
    plain, fast = (trained(backend, bench.options(name, compile=how), steps, bench.folder) for how in (False, True))
    figure = f"last losses {last(fast.losses):.4g} and {last(plain.losses):.4g}; a step {plain.seconds / fast.seconds:.2f} times as fast"
    return figure, abs(last(fast.losses) - last(plain.losses)) <= 0.02 * abs(last(plain.losses))


def alike(bench: Bench, name: str) -> tuple[str, bool]:
    of_fp32, of_bf16 = differences(name, bench.path(name, name) / "model", bench.device)
    figure = f"{of_fp32:.1e} in fp32, {of_bf16:.1e} in bf16 of the largest number"
    return figure, of_fp32 <= FP32 and of_bf16 <= BF16[MODELS[name][0]]


def drawn(bench: Bench) -> tuple[str, bool]:
    wrong, n = wrong_draws(bench.device, *((16, 2000, 5) if bench.quick else (512, 50_000, 200)))
    return f"{wrong} of {n:,} tokens had weight 0", wrong == 0


def fast(bench: Bench, name: str) -> tuple[str, bool]:
    """Speed, and the share of the time that the device waits for data."""
    bigger = {} if bench.quick else {"preset": "base"}
    found = speed(BACKENDS[MODELS[name][0]], bench.options(name, **bigger), 5 if bench.quick else 40, bench.folder)
    share = found.flops / found.peak
    figure = f"{found.items:,.0f} {found.unit}/s; waits for data {found.waits:.1%}; {found.flops / 1e12:.3g} TFLOP/s, {share:.0%} of a matrix product's"
    return figure, not bench.on_gpu or found.waits < WAITS


def quality(bench: Bench, backend: str, source: str, minutes: float) -> tuple[str, bool]:
    """What two minutes reach, no setting touched."""
    on, named = ["--device", bench.device, "--json", "-q"], ["--run", "quality"]
    told = bench.run("train", backend, "--data", source, "--minutes", minutes, *named, *on, timeout=60 * minutes + 120)
    made = json.loads(told.splitlines()[0])
    measured = json.loads(bench.run("eval", backend, *named, *on).splitlines()[0])
    shown = [name for name in ("bits_per_char", "fd_labels", "fd_random", "bits_per_dim") if name in measured]
    figures = [f"{name} {measured[name]['value']:.4g} (n = {measured[name]['n']})" for name in shown]
    return f"{Path(source).name}, {minutes:g} minutes, {made['steps']:,} steps: {', '.join(figures)}", bool(figures)


def beside_nanogpt(bench: Bench, checkout: Path) -> tuple[str, bool]:
    """Tokens a second of the same shape, each as its own command trains."""
    device, steps, shape = open_device(bench.device), 3 if bench.quick else 100, gpu_peers.SHAPE
    ours = {"preset": None, "d_model": shape["n_embd"], "n_layers": shape["n_layer"], "n_heads": shape["n_head"], "dropout": shape["dropout"],
            "context": shape["block_size"], "batch_size": gpu_peers.BATCH, "compile": bench.on_gpu}  # fmt: skip
    own = trained(BACKENDS["transformer"], bench.options("decoder-only", **ours), steps, bench.folder).seconds
    precision = resolve_precision("auto", device)
    theirs = gpu_peers.nanogpt(checkout, device, precision, 2048, steps, compiled=bench.on_gpu)
    tokens = gpu_peers.BATCH * int(shape["block_size"])
    figure = f"{tokens / own:,.0f} tokens/s, nanoGPT {tokens / theirs:,.0f}: {theirs / own:.2f} times as fast"
    return figure, True


def beside_dcgan(bench: Bench, checkout: Path) -> tuple[str, bool]:
    """Pictures of 64×64 a second in batches of 64; ours are other networks."""
    steps = 3 if bench.quick else 100
    asked = {"size": "64", "preset": "nano" if bench.quick else "small", "batch_size": 64}
    own = trained(BACKENDS["gan"], bench.options("gan", **asked), steps, bench.folder).seconds
    theirs = gpu_peers.dcgan(checkout, open_device(bench.device), steps)
    return f"{64 / own:,.0f} pictures/s, the DCGAN example {64 / theirs:,.0f}", True


def halved(bench: Bench) -> tuple[str, bool]:
    """A batch that needs more than the process may use is split, in training itself."""
    share = LIMITED / torch.cuda.get_device_properties(bench.device).total_memory
    code = (
        f"import sys, torch; torch.cuda.set_per_process_memory_fraction({share}); sys.argv[0] = 'aigc'; "
        "from aigc_cli.app import run; sys.exit(run())"
    )
    big = bench.arguments("vae", preset="small", batch_size=2048, micro_batch_size=2048, steps=2, run="huge")
    told = bench.run(*big, command=[sys.executable, "-c", code])
    lines = [line for line in told.splitlines() if "out of memory" in line]
    return (lines or ["it fitted"])[-1], bool(lines)


def together(bench: Bench) -> tuple[str, bool]:
    """Two processes end with the weights of one."""
    on_gpus = bench.on_gpu and torch.cuda.device_count() > 1
    device = "cuda" if on_gpus else "cpu"
    small = {"preset": "nano", "d_model": 32, "context": 64, "batch_size": 8, "steps": 6, "threads": 1, "deterministic": True}
    pairs = {"data": bench.folder / "pairs.tsv", "column": "second"}
    fixed = ["train", "transformer", *as_flags({**pairs, **small, "device": device}), "-q"]
    if bench.quick:  # as a launcher does, without its own process
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
        known = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(lambda rank: bench.run(*fixed, "--run", "two", **known, RANK=rank, LOCAL_RANK=rank), "01"):
                pass
    else:
        bench.run(*fixed, "--devices", 2, "--run", "two")
    bench.run(*fixed, "--shards", 2, "--run", "one")
    equal = bench.weights("decoder-only", "two") == bench.weights("decoder-only", "one")
    return f"2 {'GPUs' if on_gpus else 'processes on the CPU'}: {'the same' if equal else 'OTHER'} weights", equal


def waiting(bench: Bench, name: str) -> tuple[str, bool]:
    """How often a step waits for the device."""
    times, places = waits(BACKENDS[MODELS[name][0]], bench.options(name, preset="nano"), 100, bench.folder)
    return f"{times:g} times a step {' '.join(places)}", times == 0


def tests(bench: Bench) -> tuple[str, bool]:
    pytest = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    return bench.run(ROOT / "tests/test_gpu.py", command=pytest, timeout=180).strip().splitlines()[-1], True


def checks(bench: Bench, options: argparse.Namespace) -> Iterator[tuple[str, str, Callable[[], tuple[str, bool]]]]:
    """What, of which model, and the check. Quick, each is made once."""
    once = ("decoder-only",)
    for name in COMPARED if bench.quick else MODELS:
        yield "train, sample, eval, encode, decode", name, lambda name=name: used(bench, name, options.minutes)
    for name in COMPARED:
        yield "numbers beside the CPU's", name, lambda name=name: alike(bench, name)
    yield "draws", "", lambda: drawn(bench)
    for name in once if bench.quick else COMPARED:
        yield "deterministic", name, lambda name=name: same(bench, name)
    for name in ("vae",) if bench.quick else ("decoder-only", "encoder-decoder", "vae"):
        yield "bf16 beside fp32", name, lambda name=name: rounded(bench, name)
    for name in ("gan",) if bench.quick else ("decoder-only", "gan", "vae"):
        yield "speed", name, lambda name=name: fast(bench, name)
    yield "several processes", "decoder-only", lambda: together(bench)
    if bench.on_gpu:
        yield "compiled", "decoder-only", lambda: compiled(bench, "decoder-only")
        yield "out of memory", "vae", lambda: halved(bench)
        for name in once if bench.quick else COMPARED:
            yield "waits for the device", name, lambda name=name: waiting(bench, name)
        yield "tests/test_gpu.py", "", lambda: tests(bench)
    if options.nanogpt:
        yield "beside nanoGPT", "decoder-only", lambda: beside_nanogpt(bench, options.nanogpt)
    if options.examples:
        yield "beside DCGAN", "gan", lambda: beside_dcgan(bench, options.examples)
    for backend, source in (("transformer", options.text), ("gan", options.pictures)):
        if source:
            minutes = 0.3 if bench.quick else 2.0
            yield "quality", backend, lambda asked=(backend, source, minutes): quality(bench, *asked)


def main(arguments: Sequence[str] | None = None, command: Sequence[str] = AIGC) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.25, help="that each model is trained for")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny models and few steps")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="only the checks whose names contain one of these")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--text", help="a file of text to measure quality on")
    parser.add_argument("--pictures", help="labelled pictures to measure quality on")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--examples", type=Path, help="a checkout of pytorch/examples")
    options = parser.parse_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, options.device, quick=options.quick, command=command)
    os.environ["AIGC_CACHE_DIR"] = bench.env["AIGC_CACHE_DIR"]
    card = torch.cuda.get_device_name(options.device) if bench.on_gpu else options.device
    print(f"{card}, PyTorch {torch.__version__}, {time.strftime('%Y-%m-%d')}\n")
    print("| what | model | figure | holds | |\n| --- | --- | --- | --- | --- |", flush=True)
    for what, name, check in checks(bench, options):
        if options.only is None or any(wanted in what for wanted in options.only):
            bench.row(what, name, check)
    print(f"\n{bench.failed} failed")
    return int(bench.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
