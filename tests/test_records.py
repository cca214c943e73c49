"""Records: a picture and texts beside it, from a table that lists picture files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc_cli.backends.pictures.options import changed as pictures_unchanged
from aigc_cli.data.pictures.dataset import PictureReading, PictureRequest, like, prepare_pictures
from aigc_cli.data.pictures.format import Wanted
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.records.dataset import RecordRequest, check_unchanged, prepare_records, read_records
from aigc_cli.data.records.holds import kind_of_records
from aigc_cli.errors import RequestError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def quiet(stage: str, done: int, total: int | None) -> None:
    pass


def draw(path: Path, number: int) -> None:
    """A picture of 4x4 pixels that differs from that of any other number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.RandomState(number).randint(0, 256, (4, 4, 3))
    Image.fromarray(levels.astype(np.uint8)).save(path)


def table(folder: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("picture", "caption")) -> Path:
    path = folder / "captions.tsv"
    folder.mkdir(exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]), encoding="utf-8")
    return path


def captioned(folder: Path, n: int = 30) -> Path:
    for number in range(n):
        draw(folder / "pictures" / f"{number}.png", number)
    return table(folder, [(f"pictures/{number}.png", f"picture number {number}") for number in range(n)])


def prepare(data: object, *fields: str, **others: object) -> object:
    return prepare_records(RecordRequest(str(data), fields=fields or None, **others), PictureReading(Wanted()), progress=quiet)


def pairs(arrays: object, field: str = "caption") -> set[tuple[str, str]]:
    return {*zip(arrays.pictures.names, arrays.texts[field], strict=True)}


def test_each_text_is_with_its_picture_and_the_picture_is_decoded(tmp_path: Path) -> None:
    data = prepare(captioned(tmp_path / "a"))
    assert [(field.name, field.kind) for field in data.fields] == [("caption", "text"), ("picture", "pictures")]
    assert data.notes[0] == "30 records: caption (text), picture (picture, 4×4 RGB)"
    every = {*pairs(data.train), *pairs(data.select), *pairs(data.report)}
    assert every == {(f"pictures/{number}.png", f"picture number {number}") for number in range(30)}
    for number, name in enumerate(data.train.pictures.names):
        with Image.open(tmp_path / "a" / name) as picture:
            assert (data.train.pictures.take([number])[0] == np.asarray(picture)).all()
    assert data.info["kind"] == "pictures" and data.info["understood"]["fields"] == {"caption": "text", "picture": "pictures"}


def test_pictures_alone_have_the_same_held_out_pictures(tmp_path: Path) -> None:
    """So that a codec that was trained on them never saw one."""
    path = captioned(tmp_path / "a")
    records, alone = prepare(path), prepare_pictures(PictureRequest(str(path)), progress=quiet)
    assert alone.notes[0] == "30 pictures, 4×4 RGB" and alone.info["understood"]["origins"] == {
        "pictures": "the column 'picture'"
    }
    for split in ("train", "select", "report"):
        assert {*getattr(records, split).pictures.names} == {*getattr(alone, split).names}
    again = prepare_records(RecordRequest(str(path)), like(alone.info), progress=quiet)
    assert {*again.report.pictures.names} == {*alone.report.names}


def test_records_of_one_picture_share_it_and_its_split(tmp_path: Path) -> None:
    """Also those of another file with the same pixels. Only records that are equal in texts too are copies."""
    path = captioned(tmp_path / "a")
    (tmp_path / "a" / "copy.png").write_bytes((tmp_path / "a" / "pictures" / "3.png").read_bytes())
    rows = [(f"pictures/{number}.png", f"{what} of {number}") for number in range(30) for what in ("colour", "place", "colour")]
    table(tmp_path / "a", [*rows, ("copy.png", "a new text"), ("copy.png", "place of 3")])
    data = prepare(path)
    splits = [pairs(of) for of in (data.train, data.select, data.report)]
    assert sum(map(len, splits)) == 61 and len(data.train) + len(data.select) + len(data.report) == 61
    of_one = [{text for name, text in split if name in ("pictures/3.png", "copy.png")} for split in splits]
    assert {"colour of 3", "place of 3", "a new text"} in of_one and of_one.count(set()) == 2
    assert data.notes[0].startswith("92 records of 31 pictures: ")
    assert "removed 31 records equal to another in picture and texts" in data.notes
    assert not any("exact cop" in note for note in data.notes)
    assert len(np.unique(data.train.pictures.rows)) < len(data.train)


