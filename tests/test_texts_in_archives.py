"""Texts in a zip or a tar."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from aigc_cli.data.kinds import WrongKind
from aigc_cli.data.text.dataset import TextRequest, prepare_text
from aigc_cli.data.text.documents import Reading, recognise, stream
from aigc_cli.data.text.kind import TEXT
from aigc_cli.data.text.pieces import End
from aigc_cli.errors import RequestError

POEMS = {f"poem {i}.txt": f"The quiet river\nleans by door {i}.\n" for i in range(12)}


def _packed(path: Path, files: dict[str, str | bytes]) -> Path:
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def _texts(path: Path, **reading: Any) -> list[str]:
    texts, held = [], ""
    for text, end in stream(TEXT.open(str(path)).training(), Reading(**reading)):
        held += text
        if end is not End.NOTHING:
            texts.append(held)
            held = ""
    return texts


def _refused(path: Path, **reading: Any) -> str:
    with pytest.raises(RequestError) as caught:
        recognise(TEXT.open(str(path)).training(), Reading(**reading))
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
def test_each_file_is_a_document(name: str, tmp_path: Path) -> None:
    path = _packed(tmp_path / name, {"README.txt": "Of the poems.", **POEMS})
    assert _texts(path) == list(POEMS.values())
    assert _texts(path, layout="lines")[:2] == ["The quiet river", "leans by door 0."]
    assert recognise(TEXT.open(str(path)).training(), Reading()).notes == (
        f"ignored 1 other file in {name}: README.txt",
        f"12 .txt files in {name}",
    )


def test_what_is_left_out_of_an_archive_is_told(tmp_path: Path) -> None:
    path = _packed(tmp_path / "a.zip", {**POEMS, **{f"{n}.md": "# Of poems" for n in range(5)}})
    notes = recognise(TEXT.open(str(path)).training(), Reading()).notes
    assert notes == ("ignored 5 other files in a.zip: 0.md, 1.md, 2.md and 2 more", "12 .txt files in a.zip")


def test_a_zip_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))
    path = _packed(tmp_path / "a.zip", POEMS)
    data = prepare_text(TextRequest(str(path)), progress=lambda what, done, total: None)
    assert sum(int(arrays.chars.sum()) for arrays in (data.train, data.select, data.report)) == sum(map(len, POEMS.values()))
    assert data.info["location"] == str(path)


def test_encodings_of_members(tmp_path: Path) -> None:
    marked = {"a.txt": "\ufeffOne.\n".encode(), "b.txt": "Two.\n".encode("utf-16"), "c.txt": b"Three.\rFour.\r"}
    assert _texts(_packed(tmp_path / "a.zip", marked)) == ["One.\n", "Two.\n", "Three.\nFour.\n"]
    path = _packed(tmp_path / "b.zip", {"a.txt": "床前明月光，疑是地上霜。\n".encode("gb18030")})
    with pytest.raises(RequestError, match=r"b\.zip: 'a\.txt' in it is not UTF-8; it looks like GB18030: unpack it"):
        _texts(path)


def test_markup_is_read_where_there_is_no_plain_text(tmp_path: Path) -> None:
    assert _texts(_packed(tmp_path / "a.zip", {"a.md": "# One", "b.md": "# Two"})) == ["# One", "# Two"]
    assert _texts(_packed(tmp_path / "b.zip", {"a.md": "# One", "b.txt": "Two"})) == ["Two"]


def test_texts_of_a_webdataset(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for i in range(4):
        files |= {
            f"{i}.jpg": b"\xff\xd8",
            f"{i}.txt": f"A door {i}",
            f"{i}.json": json.dumps({"id": i, "caption": f"Of {i} doors"}),
        }
    path = _packed(tmp_path / "a.tar", files)
    assert _texts(path) == [f"A door {i}" for i in range(4)]
    assert _texts(path, columns=("caption",)) == [f"Of {i} doors" for i in range(4)]
    assert "there is no column 'title'; the columns are 'id', 'caption'" in _refused(path, columns=("title",))
    path = _packed(tmp_path / "b.tar", {name: content for name, content in files.items() if not name.endswith(".txt")})
    assert _texts(path) == [f"Of {i} doors" for i in range(4)]
    found = recognise(TEXT.open(str(path)).training(), Reading())
    assert found.notes[0] == "ignored 4 other files in b.tar: 0.jpg, 1.jpg, 2.jpg and 1 more"
    assert found.notes[1:] == ("4 .json files in b.tar", "texts of the column 'caption' (the only one with texts; also: id)")


def test_shards_in_a_folder(tmp_path: Path) -> None:
    for split, texts in (("train", ["One", "Two"]), ("test", ["Three"])):
        for i, text in enumerate(texts):
            _packed(tmp_path / f"{split}-{i:05}.tar", {"a.txt": text})
    assert _texts(tmp_path) == ["One", "Two"]


def test_an_archive_beside_a_description_is_read_and_beside_pictures_is_not(tmp_path: Path) -> None:
    _packed(tmp_path / "a.zip", POEMS)
    (tmp_path / "README.md").write_text("Of the poems.")
    assert _texts(tmp_path) == list(POEMS.values())
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(WrongKind):
        TEXT.open(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"poems.csv": "id,text\n1,one\n"}, " holds the tables 'poems.csv': unpack it, and give one of them or their folder with --data"),
        ({"d/train/a.txt": "One", "d/test/b.txt": "Two"}, " holds the splits test, train: unpack it and give the folder with --data"),
        ({"train.txt": "One", "test.txt": "Two"}, " holds the splits test, train: unpack it and give the folder with --data"),
        ({"a.zip": b"PK", "b.zip": b"PK"}, " holds no texts: 2 .zip"),
        ({"a.pdf": b"%PDF", "b.pdf": b"%PDF", "c.xyz": b"x"}, " holds no texts: 2 .pdf, 1 .xyz"),
        ({"a.json": "[1]"}, ": 'a.json' in it is no object: unpack the archive and give the folder with --data"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_with_a_remedy(files: dict[str, str | bytes], message: str, tmp_path: Path) -> None:
    assert _refused(_packed(tmp_path / "a.zip", files)) == message


def test_columns_need_files_of_json(tmp_path: Path) -> None:
    path = _packed(tmp_path / "a.zip", POEMS)
    assert _refused(path, columns=("text",)) == " has no columns: there are no .json files in it"


def test_pictures_with_a_few_texts_are_pictures(tmp_path: Path) -> None:
    path = _packed(tmp_path / "a.zip", {"labels.txt": "cat", **{f"{i}.png": b"\x89PNG" for i in range(9)}})
    with pytest.raises(WrongKind):
        TEXT.open(str(path))
