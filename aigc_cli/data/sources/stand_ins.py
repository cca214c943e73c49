"""Files that are not the data that their names promise: pointers of Git LFS, and web pages saved in place of a download."""

from __future__ import annotations

from pathlib import Path

from aigc_cli.errors import RequestError

POINTER_BYTES = 1024
"""A pointer is shorter."""

_POINTER = b"version https://git-lfs.github.com/spec/v1"
_PAGES = (b"<!doctype html", b"<html")


def refuse_stand_in(path: Path) -> None:
    """Raise RequestError for a pointer or a page that has the name of a table, an archive or the like."""
    try:
        with path.open("rb") as file:
            head = file.read(POINTER_BYTES)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    refuse_pointer(path, head)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower().startswith(_PAGES):
        raise RequestError(f"{path} is a web page, whatever its name says; download the data again")


def refuse_pointer(path: Path, head: bytes) -> None:
    """Raise RequestError where a file that begins so is a pointer."""
    if head.startswith(_POINTER):
        raise RequestError(f"{path} is a pointer of Git LFS and not the data; git lfs pull fetches them")
