"""Many sources through a pipe: lines per second, peak memory, and whether answers are in order.

    python tests/benchmarks/pipe.py --run RUN --couplets FOLDER [--lines 100000]

RUN is a run with --arch encoder-decoder; the sources of FOLDER's train.tsv are repeated as often as needed. With --json each line
has its source, which is compared with the input. The memory is the process's peak.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--couplets", type=Path, required=True)
    parser.add_argument("--lines", type=int, nargs="+", default=[1_000, 100_000])
    arguments = parser.parse_args()

    with (arguments.couplets / "train.tsv").open(encoding="utf-8", newline="") as file:
        known = [row["source"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    for count in arguments.lines:
        sources = list(itertools.islice(itertools.cycle(known), count))
        command = [sys.executable, "-m", "aigc_cli.app", "sample", "transformer", "--run", arguments.run]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--prompt", "-", "--seed", "0", "--json", "-q"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None and process.stdout is not None

        def feed(pipe=process.stdin, lines=sources) -> None:  # type: ignore[no-untyped-def]
            with pipe:
                pipe.writelines(f"{line}\n" for line in lines)

        threading.Thread(target=feed).start()
        in_order = answered = 0
        for line, source in zip(process.stdout, sources, strict=False):
            in_order += json.loads(line)["prompt"] == source
            answered += 1
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        print(
            f"{count:,} lines: exit {os.waitstatus_to_exitcode(status)}, {answered:,} answers, {in_order:,} of them in order, "
            f"{seconds:.1f} s, {answered / seconds:,.0f} lines/s, at most {usage.ru_maxrss / 2**20:.2f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
