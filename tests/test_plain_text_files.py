"""Markup, source code and files of any name as text."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from aigc_cli.data.kinds import WrongKind
from aigc_cli.data.sources.source import OtherFiles
from aigc_cli.data.text.dataset import TextRequest, prepare_text
from aigc_cli.data.text.documents import Reading, recognise, stream
from aigc_cli.data.text.kind import TEXT
from aigc_cli.data.text.request import check_options_apply
from aigc_cli.errors import RequestError


def _texts(src: Path, reading: Reading = Reading()) -> list[str]:  # noqa: B008
    part = TEXT.open(str(src)).training()
    check_options_apply([part], reading)
    return [text for text, _ in stream(part, reading)]


@pytest.mark.parametrize("name", ["notes.md", "a.py", "a.HTML", "poem", "a.unknown"])
def test_a_file_that_is_named_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("# Snow\n\nIt fell.\n")
    assert _texts(tmp_path / name) == ["# Snow\n\nIt fell.\n"]
    assert _texts(tmp_path / name, Reading(layout="paragraphs")) == ["# Snow", "It fell."]
    told = TEXT.open(str(tmp_path / name)).notes
    assert told == ((f"read {name} as plain text",) if name in ("poem", "a.unknown") else ())


def test_a_folder_of_notes_is_read_and_a_readme_beside_texts_is_not(tmp_path: Path) -> None:
    for name in ("a.md", "b/c.md", "d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert sorted(_texts(tmp_path)) == ["a.md", "b/c.md", "d.py"]
    (tmp_path / "poem.txt").write_text("poem")
    assert _texts(tmp_path) == ["poem"]


def test_what_is_no_text_is_still_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a\0b")
    with pytest.raises(OtherFiles):
        TEXT.open(str(tmp_path / "a.bin"))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "pictures" / "README.md").write_text("of pictures")
    with pytest.raises(WrongKind):
        TEXT.open(str(tmp_path / "pictures"))


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        ("title\ttext\nSnow\tIt fell.\nRain\tIt rained.\n".encode("utf-16"), "*.tsv"),
        (b"title;text\nSnow;It fell.\nRain;It rained.\n", "*.csv"),
        (b"Snow fell, and fell, and fell.\nRain, and rain again, and snow.\n", None),
    ],
)
def test_a_table_that_is_named_like_a_text_is_pointed_out(content: bytes, suffix: str | None, tmp_path: Path) -> None:
    (tmp_path / "poems.txt").write_bytes(content)
    notes = recognise(TEXT.open(str(tmp_path / "poems.txt")).training(), Reading()).notes
    pointed_out = [note for note in notes if "looks like a table" in note]
    assert len(pointed_out) == (suffix is not None)
    assert all(note.endswith(f"to use the columns, name it {suffix}") for note in pointed_out)


def test_a_table_that_is_named_like_a_text_is_refused_beside_tables(tmp_path: Path) -> None:
    rows = "title\ttext\n" + "".join(f"Snow {n}\tIt fell for {n} days.\n" for n in range(30))
    table = tmp_path / "poems.tsv"
    table.write_text(rows)
    other = tmp_path / "more" / "poems.txt"
    other.parent.mkdir()
    other.write_text(rows)
    refused = r"poems\.txt looks like a table among tables, but would be read as one text: name it \*\.tsv, or move it away"
    with pytest.raises(RequestError, match=refused):
        prepare_text(TextRequest(str(tmp_path)), progress=lambda *_: None)
    with pytest.raises(RequestError, match=refused):
        prepare_text(TextRequest(str(table), val=str(other)), progress=lambda *_: None)
    other.write_text("Snow fell, and fell.\n")
    assert prepare_text(TextRequest(str(tmp_path)), progress=lambda *_: None).info["dropped"]["copies"] == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lines_that_end_at_carriage_returns_alone(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_bytes("It fell.\rIt rained.\r".encode(encoding))
    part = TEXT.open(str(path)).training()
    assert "".join(text for text, _ in stream(part, Reading())) == "It fell.\nIt rained.\n"
    found = recognise(part, Reading())
    assert "lines end at carriage returns in poem.txt" in found.notes and found.unexpected
    path.write_bytes("It fell.\r\nIt rained.\rAlone.\r\n".encode(encoding))
    assert "".join(text for text, _ in stream(part, Reading())) == "It fell.\r\nIt rained.\rAlone.\r\n"
    assert not recognise(part, Reading()).unexpected


@pytest.mark.parametrize("suffix", ["txt", "csv", "zip"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "iso2022_jp", "hz"])
def test_an_encoding_without_a_mark_is_refused_with_its_command(encoding: str, suffix: str, tmp_path: Path) -> None:
    words = {"iso2022_jp": "\u96ea\u304c\u964d\u308b", "hz": "\u96ea\u843d\u4e0b\u6765"}.get(
        encoding, "\u0421\u043d\u0435\u0433 \u0448\u0451\u043b"
    )
    content = f"id,text\n{f'1,{words}' * 3}\n".encode(encoding) * 40
    path = tmp_path / f"poem.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("poem.txt", content)
    else:
        path.write_bytes(content)
    name = {"iso2022_jp": "ISO-2022-JP", "hz": "HZ"}.get(encoding, encoding.upper().replace("-LE", "LE").replace("-BE", "BE"))
    with pytest.raises(RequestError, match=rf"looks like {name}\b.*iconv -f {name} -t UTF-8"):
        part = TEXT.open(str(path)).training()
        recognise(part, Reading())
        list(stream(part, Reading()))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04\x14\0", "is a zip .*save it with its own suffix"),
        (b"%PDF-1.7\n", "is a PDF, not text: pdftotext"),
        (b"\x1f\x8b\x08", "compressed with gzip, not text: add .gz to its name"),
        (b"id,text\n1,Snow\0fell.\n" * 50, "has a NUL byte in line 2"),
    ],
)
def test_bytes_that_are_no_text_are_named(content: bytes, told: str, tmp_path: Path) -> None:
    for name in ("poem.txt", "poem.csv", "poem.jsonl"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RequestError, match=told):
            recognise(TEXT.open(str(tmp_path / name)).training(), Reading())


def test_texts_with_escapes_and_tildes_are_still_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x1b[31mred\x1b[0m and ~{ab~} and so on, as before\f\n" * 20)
    recognise(TEXT.open(str(tmp_path / "a.txt")).training(), Reading())
