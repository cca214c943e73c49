"""What is left when every single file operation fails: of training, of a longer training, of the caches, of outputs, of pruning.

python tests/benchmarks/faults.py [--every 1] [--only SCENARIO,…] [--faults crash,full]   # about an hour; needs a C compiler

Each command runs in a fork of this process, in a folder of its own. Its n-th file operation there (open, write, fsync, rename,
mkdir, unlink, …, whoever makes it: Python, PyTorch or Rust) is where a fault strikes, for n = 1, 2, … until it never does:

crash      the process ends before the operation
torn       half of a write is done, then the process ends
power      the process ends, and half of each file that was not synced is lost
full       from then on nothing can be created or written (ENOSPC)
broken     the operation fails once (EIO)
read-only  from then on nothing can be changed (EROFS)
short      a write is done by half, and says so

Then the same command is repeated, or the run resumed, without faults. A table tells how often that was tried, and how often
something was lost (the weights or files aren't those of a command that was left alone), corrupted (a run, a checkpoint, an
entry or an output that is neither whole nor absent, a leftover that is not cleaned away), or crashed (no line, or a traceback).
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
FAULTS = ("crash", "power", "full", "broken", "read-only", "short", "torn")  # as in faults.c
KILLED = 99
TOY = ("train", "toy", "--seed", "3", "--hidden", "4", "--eval-every", "5", "--log-every", "5", "-q", "--device", "cpu")


@dataclass
class Done:
    code: int
    stdout: str
    stderr: str
    operations: int = 0


def aigc(folder: Path, *arguments: str, fault: int = 0, nth: int = 0) -> Done:
    """Run a command in a fork, in `folder`. With `nth` its nth operation below the folder is struck by a fault."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as counted:
        child = os.fork()
        if child == 0:
            os.chdir(folder)
            os.environ["AIGC_CACHE_DIR"] = str(folder / "cache")
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True, write_through=True)
            sys.argv = ["aigc", *arguments]
            from aigc_cli.app import run

            shim = ctypes.CDLL(None)
            if nth:
                shim.faults_arm(str(folder).encode() + b"/", fault, ctypes.c_long(nth))
            code = run()
            sys.stdout.flush()
            if nth:
                os.pwrite(counted.fileno(), str(shim.faults_count()).encode(), 0)
            os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for file in (out, err, counted):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
        return Done(os.waitstatus_to_exitcode(status), texts[0], texts[1], int(texts[2] or nth))


@dataclass
class Count:
    tried: int = 0
    lost: list[str] = field(default_factory=list)
    corrupted: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)


class Scenario:
    """A command, and what must be true after it was struck and repeated."""

    def __init__(self, work: Path) -> None:
        self.origin = work / type(self).__name__.lower()
        self.origin.mkdir()
        self.prepare(self.origin)
        self.whole = work / f"{self.origin.name}-whole"
        shutil.copytree(self.origin, self.whole, symlinks=True)
        done = aigc(self.whole, *self.command)
        assert done.code == 0, done.stderr
        self.repeat(self.whole)

    command: tuple[str, ...] = ()

    def prepare(self, folder: Path) -> None: ...

    def repeat(self, folder: Path) -> Done:
        """What a user does after a fault; again and again it must go well."""
        return aigc(folder, *self.command)

    def wrong_at_once(self, folder: Path, done: Done) -> Iterator[str]:
        """What is corrupted right after the fault."""
        return iter(())

    def wrong_in_the_end(self, folder: Path) -> Iterator[str]:
        """What is not as it is without a fault."""
        return iter(())

    def strike(self, fault: str, nth: int, count: Count) -> bool:
        """Whether there was an nth operation."""
        with tempfile.TemporaryDirectory(dir=self.origin.parent) as name:
            folder = Path(name) / "f"
            shutil.copytree(self.origin, folder, symlinks=True)
            done = aigc(folder, *self.command, fault=FAULTS.index(fault), nth=nth)
            if done.operations < nth:
                assert done.code == 0, done.stderr
                return False
            count.tried += 1
            where = f"{type(self).__name__} {fault} {nth}"
            count.crashed += [f"{where}: {line}" for line in crashes(done)]
            count.corrupted += [f"{where}: {line}" for line in self.wrong_at_once(folder, done)]
            again = self.repeat(folder)
            count.crashed += [f"{where}, repeated: {line}" for line in crashes(again)]
            if again.code != 0:
                count.lost.append(f"{where}, repeated: {again.stderr.strip()}")
            count.lost += [f"{where}: {line}" for line in self.wrong_in_the_end(folder)]
            left = [str(path.relative_to(folder)) for path in folder.rglob(".tmp-*") if not is_new(path)]
            count.corrupted += [f"{where}: {path} is left" for path in left]
            return True


