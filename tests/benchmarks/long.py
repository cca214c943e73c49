"""Long runs and large data: does memory stay flat, and how long does it take?

    python tests/benchmarks/long.py WHAT [--n N] [--folder DIR]

checkpoints  2,000 checkpoints and evaluations in one run, of each backend (--only gan)
rows         ten million rows of a table: first start, second start, evaluation
pictures     200,000 small pictures in a tar (--form folder): the same
sounds       50,000 short sounds in a tar (--form folder): the same
runs         2,000 runs: listing them, finding one and the newest
samples      1,000,000 short texts into a file
drawn        200,000 small pictures of a GAN into a tar

Everything is made up in a temporary folder, and sizes can be changed by --n. Memory is the largest resident size of the process,
with the parts of files in the cache that it has looked at; what it held is without these, which the system can drop.
What is said to be flat is the memory that can't be dropped, of its median in the last tenth of the work against that in the
second tenth, and the number of open files.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from watched import AIGC, Watched, watch

TINY = ("--d-model", "16", "--n-layers", "1", "--batch-size", "2", "--context", "16", "--preset", "nano", "--tokenizer", "char")
SMALL = ("--size", "8", "--preset", "nano", "--batch-size", "2")
#: Small networks of each backend.
TRAINED = {
    "transformer": ("--data", "demo:verse", *TINY),
    "gan": ("--data", "demo:shapes?n=200", *SMALL),
    "vae": ("--data", "demo:shapes?n=200", *SMALL),
}
QUICK = ("--device", "cpu", "--threads", "1", "-q")


class Table:
    """Rows with what was measured, printed as they come."""

    def __init__(self) -> None:
        print("| what | n | seconds | computing | peak memory | more |\n" + "| --- " * 6 + "|")
        self.failed = 0

    def row(self, what: str, n: int, done: Watched, more: str = "") -> None:
        if done.code != 0:
            self.failed += 1
            more = f"exit code {done.code}: {' '.join(done.output.split())[-300:]}"
        seconds, memory = f"{done.seconds:.1f} | {done.cpu:.1f}", f"{done.peak / 1e6:,.0f} MB"
        print(f"| {what} | {n:,} | {seconds} | {memory} | {more} |", flush=True)


def train(backend: str, *arguments: str, run: str = "r") -> list[str]:
    return [*AIGC, "train", backend, *arguments, "--run", run, *QUICK]


def flat(done: Watched) -> str:
    """How memory and open files at the end compare with those after a tenth."""
    if len(done.looks) < 100:
        return "too short to tell"
    (memory, files), (later, files_later) = done.level(0.1, 0.2), done.level(0.9, 1.0)
    return f"memory {memory / 1e6:,.1f} to {later / 1e6:,.1f} MB ({later / memory - 1:+.1%}), files {files} to {files_later}"


def held(done: Watched) -> str:
    """The most memory that could not be dropped."""
    return f"held at most {done.held / 1e6:,.0f} MB"


def size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*"))


def checkpoints(folder: Path, n: int, table: Table, only: str) -> None:
    for backend in only.split(","):
        place = folder / backend
        place.mkdir()
        kept = place / "runs" / backend / "r" / "checkpoints"
        most = 0

        def newest(kept: Path = kept) -> float:
            nonlocal most
            steps = [int(path.name[5:]) for path in kept.glob("step-*")]
            most = max(most, len(steps))
            return float(max(steps, default=0))

        often = (
            "--steps",
            str(n),
            "--eval-every",
            "1",
            "--log-every",
            "1",
            "--eval-items",
            "4",
            "--checkpoint-seconds",
            "9999",
        )
        done = watch(train(backend, *TRAINED[backend], *often), place, progress=newest, every=0.02)
        more = [flat(done)]
        if done.code == 0:
            previews = size(kept.parent / "samples")
            more.append(
                f"at most {most} checkpoints, in the end {size(kept) / 1e6:.1f} MB and {previews / 1e6:.1f} MB of previews"
            )
        table.row(f"checkpoints and evaluations, {backend}", n, done, "; ".join(more))
        shutil.rmtree(place)


def starts(
    folder: Path, n: int, table: Table, what: str, backend: str, arguments: tuple[str, ...], evaluated: tuple[str, ...]
) -> None:
    """Train twice, the second time with a full cache, then evaluate."""
    of = (*arguments, "--steps", "3", "--eval-items", "8")
    for which in ("first", "second"):
        done = watch(train(backend, *of, run=which), folder)
        cached = size(folder / "cache") / 1e6
        table.row(f"{what}: {which} start", n, done, f"{held(done)}, {cached:,.0f} MB in the cache")
        if done.code != 0:
            return
    done = watch([*AIGC, "eval", backend, "--run", "first", "--device", "cpu", *evaluated], folder)
    table.row(f"{what}: evaluation", n, done, held(done))


def rows(folder: Path, n: int, table: Table) -> None:
    draw = np.random.default_rng(0)
    words = np.array(["".join(draw.choice(list("abcdefghilmnoprstu"), draw.integers(2, 8))) for _ in range(5000)])
    with (folder / "rows.tsv").open("w") as file:
        file.write("id\ttext\n")
        for first in range(0, n, 100_000):
            some = words[draw.integers(0, len(words), (min(100_000, n - first), 6))].tolist()
            file.writelines(f"{first + place}\t{' '.join(row)}\n" for place, row in enumerate(some))
    megabytes = (folder / "rows.tsv").stat().st_size / 1e6
    what = f"rows of a table ({megabytes:,.0f} MB)"
    starts(folder, n, table, what, "transformer", ("--data", "rows.tsv", "--column", "text", "--preset", "nano"), ("-q",))


def archive(folder: Path, members: Iterator[tuple[str, bytes]], form: str) -> str:
    """Write files into a tar, or as they are into a folder. Returns its name."""
    if form == "folder":
        for name, content in members:
            path = folder / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return "files"
    with tarfile.open(folder / "files.tar", "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return "files.tar"


def pictures(folder: Path, n: int, table: Table, form: str) -> None:
    from PIL import Image

    def members() -> Iterator[tuple[str, bytes]]:
        draw = np.random.default_rng(0)
        for number in range(n):
            content = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(content, "PNG")
            yield f"{number % 10}/{number}.png", content.getvalue()

    data = archive(folder, members(), form)
    starts(folder, n, table, f"pictures in a {form}", "vae", ("--data", data, "--preset", "nano", "--batch-size", "8"), ("-q",))


def sounds(folder: Path, n: int, table: Table, form: str) -> None:
    def members() -> Iterator[tuple[str, bytes]]:
        draw = np.random.default_rng(0)
        for number in range(n):
            content = io.BytesIO()
            with wave.open(content, "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8000)
                t = np.arange(1600) / 8000
                tone = np.sin(2 * np.pi * draw.uniform(200, 2000) * t) * np.exp(-t * draw.uniform(5, 15))
                file.writeframes((tone * 20000).astype("<i2").tobytes())
            yield f"{number % 10}/{number}.wav", content.getvalue()

    data = archive(folder, members(), form)
    arguments = ("--data", data, "--longest-side", "16", "--preset", "nano", "--batch-size", "8")
    starts(folder, n, table, f"sounds in a {form}", "vae", arguments, ("-q",))


def runs(folder: Path, n: int, table: Table) -> None:
    done = watch(train("transformer", *TRAINED["transformer"], "--steps", "4"), folder)
    assert done.code == 0, done.output
    run = folder / "runs" / "transformer" / "r"
    record = json.loads((run / "run.json").read_text())
    for number in range(n - 1):
        copy = run.with_name(f"copy-{number}")
        shutil.copytree(run, copy, symlinks=True, copy_function=os.link)
        (copy / "run.json").unlink()
        created = f"2020-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.000Z"
        (copy / "run.json").write_text(json.dumps({**record, "created": created}))
    for what, arguments in (
        ("aigc runs", ["runs"]),
        ("aigc runs --json", ["runs", "--json"]),
        ("aigc runs show NAME", ["runs", "show", f"copy-{n // 2}"]),
        ("aigc runs path (the newest)", ["runs", "path"]),
        ("aigc sample transformer -n 1 (of the newest)", ["sample", "transformer", "-n", "1", "--max-tokens", "4"]),
        ("aigc train (a name of its own)", ["train", "transformer", *TRAINED["transformer"], "--steps", "1", *QUICK]),
        ("aigc runs prune --yes (all)", ["runs", "prune", "--yes"]),
    ):
        table.row(what, n, watch([*AIGC, *arguments], folder, every=0.02))


def growing(file: Callable[[], Path | None]) -> Callable[[], float]:
    def written() -> float:
        path = file()
        return float(path.stat().st_size) if path is not None else 0.0

    return written


def samples(folder: Path, n: int, table: Table) -> None:
    done = watch(train("transformer", *TRAINED["transformer"], "--steps", "30"), folder)
    assert done.code == 0, done.output
    for what, arguments in (("texts", ["--out", "out.txt"]), ("texts with --json", ["--json", "--out", "out.jsonl"])):
        command = [*AIGC, "sample", "transformer", "-n", str(n), "--seed", "1", "--max-tokens", "4", *arguments, "-q"]
        aside = growing(lambda: next(folder.glob(".tmp-out*"), None))
        done = watch(command, folder, progress=aside)
        lines = sum(1 for _ in (folder / arguments[-1]).open("rb")) if done.code == 0 else 0
        table.row(f"sampled {what}", n, done, f"{flat(done)}; {lines:,} lines, {lines / done.cpu:,.0f} a second of computing")


def drawn(folder: Path, n: int, table: Table) -> None:
    done = watch(train("gan", *TRAINED["gan"], "--steps", "4"), folder)
    assert done.code == 0, done.output
    for out in ("out.tar", "out.npz"):
        command = [*AIGC, "sample", "gan", "-n", str(n), "--seed", "1", "--out", out, "-q"]
        done = watch(command, folder, progress=time.monotonic)
        megabytes = (folder / out).stat().st_size / 1e6 if done.code == 0 else 0.0
        table.row(f"pictures into {out}", n, done, f"{megabytes:,.0f} MB; {held(done)}")


SIZES = {
    "checkpoints": 2000,
    "rows": 10_000_000,
    "pictures": 200_000,
    "sounds": 50_000,
    "runs": 2000,
    "samples": 1_000_000,
    "drawn": 200_000,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SIZES)
    parser.add_argument("--n", type=int)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--form", choices=("tar", "folder"), default="tar")
    parser.add_argument("--only", default=",".join(TRAINED))
    arguments = parser.parse_args()
    n, table = arguments.n or SIZES[arguments.what], Table()
    work: dict[str, Callable[[Path], None]] = {
        "checkpoints": lambda folder: checkpoints(folder, n, table, arguments.only),
        "rows": lambda folder: rows(folder, n, table),
        "pictures": lambda folder: pictures(folder, n, table, arguments.form),
        "sounds": lambda folder: sounds(folder, n, table, arguments.form),
        "runs": lambda folder: runs(folder, n, table),
        "samples": lambda folder: samples(folder, n, table),
        "drawn": lambda folder: drawn(folder, n, table),
    }
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        work[arguments.what](Path(name))
    sys.exit(bool(table.failed))


if __name__ == "__main__":
    main()
