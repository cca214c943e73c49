"""The files in a tar or a zip, read as a stream and never extracted.

Archives are untrusted: links, absolute names and names with ".." are skipped with a note, and the number and size of members
are limited.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, NoReturn, Self, TypeAlias, cast

from aigc_cli.data.compression import MAX_EXPANSION, SLACK_BYTES, explained, open_bytes, open_gzip
from aigc_cli.data.sources.archive_names import decode_names
from aigc_cli.data.sources.walk import is_ignored
from aigc_cli.errors import RequestError, first_line

MAX_MEMBERS = 2_000_000
MAX_MEMBER_BYTES = 1 << 28
MAX_HEADER_BYTES = 1 << 14
"""Of a tar: a long name, or the attributes of a member. `tarfile` reads them whole, and searches in them for long."""
MAX_DIRECTORY_BYTES = 1 << 28
"""Of a zip: the list of its members, which `zipfile` reads whole."""

Open: TypeAlias = Callable[[], BinaryIO]

_UTF8_FLAG = 0x800  # of a zip's member: the name is UTF-8
_END_BYTES = (1 << 16) + 200  # of a zip: its end, with the longest comment
_PIECE = 64  # bytes unpacked at once of bzip2 and LZMA, which may make 20,000 times as many of them
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field: the name in UTF-8, beside one in the system's encoding
_WITH_BACKSLASHES = (0, 10, 11, 14)  # systems whose programs may write them between folders: MS-DOS, NTFS, MVS, VFAT


class _Member(NamedTuple):
    name: str | bytes  # bytes if the archive doesn't state their encoding
    of_windows: bool  # whether a backslash in it may separate folders
    link: bool
    size: int
    content: Callable[[], bytes]  # call it before taking the next member


class Archive:
    """The files in a tar or a zip: their names, in the archive's order, and their content.

    Raises RequestError for an archive that is broken or larger than allowed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        found = [(member.name, member.of_windows, member.link) for member in _members(path)]
        names, note = decode_names([name for name, _, _ in found])
        self.notes = [] if note is None else [note]
        """Notes about the names."""
        names = _with_slashes(names, [of_windows for _, of_windows, _ in found])
        self._names = [str(PurePosixPath(name)) for name in names]
        self._skipped_as = ["links" if link else _why_skipped(name) for name, (_, _, link) in zip(names, found, strict=True)]

    def names(self, suffixes: Collection[str]) -> list[str]:
        """The names of the files with these suffixes."""
        return [self._names[number] for number in self._numbers(suffixes)]

    def read(
        self, suffixes: Collection[str], step: int = 1, names: Collection[str] | None = None
    ) -> Iterator[tuple[str, Open]]:
        """Every `step`-th of these files (of those with these `names`): its name, and a function that opens its content, which
        is in memory by then.

        Raises RequestError as the archive itself does. For a broken member of an intact zip, opening it raises.
        """
        numbers = [number for number in self._numbers(suffixes) if names is None or self._names[number] in names]
        wanted = iter(numbers[::step])
        number = next(wanted, None)
        for seen, member in enumerate(_members(self.path)):
            if seen != number:
                continue
            name = self._names[seen]
            if member.size > MAX_MEMBER_BYTES:
                raise RequestError(
                    f"{self.path}: {name!r} in it has {member.size:,} bytes, more than the {MAX_MEMBER_BYTES:,} allowed"
                )
            try:
                content = partial(io.BytesIO, member.content())
            except RequestError:
                raise
            except Exception as error:  # of a zip: each way of packing has its own
                yield name, partial(_raise, error)
            else:
                yield name, content
            number = next(wanted, None)

    def contents(self, suffixes: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Each of these files and what is in it. Raises RequestError for a broken one too."""
        for name, open_content in self.read(suffixes):
            try:
                with open_content() as file:
                    content = file.read()
            except Exception as error:  # a broken member of a zip, of several libraries
                why = f"is broken and cannot be unpacked: {first_line(error)}"
                raise RequestError(f"{self.path}: {name!r} in it {why}") from error
            yield name, content

    def skipped(self, suffixes: Collection[str]) -> list[str]:
        """Notes on skipped files with these suffixes: one line per reason."""
        reasons: dict[str, list[str]] = {}
        for name, reason in zip(self._names, self._skipped_as, strict=True):
            if reason and _suffix(name) in suffixes:
                reasons.setdefault(reason, []).append(name)
        return [
            f"skipped {len(of):,} {reason} in {self.path.name}: {', '.join(of[:3])}" + ", …" * (len(of) > 3)
            for reason, of in reasons.items()
        ]

    def suffixes(self) -> Counter[str]:
        """The number of files per suffix, without skipped ones."""
        return Counter(_suffix(name) for name, reason in zip(self._names, self._skipped_as, strict=True) if not reason)

    def _numbers(self, suffixes: Collection[str]) -> list[int]:
        every = enumerate(zip(self._names, self._skipped_as, strict=True))
        return [number for number, (name, reason) in every if not reason and _suffix(name) in suffixes]


def first_names(path: Path, most: int) -> list[str]:
    """The names of up to so many files in an archive, but links and those that are ignored, without reading the others.

    Raises RequestError as `Archive` does.
    """
    names, _ = decode_names([member.name for member in islice(_members(path), most) if not member.link])
    return [str(PurePosixPath(name)) for name in names if not _why_skipped(name)]


def _raise(error: Exception) -> NoReturn:
    raise error


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _with_slashes(names: Sequence[str], of_windows: Sequence[bool]) -> list[str]:
    """The names with slashes between folders. Backslashes are replaced if the packer's system uses them there, or the archive
    has no slash at all. Names must be decoded first: in GBK and Shift-JIS the second byte of a character may be a backslash."""
    everywhere = not any("/" in name for name in names)
    return [name.replace("\\", "/") if own or everywhere else name for name, own in zip(names, of_windows, strict=True)]


def _why_skipped(name: str) -> str:
    """Why a file of this name is skipped, for messages; "" if it is read."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in re.split(r"[/\\]", name):
        return "with absolute paths or '..'"
    if any(map(is_ignored, path.parts)):
        return "hidden and system files"
    return ""


def _members(path: Path) -> Iterator[_Member]:
    with explained(path), _whole(path):
        limit = SLACK_BYTES + MAX_EXPANSION * path.stat().st_size
        yield from _of_zip(path, limit) if path.suffix.lower() == ".zip" else _of_tar(path, limit)


def _of_tar(path: Path, limit: int) -> Iterator[_Member]:
    total = 0
    with _unpacked(path) as file, _open_tar(_Limited(file, path, limit)) as archive:
        for number, member in enumerate(archive):
            total += max(0, member.size)  # a sparse file takes less in the archive
            if total > limit:
                raise _too_large(path, limit)
            if number == MAX_MEMBERS:
                raise _too_many(path)
            if member.isreg() or member.issym() or member.islnk():
                marked = "path" in member.pax_headers and "hdrcharset" not in member.pax_headers  # which would mean any bytes
                name = member.name if marked else _undecoded(member.name)
                yield _Member(name, False, not member.isreg(), member.size, partial(_read_member, path, archive, member))
            archive.members = []  # type: ignore[attr-defined]  # otherwise all are kept in memory


def _open_tar(file: _Limited) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|", tarinfo=_Header, encoding="utf-8", errors="surrogateescape")


def _undecoded(name: str) -> str | bytes:
    """The bytes of a name that was decoded as UTF-8 whatever its encoding; unchanged if it is ASCII."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape")


class _Header(tarfile.TarInfo):
    """A member's header. `tarfile` treats a broken one as the end of the archive; here it is an error, as is a large one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if type(error).__name__ in ("EOFHeaderError", "EmptyHeaderError"):  # the two proper ends
                raise
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0:
            raise tarfile.ReadError("a member has a negative size")
        if self.type in _OF_HEADERS and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {self.size:,} bytes, more than the {MAX_HEADER_BYTES:,} allowed")
        found: tarfile.TarInfo = super()._proc_member(tarfile_)  # type: ignore[misc]
        return found


_OF_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)