def is_new(path: Path) -> bool:
    """Whether it is in the cache, or among runs, where other processes work too: what is new there is left alone for a while."""
    outermost = [of for of in (path, *path.parents) if of.name.startswith(".tmp-")][-1]
    return outermost.parent.name in ("runs", "toy") or "cache" in outermost.parts


def crashes(done: Done) -> Iterator[str]:
    if done.code == KILLED:
        return
    if done.code not in (0, 1, 2):
        yield f"exit code {done.code}: {done.stderr}"
    errors = [line for line in done.stderr.splitlines() if line.startswith("aigc: ")]
    if "Traceback" in done.stderr or (done.code and len(errors) != 1):
        yield f"not one line: {done.stderr}"
    if re.search(r"aigc: (?!OSError)\w+(Error|Exception)\b", done.stderr):
        yield errors[0]


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".tmp-"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def weights(run: Path) -> dict[str, bytes]:
    newest = max(run.glob("checkpoints/step-*"), default=None)
    names = (
        "model/model.safetensors",
        "state/networks.safetensors",
        "state/averages.safetensors",
        "state/optimizers.safetensors",
    )
    return {name: (newest / name).read_bytes() for name in names if (newest / name).exists()} if newest else {}


class Training(Scenario):
    """Of a run: its folder, run.json, metrics, previews, two checkpoints, the link to the best, what is no longer needed."""

    command = (*TOY, "--steps", "10", "--run", "r")
    resume = ("train", "toy", "--run", "r", "--resume", "-q")

    def run(self, folder: Path) -> Path:
        return folder / "runs" / "toy" / "r"

    def repeat(self, folder: Path) -> Done:
        record = self.run(folder) / "run.json"
        if record.exists() and "plan" in json.loads(record.read_text()):
            return aigc(folder, *self.resume)
        shutil.rmtree(self.run(folder), ignore_errors=True)  # nothing was trained yet, and the message says what to do
        return aigc(folder, *self.command)

    def wrong_at_once(self, folder: Path, done: Done) -> Iterator[str]:
        from aigc_cli.engine.checkpoints.manifest import damage

        run = self.run(folder)
        if not run.exists():
            return
        if not (run / "run.json").exists():
            yield "a run without run.json"
            return
        for checkpoint in (*run.glob("checkpoints/step-*"), *run.glob("checkpoints/earlier"), *run.glob("init")):
            if fault := damage(checkpoint):
                yield fault
            if not (checkpoint / "manifest.json").exists():
                yield f"{checkpoint} has no manifest"
        sampled = aigc(folder, "sample", "toy", "--run", "r", "--seed", "1")
        if sampled.code != 0 and "has no model yet" not in sampled.stderr:
            yield f"not sampled: {sampled.stderr}"
        if sampled.code == 0 and "damaged" in sampled.stderr:
            yield sampled.stderr
        listed = aigc(folder, "runs", "--json")
        if listed.code != 0 or len(json.loads(listed.stdout)["runs"]) != 1:
            yield f"not listed: {listed.stderr}"

    def wrong_in_the_end(self, folder: Path) -> Iterator[str]:
        run, whole = self.run(folder), self.run(self.whole)
        if weights(run) != weights(whole) or not weights(run):
            yield "other weights"
        if (run / "model").readlink() != (whole / "model").readlink():
            yield "another best model"
        if metrics(run) != metrics(whole):
            yield "other metrics"
        if json.loads((run / "run.json").read_text())["status"] != "finished":
            yield "not finished"


