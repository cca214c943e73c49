"""manifest.json of a checkpoint: the size and SHA-256 of each of its files, to tell a damaged one from a whole one.

It is written last, and read before anything else of the checkpoint is used. Free of torch.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aigc_cli.engine.events import display_path
from aigc_cli.errors import RequestError
from aigc_cli.files import read_json, write_text

NAME = "manifest.json"
#: Of checkpoints. A newer one is refused.
FORMAT = 1
#: The parts of a checkpoint that sampling and evaluation use, and those that another run starts from.
MODEL = ("model/",)
WEIGHTS = (*MODEL, "state/networks.safetensors", "state/averages.safetensors")


@dataclass(frozen=True)
class _File:
    bytes: int
    sha256: str


def write_manifest(folder: Path, known: Mapping[str, _File] | None = None) -> None:
    """Write the manifest of a folder's files. `known` are files that need no reading."""
    names = sorted(str(file.relative_to(folder).as_posix()) for file in folder.rglob("*") if file.is_file())
    known = known or {}
    files = {name: known[name] if name in known else _describe(folder / name) for name in names if name != NAME}
    content = {"format": FORMAT, "files": {name: asdict(file) for name, file in files.items()}}
    write_text(folder / NAME, json.dumps({**content, "sha256": _digest_of(content)}, indent=1) + "\n")


def copy_manifest(origin: Path, folder: Path) -> None:
    """Write the manifest of a copy of some of a checkpoint's files, so that the copy is compared with the original."""
    write_manifest(folder, _read(origin) if (origin / NAME).exists() else None)


def damage(folder: Path, parts: Iterable[str] = ("",)) -> str | None:
    """What is wrong with the first damaged file of a checkpoint whose path begins with one of `parts`; None if all are whole.

    Nothing is known of a checkpoint without a manifest: earlier versions wrote none. Raises `RequestError` for one in a newer
    format.
    """
    if not folder.is_dir():
        return f"{display_path(folder)} is missing"
    if not (folder / NAME).exists():
        return None
    try:
        files = _read(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{display_path(folder / NAME)} is damaged"
    for name, file in files.items():
        if name.startswith(tuple(parts)) and (fault := _fault(folder / name, file)):
            return f"{display_path(folder / name)} {fault}"
    return None


def damage_above(folder: Path) -> str | None:
    """As `damage`, for a folder somewhere in a checkpoint, such as its model or the codec in that; None if it is in none."""
    for checkpoint in (folder.parent, folder.parent.parent):
        if (checkpoint / NAME).exists():
            return damage(checkpoint, (f"{folder.relative_to(checkpoint).as_posix()}/",))
    return None


def _read(folder: Path) -> dict[str, _File]:
    """The files in a manifest. ValueError and its like if it is damaged itself."""
    content: dict[str, Any] = read_json(folder / NAME)
    if content.pop("sha256") != _digest_of(content):
        raise ValueError(f"{NAME} is damaged")
    if content["format"] > FORMAT:
        raise RequestError(
            f"{display_path(folder)} was written by a newer aigc (checkpoint format {content['format']}); "
            "update aigc to open it"
        )
    files = {name: _File(**file) for name, file in content["files"].items()}
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name for name in files):
        raise ValueError(f"{NAME} names files outside its folder")
    if not all(isinstance(file.bytes, int) and isinstance(file.sha256, str) for file in files.values()):
        raise ValueError(f"{NAME} is damaged")
    return files


def _fault(path: Path, file: _File) -> str | None:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.bytes:
            return f"is damaged: it has {found.st_size:,} bytes, not {file.bytes:,}"
        return None if _describe(path) == file else "is damaged: its content is not what was written"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _describe(path: Path) -> _File:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return _File(file.tell(), digest)


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
