"""Does training stay within the memory of its control group? Every backend at its default size, on the built-in data.

    python tests/benchmarks/memory.py [--limits 2,4,8] [--minutes 1] [--only gan,answers] [--shown] [-- further options of train]

Whoever may make control groups, as root may, gets one from the kernel, which kills what exceeds it. Others, and all with --shown:
the command is shown a control group with this limit, and the memory that it holds is looked at every 10 ms, told to it as that of
the group, and killed where it exceeds the limit. (The kernel counts the files in its cache too, but drops those first.) Prints,
for each limit, the most memory held, and what was said of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from sounding import write_beeps
from test_transformer_records import squares
from watched import AIGC, watch

SHOWN = """
import sys
from pathlib import Path
from aigc_cli import machine
machine.memory.__defaults__ = (Path(sys.argv.pop(1)),)
from aigc_cli.app import main
main()
"""
CASES = {
    "transformer": ["transformer"],
    "answers": ["transformer", "--arch", "encoder-decoder", "--data", "demo:verse"],
    "records": ["transformer", "--data", "data/captions.tsv", "--fields", "caption,picture"],
    "gan": ["gan"],
    "gan-photos": ["gan", "--data", "photos.npz"],
    "vae": ["vae"],
    "vae-photos": ["vae", "--data", "photos.npz"],
    "samples": ["vae", "--objective", "samples"],
    "samples-photos": ["vae", "--objective", "samples", "--data", "photos.npz"],
    "codes": ["vae", "--codes"],
    "codes-photos": ["vae", "--codes", "--data", "photos.npz"],
    "sounds": ["gan", "--data", "beeps"],
    "sounds-vae": ["vae", "--data", "beeps"],
}


def group(folder: Path, limit: int) -> Path:
    """The files of a system whose processes are in a control group with this limit in bytes."""
    for name, content in (
        ("proc/meminfo", Path("/proc/meminfo").read_text()),
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/memory.max", f"{limit}\n"),
        ("sys/fs/cgroup/memory.current", "0\n"),
        ("sys/fs/cgroup/memory.stat", "inactive_file 0\n"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


CONTROLLER = Path("/sys/fs/cgroup/memory")


@contextmanager
def real_group(limit: int) -> Iterator[Path | None]:
    """A control group (version 1) of the kernel's with this limit in bytes, or None where we may not make one."""
    folder = CONTROLLER / f"aigc-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        yield None
        return
    try:
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        yield folder
    finally:
        folder.rmdir()


def write_data(folder: Path) -> None:
    """Sounds of a second, records, and pictures of 128×128, which take the most memory."""
    write_beeps(folder / "beeps", n=60)
    squares(folder / "data")
    blobs = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 3), np.uint8)
    np.savez(folder / "photos.npz", images=np.repeat(np.repeat(blobs, 16, 1), 16, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limits", default="2,4,8", help="in GB")
    parser.add_argument("--minutes", default="1")
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--shown", action="store_true", help="show a control group instead of making one")
    parser.add_argument("further", nargs="*")
    arguments = parser.parse_args()
    killed = 0
    print("| trained | limit | held at most | resident at most | seconds | end | batch |\n" + "| --- " * 7 + "|")
    for case in arguments.only.split(","):
        for limit in [round(float(of) * 1e9) for of in arguments.limits.split(",")]:
            with tempfile.TemporaryDirectory() as name, real_group(limit) as real:
                folder = Path(name)
                write_data(folder)
                train = ["train", *CASES[case], "--minutes", arguments.minutes, "--device", "cpu", *arguments.further]
                if real is None or arguments.shown:
                    system = group(folder / "system", limit)

                    def within(held: int, system: Path = system, limit: int = limit) -> bool:
                        (system / "sys/fs/cgroup/memory.current").write_text(f"{held}\n")
                        return held <= limit

                    done = watch([sys.executable, "-c", SHOWN, str(system), *train], folder, every=0.01, each=within)
                else:
                    enter = f'echo $$ > {real}/cgroup.procs && exec "$@"'
                    done = watch(["sh", "-c", enter, "sh", *AIGC, *train], folder)
                runs = [json.loads(path.read_text()) for path in folder.glob("runs/*/*/run.json")]
                plans = [run["plan"] for run in runs if "plan" in run]
                batch = ", ".join(f"{plan['micro_batch_size']} of {plan['batch_size']}" for plan in plans)
                killed += done.code != 0
                end = "done" if done.code == 0 else "killed" if done.code == -9 else f"exit code {done.code}"
                row = (case, f"{limit / 1e9:g} GB", f"{done.held / 1e9:.2f} GB", f"{done.peak / 1e9:.2f} GB")
                print("|", " | ".join((*row, f"{done.seconds:.0f}", end, batch)), "|", flush=True)
                said = [line for line in done.output.splitlines() if "memory" in line or line.startswith("aigc: ")]
                for line in said:
                    print(f"    {line}", file=sys.stderr, flush=True)
    sys.exit(bool(killed))


if __name__ == "__main__":
    main()