def metrics(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


class Longer(Training):
    """Of a run that is trained longer: its plan, and the earlier model, which is set aside."""

    command = ("train", "toy", "--run", "r", "--resume", "--steps", "15", "-q")

    def prepare(self, folder: Path) -> None:
        assert aigc(folder, *Training.command).code == 0

    def repeat(self, folder: Path) -> Done:
        return aigc(folder, *self.command)


class Initialised(Training):
    """Of a run that starts from another's weights, which it keeps."""

    command = (*TOY, "--steps", "5", "--init-from", "runs/toy/first", "--run", "r")

    def prepare(self, folder: Path) -> None:
        assert aigc(folder, *TOY, "--steps", "5", "--run", "first").code == 0

    def wrong_at_once(self, folder: Path, done: Done) -> Iterator[str]:
        return (line for line in super().wrong_at_once(folder, done) if not line.startswith("not listed"))


class Pruning(Scenario):
    """A finished run without what only resuming needs."""

    command = ("runs", "prune", "r", "--yes")

    def prepare(self, folder: Path) -> None:
        assert aigc(folder, *Training.command).code == 0

    def wrong_at_once(self, folder: Path, done: Done) -> Iterator[str]:
        ours, theirs = (aigc(of, "sample", "toy", "--run", "r", "--seed", "1") for of in (folder, self.origin))
        if ours != theirs:
            yield f"other samples: {ours.stderr}"

    def wrong_in_the_end(self, folder: Path) -> Iterator[str]:
        ours, theirs = (contents(of / "runs/toy/r/checkpoints") for of in (folder, self.whole))
        if ours != theirs:
            yield "other files"


class Entry(Scenario):
    """The cache of a table of texts."""

    command = (
        "train",
        "transformer",
        "--dry-run",
        "-q",
        "--data",
        "poems.tsv",
        "--steps",
        "2",
        "--preset",
        "nano",
        "--device",
        "cpu",
    )

    def prepare(self, folder: Path) -> None:
        words = ["the", "old", "fox", "went", "over", "a", "far", "hill", "and", "found", "there", "one", "quiet", "king"]
        rows = [" ".join(words[(i * k) % len(words)] for k in range(1, 9)) + f" {i}" for i in range(60)]
        (folder / "poems.tsv").write_text("text\n" + "\n".join(rows) + "\n")

    def wrong_at_once(self, folder: Path, done: Done) -> Iterator[str]:
        whole = {path.name: path for path in self.whole.glob("cache/prepared/[!.]*")}
        for entry in folder.glob("cache/prepared/[!.]*"):
            ours, theirs = contents(entry), contents(whole[entry.name])
            added = (name for name in theirs.keys() - ours.keys())  # such as near duplicates, once they were looked for
            if any(ours[name] != theirs[name] for name in ours) or not all(name.startswith("near") for name in added):
                yield f"another entry {entry.name}"

    def wrong_in_the_end(self, folder: Path) -> Iterator[str]:
        if {path.name for path in folder.glob("cache/prepared/[!.]*")} != {
            path.name for path in self.whole.glob("cache/prepared/[!.]*")
        }:
            yield "not cached"
        yield from self.wrong_at_once(folder, Done(0, "", ""))


class Pictures(Entry):
    """The cache of a folder of pictures."""

    command = ("train", "vae", "--dry-run", "-q", "--data", "pictures", "--longest-side", "8", "--steps", "2", "--preset", "nano", "--device", "cpu")  # fmt: skip

    def prepare(self, folder: Path) -> None:
        from PIL import Image

        (folder / "pictures").mkdir()
        for number in range(24):
            Image.new("RGB", (8, 8), (number * 9, 255 - number, number)).save(folder / "pictures" / f"{number}.png")


class Output(Scenario):
    """A sheet of samples that replaces another."""

    command = ("sample", "gan", "--run", "g", "-n", "2", "--seed", "1", "--out", "out.png", "--force", "--device", "cpu")
    out = "out.png"

    def prepare(self, folder: Path) -> None:
        Pictures.prepare(self, folder)  # type: ignore[arg-type]
        options = ("--preset", "nano", "--longest-side", "8", "--batch-size", "4", "--device", "cpu", "-q")
        done = aigc(folder, "train", "gan", "--data", "pictures", "--steps", "2", "--run", "g", *options)
        assert done.code == 0, done.stderr
        (folder / self.out).write_bytes(b"what was there before")

    def wrong_at_once(self, folder: Path, done: Done) -> Iterator[str]:
        found = {of: (of / self.out).read_bytes() for of in (folder, self.origin, self.whole)}
        if found[folder] not in (found[self.origin], found[self.whole]) or (
            done.code == 0 and found[folder] != found[self.whole]
        ):
            yield f"a {self.out} of {len(found[folder])} bytes"

    def wrong_in_the_end(self, folder: Path) -> Iterator[str]:
        return self.wrong_at_once(folder, Done(0, "", ""))


class Array(Output):
    command = (*Output.command[:-4], "out.npz", "--force", "--device", "cpu")
    out = "out.npz"


class Report(Scenario):
    """The page of a run."""

    command = ("report", "r", "--out", "page.html", "--force")

    def prepare(self, folder: Path) -> None:
        assert aigc(folder, *Training.command).code == 0
        (folder / "page.html").write_text("before")

    def wrong_at_once(self, folder: Path, done: Done) -> Iterator[str]:
        page = (folder / "page.html").read_text()
        if page != "before" and not page.rstrip().endswith("</html>"):
            yield f"a page of {len(page)} characters"


def build_shim(folder: Path) -> Path:
    shim = folder / "faults.so"
    compiler = shutil.which("cc") or shutil.which("gcc") or sys.exit("needs a C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", shim, HERE / "faults.c", "-ldl"], check=True)
    return shim


