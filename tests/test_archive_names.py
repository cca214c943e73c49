"""Names in archives are read as their writer meant them, and none is lost without a word."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from aigc_cli.data.sources.archives import Archive

CONTENT = b"content"


def _zip(path: Path, members: list[tuple[bytes, int, int, bytes]]) -> Path:
    """A zip of members (raw name, flags, system that made it, extra field), byte by byte, as programs other than Python's write it."""
    body, central, crc = b"", b"", zlib.crc32(CONTENT)
    for name, flags, system, extra in members:
        sizes = struct.pack("<HHHHIII", flags, 0, 0, 0x5021, crc, len(CONTENT), len(CONTENT)) + struct.pack("<H", len(name))
        offset = len(body)
        body += b"PK\3\4" + struct.pack("<H", 20) + sizes + struct.pack("<H", 0) + name + CONTENT
        central += b"PK\1\2" + struct.pack("<BBH", 20, system, 20) + sizes + struct.pack("<H", len(extra))
        central += struct.pack("<HHHII", 0, 0, 0, 0, offset) + name + extra
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(central), len(body), 0)
    path.write_bytes(body + central + b"PK\5\6" + end)
    return path


def _tar(path: Path, names: list[bytes], format: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format, encoding="utf-8", errors="surrogateescape") as archive:
        for name in names:
            member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            member.size = len(CONTENT)
            archive.addfile(member, io.BytesIO(CONTENT))
    return path


def _read(path: Path, count: int) -> tuple[list[str], list[str]]:
    """The names, which both passes must agree on and of which none may be missing, and what is told."""
    archive = Archive(path)
    names = archive.names([".png"])
    read = [(name, content().read()) for name, content in archive.read([".png"])]
    assert read == [(name, CONTENT) for name in names]
    assert len(names) == count
    return names, [*archive.notes, *archive.skipped([".png"])]


