"""Texts that aren't UTF-8: read by their mark, or refused with a command that converts them."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from aigc_cli.data.sources.source import Part
from aigc_cli.data.text.dataset import TextRequest, prepare_text
from aigc_cli.data.text.documents import Reading, recognise, stream
from aigc_cli.data.text.formats import TextLayout
from aigc_cli.data.text.kind import TEXT
from aigc_cli.errors import RequestError

POEM = "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n"


def _read(path: Path, layout: TextLayout = "document") -> list[str]:
    return [text for text, _ in stream(Part(str(path), "files", (path,)), Reading(layout=layout))]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_a_byte_order_mark_is_believed_and_told(encoding: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content = {"a.txt": "春眠\n不觉晓", "a.jsonl": '{"text": "春眠"}\n{"text": "不觉晓"}\n'}.get(name, "text\n春眠\n不觉晓\n")
    mark = "\ufeff" if encoding.endswith("-be") else ""
    path.write_bytes((mark + content).encode(encoding))
    assert _read(path, "lines") == ["春眠", "不觉晓"]
    notes = recognise(Part(str(path), "files", (path,)), Reading()).notes
    assert any("by its byte-order mark" in note for note in notes) is (encoding != "utf-8-sig")


def test_a_broken_utf16_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("春眠".encode("utf-16") + b"\x00")
    with pytest.raises(RequestError, match=r"a\.txt begins with the mark of UTF-16 but isn't: "):
        _read(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("encoding", "named", "text"),
    [
        ("gb18030", "GB18030", POEM),
        ("big5", "Big5", "床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。\n"),
        ("cp932", "Shift-JIS", "古池や蛙飛びこむ水の音\n"),
        ("cp1251", "Windows-1251", "Я помню чудное мгновенье\n"),
        ("cp1252", "Windows-1252", "Le café est fermé, dit-elle à l'élève\n"),
    ],
)
def test_the_command_that_is_named_converts(encoding: str, named: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "my poems.txt"
    path.write_bytes(f"plain\n{text}".encode(encoding))
    with pytest.raises(RequestError) as caught:
        _read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: byte 0x")
    assert f"is not UTF-8; it looks like {named}" in message
    _convert(message)
    assert _read(path) == [f"plain\n{text}"]
    assert TEXT.open(str(tmp_path)).training().files == (path,)


def test_a_packed_file_is_converted_to_one_that_is_not(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt.gz"
    path.write_bytes(gzip.compress(POEM.encode("gb18030")))
    with pytest.raises(RequestError) as caught:
        _read(path)
    _convert(str(caught.value))
    assert TEXT.open(str(tmp_path)).training().files == (tmp_path / "poem.txt",)
    assert _read(tmp_path / "poem.txt") == [POEM]


def _convert(message: str) -> None:
    """Run the command that a message names."""
    subprocess.run(message[message.index("mv ") :], shell=True, check=True)


@pytest.mark.parametrize(
    ("encoding", "named", "text"),
    [
        ("cp1250", "Windows-1250", "Zażółć gęślą jaźń, powiedział źrebak, śpiąc pod płotem.\n"),
        ("iso8859_2", "ISO 8859-2", "Zażółć gęślą jaźń, powiedział źrebak, śpiąc pod płotem.\n"),
        ("cp1253", "Windows-1253", "Στην αρχή ήταν ο λόγος και ο ποιητής τραγουδούσε για τη θάλασσα\n"),
        ("cp1254", "Windows-1254", "Gökyüzünde yıldızlar ışıl ışıl, kıyıda çocuğun düşü\n"),
        ("cp1255", "Windows-1255", "בראשית ברא אלהים את השמים ואת הארץ והארץ היתה תהו ובהו\n"),
        ("cp1256", "Windows-1256", "في البدء كان الكلمة والشاعر يغني للبحر والليل\n"),
        ("cp874", "Windows-874", "ดวงจันทร์ส่องแสงบนทะเล กวีร้องเพลงในยามค่ำคืน\n"),
        ("mac_roman", "Mac Roman", "Le café est fermé, dit-elle à l'élève près du château\n"),
        ("iso8859_5", "ISO 8859-5", "Я помню чудное мгновенье, передо мной явилась ты\n"),
    ],
)
def test_a_guess_is_called_one(encoding: str, named: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(RequestError, match=rf"it may be {named}.*, which is a guess: try mv ") as caught:
        _read(path)
    _convert(str(caught.value))
    assert _read(path) == [text]


def test_one_wrong_byte_in_utf8_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes((POEM * 20).encode() + b"\xff\n" + POEM.encode())
    with pytest.raises(
        RequestError, match=r"line 41: byte 0xFF at offset .* is not UTF-8, though the rest is; correct that line"
    ):
        _read(tmp_path / "a.txt")


def test_utf16_without_a_mark_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("caf\u00e9 and so on\n".encode("utf-16-le"))
    with pytest.raises(RequestError, match=r"it looks like UTF-16: mv .* && iconv -f UTF-16LE -t UTF-8 "):
        _read(tmp_path / "a.txt")


def test_lines_that_end_at_returns(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\rtwo\rthree")
    assert _read(path, "lines") == ["one", "two", "three"]
    found = recognise(Part(str(path), "files", (path,)), Reading(layout="lines"))
    assert found.notes == ("lines end at carriage returns in a.txt",)
    assert found.unexpected
    assert _read(path) == ["one\ntwo\nthree"]
    (tmp_path / "b.csv").write_bytes(b"id,text\r1,one\r2,two\r")
    assert _read(tmp_path / "b.csv") == ["one", "two"]
    (tmp_path / "c.txt").write_bytes(b"one\r\ntwo\rstill two\n")
    assert _read(tmp_path / "c.txt", "lines") == ["one", "two\rstill two"]


def test_characters_with_another_normal_form_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(
        "\uf914 is music, and 5 \u2126 is a resistance. \uf914 again; cafe\u0301 is composed.\n" * 20, encoding="utf-8"
    )
    data = prepare_text(TextRequest(str(path)), progress=lambda what, done, total: None)
    told = [note for note in data.notes if "NFC" in note]
    assert told == ["60 characters are read in their normal form (NFC), such as U+F914 as U+6A02 \u6a02"]
    path.write_text("cafe\u0301 is composed, and nothing else.\n" * 20, encoding="utf-8")
    plain = prepare_text(TextRequest(str(path)), progress=lambda what, done, total: None)
    assert not any("NFC" in note for note in plain.notes)
