"""What becomes of every value of a stranger's run: each one in run.json, in a checkpoint's position and in the model's JSON files
replaced by each hostile value, or missing, and every verb tried on the result.

python tests/benchmarks/hostile.py [--backends transformer,gan,vae,codec] [--every 1]   # about an hour

A command must do what it is asked, or say in a line what is wrong, with exit code 1 or 2. It must not end in another way, take
more than a minute of computing, need more than 2 GB more, or change a file outside of the run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from hostile import aigc, content_of, replaced

from aigc_cli.engine.checkpoints import manifest

SMALL = ("--preset", "nano", "--batch-size", "4", "--eval-items", "8", "--steps", "4", "--cooldown", "0.5", "--eval-every", "2", "--run", "r", "-q", "--device", "cpu")  # fmt: skip
TRAIN = {
    "transformer": (
        "transformer",
        "--data",
        "poems.txt",
        "--lines",
        "--context",
        "16",
        "--d-model",
        "16",
        "--n-layers",
        "1",
        *SMALL,
    ),
    "gan": ("gan", "--data", "demo:shapes?n=60", "--size", "8", *SMALL),
    "vae": ("vae", "--data", "demo:shapes?n=60", "--size", "8", *SMALL),
    "codec": ("vae", "--codes", "--data", "demo:shapes?n=60", "--size", "16", *SMALL[2:]),
}
#: Files that each backend opens, besides run.json.
FILES = ("config.json", "tokenizer_config.json", "aigc.json", "format.json")


def verbs(backend: str) -> Iterator[tuple[str, ...]]:
    yield from (("runs", "list"), ("runs", "show", "r"), ("report", "r", "--no-eval"))
    run = ("--run", "r", "--device", "cpu", "--seed", "1")
    yield (
        "sample",
        backend,
        "-n",
        "1",
        *run,
        *(("--max-tokens", "4") if backend == "transformer" else ("--out", "s.npz", "--force")),
    )
    if backend != "transformer":
        yield (
            ("encode", "vae", "--data", "demo:shapes?n=8", *run[:4], "--out", "z.npz", "--force")
            if backend == "vae"
            else ("runs", "path", "r")
        )
    yield ("eval", backend, "-n", "4", *run)
    yield ("train", backend, "--run", "r", "--resume", "-q")


def changes(run: Path) -> Iterator[tuple[str, Path, Any]]:
    """What, which file, and its new value."""
    newest = max(run.glob("checkpoints/step-*"))
    for file in (run / "run.json", newest / "state/position.json", *(newest / "model" / name for name in FILES)):
        if file.exists():
            for what, value in replaced(json.loads(file.read_text())):
                yield f"{file.name}: {what}", file, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", default=",".join(TRAIN))
    parser.add_argument("--every", type=int, default=1, help="try every so many-th change only")
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="aigc-hostile-"))
    os.environ |= {"AIGC_CACHE_DIR": str(work / "cache"), "AIGC_THREADS": "1"}
    os.chdir(work)
    Path("poems.txt").write_text("".join(f"the fox number {number} went over the hill\n" for number in range(300)))
    failed = 0
    print("| backend | changes | commands | refused | crashed | slow | memory | seconds |", flush=True)
    for name in asked.backends.split(","):
        backend, *options = TRAIN[name]
        shutil.rmtree(work / "runs", ignore_errors=True)
        told = aigc("train", backend, *options)
        assert told.code == 0, told.err
        run, kept = work / "runs" / backend / "r", work / f"kept-{name}"
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
        shutil.copytree(run, kept, symlinks=True)
        began, count, others = time.monotonic(), Counter[str](), {*os.listdir(work), "s.npz", "z.npz"}  # noqa: PTH208
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for what, file, value in islice(changes(kept), asked.first, None, asked.every):
            shutil.rmtree(run)
            shutil.copytree(kept, run, symlinks=True)
            changed = run / file.relative_to(kept)
            changed.write_text(json.dumps(value))
            if file.parent != kept:
                manifest.write_manifest(run / "checkpoints" / file.relative_to(kept).parts[1])
            count["changes"] += 1
            whole = content_of(kept) if count["changes"] % 100 == 1 else None
            for verb in verbs(backend):
                at = time.process_time()
                told = aigc(*verb)
                took = time.process_time() - at
                count["commands"] += 1
                count["refused"] += told.code in (1, 2)
                count["slow"] += took > 60
                if told.crashed or took > 60:
                    count["crashed"] += told.crashed
                    print(
                        f"  {name}: {what}\n    {' '.join(verb)}: {took:.0f} s, {told.code}: {told.err.strip().splitlines()[-1:]}",
                        flush=True,
                    )
            assert whole is None or content_of(kept) == whole
            assert {*os.listdir(work)} <= others, {*os.listdir(work)} - others  # noqa: PTH208
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
        cells = (
            name,
            *(f"{count[of]:,}" for of in ("changes", "commands", "refused", "crashed", "slow")),
            f"+{grown:.1f} GB",
            f"{time.monotonic() - began:,.0f}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)
        failed += count["crashed"] + count["slow"] + (grown > 2)
    shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
