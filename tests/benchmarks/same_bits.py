"""Do two versions of aigc train, sample and evaluate to the same bits?

    python tests/benchmarks/same_bits.py --python OLD/bin/python --folder /tmp/bits/old > old.json
    python tests/benchmarks/same_bits.py --python NEW/bin/python --folder /tmp/bits/new > new.json
    python tests/benchmarks/same_bits.py --compare old.json new.json

`--only gan vae` limits this to runs whose names start with these prefixes, and to commands that use them.

Each version runs a table of commands over all backends and architectures (60 steps from seed 0, two threads, on built-in and
small made-up data). One run is killed and resumed, one is trained longer. All weights, optimiser states, samples and outputs of
`eval --json` are hashed with SHA-256. `--resume-of FOLDER` also resumes the killed run that another version left in its folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

STEPS = ["--steps", "60", "--threads", "2", "--eval-every", "20"]
TEXTS = ["--preset", "nano", "--batch-size", "4", "--context", "64"]
PAIRS = ["--arch", "encoder-decoder", "--preset", "nano", "--batch-size", "8"]
PICTURES = ["--preset", "nano", "--batch-size", "8"]

#: name -> (backend, arguments of train)
RUNS: dict[str, tuple[str, list[str]]] = {
    "verse": ("transformer", ["--data", "demo:verse", *TEXTS]),
    "verse-auto": ("transformer", ["--data", "demo:verse", "--preset", "nano", "--batch-size", "4"]),
    "grouped": (
        "transformer",
        ["--data", "texts", *TEXTS, "--n-heads", "4", "--n-kv-heads", "2", "--no-tied", "--dropout", "0.1"],
    ),
    "folder": ("transformer", ["--data", "texts", *TEXTS]),
    "fields": ("transformer", ["--data", "poems.tsv", "--fields", "title,text", *TEXTS]),
    "words": ("transformer", ["--data", "texts", "--tokenizer", "word", "--lower", "--unk", "--min-freq", "2", *TEXTS]),
    "begun": ("transformer", ["--data", "texts", "--init-from", "folder", *TEXTS]),
    "micro": ("transformer", ["--data", "texts", *TEXTS, "--micro-batch-size", "2"]),
    "answers": ("transformer", ["--data", "poems.tsv", "--source", "title", "--target", "text", *PAIRS]),
    "halves": ("transformer", ["--data", "demo:verse", "--source-ratio", "0.5", *PAIRS, "--dropout", "0.1"]),
    "gan": ("gan", ["--data", "demo:shapes?n=500", *PICTURES]),
    "gan-classes": ("gan", ["--data", "pictures", "--conditional", *PICTURES]),
    "gan-hinge": (
        "gan",
        ["--data", "pictures", "--mode", "RGBA", "--objective", "hinge", "--augment", "0.3", "--flip", *PICTURES],
    ),
    "vae": ("vae", ["--data", "demo:shapes?n=500", *PICTURES]),
    "vae-classes": ("vae", ["--data", "pictures", "--conditional", *PICTURES]),
    "vae-codes": ("vae", ["--data", "pictures", "--codes", *PICTURES]),
    "vae-normal": (
        "vae",
        ["--data", "pictures", "--prior", "normal", "--likelihood", "gaussian", "--latent-map", "0", *PICTURES],
    ),
    "vae-begun": ("vae", ["--data", "demo:shapes?n=500&seed=1", "--init-from", "vae", *PICTURES]),
}

#: name -> arguments; standard output is kept, or the file at the end of the arguments.
COMMANDS: dict[str, list[str]] = {
    **{
        f"sample-{name}": ["sample", "transformer", "--run", name, "-n", "3", "--seed", "0", "--max-tokens", "40", "--json"]
        for name in ("verse", "verse-auto", "grouped", "folder", "fields", "words", "begun", "micro")
    },
    **{
        f"sample-{name}": [
            *["sample", "transformer", "--run"],
            name,
            *["-n", "3", "--seed", "0", "--max-tokens", "20", "--json", "--prompt"],
            "The old",
        ]
        for name in ("answers", "halves")
    },
    "beam": [
        *[
            "sample",
            "transformer",
            "--run",
            "answers",
            "--beam",
            "3",
            "-n",
            "2",
            "--seed",
            "0",
            "--max-tokens",
            "20",
            "--json",
            "--prompt",
        ],
        "A title",
    ],
    "options": [
        *[
            "sample",
            "transformer",
            "--run",
            "folder",
            "-n",
            "3",
            "--seed",
            "1",
            "--max-tokens",
            "90",
            "--temperature",
            "0.7",
            "--top-k",
            "20",
            "--top-p",
            "0.9",
            "--min-p",
            "0.01",
            "--repetition-penalty",
            "1.1",
            "--json",
            "--prompt",
        ],
        "The",
    ],
    "match": [
        *["sample", "transformer", "--run", "folder", "-n", "2", "--seed", "0", "--max-tokens", "60", "--json", "--match"],
        "[a-z]{5} [a-z]{3}",
    ],
    **{f"eval-{name}": ["eval", backend, "--run", name, "--json"] for name, (backend, _) in RUNS.items()},
    **{
        f"sample-{name}": ["sample", backend, "--run", name, "-n", "9", "--seed", "0", "--out", f"{name}.npz"]
        for name, (backend, _) in RUNS.items()
        if backend != "transformer"
    },
    "sheet": ["sample", "gan", "--run", "gan", "-n", "4", "--seed", "0", "--out", "sheet.png"],
    "between-seeds": ["sample", "gan", "--run", "gan", "--interpolate", "3", "7", "-n", "4", "--out", "seeds.npz"],
    "one-class": [
        "sample",
        "gan",
        "--run",
        "gan-classes",
        "--label",
        "cat",
        "-n",
        "4",
        "--seed",
        "0",
        "--truncation",
        "0.7",
        "--out",
        "cats.npz",
    ],
    "between": [
        "sample",
        "vae",
        "--run",
        "vae",
        "--interpolate",
        "pictures/cat/00.png",
        "pictures/dog/01.png",
        "-n",
        "4",
        "--seed",
        "0",
        "--out",
        "between.npz",
    ],
    "again": ["sample", "vae", "--run", "vae", "--reconstruct", "pictures", "-n", "6", "--seed", "0", "--out", "again.npz"],
    "traverse": ["sample", "vae", "--run", "vae", "--traverse", "-n", "3", "--seed", "0", "--out", "traverse.npz"],
    "codes": ["encode", "vae", "--run", "vae-codes", "--data", "pictures"],
    "encode": ["encode", "vae", "--run", "vae", "--data", "pictures"],
    "encode-classes": ["encode", "vae", "--run", "vae-classes", "--data", "pictures"],
    "to-latents": ["encode", "vae", "--run", "vae", "--data", "pictures", "--out", "latents.npz"],
    "decode": ["decode", "vae", "--run", "vae", "--from", "latents.npz", "--out", "decoded.npz"],
}


def make_data(folder: Path) -> None:
    """Small texts, a table and a folder of pictures, the same every time."""
    rng = random.Random(0)
    words = [
        "old",
        "quiet",
        "bright",
        "hollow",
        "golden",
        "river",
        "lantern",
        "kettle",
        "ladder",
        "waits",
        "sings",
        "leans",
        "glows",
        "by",
        "the",
        "door",
        "of",
        "a",
        "hill",
    ]

    def text(n: int) -> str:
        return " ".join(rng.choice(words) for _ in range(n))

    (folder / "texts").mkdir(parents=True)
    for name in ("a.txt", "b.txt"):
        (folder / "texts" / name).write_text("\n".join(f"The {text(8)}." for _ in range(400)))
    rows = [f"{text(2)}\t{text(9)}." for _ in range(300)]
    (folder / "poems.tsv").write_text("\n".join(["title\ttext", *rows]) + "\n")
    noise = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog")):
        (folder / "pictures" / name).mkdir(parents=True)
        for i in range(60):
            pixels = np.full((20, 24, 3), 240, np.uint8)
            x, y = noise.integers(0, 12, 2)
            pixels[y : y + 8, x : x + 6 + 4 * number] = noise.integers(0, 200, 3)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{i:02}.png")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def of_tensors(path: Path) -> str:
    tensors = load_file(path)
    whole = hashlib.sha256()
    for name in sorted(tensors):
        whole.update(name.encode() + str(tensors[name].dtype).encode() + tensors[name].tobytes())
    return whole.hexdigest()[:24]


def of_run(run: Path) -> dict[str, str]:
    """Hashes of the model, of the last checkpoint's networks, averages and optimisers, and of metrics.jsonl without times."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    found = {
        "model": of_tensors(run / "model" / "model.safetensors"),
        "config": digest((run / "model/config.json").read_bytes()),
    }
    found |= {file.stem: of_tensors(file) for file in sorted((last / "state").glob("*.safetensors"))}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in line.items() if k != "seconds" and not k.endswith("_per_second")} for line in lines]
    found["metrics"] = digest(json.dumps(kept).encode())
    return found


