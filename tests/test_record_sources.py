"""Records of every form of source: texts beside pictures in tables, files, columns and members of archives."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc_cli.data.pictures.dataset import PictureReading, PictureRequest, like, prepare_pictures
from aigc_cli.data.pictures.format import Wanted
from aigc_cli.data.pictures.sources.readers import PICTURE_FILES
from aigc_cli.data.records.dataset import RecordDataset, RecordRequest, check_unchanged, prepare_records, read_records
from aigc_cli.data.records.holds import kind_of_records
from aigc_cli.data.records.hub import picture_on_the_hub
from aigc_cli.data.sources import hub
from aigc_cli.errors import RequestError
from tests.test_records import draw, quiet
from tests.test_webdataset import _tar as tar

N = 24


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def prepare(data: object, *fields: str) -> RecordDataset:
    return prepare_records(RecordRequest(str(data), fields=fields or None), PictureReading(Wanted()), progress=quiet)


def png(number: int, folder: Path) -> bytes:
    draw(folder / "drawn" / "x.png", number)
    return (folder / "drawn" / "x.png").read_bytes()


def pictures(folder: Path) -> Path:
    for number in range(N):
        draw(folder / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    return folder


def _metadata_csv(tmp_path: Path) -> Path:
    folder = pictures(tmp_path / "a")
    rows = [f"{'cat' if n % 2 else 'dog'}/{n}.png,{n},caption {n}" for n in range(N)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,id,caption", *rows]) + "\n")
    return folder


def _metadata_jsonl(tmp_path: Path) -> Path:
    """A table in each folder."""
    folder = pictures(tmp_path / "a")
    for number in range(N):
        with (folder / ("cat" if number % 2 else "dog") / "metadata.jsonl").open("a") as file:
            file.write(json.dumps({"file_name": f"{number}.png", "caption": f"caption {number}"}) + "\n")
    return folder


def _text_files(tmp_path: Path) -> Path:
    folder = pictures(tmp_path / "a")
    for picture in folder.rglob("*.png"):
        picture.with_suffix(".txt").write_text(f"caption {picture.stem}\n")
    return folder


def _columns(tmp_path: Path) -> Path:
    images = [{"bytes": png(n, tmp_path), "path": None} for n in range(N)]
    table = pa.table({"image": images, "id": [*range(N)], "caption": [f"caption {n}" for n in range(N)]})
    pq.write_table(table, tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def _archive(tmp_path: Path) -> Path:
    members = {}
    for n in range(N):
        members |= {f"{n:03}.png": png(n, tmp_path), f"{n:03}.txt": f"caption {n}".encode()}
        members |= {f"{n:03}.json": json.dumps({"id": n, "url": f"https://x.org/{n}"}).encode()}
    return tar(tmp_path / "a.tar", members)


@pytest.mark.parametrize(
    ("make", "picture"),
    [
        (_metadata_csv, "picture"),
        (_metadata_jsonl, "picture"),
        (_text_files, "picture"),
        (_columns, "image"),
        (_archive, "picture"),
    ],
)
def test_each_text_is_with_its_picture(make: Callable[[Path], Path], picture: str, tmp_path: Path) -> None:
    source = make(tmp_path)
    data = prepare(source)
    assert [field.name for field in data.fields] == ["caption", picture]
    assert data.notes[0] == f"{N} records: caption (text), {picture} (picture, 4×4 RGB)"
    assert not any("ignored" in note or "not read: its labels" in note for note in data.notes)
    for split in (data.train, data.select, data.report):
        for number, text in enumerate(split.texts["caption"]):
            draw(tmp_path / "again.png", int(text.removeprefix("caption ")))
            with Image.open(tmp_path / "again.png") as picture:
                assert (np.asarray(picture) == split.pictures.take([number])[0]).all()
    assert check_unchanged(json.loads(json.dumps(data.info)), PictureReading(Wanted())) == []
    assert kind_of_records(str(source), None) and kind_of_records(str(source), ("picture", "caption"))
    assert not kind_of_records(str(source), ("caption",))


def test_a_changed_caption_is_noticed(tmp_path: Path) -> None:
    folder = _text_files(tmp_path)
    info = json.loads(json.dumps(prepare(folder).info))
    (folder / "cat" / "5.txt").write_text("another")
    assert check_unchanged(info, PictureReading(Wanted())) == [f"the texts of {folder} have changed since this run was trained"]


def test_pictures_without_a_text_and_texts_without_a_picture_are_told(tmp_path: Path) -> None:
    folder = _text_files(tmp_path)
    (folder / "cat" / "5.txt").unlink()
    (folder / "notes.txt").write_text("of something else")
    data = prepare(folder)
    assert "skipped 1 picture without a record: cat/5.png" in data.notes and data.notes[0].startswith("23 records: ")
    assert f"ignored 1 file of another type in {folder}: beside those read as texts" in data.notes
    folder = _metadata_csv(tmp_path / "other")
    with (folder / "metadata.csv").open("a") as file:
        file.write("gone.png,1,gone\n../../x.png,2,outside\n")
    assert "skipped 2 records whose picture is not there: gone.png, ../../x.png" in prepare(folder).notes


def test_rows_of_other_splits_are_not_missed(tmp_path: Path) -> None:
    rows = []
    for n in range(N):
        draw(tmp_path / "a" / ("test" if n < 4 else "train") / f"{n}.png", n)
        rows.append(f"{'test' if n < 4 else 'train'}/{n}.png,caption {n}")
    (tmp_path / "a" / "metadata.csv").write_text("\n".join(["file_name,caption", *rows]) + "\n")
    data = prepare(tmp_path / "a")
    assert data.notes[0].startswith("20 records: ") and not any("not there" in note for note in data.notes)
    assert len(read_records(str(tmp_path / "a"), data.fields, like(data.info), progress=quiet)) == 4


def test_names_of_classes_in_columns_are_texts(tmp_path: Path) -> None:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    images = [{"bytes": png(n, tmp_path), "path": None} for n in range(N)]
    table = pa.table({"image": images, "label": [n % 2 for n in range(N)], "tags": [["red", "big"]] * N})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    data = prepare(tmp_path / "a.parquet")
    assert [field.name for field in data.fields] == ["label", "tags", "image"]
    assert {*data.train.texts["label"]} == {"cat", "dog"} and {*data.train.texts["tags"]} == {"red, big"}


def _hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: dict[str, list[object]]) -> str:
    """A data set on the hub with a train and a test split, for which a folder stands: `datasets` reads both in the same way."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "find_splits", lambda location: (location, ["train", "test"]))
    features = {
        "photo": {"_type": "Image"},
        "audio": {"_type": "Audio"},
        "kind": {"_type": "ClassLabel", "names": ["cat", "dog"]},
        "id": {"_type": "Value", "dtype": "int64"},
        "caption": {"_type": "Value", "dtype": "string"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": {name: features[name] for name in columns}}})}
    (tmp_path / "set").mkdir()
    file = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    arrays = {name: pa.array(of, file if name in ("photo", "audio") else None) for name, of in columns.items()}
    table = pa.table(arrays).replace_schema_metadata(metadata)
    pq.write_table(table.slice(0, N - 4), tmp_path / "set" / "train.parquet")
    pq.write_table(table.slice(N - 4), tmp_path / "set" / "test.parquet")
    return f"hf:{tmp_path / 'set'}"


def test_a_data_set_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [{"bytes": png(n, tmp_path), "path": None} for n in range(N)]
    captions = [f"caption {n}" for n in range(N)]
    numbers = [*range(N)]
    columns = {"photo": images, "kind": [n % 2 for n in numbers], "caption": captions, "id": numbers}
    source = _hub(tmp_path, monkeypatch, columns)
    assert picture_on_the_hub(source, PICTURE_FILES) == "photo"
    assert kind_of_records(source, None) and kind_of_records(source, ("caption", "picture"))
    assert not kind_of_records(source, ("caption",))
    data = prepare(source)
    assert [field.name for field in data.fields] == ["kind", "caption", "photo"]
    assert data.notes[0].startswith(f"{N - 4} records: ")
    for split in (data.train, data.select, data.report):
        for at, text in enumerate(split.texts["caption"]):
            number = int(text.removeprefix("caption "))
            draw(tmp_path / "again.png", number)
            with Image.open(tmp_path / "again.png") as picture:
                assert (np.asarray(picture) == split.pictures.take([at])[0]).all()
            assert split.texts["kind"][at] == ("cat", "dog")[number % 2]
    test = read_records(source, data.fields, like(data.info), progress=quiet)
    assert [*test.texts["caption"]] == captions[-4:]
    assert check_unchanged(json.loads(json.dumps(data.info)), PictureReading(Wanted())) == []
    monkeypatch.delattr("aigc_cli.data.records.hub.read_hub_columns")  # what was streamed once isn't streamed again
    assert prepare(source).train.texts == data.train.texts


def test_sounds_on_the_hub_are_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"audio": [{"bytes": b"RIFF", "path": None}] * N, "caption": ["a text"] * N}
    source = _hub(tmp_path, monkeypatch, columns)
    assert picture_on_the_hub(source, PICTURE_FILES) is None and kind_of_records(source, None) == "sounds"


def test_keys_of_json_members_and_classes_are_fields(tmp_path: Path) -> None:
    members = {}
    for n in range(N):
        members |= {f"{n}.png": png(n, tmp_path), f"{n}.cls": b"cat"}
        members |= {f"{n}.json": json.dumps({"title": f"a fine title {n}", "width": 4, "more": {"a": 1}}).encode()}
    members |= {"../evil.png": png(99, tmp_path), "../evil.txt": b"x", "odd\x01name.txt": b"y", "n\xff.png": b"no picture"}
    data = prepare(tar(tmp_path / "a.tar", members), "title", "width", "class", "picture")
    assert data.notes[0].startswith(f"{N} records: ") and {*data.train.texts["class"]} == {"cat"}
    assert {*data.train.texts["width"]} == {"4"} and all(text.startswith("a fine title") for text in data.train.texts["title"])
    assert any("with absolute paths or '..'" in note for note in data.notes)


def _not_utf8(tmp_path: Path) -> Path:
    folder = _text_files(tmp_path)
    (folder / "cat" / "5.txt").write_bytes(b"\xff\xfe\x00")
    return folder


def _beside_two(tmp_path: Path) -> Path:
    folder = _text_files(tmp_path)
    (folder / "cat" / "5.jpg").write_bytes((folder / "cat" / "5.png").read_bytes())
    return folder


def _nested(tmp_path: Path) -> Path:
    folder = pictures(tmp_path / "a")
    rows = [{"file_name": f"dog/{n}.png", "caption": {"en": "a dog"}} for n in range(0, N, 2)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_not_utf8, "cat/5.txt is not UTF-8 text: invalid start byte"),
        (_beside_two, "cat/5.txt is beside several pictures of its name; leave one of them"),
        (_nested, "metadata.jsonl, row 1: 'caption' must be a text; it is of type dict"),
    ],
)
def test_what_is_refused(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    source = make(tmp_path)
    with pytest.raises(RequestError) as caught:
        prepare(source, "caption", "picture")
    assert message in str(caught.value) and "\n" not in str(caught.value)


class _Stdin(io.TextIOWrapper):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BufferedReader(io.BytesIO(data)))


