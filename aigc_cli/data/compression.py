"""The text of a file, decompressed and decoded from UTF-8 or the encoding of its byte-order mark. Errors are one line each."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from abc import abstractmethod
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from aigc_cli.data.transcoding import ConvertedFile, in_utf8, marked_encoding, not_utf8
from aigc_cli.errors import RequestError

MAX_EXPANSION = 200
SLACK_BYTES = 1 << 30
"""A file may unpack to `SLACK_BYTES` and `MAX_EXPANSION` times its own size."""

_CHUNK_BYTES = 1 << 18
FIRST_LINE = 1 << 16


def lines(path: Path) -> Iterator[str]:
    """The lines with their ends, decoded; a byte-order mark at the start is dropped. Lines end at \\n, or at
    \\r where the first 64 KiB have no \\n, as old Macs wrote them."""
    offset = 0
    with open_bytes(path) as file:
        for number, line in enumerate(_byte_lines(in_utf8(file, path)), start=1):
            if number == 1:
                mark = len(line) - len(line := line.removeprefix(codecs.BOM_UTF8))
                offset += mark
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(path, number, offset + error.start, line[error.start]) from error
            offset += len(line)


def ends_at_returns(path: Path) -> bool:
    """Whether the lines of a file end at \\r alone."""
    with open_bytes(path) as file:
        return at_returns(in_utf8(file, path).readline(FIRST_LINE))


def encoding_by_mark(path: Path) -> str | None:
    """UTF-16 or UTF-32 if the file begins with its byte-order mark; None for UTF-8."""
    with open_bytes(path) as file:
        return marked_encoding(file.read(4))


def at_returns(start: bytes) -> bool:
    """Whether lines end at \\r alone, given the first line, or the first bytes of it."""
    return b"\n" not in start and b"\r" in start


def _byte_lines(file: BinaryIO) -> Iterator[bytes]:
    first = file.readline(FIRST_LINE)
    if not at_returns(first):
        if first:
            yield first if first.endswith(b"\n") else first + file.readline()
        yield from file
        return
    held = first
    while chunk := file.read(_CHUNK_BYTES):
        *whole, held = (held + chunk).split(b"\r")
        yield from (line + b"\r" for line in whole)
    *whole, held = held.split(b"\r")
    yield from (line + b"\r" for line in whole)
    if held:
        yield held


def without_end(line: str) -> str:
    """The line without its line break, \\n, \\r\\n or \\r."""
    return line.removesuffix("\n").removesuffix("\r")


def chunks(path: Path) -> Generator[str, None, None]:
    """The text of a file in chunks; a byte-order mark at the start is dropped."""
    rest, offset, line = b"", 0, 1
    with open_bytes(path) as packed:
        file = in_utf8(packed, path)
        while True:
            chunk = file.read(_CHUNK_BYTES)
            data = rest + chunk
            if offset == 0 and data.startswith(codecs.BOM_UTF8):
                data, offset = data[3:], 3
            try:
                text, used = codecs.utf_8_decode(data, "strict", not chunk)
            except UnicodeDecodeError as error:
                line += data[: error.start].count(b"\n")
                raise _not_utf8(path, line, offset + error.start, data[error.start]) from error
            yield text
            if not chunk:
                return
            rest, offset, line = data[used:], offset + used, line + text.count("\n")


def _not_utf8(path: Path, line: int, offset: int, byte: int) -> RequestError:
    with open_bytes(path) as file:
        return not_utf8(path, file, line, offset, byte)


def open_bytes(path: Path) -> BinaryIO:
    """The file's bytes, decompressed."""
    match path.suffix.lower():
        case ".gz":
            return open_gzip(path)
        case ".zst":
            return io.BufferedReader(_ZstdFile(path), _CHUNK_BYTES)
        case _:
            return path.open("rb")


def open_gzip(path: Path) -> BinaryIO:
    """The content of a gzipped file, whatever its suffix."""
    return io.BufferedReader(_GzipFile(path), _CHUNK_BYTES)


def check_expansion(path: Path, unpacked: int) -> None:
    """Raise RequestError if a file unpacks to more than what any data do."""
    limit = SLACK_BYTES + MAX_EXPANSION * path.stat().st_size
    if unpacked > limit:
        raise RequestError(f"{path} unpacks to more than {limit:,} bytes, {MAX_EXPANSION} times its size: no data do that")


class _Unpacked(ConvertedFile):
    """The content of a compressed file, of limited size."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb"))
        self._path, self._unpacked = path, 0
        self._limited = path.is_file()  # a pipe has no size

    @abstractmethod
    def unpack(self) -> bytes:
        """As `next_piece`."""

    def next_piece(self) -> bytes:
        piece = self.unpack()
        self._unpacked += len(piece)
        if self._limited and self._unpacked > SLACK_BYTES:
            check_expansion(self._path, self._unpacked)
        return piece


class _GzipFile(_Unpacked):
    """The content of a .gz file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._content = gzip.GzipFile(fileobj=self._file)

    def unpack(self) -> bytes:
        return self._content.read1(_CHUNK_BYTES)


class _ZstdFile(_Unpacked):
    """The content of a .zst file; unlike `zstandard`'s own reader it refuses a truncated file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._fresh = True  # nothing of the current frame has been read

    def unpack(self) -> bytes:
        piece = b""
        while not piece:
            if self._frame.eof:  # a file may hold several frames
                packed = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._fresh = True
            else:
                packed = b""
            packed = packed or self._file.read(1 << 12)  # a little at a time: it may expand a lot
            if not packed:
                if self._fresh:
                    return b""
                raise EOFError("the file ends before its last frame does")
            self._fresh = False
            piece = self._frame.decompress(packed)
        return piece


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the exceptions of reading and of decompressing into one line for the user."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise RequestError(f"{path} is broken and cannot be decompressed: {error}") from error
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror or error}") from error
