"""Does `aigc` work in odd places: without a cache, a home or /dev/shm, on one CPU, in the C locale, below paths of any bytes, on full
and read-only disks, while it is stopped, interrupted, or its run is deleted, and where another process trains the same run?

python tests/benchmarks/environment.py [--only NAME,…] [--signals 10]    # ten minutes on a core; some need Linux and a superuser

Everywhere the weights must be those of a run that was left alone, at once or after `--resume`, or the end must be one line. A
table tells how many commands were tried, and how often something was lost (other weights, or training that can't go on),
corrupted (a half-written file, a leftover, something written elsewhere) or crashed (no line, a traceback, another exit code).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from faults import Count

HERE = Path(__file__).parent
AIGC = [sys.executable, "-m", "aigc_cli"]
SMALL = ("--preset", "nano", "--batch-size", "4", "--eval-items", "8", "--steps", "12", "--device", "cpu", "--threads", "1")
#: What is trained, by kind of data, with the folder of data.
KINDS: dict[str, tuple[str, ...]] = {
    "texts": ("transformer", "--data", "{}/poems.tsv", "--d-model", "32", "--n-layers", "1", "--context", "32"),
    "pictures": ("gan", "--data", "{}/pictures", "--longest-side", "8"),
    "sounds": ("vae", "--data", "{}/beeps", "--longest-side", "16"),
    "records": (
        "transformer",
        "--data",
        "{}/captions.tsv",
        "--fields",
        "caption,picture",
        "--d-model",
        "32",
        "--n-layers",
        "1",
    ),
}
OF_TEXTS = KINDS["texts"]
ODD = '-it\'s a "b"\n\udcff\udcfe é $(id) [bold]*?'


@dataclass
class Done:
    code: int
    stdout: str
    stderr: str


@dataclass
class Lab:
    """A folder with data, what undisturbed runs end with, and a count of what went wrong."""

    data: Path
    work: Path
    ends: dict[str, dict[str, bytes]]
    signals: int
    count: Count = field(default_factory=Count)

    def folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.work))

    def train(self, kind: str, cwd: Path, *more: str) -> list[str]:
        return [*(part.format(self.data) for part in ("train", *KINDS[kind])), *SMALL, "--run", kind, *more]

    def start(
        self, arguments: Sequence[str], cwd: Path, before: Sequence[str] = (), **environ: str | None
    ) -> subprocess.Popen[str]:
        self.count.tried += 1
        env = {**os.environ, "AIGC_CACHE_DIR": str(cwd / "cache"), "OMP_NUM_THREADS": "1", **environ}
        return subprocess.Popen(
            [*before, *AIGC, *arguments],
            cwd=cwd,
            env={name: value for name, value in env.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )

    def ended(self, process: subprocess.Popen[str], where: str, codes: Sequence[int] = (0,)) -> Done:
        """The end of a process, which is told of in one line if it is an error."""
        out, err = process.communicate(timeout=600)
        done = Done(process.returncode, out, err)
        errors = [line for line in err.splitlines() if line.startswith("aigc: ")]
        if done.code not in codes or "Traceback" in err or (done.code > 0 and len(errors) != 1):
            self.count.crashed.append(f"{where}: exit code {done.code}: {err.strip()[-500:]}")
        return done

    def do(
        self,
        arguments: Sequence[str],
        cwd: Path,
        where: str,
        before: Sequence[str] = (),
        codes: Sequence[int] = (0,),
        **environ: str | None,
    ) -> Done:
        return self.ended(self.start(arguments, cwd, before, **environ), where, codes)

    def same_end(self, kind: str, runs: Path, where: str) -> None:
        if end_of(runs, kind) != self.ends[kind]:
            self.count.lost.append(f"{where}: other weights")
        left = [str(path.relative_to(runs)) for path in runs.glob(f"{KINDS[kind][0]}/{kind}/**/.tmp-*")]
        if left:
            self.count.corrupted.append(f"{where}: {left} is left")

    def everything(self, where: str, cwd: Path, before: Sequence[str] = (), **environ: str | None) -> str:
        """Train every kind, then sample from the last model and measure it. Returns what was told."""
        told = []
        for kind in KINDS:
            told.append(self.do(self.train(kind, cwd), cwd, f"{where}, {kind}", before, **environ).stderr)
            self.same_end(kind, cwd / "runs", f"{where}, {kind}")
        of = (KINDS[kind][0], "--run", kind)
        told.append(self.do(("sample", *of, "-n", "2"), cwd, f"{where}, sample", before, **environ).stderr)
        told.append(self.do(("eval", *of, "-n", "8", "--json", "-q"), cwd, f"{where}, eval", before, **environ).stderr)
        return "\n".join(told)


def end_of(runs: Path, kind: str) -> dict[str, bytes]:
    """The weights and all else that the last checkpoint of a run holds, but for the time it took."""
    last = max((runs / KINDS[kind][0] / kind / "checkpoints").glob("step-*"), default=None)
    if last is None:
        return {}
    files = (file for file in last.rglob("*") if file.is_file() and file.name not in ("position.json", "manifest.json"))
    return {str(file.relative_to(last)): file.read_bytes() for file in files}


def make_data(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    sys.path.insert(0, str(HERE.parent))
    from sounding import write_beeps

    draw = np.random.default_rng(0)
    words = ["the", "old", "fox", "went", "over", "a", "far", "hill", "and", "found", "there", "one", "quiet", "king"]
    (folder / "poems.tsv").write_text("text\n" + "".join(" ".join(draw.choice(words, 9)) + f" {n}\n" for n in range(300)))
    (folder / "pictures").mkdir()
    for n in range(40):
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / "pictures" / f"{n}.png")
    rows = "".join(f"pictures/{n}.png\tpicture number {n}\n" for n in range(40))
    (folder / "captions.tsv").write_text(f"picture\tcaption\n{rows}")
    write_beeps(folder / "beeps", n=10)


# Without what is usually there


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", *arguments, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def without_cache(lab: Lab) -> None:
    for where in ("a cache that is read-only", "a full cache", "a cache in a file", "no home"):
        cwd = lab.folder()
        (cwd / "tmp").mkdir()
        environ: dict[str, str | None] = {"TMPDIR": str(cwd / "tmp")}
        if where == "a cache that is read-only":
            with mounted(cwd / "cache", "-t", "tmpfs", "-o", "ro", "tmpfs"):
                told = lab.everything(where, cwd, **environ)
        elif where == "a full cache":
            with mounted(cwd / "cache", "-t", "tmpfs", "-o", "size=4k", "tmpfs"):
                told = lab.everything(where, cwd, **environ)
        elif where == "no home":
            told = lab.everything(where, cwd, AIGC_CACHE_DIR=None, XDG_CACHE_HOME=None, HOME="/dev/null", **environ)
        else:
            (cwd / "file").touch()
            told = lab.everything(where, cwd, AIGC_CACHE_DIR=str(cwd / "file"), **environ)
        if told.count("prepared data are kept in") != len(KINDS):
            lab.count.crashed.append(f"{where}: not told once by each: {told}")
        if list((cwd / "tmp").glob(".tmp-*")):
            lab.count.corrupted.append(f"{where}: the temporary folder is left")


def without_shared_memory(lab: Lab) -> None:
    before = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"', "sh")
    lab.everything("no /dev/shm", lab.folder(), before)
    cwd = lab.folder()
    lab.do(lab.train(next(iter(KINDS)), cwd, "--devices", "2", "--shards", "2"), cwd, "no /dev/shm, two processes", before)


def one_cpu(lab: Lab) -> None:
    cpu = min(os.sched_getaffinity(0))
    lab.everything("one CPU", lab.folder(), ("taskset", "-c", str(cpu)))


def locales(lab: Lab) -> None:
    lab.everything("LANG=C", lab.folder(), LANG="C", LC_ALL=None)
    lab.everything("LC_ALL=C", lab.folder(), LC_ALL="C")
    lab.everything("ASCII", lab.folder(), LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")


def paths(lab: Lab) -> None:
    for name in ("two words", "new\nline", "not \udcff\udcfe UTF-8", "-dash", "é 日本", ODD):
        cwd = lab.folder() / name
        shutil.copytree(lab.data, cwd)
        lab.everything(f"below {name!r}", cwd)
        where = ("--runs-dir", f"./{name}/runs", "--run", "a")
        (cwd / name).mkdir()
        (cwd / "poems.tsv").rename(cwd / f"{name}.tsv")
        train = [*OF_TEXTS[3:], *SMALL, *where]
        said = lab.do(("train", "transformer", "--data", f"{name}.tsv", *train), cwd, f"--runs-dir {name!r}").stdout
        if said != f"{name}/runs/transformer/a\n":
            lab.count.corrupted.append(f"{name!r}: printed as {said!r}")
        again = lab.do(("train", "transformer", "--resume", "--steps", "14", "--json", *where), cwd, f"resumed in {name!r}")
        if again.code == 0 and Path(json.loads(again.stdout)["run"]) != Path(name, "runs", "transformer", "a"):
            lab.count.corrupted.append(f"{name!r}: given as {again.stdout}")
        lab.do(("sample", "transformer", "-n", "1", *where, f"--out={name}/{name}.txt"), cwd, f"--out {name!r}")
        if not (cwd / name / f"{name}.txt").exists():
            lab.count.lost.append(f"{name!r}: no sample")


def narrowing(lab: Lab) -> None:
    for kind in KINDS:
        cwd = lab.folder()
        lab.count.tried += 1
        parent, child = pty.openpty()
        resize(parent, 80, 24)
        env = {**os.environ, "AIGC_CACHE_DIR": str(cwd / "cache"), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        process = subprocess.Popen(
            [*AIGC, *lab.train(kind, cwd)], cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=child, stderr=child
        )
        os.close(child)
        seen, sizes = b"", cycle([(60, 20), (20, 10), (5, 3), (1, 1), (20, 2), (200, 50)])
        with suppress(OSError):  # on Linux, reading fails once the other end is closed
            while True:
                if not select.select([parent], [], [], 0.05)[0] or random.random() < 0.1:
                    resize(parent, *next(sizes))
                elif part := os.read(parent, 1 << 16):
                    seen += part
                else:
                    break
        os.close(parent)
        if process.wait() or b"Traceback" in seen:
            lab.count.crashed.append(f"a terminal that narrows, {kind}: {seen.decode(errors='replace')[-500:]}")
        lab.same_end(kind, cwd / "runs", f"a terminal that narrows, {kind}")


def resize(terminal: int, columns: int, lines: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


# While it works


def until(process: subprocess.Popen[str], true: Callable[[], bool]) -> None:
    while process.poll() is None and not true():
        time.sleep(0.005)


def pauses(lab: Lab) -> None:
    """Stopped for five seconds, it works no second longer, by its own account and by --minutes."""
    for kind in KINDS:
        cwd = lab.folder()
        process = lab.start(lab.train(kind, cwd, "--json"), cwd)
        run = cwd / "runs" / KINDS[kind][0] / kind
        began = time.monotonic()
        until(process, (run / "metrics.jsonl").exists)
        before = time.monotonic() - began
        process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        process.send_signal(signal.SIGCONT)
        done = lab.ended(process, f"a pause, {kind}")
        lab.same_end(kind, cwd / "runs", f"a pause, {kind}")
        worked = time.monotonic() - began - 5
        if done.code == 0 and json.loads(done.stdout)["seconds"] > worked - before + 0.5:
            lab.count.corrupted.append(f"a pause, {kind}: {done.stdout.strip()} of {worked - before:.1f} s")
    cwd = lab.folder()
    budget = (
        "train",
        "transformer",
        "--data",
        str(lab.data / "poems.tsv"),
        "--minutes",
        "0.3",
        "--preset",
        "nano",
        "--json",
        "--run",
    )
    took = {}
    for name in ("paused", "alone"):
        began = time.monotonic()
        process = lab.start([*budget, name], cwd)
        if name == "paused":
            time.sleep(6)
            process.send_signal(signal.SIGSTOP)
            time.sleep(30)
            process.send_signal(signal.SIGCONT)
        lab.ended(process, f"--minutes, {name}")
        took[name] = time.monotonic() - began - 30 * (name == "paused")
    if abs(took["paused"] - took["alone"]) > 5:
        lab.count.lost.append(f"--minutes 0.3 took {took}")


def signals(lab: Lab) -> None:
    """At random moments from the start on, and twice; then the same command again, or --resume."""
    moments = random.Random(3)
    for kind in KINDS:
        cwd = lab.folder()
        began = time.monotonic()
        lab.do(lab.train(kind, cwd), cwd, f"signals, {kind}")
        length = time.monotonic() - began
        for n in range(lab.signals):
            cwd = lab.folder()
            number = (signal.SIGINT, signal.SIGTERM)[n % 2]
            process = lab.start(lab.train(kind, cwd, "--checkpoint-seconds", "0.1"), cwd)
            time.sleep(moments.uniform(0.0, length))
            process.send_signal(number)
            if n % 5 == 4:
                time.sleep(moments.uniform(0.0, 0.2))
                process.send_signal(number)
            where = f"{signal.Signals(number).name} {n}, {kind}"
            # Python itself has not started yet, or is about to end.
            _, err = process.communicate()
            if process.returncode not in (0, 128 + number, -number) or ("Traceback" in err and "aigc_cli" in err):
                lab.count.crashed.append(f"{where}: exit code {process.returncode}: {err[-500:]}")
            if (
                process.returncode == 128 + number
                and n % 5 != 4
                and len(re.findall("^aigc: interrupted", err, flags=re.M)) != 1
            ):
                lab.count.crashed.append(f"{where}: not one line: {err[-500:]}")
            go_on(lab, kind, cwd, where)


def go_on(lab: Lab, kind: str, cwd: Path, where: str) -> None:
    """What the user does after a fault: go on."""
    record = cwd / "runs" / KINDS[kind][0] / kind / "run.json"
    if record.exists() and "plan" in json.loads(record.read_text()):
        lab.do(("train", KINDS[kind][0], "--run", kind, "--resume"), cwd, f"{where}, resumed")
    else:
        shutil.rmtree(record.parent, ignore_errors=True)
        lab.do(lab.train(kind, cwd), cwd, f"{where}, repeated")
    lab.same_end(kind, cwd / "runs", where)


def disks(lab: Lab) -> None:
    """Full, or read-only, from a checkpoint on; and after room is made, on it goes."""
    for kind in KINDS:
        for fault in ("full", "read-only"):
            cwd = lab.folder()
            where = f"a disk that becomes {fault}, {kind}"
            with mounted(cwd / "runs", "-t", "tmpfs", "-o", "size=400m", "tmpfs"):
                process = lab.start(lab.train(kind, cwd, "--steps", "40", "--eval-every", "4"), cwd)
                until(process, lambda runs=cwd / "runs" / KINDS[kind][0] / kind: any(runs.glob("checkpoints/step-*")))  # type: ignore[misc]
                filler = cwd / "runs" / "filler"
                if fault == "full":
                    with suppress(OSError), filler.open("wb", buffering=0) as file:
                        while file.write(bytes(1 << 16)):
                            pass
                else:
                    subprocess.run(
                        ["mount", "-o", "remount,ro", cwd / "runs"], stderr=subprocess.DEVNULL
                    )  # busy while it writes
                done = lab.ended(process, where, (0, 1))
                if done.code == 1 and "resume with" not in done.stderr:
                    lab.count.crashed.append(f"{where}: {done.stderr[-300:]}")
                subprocess.run(["mount", "-o", "remount,rw", cwd / "runs"], check=True)
                filler.unlink(missing_ok=True)
                lab.do(("train", KINDS[kind][0], "--run", kind, "--resume"), cwd, f"{where}, resumed")
                ended = {name: of for name, of in end_of(cwd / "runs", kind).items() if name.startswith("model")}
            alone = lab.folder()
            lab.do(lab.train(kind, alone, "--steps", "40", "--eval-every", "4"), alone, f"{where}, alone")
            if ended != {name: of for name, of in end_of(alone / "runs", kind).items() if name.startswith("model")}:
                lab.count.lost.append(f"{where}: other weights")


def deletions(lab: Lab) -> None:
    for kind in KINDS:
        cwd = lab.folder()
        run = cwd / "runs" / KINDS[kind][0] / kind
        process = lab.start(lab.train(kind, cwd, "--steps", "400", "--eval-every", "4"), cwd)
        until(process, lambda run=run: any(run.glob("checkpoints/step-*")))  # type: ignore[misc]
        while run.exists():
            shutil.rmtree(run, ignore_errors=True)
        done = lab.ended(process, f"a run that is deleted, {kind}", (1,))
        if "was deleted or moved" not in done.stderr:
            lab.count.crashed.append(f"a run that is deleted, {kind}: {done.stderr[-300:]}")
        if run.exists():
            lab.count.corrupted.append(f"a run that is deleted, {kind}: {[*run.rglob('*')]} was made again")


def locks(lab: Lab) -> None:
    """Two processes on one run, with `flock` and without; then the first is killed, and the second goes on."""
    without = lab.folder()
    (without / "sitecustomize.py").write_text(
        "import errno, fcntl\ndef none(*_):\n    raise OSError(errno.ENOLCK, 'No locks available')\nfcntl.flock = none\n"
    )
    for environ in ({}, {"PYTHONPATH": os.pathsep.join([str(without), *filter(None, [os.environ.get("PYTHONPATH")])])}):
        for kind in KINDS:
            where = f"two processes {'without flock' if environ else 'with flock'}, {kind}"
            cwd = lab.folder()
            run = cwd / "runs" / KINDS[kind][0] / kind
            first = lab.start(lab.train(kind, cwd, "--checkpoint-seconds", "0.05", "--steps", "12"), cwd, **environ)
            until(first, (run / "metrics.jsonl").exists)
            first.send_signal(signal.SIGSTOP)
            refused = lab.do(("train", KINDS[kind][0], "--run", kind, "--resume"), cwd, where, codes=(2,), **environ)
            if "is being trained by another process" not in refused.stderr:
                lab.count.crashed.append(f"{where}: {refused.stderr[-300:]}")
            first.kill()
            first.communicate()
            lab.do(("train", KINDS[kind][0], "--run", kind, "--resume"), cwd, f"{where}, resumed", **environ)
            lab.same_end(kind, cwd / "runs", where)
            both = [lab.start(lab.train(kind, cwd, "--run", name), cwd, **environ) for name in ("b", "c")]  # one cache
            for process in both:
                lab.ended(process, f"{where}, one cache", (0, 2) if kind == "records" else (0,))


ROWS: Mapping[str, Callable[[Lab], None]] = {
    "cache": without_cache,
    "shm": without_shared_memory,
    "cpu": one_cpu,
    "locale": locales,
    "paths": paths,
    "terminal": narrowing,
    "pause": pauses,
    "signals": signals,
    "disks": disks,
    "deleted": deletions,
    "locks": locks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--signals", type=int, default=10, help="for each kind of data")
    arguments = parser.parse_args()
    for kind in KINDS.keys() - {*arguments.kinds.split(",")}:
        del KINDS[kind]
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        data, work = Path(name, "data"), Path(name, "work")
        data.mkdir()
        work.mkdir()
        make_data(data)
        lab = Lab(data, work, {}, arguments.signals)
        for kind in KINDS:
            cwd = lab.folder()
            lab.do(lab.train(kind, cwd), cwd, kind)
            lab.ends[kind] = end_of(cwd / "runs", kind)
            assert lab.ends[kind], lab.count.crashed
        print("| what | tried | lost | corrupted | crashed |\n| --- | --- | --- | --- | --- |")
        for row in arguments.only.split(","):
            lab.count, began = Count(), time.monotonic()
            ROWS[row](lab)
            wrong = (lab.count.lost, lab.count.corrupted, lab.count.crashed)
            print(f"| {row} | {lab.count.tried} | {' | '.join(str(len(lines)) for lines in wrong)} |", flush=True)
            for line in (line for lines in wrong for line in lines):
                print(f"    {line}", file=sys.stderr)
            print(f"    {time.monotonic() - began:.0f} s", file=sys.stderr)
            bad += sum(map(len, wrong))
            shutil.rmtree(work)
            work.mkdir()
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