def _unpacked(path: Path) -> BinaryIO:
    return open_gzip(path) if path.suffix.lower() == ".tgz" else open_bytes(path)


def _read_member(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    with explained(path), _whole(path):
        file = archive.extractfile(member)
        assert file is not None, "a regular file has content"
        return file.read()


def _of_zip(path: Path, limit: int) -> Iterator[_Member]:
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        total = 0
        if len(archive.infolist()) > MAX_MEMBERS:
            raise _too_many(path)
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 if the archive was not made on Unix
            if member.is_dir() or kind not in (0, stat.S_IFREG, stat.S_IFLNK):
                continue
            total += member.file_size
            if total > limit:
                raise _too_large(path, limit)
            of_windows = member.create_system in _WITH_BACKSLASHES
            link = kind == stat.S_IFLNK
            yield _Member(_zip_name(member), of_windows, link, member.file_size, partial(_read_zipped, archive, member))


def _check_directory(path: Path) -> None:
    """Raise RequestError for a zip whose list of members is too large to be read. Its end says how large it is."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END_BYTES))
        end = file.read()
    at = end.rfind(b"PK\5\6")
    size = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if at >= 76 and end[at - 20 : at - 16] == b"PK\6\7" and end[at - 76 : at - 72] == b"PK\6\6":  # Zip64's
        size = int.from_bytes(end[at - 36 : at - 28], "little")
    if size > MAX_DIRECTORY_BYTES:
        raise _too_many(path)


def _read_zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The content of a member. `ZipFile.read` would unpack all that there is, even if that is more than the member's size."""
    content = bytearray()
    piece_bytes = 1 << 16
    with archive.open(member) as file:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            cast(Any, file).MIN_READ_SIZE = piece_bytes = _PIECE
        while piece := file.read(piece_bytes):
            content += piece
    return bytes(content)


def _zip_name(member: zipfile.ZipInfo) -> str | bytes:
    """The member's name if the archive states its encoding, otherwise its bytes."""
    name = member.orig_filename.split("\0")[0]
    if name.isascii() or member.flag_bits & _UTF8_FLAG:
        return name
    raw = name.encode("cp437")  # the encoding that `zipfile` assumed
    return _unicode_path(member.extra, raw) or raw


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in UTF-8 of Info-ZIP's extra field, if it is there and was made for the name `raw`: version 1 and its CRC."""
    while len(extra) >= 4:
        field, size = struct.unpack_from("<HH", extra)
        value, extra = extra[4 : 4 + size], extra[4 + size :]
        if field == _UNICODE_PATH and len(value) > 5 and struct.unpack_from("<BI", value) == (1, zlib.crc32(raw)):
            try:
                return value[5:].decode()
            except UnicodeDecodeError:
                return None
    return None


class _Limited(io.RawIOBase):
    """A file from which at most `limit` bytes can be read."""

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


def _too_many(path: Path) -> RequestError:
    return RequestError(f"{path} has more than {MAX_MEMBERS:,} members; unpack it and give the folder")


def _too_large(path: Path, limit: int) -> RequestError:
    return RequestError(f"{path} unpacks to more than {limit:,} bytes, too much for an archive of pictures")


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    kind = "zip" if path.suffix.lower() == ".zip" else "tar"
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise RequestError(f"{path} is not a valid {kind} archive: {error}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not a valid {kind} archive: a name in it is marked as UTF-8 but isn't") from error
    except (ValueError, LookupError, OverflowError, RecursionError, NotImplementedError, struct.error) as error:
        raise RequestError(f"{path} is not a valid {kind} archive: {first_line(error)}") from error
