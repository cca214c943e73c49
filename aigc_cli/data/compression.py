"""The text of a file: decompressed, decoded from UTF-8, every failure one line that says where."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from aigc_cli.errors import RequestError

_CHUNK_BYTES = 1 << 18


def lines(path: Path) -> Iterator[str]:
    """The lines with their ends, decoded; a byte order mark at the start is dropped."""
    offset = 0
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                mark = len(line) - len(line := line.removeprefix(codecs.BOM_UTF8))
                offset += mark
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, offset + error.start) from error
            offset += len(line)


def without_end(line: str) -> str:
    """The line without its line break, \\n or \\r\\n."""
    return line.removesuffix("\n").removesuffix("\r")


def chunks(file: BinaryIO, path: Path) -> Iterator[str]:
    """The text in chunks; a byte order mark at the start is dropped."""
    rest, offset, line = b"", 0, 1
    while True:
        chunk = file.read(_CHUNK_BYTES)
        data = rest + chunk
        if offset == 0 and data.startswith(codecs.BOM_UTF8):
            data, offset = data[3:], 3
        try:
            text, used = codecs.utf_8_decode(data, "strict", not chunk)
        except UnicodeDecodeError as error:
            line += data[: error.start].count(b"\n")
            raise _not_utf8(path, line, offset + error.start) from error
        yield text
        if not chunk:
            return
        rest, offset, line = data[used:], offset + used, line + text.count("\n")


def _not_utf8(path: Path, line: int, offset: int) -> RequestError:
    return RequestError(f"{path}, line {line}: the byte at offset {offset} is not UTF-8; convert the file to UTF-8")


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, decompressed."""
    match path.suffix.lower():
        case ".gz":
            return cast(BinaryIO, gzip.open(path))
        case ".zst":
            return io.BufferedReader(_ZstdFile(path), _CHUNK_BYTES)
        case _:
            return path.open("rb")


class _ZstdFile(io.RawIOBase):
    """The content of a .zst file; unlike `zstandard`'s own reader it refuses a truncated file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._fresh = True  # nothing of the present frame has been read
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._ready:
            if self._frame.eof:  # a file may hold several frames
                packed = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._fresh = True
            else:
                packed = b""
            packed = packed or self._file.read(1 << 12)  # little, for it may unpack to very much
            if not packed:
                if self._fresh:
                    return 0
                raise EOFError("the file ends before its last frame does")
            self._fresh = False
            self._ready = self._frame.decompress(packed)
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the exceptions of reading and of decompressing into one line for the user."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise RequestError(f"{path} is broken and cannot be decompressed: {error}") from error
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror or error}") from error
