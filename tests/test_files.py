"""Files are whole or absent, and what killed processes left is cleaned away."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aigc_cli.engine.runs.run import create_run
from aigc_cli.errors import RequestError
from aigc_cli.files import new_folder, quoted, scratch_folder, sweep_abandoned, written_aside

LEAVES = """
import os, sys
from pathlib import Path
from aigc_cli.files import new_folder, written_aside
with {block} as made:
    print("begun", flush=True)
    sys.stdin.read()
"""


def other(folder: Path, block: str) -> subprocess.Popen[str]:
    """A process that has begun to write."""
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVES.format(block=block)], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    return process


def aged(folder: Path) -> list[Path]:
    """The temporary files, as if they were two minutes old."""
    found = list(folder.glob(".tmp-*"))
    for path in found:
        os.utime(path, (time.time() - 120,) * 2)
    return found


def test_what_a_killed_process_left_among_others_is_cleaned_away(tmp_path: Path) -> None:
    process = other(tmp_path, "new_folder(Path('runs/x/y'))")
    (left,) = aged(tmp_path / "runs" / "x")
    sweep_abandoned(left.parent)
    assert left.exists()  # it is still being written
    process.kill()
    process.wait()
    create_run(tmp_path / "runs", "x", "z", {})
    assert not left.exists()


def test_what_is_new_is_left_alone_until_it_is_claimed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-new").mkdir()
    sweep_abandoned(tmp_path)
    assert (tmp_path / ".tmp-new").exists()
    aged(tmp_path)
    with scratch_folder(tmp_path) as ours:
        sweep_abandoned(tmp_path)
        assert list(tmp_path.iterdir()) == [ours]
    assert not list(tmp_path.iterdir())


def test_an_output_that_was_begun_is_cleaned_away_by_the_next(tmp_path: Path) -> None:
    process = other(tmp_path, "written_aside(Path('a[1].png'))")
    with written_aside(tmp_path / "a[1].png") as file:
        assert len(list(tmp_path.glob(".tmp-*"))) == 2
        file.write(b"ours")
    process.kill()
    process.wait()
    assert list(tmp_path.glob(".tmp-*"))
    with written_aside(tmp_path / "a[1].png") as file:
        file.write(b"again")
    assert [path.name for path in tmp_path.iterdir()] == ["a[1].png"]


def test_files_have_the_permissions_that_the_umask_says(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    before = os.umask(0o027)
    try:
        with new_folder(tmp_path / "a") as folder:
            save_file({"x": torch.zeros(1)}, folder / "x.safetensors")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "x.safetensors")]
    assert modes == [0o750, 0o640]


def test_a_run_is_there_with_its_record_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        create_run(tmp_path, "x", "y", {"data": object()})
    assert not list((tmp_path / "x").iterdir())
    assert (create_run(tmp_path, "x", "y", {}).path / "run.json").exists()
    with pytest.raises(RequestError, match="exists"):
        create_run(tmp_path, "x", "y", {})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler")
def test_nothing_is_lost_where_file_operations_fail() -> None:
    """A few of what `tests/benchmarks/faults.py` tries: it exits with 1 if anything is lost, corrupted or crashes."""
    script = Path(__file__).parent / "benchmarks" / "faults.py"
    wanted = ("--only", "training", "--every", "50", "--faults", "power,full")
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}  # where syncing takes no time
    done = subprocess.run([sys.executable, script, *wanted], env={**os.environ, **memory}, capture_output=True, text=True)
    rows = [line.split("|") for line in done.stdout.splitlines()[2:]]
    assert done.returncode == 0 and len(rows) == 2 and all(int(row[3]) > 0 for row in rows), done.stdout + done.stderr


@pytest.mark.parametrize(
    "name", ["plain-1", "two words", "it's", "a\nb", "-x", "a\\b\t'c'", "\udcff\udcfe0", "é\x1b[31m", "$(id)\n`id`", ""]
)
@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_a_shell_reads_a_quoted_name_as_it_is(name: str) -> None:
    typed = quoted(name)
    assert typed.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {typed}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert os.fsdecode(done.stdout) == name