def started_again(work: Path) -> None:
    """Run this program again, below the shim and with the toy backend installed; then import what its forks would."""
    if "faults.so" not in os.environ.get("LD_PRELOAD", ""):
        sys.path.insert(0, str(HERE.parent))
        from conftest import TOY as SOURCE
        from conftest import install

        site = work / "site"
        site.mkdir()
        install(site, "aigc_toy", "toy", (SOURCE / "aigc_toy.py").read_text())
        install(site, "aigc_numbers", "numbers", (SOURCE / "aigc_numbers.py").read_text(), "aigc.kinds", "NUMBERS")
        env = {
            **os.environ,
            "LD_PRELOAD": str(build_shim(work)),
            "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "OMP_NUM_THREADS": "1",
        }
        sys.exit(subprocess.run([sys.executable, *sys.argv], env=env).returncode)
    os.environ.pop("LD_PRELOAD")
    import torch._dynamo

    import aigc_cli.app
    import aigc_cli.backends.gan.backend
    import aigc_cli.backends.transformer.backend
    import aigc_cli.backends.vae.backend  # noqa: F401

    torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds: dict[str, Callable[[Path], Scenario]] = {
        kind.__name__.lower(): kind for kind in (Training, Longer, Initialised, Pruning, Entry, Pictures, Output, Array, Report)
    }
    parser.add_argument("--every", type=int, default=1, help="strike only every so many operations")
    parser.add_argument("--only", default=",".join(kinds))
    parser.add_argument("--faults", default=",".join(FAULTS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        started_again(Path(name))
        bad = 0
        print("| what | fault | tried | lost | corrupted | crashed |\n| --- | --- | --- | --- | --- | --- |")
        for scenario_name in arguments.only.split(","):
            (Path(name) / scenario_name).mkdir()
            scenario = kinds[scenario_name](Path(name) / scenario_name)
            for fault in arguments.faults.split(","):
                count, nth, began = Count(), 1, time.monotonic()
                while scenario.strike(fault, nth, count):
                    nth += arguments.every
                wrong = (count.lost, count.corrupted, count.crashed)
                print(
                    f"| {scenario_name} | {fault} |",
                    count.tried,
                    "|",
                    " | ".join(str(len(lines)) for lines in wrong),
                    "|",
                    flush=True,
                )
                for line in (line for lines in wrong for line in lines[:5]):
                    print(f"    {line}", file=sys.stderr)
                bad += sum(map(len, wrong))
                print(f"    {time.monotonic() - began:.0f} s", file=sys.stderr)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
