"""Standard input as a source: copied to a file of the cache, whose suffix is recognised from the first bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import zstandard

from aigc_cli.data import cache
from aigc_cli.data.kinds import Kind
from aigc_cli.errors import RequestError
from aigc_cli.files import new_file


def check_input_format(src: str, input_format: str | None) -> None:
    """Raise RequestError if a format is given for anything but standard input."""
    if input_format is not None and src != "-":
        raise RequestError("--input-format is for standard input (--data -); the format of a file follows from its name")


def spool_stdin(kind: Kind, input_format: str | None) -> Path:
    """Copy standard input, which can be read only once, to a file of the cache named by its content.

    Its suffix is `input_format`, otherwise recognised from the first bytes. Raises RequestError if it is empty or not
    recognised.
    """
    known = [suffix.removeprefix(".") for suffix in (*kind.suffixes, *kind.piped)]
    if input_format is not None and input_format not in known:
        raise RequestError(f"--input-format {input_format!r} is not one of {', '.join(known)}")
    stream = sys.stdin.buffer
    head = stream.read(1 << 18)
    if not head:
        raise RequestError("standard input is empty; pipe the data in, or name a file with --data")
    suffix = f".{input_format}{_unpacked(head)[0]}" if input_format else sniff(kind, head)
    if suffix is None and _is_file(head.partition(b"\n")[0]):
        raise RequestError("standard input is a list of files; pipe their content: tar -cf - -T LIST | aigc … --data -")
    if suffix is None:
        raise RequestError(f"standard input is not in a known format of {kind.name}; give its format with --input-format")
    copy = _copied(head, stream.read, suffix)
    with speaking_of_stdin(copy):
        return kind.convert(copy)


def peek_stdin() -> bytes:
    """The first bytes of standard input, up to a few thousand, which are still there to be read."""
    stream: Any = sys.stdin.buffer
    if hasattr(stream, "peek"):
        return bytes(stream.peek(1 << 13))
    head = bytes(stream.read(1 << 13))
    stream.seek(0)
    return head


def _is_file(name: bytes) -> bool:
    """Whether there is a file of this name."""
    try:
        return Path(os.fsdecode(name.strip())).is_file()
    except (OSError, ValueError):  # too long, or with a null byte
        return False


def sniff(kind: Kind, head: bytes) -> str | None:
    """The suffix that fits a file's first bytes, such as ".parquet" or ".json.gz"; None if unknown."""
    packing, start = _unpacked(head)
    suffix = (kind.recognise(start) if start else None) or kind.unnamed
    return suffix and suffix + packing


def _unpacked(head: bytes) -> tuple[str, bytes]:
    """The suffix of the compression, and the first decompressed bytes; empty if it is broken."""
    try:
        if head.startswith(b"\x1f\x8b"):
            return ".gz", zlib.decompressobj(wbits=31).decompress(head, 1 << 10)
        if head.startswith(b"\x28\xb5\x2f\xfd"):
            return ".zst", zstandard.ZstdDecompressor().stream_reader(head).read(1 << 10)
    except (zlib.error, zstandard.ZstdError):
        return (".gz" if head.startswith(b"\x1f\x8b") else ".zst"), b""
    return "", head


def _copied(head: bytes, read: Callable[[int], bytes], suffix: str) -> Path:
    digest, size, aside = hashlib.blake2b(digest_size=16), 0, cache.again(_new_copy)
    try:
        while head:
            digest.update(head)
            aside = cache.again(partial(_grown, aside, size, head))
            size += len(head)
            head = read(1 << 20)
        return aside.replace(aside.with_name(f"{digest.hexdigest()}{suffix}"))
    finally:
        aside.unlink(missing_ok=True)


def _new_copy() -> Path:
    with cache.writing() as place:
        folder = place / "stdin"
        folder.mkdir(parents=True, exist_ok=True)
        file, copy = new_file(folder)
        file.close()
        return copy


def _grown(copy: Path, size: int, more: bytes) -> Path:
    """The copy, of which `size` bytes are written, with more; in the folder that is written to now."""
    with cache.writing() as place:
        if not copy.is_relative_to(place):
            copy = Path(shutil.move(copy, _new_copy()))
        with copy.open("r+b") as file:
            file.seek(size)
            file.write(more)
        return copy


@contextmanager
def speaking_of_stdin(spooled: Path | None) -> Iterator[None]:
    """On an error, remove the copy of standard input, and name standard input instead of it. None: there is no copy."""
    try:
        yield
    except RequestError as error:
        if spooled is None:
            raise
        spooled.unlink(missing_ok=True)
        raise RequestError(named_as_given(str(error), spooled)) from error


def named_as_given(line: str, spooled: Path | None) -> str:
    """The line with standard input named instead of its copy."""
    return line if spooled is None else line.replace(str(spooled), "standard input").replace(spooled.name, "standard input")
