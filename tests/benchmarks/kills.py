"""Does a run that is killed and resumed, many times, end like one that was left alone? Struck in every phase, at random moments.

    python tests/benchmarks/kills.py [--kills 100] [--signals 30] [--only gan,together] [--seed 1]   # a quarter of an hour

Small runs of all backends, architectures and kinds of data take turns, each in a folder and with a cache of its own: texts,
answers, pictures, windows of pictures, sounds, codes, records of texts and pictures (whose codec is trained first), and two
processes. Each attempt waits for its phase (preparing, training the codec, encoding, training, evaluating, previewing, saving,
or anything between them), then strikes at a random moment: with SIGKILL `--kills` times, with SIGINT or SIGTERM `--signals`
times. Then the run is resumed. At its end, weights, optimiser states, averages and metrics must be to the bit those of a run
that was left alone, the codec's too. An interrupted command must exit with 130 or 143 and say how to go on.

Commands run in forks of this process, where the current phase is kept in shared memory; only those of several processes are
started as a user does, and there the launcher, one of its processes, or all are struck.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from sounding import write_beeps
from test_resume import ARGUMENTS, metrics, weights
from test_transformer_records import squares

BETWEEN, PREPARING, CODEC, ENCODING, TRAINING, EVALUATING, PREVIEWING, SAVING = range(8)
NAMES = ("between", "preparing", "codec", "encoding", "training", "evaluating", "previewing", "saving")
CASES = {
    **{name: of for name, of in ARGUMENTS.items() if name != "toy"},
    "records": [
        *["transformer", "--data", "data/captions.tsv", "--fields", "caption,picture", "--steps", "40", "--preset", "nano"],
        *["--d-model", "32", "--n-layers", "2", "--batch-size", "4"],
    ],
    "together": [*ARGUMENTS["transformer"], "--shards", "2"],
}
#: The options of a case's commands after the first one, which are not recorded.
AGAIN = {"together": ["--devices", "2"]}
#: Checkpoints as often as the clock allows.
OFTEN = ("--checkpoint-seconds", "0.05")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Phases:
    """The phase that a fork is in."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, 2)

    def now(self) -> int:
        return self.shared[1] or self.shared[0]

    def watch(self, owner: Any, name: str, phase: int) -> None:
        """Take a function for this phase. The codec's covers all that is done within it."""
        original, place = getattr(owner, name), int(phase == CODEC)

        @functools.wraps(original)
        def watched(*arguments: Any, **named: Any) -> Any:
            before, self.shared[place] = self.shared[place], phase
            try:
                return original(*arguments, **named)
            finally:
                self.shared[place] = before

        setattr(owner, name, watched)

    def watch_all(self) -> None:
        from aigc_cli.backends.gan.backend import GANBackend
        from aigc_cli.backends.transformer.backend import TransformerBackend
        from aigc_cli.backends.transformer.records import codec, prepare
        from aigc_cli.backends.vae.backend import VAEBackend
        from aigc_cli.engine.checkpoints.checkpointer import Checkpointer
        from aigc_cli.engine.trainer import Trainer

        for backend in (GANBackend, TransformerBackend, VAEBackend):
            self.watch(backend, "prepare", PREPARING)
        self.watch(codec, "_made", CODEC)
        self.watch(prepare, "codes_of", ENCODING)
        for name, phase in (("step", TRAINING), ("evaluate", EVALUATING), ("preview", PREVIEWING)):
            self.watch(Trainer, name, phase)
        self.watch(Checkpointer, "save", SAVING)


@dataclass
class Ended:
    code: int
    stderr: str