def test_fields_are_named_in_order_and_numbers_are_texts_if_asked_for(tmp_path: Path) -> None:
    path = captioned(tmp_path / "a", 12)
    rows = [(str(number), f"pictures/{number}.png", f"a text of {number}") for number in range(12)]
    table(tmp_path / "a", rows, ("id", "file", "words"))
    assert [field.name for field in prepare(path).fields] == ["words", "file"]
    assert "not read: id (--fields names what is learned)" in prepare(path).notes
    data = prepare(path, "picture", "id", "words")
    assert [field.name for field in data.fields] == ["file", "id", "words"] and data.info["kind"] == "text"
    assert pairs(data.train, "id") <= {(name, number) for number, name, _ in rows}
    for wrong, message in (
        (("picture", "word"), "no field 'word'; its fields are 'file', 'id', 'words'; did you mean 'words'?"),
        (("words", "words", "file"), "--fields names 'words' twice"),
        (("id", "words"), "--fields lacks the picture, 'file'"),
    ):
        with pytest.raises(RequestError) as caught:
            prepare(path, *wrong)
        assert message in str(caught.value)


def test_texts_are_in_normal_form_and_values_of_json_are_texts(tmp_path: Path) -> None:
    captioned(tmp_path / "a", 12)
    path = tmp_path / "a" / "x.jsonl"
    values = ["cafe\u0301 au lait", ["red", "big"], None, 7, "", "plain"]
    rows = [{"words": values[number % 6], "image": f"./pictures/{number}.png"} for number in range(12)]
    path.write_text("\n".join(map(json.dumps, rows)))
    data = prepare(path)
    texts = [*data.train.texts["words"], *data.select.texts["words"], *data.report.texts["words"]]
    assert sorted({*texts}) == ["", "7", "café au lait", "plain", "red, big"]


def test_a_table_without_a_header(tmp_path: Path) -> None:
    captioned(tmp_path / "a", 12)
    path = tmp_path / "a" / "x.csv"
    path.write_text("".join(f'pictures/{number}.png,"a red, round thing {number}"\n' for number in range(12)))
    data = prepare(path)
    assert [field.name for field in data.fields] == ["2", "1"] and data.notes[0].startswith("12 records")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_forms_of_tables(suffix: str, tmp_path: Path) -> None:
    captioned(tmp_path / "a", 12)
    rows = {"caption": [f"text {n}" for n in range(12)], "picture": [f"pictures/{n}.png" for n in range(12)]}
    path = tmp_path / "a" / f"x.{suffix}"
    if suffix == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(rows), path)
    elif suffix == "csv":
        path.write_text("caption,picture\n" + "".join(f"{a},{b}\n" for a, b in zip(*rows.values(), strict=True)))
    else:
        path.write_text(json.dumps([{"caption": a, "picture": b} for a, b in zip(*rows.values(), strict=True)]))
    data = prepare(path)
    every = pairs(data.train) | pairs(data.select) | pairs(data.report)
    assert every == {(f"pictures/{n}.png", f"text {n}") for n in range(12)}
    assert kind_of_records(str(path), ("caption", "picture")) and not kind_of_records(str(path), ("caption",))


