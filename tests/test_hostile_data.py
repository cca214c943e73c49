"""Data from a stranger: bombs, odd archives, texts of any bytes, and tables that point elsewhere. Whatever they are, they are
read in bounded memory, or refused in a line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from aigc_cli.data import compression
from aigc_cli.data.arrays import arrays_of
from aigc_cli.data.latents_input import read_latents
from aigc_cli.data.pictures.decoding.decode import decode
from aigc_cli.data.pictures.decoding.raw import NotDecodable
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.sources.readers import open_readers
from aigc_cli.data.sources import archives
from aigc_cli.data.sources.archives import Archive
from aigc_cli.data.tables import choice
from aigc_cli.data.tables.table import Asked
from aigc_cli.data.text.formats import read_documents
from aigc_cli.data.text.pieces import Piece
from aigc_cli.errors import RequestError

MB = 1 << 20


@contextmanager
def at_most(memory: int) -> Iterator[None]:
    """Fails if what is inside allocates more."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def refused(path: Path) -> str:
    """The line that refuses an archive."""
    with pytest.raises(RequestError) as caught:
        for _, content in Archive(path).read([".png"]):
            content().read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Bombs


def a_zip(path: Path, members: list[tuple[bytes, int, bytes, int]]) -> Path:
    """A zip of members (name, method, packed, the size that is claimed); those with the same packed bytes share them."""
    body, central, at = b"", b"", dict[bytes, int]()
    for name, method, packed, claimed in members:
        fields = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0x5021, zlib.crc32(packed), len(packed), claimed, len(name), 0)
        if packed not in at:
            at[packed] = len(body)
            body += b"PK\3\4" + fields + name + packed
        central += b"PK\1\2" + struct.pack("<BB", 20, 3) + fields + struct.pack("<HHHII", 0, 0, 0, 0, at[packed]) + name
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), len(body), 0)
    path.write_bytes(body + central + b"PK\5\6" + end)
    return path


def of_lzma(content: bytes) -> bytes:
    """As a zip has it: with a header of its own, and without the size."""
    alone = lzma.compress(content, lzma.FORMAT_ALONE)
    return b"\x09\x14\x05\0" + alone[:5] + alone[13:]


def deflated(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(size)) + packer.flush()


@pytest.mark.parametrize("method", ["deflate", "lzma"])
def test_a_member_of_a_zip_is_unpacked_to_no_more_than_its_size(tmp_path: Path, method: str) -> None:
    number, packed = (8, deflated(64 * MB)) if method == "deflate" else (14, of_lzma(bytes(64 * MB)))
    path = a_zip(tmp_path / "a.zip", [(b"a.png", number, packed, 1000), (b"b.png", 0, png(), len(png()))])
    with at_most(16 * MB):  # LZMA has a dictionary of eight
        (_, first), (_, second) = Archive(path).read([".png"])
        with pytest.raises(zipfile.BadZipFile):
            first()
        assert second().read() == png()


def test_a_zip_whose_members_share_their_bytes_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    packed = deflated(16 * MB)
    path = a_zip(tmp_path / "a.zip", [(b"%d.png" % number, 8, packed, 16 * MB) for number in range(500)])
    with at_most(8 * MB):
        assert "unpacks to more than" in refused(path)


def test_archives_in_archives_are_not_unpacked(tmp_path: Path) -> None:
    inner = a_zip(tmp_path / "inner.zip", [(b"0.png", 8, deflated(16 * MB), 16 * MB)]).read_bytes()
    path = a_zip(tmp_path / "a.zip", [(b"a.zip", 0, inner, len(inner)), (b"b.png", 0, png(), len(png()))])
    assert [name for name, _ in Archive(path).read([".png"])] == ["b.png"]


def test_the_list_of_a_zip_is_not_read_if_it_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(300):
            archive.writestr(f"{number}.png", b"")
    assert len(Archive(path).names([".png"])) == 300
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 10_000)
    assert "members; unpack it and give the folder" in refused(path)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_of_very_many_members_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2000)
    member = tarfile.TarInfo("a.png")
    member.type = kind
    path = tmp_path / "a.tar"
    path.write_bytes(member.tobuf() * 2001 + bytes(1024))
    assert refused(path) == f"{path} has more than 2,000 members; unpack it and give the folder"


def test_headers_of_a_tar_are_limited_and_never_end_it_otherwise(tmp_path: Path) -> None:
    def header(kind: bytes, size: int, **more: object) -> bytes:
        member = tarfile.TarInfo("a.png")
        member.type, member.size = kind, size
        for name, value in more.items():
            setattr(member, name, value)
        return member.tobuf(tarfile.GNU_FORMAT)

    def padded(content: bytes) -> bytes:
        return content + bytes(-len(content) % 512)

    path, long = tmp_path / "a.tar", archives.MAX_HEADER_BYTES
    hostile = [
        header(tarfile.GNUTYPE_LONGNAME, 1 << 40),
        header(tarfile.XHDTYPE, 64 * MB) + b"1" * MB,
        header(tarfile.XHDTYPE, long) + b"1" * long,  # a search in them would be quadratic
        header(tarfile.XHDTYPE, 12) + padded(b"12 size=-99\n") + header(tarfile.REGTYPE, 0),
        header(tarfile.XHDTYPE, 30) + padded(b"30 GNU.sparse.map=1,2,x,4,5,6\n") + header(tarfile.REGTYPE, 0),
        (header(tarfile.GNUTYPE_LONGNAME, 2) + padded(b"a\0")) * 3000,
        header(tarfile.REGTYPE, -1),
    ]
    for content in hostile:
        path.write_bytes(content + bytes(1024))
        with at_most(8 * MB):
            try:
                assert len(Archive(path).names([".png"])) <= 1
            except RequestError as error:
                assert "is not a valid tar archive" in str(error)


