"""Files without the data their names suggest: Git LFS pointers, and web pages saved instead of a download."""

from __future__ import annotations

from pathlib import Path

from aigc_cli.errors import RequestError

POINTER_BYTES = 1024
"""Pointers are shorter than this."""

_POINTER = b"version https://git-lfs.github.com/spec/v1"
_PAGES = (b"<!doctype html", b"<html")


def refuse_stand_in(path: Path, *, pages: bool = True) -> None:
    """Raise RequestError for a pointer, and with `pages` for a web page named like a table, an archive or the like."""
    try:
        with path.open("rb") as file:
            head = file.read(POINTER_BYTES)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    refuse_pointer(path, head)
    if pages and _beginning(head).startswith(_PAGES):
        raise RequestError(f"{path} is a web page despite its name; download the data again")


def refuse_pointer(path: Path, head: bytes) -> None:
    """Raise RequestError if a file with these first bytes is a pointer."""
    if head.startswith(_POINTER):
        raise RequestError(f"{path} is a Git LFS pointer, not the data; git lfs pull fetches it")


def is_page(head: bytes) -> bool:
    """Whether a file with these first bytes declares itself a web page."""
    return _beginning(head).startswith(_PAGES[0])


def _beginning(head: bytes) -> bytes:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:20].lower()