def test_missing_and_damaged_pictures_skip_their_records(tmp_path: Path) -> None:
    path = captioned(tmp_path / "a")
    (tmp_path / "a" / "pictures" / "4.png").write_text("this is no picture")
    (tmp_path / "a" / "notes.txt").write_text("nor this")
    more = [("pictures/gone.png", "gone"), ("", "nothing"), ("notes.txt", "a text"), ("pictures/1.png", "x" * 1_000_000)]
    with path.open("a") as file:
        file.writelines("\t".join(row) + "\n" for row in more)
    data = prepare(path)
    assert data.notes[0].startswith("29 records: ")
    told = "\n".join(data.notes)
    for note in (
        "1 picture that is not there in {}: pictures/gone.png",
        "1 file that is no picture in {}: notes.txt",
        "skipped 1 that cannot be decoded: 'pictures/4.png' (not a picture in a known format)",
        "skipped 1 record without a picture: record 32",
        "skipped 1 record with a text of over 65,536 characters: record 34",
    ):
        assert note.format(path) in told
    assert {group["what"]: group["count"] for group in data.info["understood"]["skipped"]} == {
        "picture that is not there": 1,
        "file that is no picture": 1,
        "pictures that cannot be decoded": 1,
        "record without a picture": 1,
        "record with a text of over 65,536 characters": 1,
    }


