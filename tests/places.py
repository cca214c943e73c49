"""Places where writing fails, for tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """What is in the folder can't be written to. The superuser, whom permissions don't bind, mounts it so."""
    if os.geteuid() != 0:
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
        for path in folders:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path in folders:
                path.chmod(0o755)
        return
    with _mounted(["--bind", "-o", "ro", folder], folder):
        yield


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """The folder is a disk of this size, such as 100k."""
    with _mounted(["-t", "tmpfs", "-o", f"size={size}", "tmpfs"], folder):
        yield


@contextmanager
def _mounted(arguments: list[str | Path], folder: Path) -> Iterator[None]:
    if not shutil.which("mount") or subprocess.run(["mount", *arguments, folder], capture_output=True).returncode:
        pytest.skip("can't mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