@dataclass
class Command:
    """A command in a fork, or in processes that a user would start."""

    folder: Path
    arguments: list[str]
    phases: Phases

    def __post_init__(self) -> None:
        self.err = (self.folder / "err").open("w+b")
        self.several = "--devices" in self.arguments
        if self.several:
            command = [sys.executable, "-m", "aigc_cli.app", *self.arguments]
            environ = {**os.environ, "AIGC_CACHE_DIR": str(self.folder / "cache")}
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environ, stdout=subprocess.DEVNULL, stderr=self.err, start_new_session=True
            )
            self.pid = self.process.pid
            return
        self.phases.shared[:] = bytes(2)
        self.pid = os.fork()
        if self.pid == 0:
            code = CODES[signal.SIGINT]
            try:
                code = self._run()
            finally:  # or an interruption before the command begins would end in what this process is doing
                os._exit(code)

    def _run(self) -> int:
        os.chdir(self.folder)
        os.environ["AIGC_CACHE_DIR"] = str(self.folder / "cache")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(self.err.fileno(), 2)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True, write_through=True)
        sys.argv = ["aigc", *self.arguments]
        from aigc_cli.app import run

        return run()

    def over(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def reached(self, phase: int, after: float) -> bool:
        """Wait so many seconds, then for the phase. Whether it came before the command's end."""
        until = time.monotonic() + after
        while time.monotonic() < until or (not self.several and self.phases.now() != phase):
            if self.over():
                return False
            time.sleep(0.0003)
        return not self.over()

    def strike(self, number: int, draw: random.Random) -> None:
        """Send the signal to the command or, where it has several processes, to the launcher, one of the others, or all."""
        if not self.several:
            os.kill(self.pid, number)
            return
        others = [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        if number != signal.SIGKILL or (target := draw.choice(("all", "launcher", "one"))) == "launcher":
            os.kill(self.pid, number)
        elif target == "one" and others:
            os.kill(draw.choice(others), number)
        else:
            os.killpg(self.pid, number)

    def end(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if self.several:
            self.process.returncode = code
            deadline = time.monotonic() + 60
            while _alive(self.pid) and time.monotonic() < deadline:  # those that a killed launcher left behind
                time.sleep(0.05)
        self.err.seek(0)
        return Ended(code, self.err.read().decode("utf-8", "replace"))


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass
class Count:
    killed: int = 0
    signalled: int = 0
    ends: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    corrupted: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)


class Case:
    """A run that is left alone, and one after another that is struck."""

    def __init__(self, name: str, work: Path, phases: Phases) -> None:
        self.name, self.phases = name, phases
        self.origin, self.alone = work / name, work / f"{name}-alone"
        self.origin.mkdir()
        self._write_data()
        shutil.copytree(self.origin, self.alone)
        began = time.monotonic()
        ended = Command(self.alone, self.first, phases).end()
        assert ended.code == 0, ended.stderr
        self.seconds = time.monotonic() - began
        self.count = Count()
        self.folder: Path | None = None
        self.number = 0

    def _write_data(self) -> None:
        if self.name == "tile":
            (self.origin / "textures").mkdir()
            pixels = np.random.default_rng(0).integers(0, 256, (96, 128), np.uint8)
            Image.fromarray(pixels).save(self.origin / "textures" / "noise.png")
        if self.name == "sounds":
            write_beeps(self.origin / "beeps")
        if self.name == "records":
            squares(self.origin / "data")

    @property
    def first(self) -> list[str]:
        return ["train", *CASES[self.name], "--run", "r", "--threads", "1", "--device", "cpu", "-q"]

    @property
    def run(self) -> Path:
        assert self.folder is not None
        return self.folder / "runs" / CASES[self.name][0] / "r"

    def command(self) -> list[str]:
        """What a user does next: begin, resume or, where no step was done, begin again."""
        try:
            planned = "plan" in json.loads((self.run / "run.json").read_text())
        except FileNotFoundError:
            planned = False
        if not planned:
            shutil.rmtree(self.run, ignore_errors=True)
        begun = ["train", CASES[self.name][0], "--run", "r", "--resume", "-q"] if planned else [*self.first, *OFTEN]
        return [*begun, *AGAIN.get(self.name, [])]

    def attempt(self, number: int, draw: random.Random) -> bool:
        """Strike once. False if the run ended before that."""
        if self.folder is None:
            self.number += 1
            self.folder = self.origin.with_name(f"{self.name}-{self.number}")
            shutil.copytree(self.origin, self.folder)
        command = Command(self.folder, arguments := self.command(), self.phases)
        phase, after = BETWEEN, draw.uniform(3.0, 12.0)
        if not command.several:
            begins = "--resume" not in arguments
            choice = [PREPARING] if begins else [BETWEEN, TRAINING, EVALUATING, PREVIEWING, SAVING, SAVING]
            choice += [CODEC, CODEC, ENCODING] if begins and self.name == "records" else []
            choice += [TRAINING, SAVING] if begins else []
            phase, after = draw.choice(choice), draw.uniform(0, 0.5 * self.seconds) if draw.random() < 0.5 else 0.0
        if command.reached(phase, after):
            time.sleep(draw.choice((0.0, 0.001, 0.01)) * draw.random())
            where = "together" if command.several else NAMES[self.phases.now()]
            command.strike(number, draw)
            ended = command.end()
            self._judge(number, where, ended)
        else:
            ended = command.end()
            where = ""
        if ended.code == 0:
            self._compare()
            shutil.rmtree(self.folder)
            self.folder = None
        elif not where:
            self.count.crashed.append(f"{self.name}: {' '.join(command.arguments)}: {ended.code}: {ended.stderr}")
        return bool(where) and ended.code != 0

    def _judge(self, number: int, where: str, ended: Ended) -> None:
        if ended.code == 0:  # in its last moments
            return
        self.count.phases[where] += 1
        if number == signal.SIGKILL:
            self.count.killed += 1
            if ended.code not in (-signal.SIGKILL, 1):
                self.count.crashed.append(f"{self.name}, killed while {where}: {ended.code}: {ended.stderr}")
        else:
            self.count.signalled += 1
            lines = ended.stderr.splitlines()
            before_python = ended.code in (-number, CODES[number]) and not lines
            if not before_python and (
                ended.code != CODES[number] or not re.match(r"aigc: interrupted", lines[-1] if lines else "")
            ):
                self.count.crashed.append(f"{self.name}, {number} while {where}: {ended.code}: {ended.stderr}")
        if "Traceback" in ended.stderr:
            self.count.crashed.append(f"{self.name}, {number} while {where}: {ended.stderr}")

    def finish(self) -> None:
        """Let the run end."""
        if self.folder is not None:
            ended = Command(self.folder, self.command(), self.phases).end()
            if ended.code != 0:
                self.count.lost.append(f"{self.name}: not resumed: {ended.stderr}")
                return
            self._compare()

    def _compare(self) -> None:
        assert self.folder is not None
        self.count.ends += 1
        ours, theirs = (sorted(folder.glob("runs/*/*/run.json")) for folder in (self.folder, self.alone))
        if len(ours) != len(theirs):
            self.count.lost.append(f"{self.name}: {len(ours)} runs, not {len(theirs)}")
        for one, other in zip(ours, theirs, strict=False):
            where = f"{self.name} ({one.parent.parent.name}, try {self.number})"
            if json.loads(one.read_text())["status"] != "finished":
                self.count.lost.append(f"{where}: not finished")
            if weights(one.parent) != weights(other.parent):
                self.count.lost.append(f"{where}: other weights")
            if metrics(one.parent) != metrics(other.parent):
                self.count.lost.append(f"{where}: other metrics")
            if (one.parent / "model").readlink() != (other.parent / "model").readlink():
                self.count.lost.append(f"{where}: another best model")
            left = [str(path.relative_to(self.folder)) for path in one.parent.rglob(".tmp-*")]
            self.count.corrupted += [f"{where}: {path} is left" for path in left]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--signals", type=int, default=30, help="SIGINT and SIGTERM in turn")
    parser.add_argument("--minutes", type=float, default=60.0, help="strike no more after so long")
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new folder for the runs")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    phases, draw = Phases(), random.Random(arguments.seed)
    phases.watch_all()
    import torch._dynamo  # what commands would import, once for all forks

    with tempfile.TemporaryDirectory() as name:
        work = arguments.keep or Path(name)
        work.mkdir(exist_ok=True)
        cases = [Case(case, work, phases) for case in arguments.only.split(",")]
        print(f"left alone: {', '.join(f'{case.name} {case.seconds:.1f} s' for case in cases)}", file=sys.stderr, flush=True)
        of_kills: Callable[[], int] = lambda: sum(case.count.killed for case in cases)  # noqa: E731
        of_signals: Callable[[], int] = lambda: sum(case.count.signalled for case in cases)  # noqa: E731
        began, turn = time.monotonic(), 0
        until = began + 60 * arguments.minutes
        while (of_kills() < arguments.kills or of_signals() < arguments.signals) and time.monotonic() < until:
            case = cases[turn % len(cases)]
            left = arguments.kills - of_kills(), arguments.signals - of_signals()
            kills = draw.random() * sum(left) < left[0]
            number = signal.SIGKILL if kills else list(CODES)[of_signals() % 2]
            for _ in range(5):  # a run may end first
                if case.attempt(number, draw):
                    break
            turn += 1
        print("| run | killed | interrupted | in | ends | lost | corrupted | crashed |\n" + "| --- " * 8 + "|")
        bad = []
        for case in cases:
            case.finish()
            count = case.count
            phases_struck = ", ".join(f"{name} {n}" for name, n in count.phases.most_common())
            wrong = [count.lost, count.corrupted, count.crashed]
            print("|", case.name, "|", count.killed, "|", count.signalled, "|", phases_struck, "|", count.ends, "|", end=" ")
            print(*map(len, wrong), sep=" | ", end=" |\n", flush=True)
            bad += [line for lines in wrong for line in lines]
        print(f"{of_kills()} kills and {of_signals()} signals in {time.monotonic() - began:.0f} s", file=sys.stderr)
        print(*bad, sep="\n", file=sys.stderr)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
