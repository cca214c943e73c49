"""The files in a tar or a zip, read as a stream and never extracted.

An archive may come from a stranger: links, absolute names and names with ".." are passed over, and the number
of members, the size of one and of all are limited.
"""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn, Self, TypeAlias, cast

from aigc_cli.data.compression import explained, open_bytes
from aigc_cli.errors import RequestError

MAX_MEMBERS = 2_000_000
MAX_MEMBER_BYTES = 1 << 28
MAX_EXPANSION = 200
SLACK_BYTES = 1 << 30
"""An archive may unpack to `SLACK_BYTES` and `MAX_EXPANSION` times its own size."""

Open: TypeAlias = Callable[[], BinaryIO]

_Member: TypeAlias = tuple[str, Callable[[], bytes]]  # to be read before the next is asked for


def names(path: Path, suffixes: Collection[str]) -> list[str]:
    """The names of the files of those suffixes, in the archive's order.

    Raises RequestError for an archive that is broken or larger than allowed.
    """
    return [name for name, _ in _members(path, suffixes)]


def read(path: Path, suffixes: Collection[str], step: int = 1) -> Iterator[tuple[str, Open]]:
    """Every `step`-th of those files: its name, and what opens its content, which is in memory by then.

    Raises RequestError as `names` does. A member of a zip that is broken by itself says so when it is opened.
    """
    for number, (name, content) in enumerate(_members(path, suffixes)):
        if number % step == 0:
            try:
                yield name, partial(io.BytesIO, content())
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                yield name, partial(_raise, error)


def _raise(error: Exception) -> NoReturn:
    raise error


def _members(path: Path, suffixes: Collection[str]) -> Iterator[_Member]:
    with explained(path), _whole(path):
        limit = SLACK_BYTES + MAX_EXPANSION * path.stat().st_size
        found = _of_zip(path, limit) if path.suffix.lower() == ".zip" else _of_tar(path, limit)
        for number, (name, size, content) in enumerate(found):
            if number == MAX_MEMBERS:
                raise RequestError(f"{path} has more than {MAX_MEMBERS:,} members; unpack it and give the folder")
            if not _is_wanted(name, suffixes):
                continue
            if size > MAX_MEMBER_BYTES:
                raise RequestError(f"{path}: {name!r} in it has {size:,} bytes, more than the {MAX_MEMBER_BYTES:,} allowed")
            yield str(PurePosixPath(name)), content


def _is_wanted(name: str, suffixes: Collection[str]) -> bool:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        return False
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in suffixes


def _of_tar(path: Path, limit: int) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with _unpacked(path) as file, _open_tar(_Limited(file, path, limit)) as archive:
        for member in archive:
            if member.isreg():
                yield member.name, member.size, partial(_read_member, archive, member)
            archive.members = []  # type: ignore[attr-defined]  # which it would keep, every one


def _open_tar(file: _Limited) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|", tarinfo=_Header)


class _Header(tarfile.TarInfo):
    """A member's header. `tarfile` takes a broken one for the end of the archive; here it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if type(error).__name__ in ("EOFHeaderError", "EmptyHeaderError"):  # the two proper ends
                raise
            raise tarfile.ReadError(str(error)) from error


def _unpacked(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == ".tgz" else open_bytes(path)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "a regular file has content"
    return file.read()


def _of_zip(path: Path, limit: int) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with zipfile.ZipFile(path) as archive:
        total = 0
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was not made on Unix
            if member.is_dir() or kind not in (0, stat.S_IFREG):
                continue
            total += member.file_size
            if total > limit:
                raise _too_large(path, limit)
            yield member.filename, member.file_size, partial(archive.read, member)


class _Limited(io.RawIOBase):
    """A file of which no more than `limit` bytes can be read."""

    def __init__(self, file: BinaryIO, path: Path, limit: int) -> None:
        self._file, self._path, self._left, self._limit = file, path, limit, limit

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._path, self._limit)
        return data


def _too_large(path: Path, limit: int) -> RequestError:
    return RequestError(f"{path} unpacks to more than {limit:,} bytes, which no archive of pictures does; it is not read")


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    kind = "zip" if path.suffix.lower() == ".zip" else "tar"
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise RequestError(f"{path} is not a whole {kind} archive: {error}") from error
