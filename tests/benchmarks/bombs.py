"""What bombs and giants do to `aigc train --dry-run`: the peak of its memory, its time, and what it says.

python tests/benchmarks/bombs.py [--only NAME,…] [--scale 1.0]   # about half an hour, and 12 GB of disk

Each is made in a temporary folder and read by a process of its own. None may end otherwise than in a plan or in a line that says
what is wrong.
"""

from __future__ import annotations

import argparse
import gzip
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

MB = 1 << 20


def tar_of_empty_files(folder: Path, scale: float) -> str:
    """A stream of headers, each its own name, as `tarfile` would write them."""
    n = int(1_000_000 * scale)
    with (folder / "a.tar").open("wb") as file:
        for number in range(n):
            file.write(tarfile.TarInfo(f"{number}.png").tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1024))
    return "a.tar"


def tar_of_too_many(folder: Path, scale: float) -> str:
    """Ten million of one name, packed: five gigabytes of headers in a few megabytes."""
    header = tarfile.TarInfo("a.png").tobuf(tarfile.USTAR_FORMAT) * 1000
    with gzip.open(folder / "a.tar.gz", "wb", 1) as file:
        for _ in range(int(10_000 * scale)):
            file.write(header)
    return "a.tar.gz"


def flat_zip(folder: Path, scale: float) -> str:
    """Members that share their bytes, as in Fifield 2019: a few megabytes that claim to be terabytes."""
    size = int(256 * MB * scale)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(size)) + packer.flush()
    fields = struct.pack("<HHHHHIIIH", 20, 0, 8, 0, 0x5021, zlib.crc32(bytes(size)), len(packed), size, 9)
    body, central, n = b"PK\3\4" + fields + b"\0\0" + b"00000.png" + packed, b"", 20_000
    for number in range(n):
        central += (
            b"PK\1\2" + struct.pack("<BB", 20, 3) + fields + struct.pack("<HHHHII", 0, 0, 0, 0, 0, 0) + b"%05d.png" % number
        )
    end = struct.pack("<HHHHIIH", 0, 0, n, n, len(central), len(body), 0)
    (folder / "a.zip").write_bytes(body + central + b"PK\5\6" + end)
    return "a.zip"


def nested_zip(folder: Path, scale: float) -> str:
    """Zips in zips, sixteen in each, five deep, as in 42.zip."""
    content, name = bytes(int(64 * MB * scale)), "0.png"
    for depth in range(5):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for number in range(16 if depth else 1):
                archive.writestr(f"{number}{name}", content)
        content, name = file.getvalue(), ".zip"
    (folder / "a.zip").write_bytes(content)
    return "a.zip"


def gzipped(content: bytes) -> Callable[[Path, float], str]:
    def make(folder: Path, scale: float) -> str:
        block = content * (MB // len(content))
        with gzip.open(folder / "a.tsv.gz", "wb", 9) as file:
            file.write(b"id\ttext\n")
            for _ in range(int(10_000 * scale)):
                file.write(block)
        return "a.tsv.gz"

    return make


def one_line(suffix: str, begin: bytes, end: bytes) -> Callable[[Path, float], str]:
    """A gigabyte without a line break."""

    def make(folder: Path, scale: float) -> str:
        block = b"the fox went over the hill and far away, " * 25_000
        with (folder / f"a{suffix}").open("wb") as file:
            file.write(begin)
            for _ in range(int(1024 * scale)):
                file.write(block)
            file.write(end)
        return f"a{suffix}"

    return make


def columns(folder: Path, scale: float) -> str:
    n = int(100_000 * scale)
    names = ",".join(f"c{number}" for number in range(n))
    row = ",".join(["1"] * (n - 1))
    (folder / "a.csv").write_text("\n".join([names, *(f"{row},the fox went over the hill {number}" for number in range(100))]))
    return "a.csv"


BOMBS: dict[str, tuple[str, Callable[[Path, float], str]]] = {
    "tar of 10⁶ empty files": ("gan", tar_of_empty_files),
    "tar.gz of 10⁷ empty files": ("gan", tar_of_too_many),
    "flat zip, 5 TB in 3 MB": ("gan", flat_zip),
    "zips in zips, five deep": ("gan", nested_zip),
    "gz of 10 GB of one cell": ("transformer", gzipped(b"a")),
    "gz of 10 GB of blank lines": ("transformer", gzipped(b"\n")),
    "1 GB in one line, .txt": ("transformer", one_line(".txt", b"", b"")),
    "1 GB in one line, .tsv": ("transformer", one_line(".tsv", b"text\n", b"\nthe second text\nthe third text\n")),
    "1 GB in one line, .jsonl": ("transformer", one_line(".jsonl", b'{"text": "', b'"}\n{"text": "the second text"}\n')),
    "CSV of 10⁵ columns": ("transformer", columns),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--scale", type=float, default=1.0)
    asked = parser.parse_args()
    failed = False
    print("| input | bytes | peak memory | seconds | exit | what it says |", flush=True)
    for name, (backend, make) in BOMBS.items():
        if not any(part in name for part in asked.only.split(",")):
            continue
        folder = Path(tempfile.mkdtemp(prefix="aigc-bomb-"))
        data = folder / make(folder, asked.scale)
        command = [sys.executable, "-m", "aigc_cli.app", "train", backend, "--data", str(data), "--steps", "2", "--preset", "nano", "--dry-run", "-q", "--device", "cpu"]  # fmt: skip
        began = time.monotonic()
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, env={**os.environ, "AIGC_CACHE_DIR": str(folder / "cache")}
            )
            _, status, used = os.wait4(process.pid, 0)
        code, said = os.waitstatus_to_exitcode(status), (folder / "out").read_text(errors="replace").strip()
        last = " ".join(said.splitlines()[-1].replace(str(folder) + "/", "").split())[:160] if said else ""
        cells = (
            name,
            f"{data.stat().st_size:,}",
            f"{used.ru_maxrss / 1e6:.2f} GB",
            f"{time.monotonic() - began:.0f}",
            f"{code}",
            last,
        )
        print(f"| {' | '.join(cells)} |", flush=True)
        failed = failed or code not in (0, 1, 2) or "(--debug shows" in said
        shutil.rmtree(folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
