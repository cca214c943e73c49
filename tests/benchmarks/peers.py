"""Our generators and what people would pick instead, each alone on the same machine for the same minutes of training.

    python tests/benchmarks/peers.py --out FOLDER [--mnist SRC] [--cifar10 SRC] [--emoji SRC [--label NAME]] [--minutes M]
        [--n 10000] [--threads N] [--only NAME …] [--examples CHECKOUT]

What to install for the peers is in peer_models.py. Training and sampling are processes of their own, so that memory is their own. Then
all samples are compared with as many held-out pictures by the same code as `aigc eval`, with the features of a classifier of the
data's labels, if it has any, and with random features. Results are added to FOLDER/results.json after each step, and a second call
continues where the first stopped. FOLDER/NAME.png has 64 samples, and FOLDER/table.md all figures so far.

Minutes are by default 10 for MNIST and 30 for the others. Those of aigc are the whole command's; those of a peer start when the data
is in memory and include the choice of its size. Seconds and memory of 1,000 samples are those of a process that loads the model and
draws them (or all, with a smaller --n).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import aigc
from peer_models import peers, shape_of
from pictures import Data, Pixels, drawn, load, measured, write_sheet

#: Our own, with the arguments of `aigc train`.
OURS = {"gan": ("gan",), "vae": ("vae",), "vae-samples": ("vae", "--objective", "samples")}
PEERS = ("diffusion", "flow-matching", "dcgan", "pythae-vae")
TIMED = 1000
COLUMNS = ("precision", "recall", "coverage", "copies")


class Dataset(NamedTuple):
    side: int
    minutes: float


DATASETS = {"mnist": Dataset(28, 10), "cifar10": Dataset(32, 30), "emoji": Dataset(64, 30)}


def data_of(arguments: argparse.Namespace, name: str) -> Data:
    return load(getattr(arguments, name), DATASETS[name].side, arguments.label if name == "emoji" else None)


def peak_bytes() -> int:
    """The most memory that this process has had, or one that it waited for."""
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most if sys.platform == "darwin" else 1024 * most


def train(arguments: argparse.Namespace, name: str, entry: str, folder: Path) -> dict[str, Any]:
    """One entry, trained; what there is to tell of it."""
    minutes, began = arguments.minutes or DATASETS[name].minutes, time.perf_counter()
    if entry in OURS:
        given = ["--data", getattr(arguments, name), "--size", DATASETS[name].side, "--minutes", minutes]
        label = ["--label", arguments.label] if name == "emoji" and arguments.label else []
        made, _ = aigc("train", *OURS[entry], *given, *label, "--run", entry, "--runs-dir", folder)
        plan = json.loads((Path(made["run"]) / "run.json").read_text())["plan"]
        found = {"run": made["run"], "steps": made["steps"], "pictures": made["steps"] * plan["batch_size"]}
    else:
        data, began = data_of(arguments, name), time.perf_counter()
        found = peers(arguments.examples)[entry].train(data, minutes, folder)
    return {"train": {**found, "seconds": time.perf_counter() - began, "bytes": peak_bytes()}}


def sample(arguments: argparse.Namespace, name: str, entry: str, folder: Path, trained: dict[str, Any]) -> dict[str, Any]:
    """All samples, kept in a file, and what the first thousand took."""
    torch.manual_seed(0)
    shape, n = shape_of(data_of(arguments, name)), arguments.n
    began = time.perf_counter()
    chunks: Iterator[Pixels]
    chunks = drawn(trained["run"], n) if entry in OURS else peers(arguments.examples)[entry].sample(shape, folder, trained)
    kept: list[Pixels] = []
    took: dict[str, Any] = {}
    while (count := sum(map(len, kept))) < n:
        kept.append(next(chunks))
        if not took and count + len(kept[-1]) >= min(TIMED, n):
            took = {"n": count + len(kept[-1]), "seconds": time.perf_counter() - began, "bytes": peak_bytes()}
    np.savez(folder / "samples.npz", np.concatenate(kept)[:n])
    return {"sample": took}


def measure(arguments: argparse.Namespace, name: str, entry: str, folder: Path) -> dict[str, Any]:
    """The measures of the samples by each kind of features, and a sheet of the first."""
    data, pictures = data_of(arguments, name), np.load(folder / "samples.npz")["arr_0"]
    write_sheet(arguments.out, f"{name}-{entry}", pictures)
    write_sheet(arguments.out, f"{name}-held-out", data.test.take(range(min(64, len(data.test)))))
    kinds = ("labels", "random") if data.classes else ("random",)
    found = {kind: measured(pictures, data, kind)[0] for kind in kinds}
    return {"measures": {kind: {key: one.to_json() for key, one in measures.items()} for kind, measures in found.items()}}


def step(arguments: argparse.Namespace) -> None:
    """One step of one entry, in a process of its own; its result goes to standard output."""
    kind, name, entry = arguments.step
    folder = arguments.out / "work" / f"{name}-{entry}"
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "train":
        found = train(arguments, name, entry, folder)
    elif kind == "sample":
        found = sample(
            arguments, name, entry, folder, json.loads((arguments.out / "results.json").read_text())[name][entry]["train"]
        )
    else:
        found = measure(arguments, name, entry, folder)
    print(json.dumps(found))


def table(results: dict[str, Any]) -> Iterator[str]:
    """Markdown, for each data set a row an entry; intervals in brackets, floors in the last row."""

    def number(value: float) -> str:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"

    def cell(measure: dict[str, Any] | None) -> str:
        if measure is None:
            return "–"
        interval = "" if measure["low"] is None else f" [{number(measure['low'])}, {number(measure['high'])}]"
        return number(measure["value"]) + interval

    for name, entries in results.items():
        done = {entry: found for entry, found in entries.items() if "measures" in found}
        if not done:
            continue
        first = next(iter(done.values()))["measures"]
        distances = [(kind, f"{which}_{kind}") for kind in first for which in ("fd", "kd")]
        figures = [*distances, *((next(iter(first)), column) for column in COLUMNS)]
        n = first[figures[0][0]][figures[0][1]]["n"]
        heads = ["entry", "pictures seen", "training, s", "MB", *(figure for _, figure in figures), "1,000 samples, s", "MB"]
        yield f"## {name}, n = {n:,}\n\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}"
        for entry, found in done.items():
            trained, sampled = found["train"], found["sample"]
            seen = f"{trained['pictures']:,}" if "pictures" in trained else "–"
            costs = [seen, f"{trained['seconds']:,.0f}", f"{trained['bytes'] / 1e6:,.0f}"]
            drawing = [f"{sampled['seconds'] * TIMED / sampled['n']:.1f}", f"{sampled['bytes'] / 1e6:,.0f}"]
            values = [cell(found["measures"][kind].get(figure)) for kind, figure in figures]
            yield f"| {' | '.join([entry, *costs, *values, *drawing])} |"
        floors = [cell(first[kind][figure]["floor"]) for kind, figure in figures]
        yield f"| {' | '.join(['real pictures', '', '', '', *floors, '', ''])} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in DATASETS:
        parser.add_argument(f"--{name}", metavar="SRC")
    parser.add_argument("--label", help="the column of --emoji with the classes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    parser.add_argument("--examples", type=Path, help="a checkout of pytorch/examples")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.step:
        step(arguments)
        return

    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "results.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in [name for name in DATASETS if getattr(arguments, name)]:
        for entry in [entry for entry in arguments.only if entry != "dcgan" or arguments.examples]:
            found = results.setdefault(name, {}).setdefault(entry, {})
            for kind, result in (("train", "train"), ("sample", "sample"), ("measure", "measures")):
                if result in found:
                    continue
                print(f"{name}, {entry}: {kind}", file=sys.stderr, flush=True)
                command = [sys.executable, __file__, *sys.argv[1:], "--step", kind, name, entry]
                env = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
                done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True)
                if done.returncode:
                    print(f"{name}, {entry}: {kind} failed", file=sys.stderr)
                    break
                found |= json.loads(done.stdout.splitlines()[-1])
                path.write_text(json.dumps(results, indent=1) + "\n")
                (arguments.out / "table.md").write_text("\n".join(table(results)))
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