def _jsonl(tmp_path: Path, form: str) -> bytes:
    rows = []
    for n in range(N):
        data = base64.b64encode(png(n, tmp_path)).decode()
        draw(tmp_path / "pictures" / f"{n}.png", n)
        value = {"path": f"pictures/{n}.png", "base64": data, "data": f"data:image/png;base64,{data}"}[form]
        rows.append({"n": n, "caption": f"caption {n}", "photo": value, "mixed": n if n % 2 else "odd"})
    return "\n".join(map(json.dumps, rows)).encode()


@pytest.mark.parametrize("form", ["path", "base64", "data"])
def test_json_lines_on_standard_input(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy holds the pictures, so that it is read anywhere and by whatever learns from pictures alone."""
    data = _jsonl(tmp_path, form)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    assert kind_of_records("-", None) and kind_of_records("-", ("photo",)) and not kind_of_records("-", ("caption",))
    found = prepare("-", "photo", "caption", "n", "mixed")
    assert found.notes[0].startswith(f"{N} records: photo (picture, 4×4 RGB)") and found.spooled is not None
    for number, text in enumerate(found.train.texts["caption"]):
        with Image.open(tmp_path / "pictures" / f"{text.removeprefix('caption ')}.png") as picture:
            assert (np.asarray(picture) == found.train.pictures.take([number])[0]).all()
        assert text == f"caption {found.train.texts['n'][number]}"
    assert [path.suffix for path in found.spooled.parent.iterdir()] == [".parquet"]
    alone = prepare_pictures(PictureRequest(str(found.spooled)), progress=quiet)
    assert {*alone.report.names} == {*found.report.pictures.names}
    monkeypatch.chdir("/")
    assert check_unchanged(json.loads(json.dumps(found.info)), PictureReading(Wanted())) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": "x.png", "b": "pictures/1.png"}, {"a": "pictures/1.png"}], "standard input has pictures in 'b', 'a'; a record has one picture"),
        ([{"a": "pictures/1.png"}, {"a": "../x.png"}], "standard input, row 2: '../x.png' is outside of the folder "),
        ([{"a": "pictures/1.png"}, {"a": "http://x.org/x.png"}], "standard input, row 2: 'http://x.org/x.png' is an address"),
        ([{"a": "some text"}], "standard input: no value is a picture: the name of a picture file that is in "),
    ],
)  # fmt: skip
def test_what_is_refused_on_standard_input(
    rows: list[object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "pictures" / "1.png", 1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", _Stdin("\n".join(map(json.dumps, rows)).encode()))
    with pytest.raises(RequestError) as caught:
        prepare("-")
    assert message in str(caught.value)
    assert not [*(tmp_path / "cache" / "stdin").iterdir()]


def test_rows_without_a_picture_on_standard_input_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    more = [{"caption": "none"}, {"caption": "gone", "photo": "gone.png"}]
    monkeypatch.setattr(sys, "stdin", _Stdin(_jsonl(tmp_path, "path") + "\n".join(["", *map(json.dumps, more)]).encode()))
    told = "\n".join(prepare("-", "photo", "caption").notes)
    assert f"{N} records: " in told and "skipped 2 that cannot be decoded: 'row 24' (its cell is empty)" in told


def test_pictures_and_texts_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for data, held in (
        (png(1, tmp_path), True),
        (_archive(tmp_path).read_bytes(), True),
        (b"a text", False),
        (b'{"a": "b"}', False),
    ):
        monkeypatch.setattr(sys, "stdin", _Stdin(data))
        assert (kind_of_records("-", None) is not None) == held