class Version:
    def __init__(self, python: str, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("AIGC_")}
        self.env |= {"AIGC_CACHE_DIR": str(folder / "cache"), "NO_COLOR": "1", "GOMP_SPINCOUNT": "1000"}

    def command(self, *arguments: str) -> list[str]:
        return [self.python, "-m", "aigc_cli.app", *arguments]

    def __call__(self, *arguments: str) -> bytes:
        done = subprocess.run(self.command(*arguments, "-q"), cwd=self.folder, env=self.env, capture_output=True)
        if done.returncode:
            print(f"{' '.join(arguments)}: {done.returncode} {done.stderr.decode()[-500:]}", file=sys.stderr)
            return b"failed: " + done.stderr
        return done.stdout

    def killed(self, backend: str, name: str, arguments: list[str]) -> None:
        """Train, and kill the process after a checkpoint between two evaluations."""
        command = self.command("train", backend, "--run", name, *arguments, "--checkpoint-seconds", "0.05", "-q")
        process = subprocess.Popen(command, cwd=self.folder, env=self.env)
        checkpoints = self.folder / "runs" / backend / name / "checkpoints"
        while not any(21 <= int(path.name[5:]) < 60 for path in checkpoints.glob("step-*")):
            if process.poll() is not None:
                raise SystemExit(f"{name} ended before it was killed")
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()


