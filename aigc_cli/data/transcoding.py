"""Text that isn't UTF-8: read by its byte-order mark, or refused with the command that converts it."""

from __future__ import annotations

import codecs
import io
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from aigc_cli.data import cache
from aigc_cli.data.alphabets import perhaps
from aigc_cli.data.encodings import CLOSE, describe_encoding, iconv_name, is_clear, likely
from aigc_cli.errors import RequestError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_MARK = 4
_GUESS_BYTES = 1 << 16
_SEARCHED_LINES = 1 << 23  # bytes of them
_STRAY = 0.01  # of the bytes above ASCII, at most, count as damage in UTF-8
_LEAST_HIGH = 4  # bytes above ASCII needed for a guess


def marked_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 if a file's first bytes are its mark; otherwise None."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)


def in_utf8(file: BinaryIO, path: Path) -> BinaryIO:
    """The file, its content in UTF-8 if a byte-order mark says that it is in UTF-16 or UTF-32."""
    head = file.peek(_LONGEST_MARK)[:_LONGEST_MARK]  # type: ignore[attr-defined]
    encoding = marked_encoding(head)
    return file if encoding is None else io.BufferedReader(_Transcoded(file, encoding, path), 1 << 18)


class ConvertedFile(io.RawIOBase, ABC):
    """What is made of a file's bytes, in pieces of any size."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ready = b""

    @abstractmethod
    def next_piece(self) -> bytes:
        """The next bytes, at least one; none at the end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._ready = self._ready or self.next_piece()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Transcoded(ConvertedFile):
    """The content of a file in another encoding, as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str, path: Path) -> None:
        super().__init__(file)
        self._encoding, self._path = encoding, path
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ended = False

    def next_piece(self) -> bytes:
        piece = b""
        while not piece and not self._ended:
            data = self._file.read(1 << 16)
            self._ended = not data
            try:
                piece = self._decoder.decode(data, final=self._ended).encode()
            except UnicodeError as error:
                name = self._encoding.upper()
                raise RequestError(f"{self._path} begins with the mark of {name} but isn't: {error}") from error
        return piece


def not_utf8(path: Path, lines: Iterable[bytes], line: int, offset: int, byte: int) -> RequestError:
    """The error for a byte that is not UTF-8, at `offset` in `line`; `lines` are the file's lines."""
    where = f"{path}, line {line}: byte 0x{byte:02X} at offset {offset} is not UTF-8"
    sample, read, marked = b"", 0, False
    for text in lines:
        marked = marked or (read == 0 and text.startswith(codecs.BOM_UTF8))
        read += len(text)
        if b"\0" in text[:1000] and not any(text[1:1000:2]):
            return RequestError(f"{where}; it looks like UTF-16: {command('UTF-16LE', path)}")
        if not text.isascii():
            sample += text
        if len(sample) >= _GUESS_BYTES or read >= _SEARCHED_LINES:
            break
    high = sum(byte >= 0x80 for byte in sample)
    faults = sum("\udc80" <= char <= "\udcff" for char in sample.decode("utf-8", "surrogateescape"))
    if marked or faults <= _STRAY * high:
        return RequestError(f"{where}, though the rest is; correct that line")
    guesses = likely([sample]) if high >= _LEAST_HIGH else []
    if not guesses or not is_clear(guesses[0], sample):
        maybe = perhaps(sample) if high >= _LEAST_HIGH else []
        maybe = list(dict.fromkeys([*maybe, *(guess.encoding for guess in guesses[:1])]))
        if not maybe:
            return RequestError(f"{where}, nor in any recognised encoding; convert the file to UTF-8")
        names = " or ".join(map(describe_encoding, maybe))
        return RequestError(f"{where}; it may be {names}, which is a guess: try {command(iconv_name(maybe[0]), path)}")
    close = [guess for guess in guesses[:2] if guesses[0].nats - guess.nats <= CLOSE]
    names = " or ".join(describe_encoding(guess.encoding) for guess in close)
    return RequestError(f"{where}; it looks like {names}: {command(iconv_name(guesses[0].encoding), path)}")


def command(encoding: str, path: Path) -> str:
    """The command that converts the file to UTF-8 in its place, so that a folder of it can be read. The original stays beside
    it under a name that isn't read."""
    iconv = f"iconv -f {encoding} -t UTF-8"
    if path.parent in (folder / "stdin" for folder in cache.places()):
        return f"pipe it through {iconv}"
    unpack = {".gz": "gzip -dc", ".zst": "zstd -dc"}.get(path.suffix.lower())
    file, kept = shlex.quote(str(path)), shlex.quote(f"{path}.orig")
    move = f"mv {file} {kept} && "
    if unpack:
        return f"{move}{unpack} < {kept} | {iconv} > {shlex.quote(str(path.with_suffix('')))}"
    return f"{move}{iconv} {kept} > {file}"