def test_holes_in_a_tar_count(tmp_path: Path) -> None:
    """A sparse member of 512 bytes may claim a content of any size."""
    member = tarfile.TarInfo("a.png")
    member.type = tarfile.GNUTYPE_SPARSE
    raw = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    raw[483:495] = b"%011o\0" % (200 * MB)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(raw) * 20 + bytes(1024))
    assert "unpacks to more than" in refused(path)


@pytest.mark.parametrize("name", ["a.tsv.gz", "a.tsv.zst", "a.json.gz", "a.txt.gz", "a.npy.gz", "a.npz"])
def test_what_expands_as_no_data_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(compression, "SLACK_BYTES", MB)
    path, content = tmp_path / name, b"[" if ".json" in name else b"text\n"
    if name.endswith(".npz"):
        np.savez_compressed(path, images=np.zeros((64, 512, 512), np.uint8))
    else:
        content = b"\x93NUMPY" + bytes(1000) if ".npy" in name else content
        path.write_bytes((gzip if name.endswith(".gz") else zstandard).compress(content + b"  " * 20 * MB))
    with pytest.raises(RequestError, match=r"unpacks to more than .* 200 times its size|damaged"), at_most(100 * MB):
        if ".np" in name:
            for array in arrays_of(path):
                list(array.chunks())
        else:
            asked = Asked()
            columns = () if ".txt" in name else choice.find_columns([path], asked, path).columns[path]
            list(read_documents(path, "document", columns, asked))


def test_a_picture_that_is_compressed_once_more_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigc_cli.data.pictures.decoding.decode._MOST_UNPACKED", MB)
    for name, content in (("a.png.gz", png()), ("b.png.gz", png() + bytes(2 * MB))):
        (tmp_path / name).write_bytes(gzip.compress(content))
    first, second = [raw for reader in open_readers(PICTURES.open(str(tmp_path)).training(), None) for raw in reader.read()]
    assert decode(first.content, PictureFormat(4, 4, "RGB")).size == (4, 4)
    with pytest.raises(NotDecodable, match="it unpacks to more than 1,048,576 bytes"):
        decode(second.content, PictureFormat(4, 4, "RGB"))


@pytest.mark.parametrize("shape", ["(10000000000000, 2)", "(1, 1000000000000000)", "(-1, 4)", "(2, -4, -4)", "(" * 2000, "(9" + "9" * 400 + ",)"])  # fmt: skip
@pytest.mark.parametrize("order", ["False", "True"])
def test_what_the_header_of_an_array_says_is_not_allocated(tmp_path: Path, shape: str, order: str) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': {order}, 'shape': {shape}}}\n".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(100))
    with at_most(64 * MB), pytest.raises(RequestError):
        for array in arrays_of(path):
            list(array.chunks())


def test_a_member_of_an_npz_that_is_no_array(tmp_path: Path) -> None:
    """NumPy gives its bytes instead."""
    path = tmp_path / "z.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("latent.npy", b"text")
    with pytest.raises(RequestError, match="the latent is not an array"):
        read_latents(str(path))


# Texts


def documents(path: Path) -> list[str]:
    def whole(pieces: Iterator[Piece]) -> Iterator[str]:
        text = ""
        for piece, end in pieces:
            text += piece
            if end:
                yield text
                text = ""

    found = choice.find_columns([path], Asked(), path)
    return list(whole(iter(read_documents(path, "document", found.columns[path], Asked()))))


def test_a_table_of_very_many_columns(tmp_path: Path) -> None:
    path, n = tmp_path / "a.csv", 10_000
    names = [f"c{number}" for number in range(n)]
    numbers = ",".join(["1"] * (n - 1))
    path.write_text("\n".join([",".join(names), *(f"{numbers},the fox went over hill {row}" for row in range(3))]))
    assert documents(path)[2] == "the fox went over hill 2"
    path.write_text("\n".join([",".join(names), *(",".join(["some words here"] * n) for row in range(3))]))
    with pytest.raises(RequestError) as caught:
        documents(path)
    assert len(str(caught.value)) < 5000
    path.write_text("\n".join([",".join(names), numbers + ",a b c", numbers]))
    with pytest.raises(RequestError, match="line 3: 9999 cells where the header has 10000"):
        documents(path)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([".tsv", ".csv", ".jsonl", ".json", ".txt"]), st.one_of(st.binary(max_size=300), st.text(alphabet='ab\t,;"\n\r\\{}[]:\0\u202e\ufeff', max_size=80).map(str.encode)))  # fmt: skip