KILLED = {
    "killed-transformer": ("transformer", [*RUNS["grouped"][1], *STEPS]),
    "killed-gan": ("gan", [*RUNS["gan"][1], *STEPS]),
    "killed-vae": ("vae", [*RUNS["vae"][1], *STEPS]),
}


def chosen(only: list[str]) -> tuple[dict[str, tuple[str, list[str]]], dict[str, list[str]], dict[str, tuple[str, list[str]]]]:
    """The runs, commands and killed runs with these prefixes; all of them without prefixes."""

    def wanted(name: str) -> bool:
        return not only or name.removeprefix("killed-").startswith(tuple(only))

    runs = {name: run for name, run in RUNS.items() if wanted(name) or any(wanted(n) and name in r[1] for n, r in RUNS.items())}
    commands = {name: args for name, args in COMMANDS.items() if args[args.index("--run") + 1] in runs}
    return runs, commands, {name: run for name, run in KILLED.items() if wanted(name)}


def measure(python: str, folder: Path, resume_of: Path | None, only: list[str]) -> dict[str, object]:
    shutil.rmtree(folder, ignore_errors=True)
    make_data(folder)
    aigc = Version(python, folder)
    found: dict[str, object] = {}
    runs, commands, killed = chosen(only)
    for name, (backend, arguments) in runs.items():
        aigc("train", backend, "--run", name, *arguments, *STEPS)
        found[name] = of_run(folder / "runs" / backend / name)
        print(name, file=sys.stderr)
    for name, arguments in commands.items():
        out = aigc(*arguments)
        if "--out" in arguments:
            path = folder / arguments[arguments.index("--out") + 1]
            if path.suffix == ".npz" and path.exists():
                with np.load(path) as arrays:
                    out = b"".join(key.encode() + arrays[key].tobytes() for key in sorted(arrays.files))
            elif path.exists():
                out = np.asarray(Image.open(path)).tobytes()
        if arguments[0] == "eval":
            measures = json.loads(out)
            found[name] = {
                key: digest(json.dumps(value, sort_keys=True).encode())
                for key, value in measures.items()
                if key not in ("run", "version")
            }
        else:
            found[name] = digest(out)
        print(name, file=sys.stderr)
    for name, (backend, arguments) in killed.items():
        aigc.killed(backend, name, arguments)
        shutil.copytree(folder / "runs" / backend / name, folder / "left" / backend / name, symlinks=True)
        aigc("train", backend, "--run", name, "--resume")
        found[name] = of_run(folder / "runs" / backend / name)
        print(name, file=sys.stderr)
    if "vae" in runs:
        aigc("train", "vae", "--run", "vae", "--resume", "--steps", "90")
        found["longer"] = of_run(folder / "runs" / "vae" / "vae")
    if resume_of is not None:
        for name, (backend, _) in killed.items():
            shutil.rmtree(folder / "old", ignore_errors=True)
            shutil.copytree(resume_of / "left", folder / "old", symlinks=True)
            aigc("train", backend, "--run", name, "--resume", "--runs-dir", "old")
            found[f"old-{name}"] = of_run(folder / "old" / backend / name)
    return found


def flat(found: dict[str, object], prefix: str = "") -> dict[str, str]:
    return {
        key: value
        for name, inner in found.items()
        for key, value in (flat(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {prefix + name: str(inner)}).items()
    }


def compare(old: Path, new: Path) -> None:
    a, b = (flat(json.loads(path.read_text())) for path in (old, new))
    for key in list(b):
        if key.startswith("old-killed-"):
            a.setdefault(key, a.get(key.removeprefix("old-"), ""))
    names = {key.partition(".")[0] for key in b}
    a = {key: value for key, value in a.items() if key.partition(".")[0] in names}
    differ = [key for key in a if a[key] != b.get(key)]
    for key in differ:
        print(f"differs: {key}")
    print(f"{len(a) - len(differ)} of {len(a)} are the same; {len(b.keys() - a.keys())} are new")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--resume-of", type=Path)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("OLD", "NEW"))
    options = parser.parse_args()
    if options.compare:
        compare(*options.compare)
    else:
        folder = options.folder.absolute()
        print(json.dumps(measure(options.python, folder, options.resume_of, options.only), indent=1))


if __name__ == "__main__":
    main()