def _rewritten(change: Callable[[int], str]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        table(folder, [(change(number), f"text {number}") for number in range(30)])

    return rewrite


def _many_columns(folder: Path) -> None:
    names = [f"c{number}" for number in range(10_000)]
    rows = [["pictures/1.png", *[f"a word {number}" for number in range(10_000)]] for _ in range(3)]
    table(folder, rows, ["picture", *names])


def _two_pictures(folder: Path) -> None:
    table(folder, [(f"pictures/{n}.png", f"pictures/{n}.png", "a text") for n in range(30)], ("before", "after", "caption"))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (_rewritten(lambda n: "../outside.png" if n == 7 else f"pictures/{n}.png"), "row 8: '../outside.png' is outside of the folder"),
        (_rewritten(lambda n: "/etc/x.png" if n == 7 else f"pictures/{n}.png"), "row 8: '/etc/x.png' is outside of the folder"),
        (_rewritten(lambda n: f"pictures/../../{n}.png"), "captions.tsv: 'pictures/../../0.png' is outside of the folder"),
        (_rewritten(lambda n: f"https://x.org/{n}.png"), "are addresses, such as 'https://x.org/0.png', and are not downloaded"),
        (_rewritten(lambda n: "http://x.org/7.png" if n == 7 else f"pictures/{n}.png"), "row 8: 'http://x.org/7.png' is an address"),
        (_rewritten(lambda n: f"elsewhere/{n}.png"), "none of the pictures in 'picture' is there, such as 'elsewhere/0.png'"),
        (_two_pictures, "has pictures in the columns 'before', 'after'; a record has one picture"),
        (_many_columns, "has 10,000 columns of texts: name the fields to learn, at most 16, such as --fields c0,c1,picture"),
    ],
)  # fmt: skip
def test_what_is_refused(break_it: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = captioned(tmp_path / "a")
    break_it(tmp_path / "a")
    with pytest.raises(RequestError) as caught:
        prepare(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_changed_text_or_picture_is_noticed(tmp_path: Path) -> None:
    path = captioned(tmp_path / "a")
    info = json.loads(json.dumps(prepare(path, "picture", "caption").info))
    assert check_unchanged(info, PictureReading(Wanted())) == []
    text = path.read_text()
    path.write_text(text.replace("number 5", "number five"))
    assert check_unchanged(info, PictureReading(Wanted())) == [f"the texts of {path} have changed since this run was trained"]
    path.write_text(text)
    draw(tmp_path / "a" / "pictures" / "5.png", 500)
    assert check_unchanged(info, PictureReading(Wanted())) == [f"{path} has changed since this run was trained"]


def test_validation_data_and_another_source(tmp_path: Path) -> None:
    path, other = captioned(tmp_path / "a"), captioned(tmp_path / "b", 8)
    data = prepare(path, "caption", "picture", val=str(other))
    assert data.explicit_val and len(data.train) == 22 and pairs(data.select) == pairs(data.report)
    assert pairs(data.report) == {(f"pictures/{n}.png", f"picture number {n}") for n in range(8)}
    table(tmp_path / "b", [(f"pictures/{n % 8}.png", f"text {n}", "x") for n in range(16)], ("img", "caption", "more"))
    found = read_records(str(other), data.fields, like(data.info), progress=quiet)
    assert len(found) == 16 and found.texts["caption"][9] == "text 9" and found.pictures.names[9] == "pictures/1.png"
    table(tmp_path / "b", [("pictures/1.png", "x")], ("img", "words"))
    with pytest.raises(RequestError, match="has no field 'caption'; its fields are 'img', 'words'"):
        read_records(str(other), data.fields, like(data.info), progress=quiet)


def test_folders_of_pictures_are_records_of_a_picture_and_a_class(tmp_path: Path) -> None:
    for number in range(24):
        draw(tmp_path / "a" / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    data = prepare(tmp_path / "a")
    assert [field.name for field in data.fields] == ["class", "picture"]
    assert all(name.startswith(text) for name, text in pairs(data.train, "class"))
    assert [field.name for field in prepare(tmp_path / "a" / "cat").fields] == ["picture"]


def test_which_sources_hold_records(tmp_path: Path, poems: Path) -> None:
    path = captioned(tmp_path / "a")
    pictures = str(tmp_path / "a" / "pictures")
    assert kind_of_records(str(path), None) and kind_of_records(str(path), ("picture", "caption"))
    assert not kind_of_records(str(path), ("caption",))
    assert kind_of_records(pictures, None) and kind_of_records("demo:shapes", None)
    assert not kind_of_records(str(poems), None) and not kind_of_records("demo:verse", None)
    assert not kind_of_records(str(tmp_path / "gone.tsv"), None)
    gone = table(tmp_path / "a", [(f"elsewhere/{number}.png", "a text") for number in range(9)])
    assert not kind_of_records(str(gone), None) and not kind_of_records(str(gone), ("caption",))
    with pytest.raises(RequestError, match="none of the pictures in 'picture' is there"):
        kind_of_records(str(gone), ("caption", "picture"))
    with pytest.raises(RequestError):
        PICTURES.open(str(poems))


def test_a_folder_holds_what_most_of_its_files_are(tmp_path: Path) -> None:
    draw(tmp_path / "a" / "1.png", 1)
    for number in range(3):
        (tmp_path / "a" / f"{number}.txt").write_text("a text")
    assert not kind_of_records(str(tmp_path / "a"), None)
    draw(tmp_path / "a" / "2.png", 2)
    assert kind_of_records(str(tmp_path / "a"), None)


def test_a_column_of_the_table_labels_the_pictures(tmp_path: Path) -> None:
    captioned(tmp_path / "a")
    rows = [(f"pictures/{n}.png", ("cat", "dog")[n % 2]) for n in range(30)]
    path = table(tmp_path / "a", [*rows, ("", "cat")], ("file", "animal"))
    data = prepare_pictures(PictureRequest(str(path), label="animal", conditional=True), progress=quiet)
    assert data.classes == ("cat", "dog") and data.train.labels is not None
    for name, label in zip(data.train.names, data.train.labels.tolist(), strict=True):
        assert label == int(Path(name).stem) % 2
    assert pictures_unchanged(data.info) == []
    several = table(tmp_path / "a", [(*row, "AB"[n % 3 == 0]) for n, row in enumerate(rows)], ("file", "animal", "group"))
    both = prepare_pictures(PictureRequest(str(several), label="animal,group", conditional=True), progress=quiet)
    assert both.classes == {"animal": ("cat", "dog"), "group": ("A", "B")}
    with pytest.raises(RequestError, match="has no column 'animals'; it has 'animal'"):
        prepare_pictures(PictureRequest(str(path), label="animals", conditional=True), progress=quiet)