def test_texts_of_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes) -> None:
    path = tmp_path_factory.mktemp("text") / f"a{suffix}"
    path.write_bytes(content)
    try:
        if suffix == ".txt":
            for layout in ("document", "lines", "paragraphs"):
                list(read_documents(path, layout))  # type: ignore[arg-type]
        else:
            documents(path)
    except RequestError as error:
        assert str(error)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=2, max_size=2), min_size=1, max_size=4))  # fmt: skip
def test_cells_of_json_are_given_as_they_are(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("text") / "a.jsonl"
    texts = [f"{a} the fox went over the hill {b}" for a, b in rows]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    assert documents(path) == texts


@pytest.mark.parametrize("offsets", [[0, 10, 5, 30], [0, -7, 5, 9], [0, 1 << 30, 5, 9]])
def test_an_arrow_file_whose_insides_do_not_fit_together(tmp_path: Path, offsets: list[int]) -> None:
    """Arrow writes and reads it without a look, and would then read anywhere in memory."""
    data, ends = pa.py_buffer(b"the fox went over the hill and"), pa.py_buffer(np.array(offsets, np.int32).tobytes())
    texts = pa.Array.from_buffers(pa.string(), 3, [None, ends, data])
    encoded = pa.StructArray.from_arrays([pa.Array.from_buffers(pa.binary(), 3, [None, ends, data])], ["bytes"])
    for name, column in (("text", texts), ("image", encoded)):
        path, table = tmp_path / "a.arrow", pa.table({name: column})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(RequestError, match=r"a.arrow is (not a valid|a damaged) arrow file"):
            if name == "text":
                documents(path)
            else:
                for reader in open_readers(PICTURES.open(str(path)).training(), None):
                    list(reader.read())


@pytest.mark.parametrize("name", ["a[1].parquet", "a*.parquet", "a::b.parquet", "{a}.parquet", "%2e.parquet"])
def test_the_name_of_a_table_is_no_pattern(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({"text": ["another"]}), tmp_path / "ab.parquet")
    pq.write_table(pa.table({"text": ["this one"]}), tmp_path / name)
    assert documents(tmp_path / name) == ["this one"]


# Tables that point elsewhere


def test_files_that_a_table_lists_outside_of_its_folder(tmp_path: Path) -> None:
    data, secret = tmp_path / "data", tmp_path / "secret.png"
    data.mkdir()
    secret.write_bytes(png())
    (data / "a.png").write_bytes(png())
    for name in ("../secret.png", str(secret), "a.png/../../secret.png", "file://" + str(secret), "https://example.com/a.png"):
        (data / "t.csv").write_text(f"file_name,label\na.png,x\n{name},y\n")
        with pytest.raises(RequestError, match=r"is outside of the folder|is an address, and is not downloaded"):
            PICTURES.open(str(data / "t.csv"))
    (data / "l.png").symlink_to(secret)
    (data / "up").symlink_to(tmp_path)
    (data / "t.csv").write_text("file_name,label\na.png,x\nl.png,y\nup/secret.png,y\n")
    source = PICTURES.open(str(data / "t.csv"))
    assert f"followed links: l.png → {secret}, up/secret.png → {secret}" in source.notes


def test_no_cell_of_a_file_is_downloaded(tmp_path: Path, no_network: None) -> None:
    encoded = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    places = ["hf://datasets/a/b/c.png", "https://example.com/a.png", "zip://a.png::hf://datasets/a/b.zip", "/etc/hostname"]
    cells = [{"bytes": None, "path": place} for place in places] + [{"bytes": png(), "path": "https://example.com/b.png"}]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array(cells, encoded)}), path)
    (reader,) = open_readers(PICTURES.open(str(path)).training(), None)
    *hostile, good = reader.read()
    for raw in hostile:
        with pytest.raises(NotDecodable, match="its cell has only a file name"):
            decode(raw.content, PictureFormat(4, 4, "RGB"))
    assert decode(good.content, PictureFormat(4, 4, "RGB")).size == (4, 4)


def test_a_zip_of_broken_members_of_each_kind_names_no_library(tmp_path: Path) -> None:
    """Each way of packing raises errors of its own."""
    methods = {
        8: deflated(100),
        12: bz2.compress(bytes(100)),
        14: of_lzma(bytes(100)),
    }
    members = [(b"%d.png" % number, number, b"\xff" + packed[1:], 100) for number, packed in methods.items()]
    path = a_zip(tmp_path / "a.zip", [*members, (b"x.png", 99, b"?", 1), (b"z.png", 0, png(), len(png()))])
    (reader,) = open_readers(PICTURES.open(str(path)).training(), None)
    *broken, good = reader.read()
    assert len(broken) == 4
    for raw in broken:
        with pytest.raises(NotDecodable):
            decode(raw.content, PictureFormat(4, 4, "RGB"))
    assert decode(good.content, PictureFormat(4, 4, "RGB")).size == (4, 4)
    assert list(islice(reader.read(5), 2))