LEGACY = [
    (
        "gb18030",
        ["猫", "狗"],
        "names read as GB18030 (not marked as UTF-8): 猫, 狗; or CP949: 챔, 뭍 (chosen with LC_ALL=ko_KR.UTF-8); "
        "or Big5: 癡, 僩 (chosen with LC_ALL=zh_TW.UTF-8)",
    ),
    ("gb18030", ["诚実", "腬a", "训练图片"], None),  # 腬 ends in a byte 5C
    ("big5", ["風景", "人物功許"], None),  # 功 and 許 end in a byte 5C
    ("cp932", ["ソ表示", "ネコ"], "names read as Shift-JIS (not marked as UTF-8): ソ表示, ネコ"),  # ソ and 表 end in a byte 5C
    ("cp949", ["고양이", "강아지와새"], "names read as CP949 (not marked as UTF-8): 고양이, 강아지와새"),
    ("cp949", ["고양이", "강아지", "똠얌"], None),  # 똠 is not in EUC-KR
    ("cp949", ["사과", "바나나", "포도"], None),
    ("gb18030", ["開門", "車輛", "学"], None),  # traditional characters in GBK
    ("gb18030", ["乗車", "誠實", "开锁", "肻"], None),  # 乗, 誠 and 肻 end in a byte 5C
    ("cp932", ["ソース", "データ"], "names read as Shift-JIS (not marked as UTF-8): ソース, データ"),
    ("gb18030", ["苹果", "香蕉", "葡萄"], None),
    ("cp866", ["кошка", "собака"], "names read as CP866 (not marked as UTF-8): кошка, собака"),
    ("cp437", ["café", "thé"], "names read as CP437 (not marked as UTF-8): café, thé"),
    ("utf-8", ["猫", "café", "кошка"], ""),
]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(("encoding", "classes", "note"), LEGACY, ids=[f"{of[0]}-{of[1][0]}" for of in LEGACY])
def test_names_that_are_not_marked(encoding, classes, note, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    names = [f"{name}/{i}.png" for name in classes for i in range(3)]
    raw = [name.encode(encoding) for name in names]
    path = _zip(tmp_path / "a.zip", [(name, 0, 0, b"") for name in raw]) if kind == "zip" else _tar(tmp_path / "a.tar", raw)
    read, told = _read(path, len(names))
    assert read == names
    if note is not None:
        assert told == [note] * bool(note)


def test_the_language_decides_what_fits_two_encodings(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")
    raw = [f"{name}/1.png".encode("big5") for name in "貓狗"]
    assert _read(_zip(tmp_path / "a.zip", [(name, 0, 0, b"") for name in raw]), 2)[0] == ["貓/1.png", "狗/1.png"]


def _unicode_path(raw: bytes, name: str) -> bytes:
    value = struct.pack("<BI", 1, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x5455, 5) + bytes(5) + struct.pack("<HH", 0x7075, len(value)) + value


def test_marks_of_utf8_are_believed_beside_names_without(tmp_path):
    gbk = ["狗/2.png".encode("gbk"), "训练测试/3.png".encode("gbk")]
    members = [
        ("猫/1.png".encode(), 0x800, 3, b""),
        (gbk[0], 0, 0, b""),
        (gbk[1], 0, 0, b""),
        (b"??/4.png", 0, 0, b""),
        ("鳥/5.png".encode("cp932"), 0, 0, _unicode_path("鳥/5.png".encode("cp932"), "鳥/5.png")),
        (gbk[0], 0, 0, _unicode_path(b"renamed since", "old/6.png")),
    ]
    read, told = _read(_zip(tmp_path / "a.zip", members), len(members))
    assert read == ["猫/1.png", "狗/2.png", "训练测试/3.png", "??/4.png", "鳥/5.png", "狗/2.png"]
    assert told == ["names read as GB18030 (not marked as UTF-8): 狗, 训练测试"]


def test_a_name_that_is_marked_and_is_not_utf8_is_one_line(tmp_path):
    from aigc_cli.errors import RequestError

    path = _zip(tmp_path / "a.zip", [(b"\xc3\xa8\xb9\xb7.png", 0x800, 0, b"")])
    with pytest.raises(RequestError, match=r"is not a valid zip archive: a name in it is marked as UTF-8 but isn't$"):
        Archive(path)


@pytest.mark.parametrize("system", [0, 3])
def test_backslashes_between_folders(system, tmp_path):
    members = [(name, 0, system, b"") for name in (b"cat\\1.png", b"dog\\2.png")]
    assert _read(_zip(tmp_path / "a.zip", members), 2) == (["cat/1.png", "dog/2.png"], [])
    mixed = [*members, (b"bird/3.png", 0, system, b"")]  # on Unix a backslash is a character like others
    expected = ["cat/1.png", "dog/2.png"] if system == 0 else ["cat\\1.png", "dog\\2.png"]
    assert _read(_zip(tmp_path / "b.zip", mixed), 3) == ([*expected, "bird/3.png"], [])


@pytest.mark.parametrize("encoding", ["gb18030", "cp932"])
def test_backslashes_between_folders_that_are_not_ascii(encoding, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    names = [f"pics\\{name}\\{i}.png" for name in ("表", "犬", "鳥") for i in range(20)]  # 表 ends in a backslash in Shift-JIS
    names = names if encoding == "cp932" else [name.translate(str.maketrans("表犬鳥", "猫狗鸟")) for name in names]
    read, told = _read(_zip(tmp_path / "a.zip", [(name.encode(encoding), 0, 0, b"") for name in names]), len(names))
    assert read == [name.replace("\\", "/") for name in names]
    shown = "表, 犬, 鳥" if encoding == "cp932" else "猫, 狗, 鸟"
    assert len(told) == 1 and f"(not marked as UTF-8): {shown}" in told[0]


@pytest.mark.parametrize("others", [["猫", "狗", "训练图片", "花"], ["猫", "狗", "鸟", "花", "兔", "鱼"]])
def test_one_odd_name_does_not_spoil_the_others(others, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    raw = [f"{name}/1.png".encode("gb18030") for name in others] + [b"caf\xe9/1.png"]
    read, (told,) = _read(_zip(tmp_path / "a.zip", [(name, 0, 0, b"") for name in raw]), len(raw))
    assert read[:-1] == [f"{name}/1.png" for name in others]
    assert told.startswith("names read as GB18030 (not marked as UTF-8): 猫, 狗")
    assert told.endswith(f"; 1 in another encoding, read as {read[-1]}")


def test_one_name_that_is_not_utf8_does_not_spoil_those_that_are(tmp_path):
    raw = [f"{name}/1.png".encode() for name in ("猫", "狗", "鸟", "café", "кошка")] + ["собака и кошка/1.png".encode("cp1251")]
    read, told = _read(_zip(tmp_path / "a.zip", [(name, 0, 0, b"") for name in raw]), len(raw))
    assert read == [f"{name}/1.png" for name in ("猫", "狗", "鸟", "café", "кошка", "собака и кошка")]
    assert told == ["names read as Windows-1251 (not marked as UTF-8): собака и кошка"]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_of_any_format(format, tmp_path):
    for encoding in ("cp1251", "utf-8"):
        raw = [f"{name}/{i}.png".encode(encoding) for name in ("кошка", "собака") for i in range(2)]
        read, told = _read(_tar(tmp_path / "a.tar", raw, format), 4)
        assert read == [name.decode(encoding) for name in raw]
        assert told == ["names read as Windows-1251 (not marked as UTF-8): кошка, собака"] * (encoding == "cp1251")


def test_names_in_no_encoding_are_kept(tmp_path):
    raw = [bytes([byte]) + b"/1.png" for byte in range(0xB0, 0xB8)]
    read, told = _read(_zip(tmp_path / "a.zip", [(name, 0, 0, b"") for name in raw]), len(raw))
    assert read == [name.decode("cp437") for name in raw]
    assert told == ["names in an unrecognised encoding, read as CP437: ░, ▒, ▓, …"]


def test_skipped_members_are_reported(tmp_path):
    names = [
        b"../a.png",
        b"/b.png",
        b"..\\c.png",
        b"__MACOSX/._d.png",
        b"cat/.e.png",
        b"cat/@eaDir/h.png/thumb.png",
        b"cat/f.png",
        b".DS_Store",
    ]
    with zipfile.ZipFile(_zip(tmp_path / "a.zip", [(name, 0, 3, b"") for name in names]), "a") as archive:
        link = zipfile.ZipInfo("g.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "cat/f.png")
    read, told = _read(tmp_path / "a.zip", 1)
    assert read == ["cat/f.png"]
    assert told == [
        "skipped 3 with absolute paths or '..' in a.zip: ../a.png, /b.png, ..\\c.png",
        "skipped 3 hidden and system files in a.zip: __MACOSX/._d.png, cat/.e.png, cat/@eaDir/h.png/thumb.png",
        "skipped 1 links in a.zip: g.png",
    ]
