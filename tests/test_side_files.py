"""Files that are not the data: what lies beside them, what stands in for them, and what was found in their place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aigc_cli.data.kinds import Kind
from aigc_cli.data.music.kind import MUSIC
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.sounds.kind import SOUNDS
from aigc_cli.data.sources import fingerprints
from aigc_cli.data.sources.source import Part, Source
from aigc_cli.data.text.dataset import TextRequest, prepare_text
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.kind import TEXT
from aigc_cli.errors import RequestError
from aigc_cli.options import absolute

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def _names(source: Source, split: str = "all") -> list[str]:
    return [path.relative_to(source.location).as_posix() for path in source.parts[split].files]


def _refused(kind: Kind, src: object, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        kind.open(str(src))
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["dataset_info.json", "dataset_infos.json", "config.json", "a.schema.json", "README.txt", "LICENSE.txt",
                                  "requirements-dev.txt", "deep/Readme.txt"])  # fmt: skip
def test_what_describes_data_is_not_learned(name: str, tmp_path: Path) -> None:
    source = TEXT.open(str(_write(tmp_path / "d", **{"poems.jsonl": '{"text": "a"}\n', name: '{"a": 1}'})))
    assert _names(source) == ["poems.jsonl"]
    assert source.notes == (f"ignored 1 file beside the data in {tmp_path / 'd'}: {name}",)


def test_a_table_of_labels_beside_splits_is_left_out_and_told(tmp_path: Path) -> None:
    names = ("train.csv", "test.csv", "train_labels.csv")
    source = TEXT.open(str(_write(tmp_path, **dict.fromkeys(names, "id,text\n0,a fox\n"))))
    assert _names(source, "train") == ["train.csv"] and _names(source, "test") == ["test.csv"]
    assert source.notes[-1] == f"ignored 1 file beside the data in {tmp_path}: train_labels.csv"


def test_what_describes_data_is_read_where_there_is_nothing_else(tmp_path: Path) -> None:
    assert _names(TEXT.open(str(_write(tmp_path, **{"README.txt": "a poem"})))) == ["README.txt"]
    (tmp_path / "noticeable.txt").write_text("another")
    assert _names(TEXT.open(str(tmp_path))) == ["noticeable.txt"]


def test_a_table_of_metadata_beside_pictures_is_no_table_of_pictures(tmp_path: Path) -> None:
    source = PICTURES.open(str(_write(tmp_path, **{"cat/a.png": "", "metadata.parquet": ""})))
    assert _names(source) == ["cat/a.png"]


def _saved(folder: Path, *others: str) -> None:
    """As `save_to_disk` writes a data set."""
    folder.mkdir(parents=True)
    for name in ("data-00000-of-00001.arrow", *others):
        table = pa.table({"text": [name]})
        with pa.OSFile(str(folder / name), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}))


@pytest.mark.parametrize("kind", [TEXT, PICTURES])
def test_of_a_data_set_saved_to_disk_the_listed_files_are_read(kind: Kind, tmp_path: Path) -> None:
    _saved(tmp_path / "one", "cache-1a2b.arrow")
    source = kind.open(str(tmp_path / "one"))
    assert _names(source) == ["data-00000-of-00001.arrow"]
    assert any("cache-1a2b.arrow" in note for note in source.notes)
    for split in ("train", "test"):
        _saved(tmp_path / "two" / split, "cache-1a2b.arrow")
    (tmp_path / "two" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source = kind.open(str(tmp_path / "two"))
    assert [_names(source, split) for split in source.parts] == [
        [f"{split}/data-00000-of-00001.arrow"] for split in ("train", "test")
    ]


@pytest.mark.parametrize("state", ["[]", "{", '{"_data_files": 5}', '{"text": "a poem"}'])
def test_another_file_of_that_name_hides_nothing(state: str, tmp_path: Path) -> None:
    assert _names(TEXT.open(str(_write(tmp_path, **{"state.json": state, "a.txt": "x"})))) == ["a.txt"]


@pytest.mark.parametrize(
    ("kind", "name"), [(TEXT, "a.parquet"), (TEXT, "a.csv"), (PICTURES, "a.parquet"), (PICTURES, "a.png"), (PICTURES, "a.zip")]
)
def test_a_pointer_of_git_lfs_is_named(kind: Kind, name: str, tmp_path: Path) -> None:
    path = _write(tmp_path, **{name: POINTER}) / name
    message = f"{path} is a Git LFS pointer, not the data; git lfs pull fetches it"
    _refused(kind, path, message)
    if name != "a.png":
        _refused(kind, tmp_path, message)


def test_a_pointer_among_many_files_is_named(tmp_path: Path) -> None:
    part = PICTURES.open(str(_write(tmp_path, **{"a.png": "not a pointer", "b.png": POINTER}))).training()
    with pytest.raises(RequestError, match=r"b\.png is a Git LFS pointer"):
        fingerprints.record_files(part)
    assert len(fingerprints.record_files(Part(part.location, "files", part.files[:1]))) == 1


@pytest.mark.parametrize("page", ["<!DOCTYPE html><html>", "\n <!doctype HTML>", "<html lang=en>", "\ufeff<html>"])
def test_a_web_page_is_no_table(page: str, tmp_path: Path) -> None:
    path = _write(tmp_path, **{"data.csv": page}) / "data.csv"
    for src in (path, tmp_path):
        _refused(TEXT, src, f"{path} is a web page despite its name; download the data again")


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_a_text_may_begin_as_a_web_page_does(name: str, tmp_path: Path) -> None:
    path = _write(tmp_path, **{name: "<!DOCTYPE html>\n<html> is its second line\n"}) / name
    assert TEXT.open(str(path)).training().files == (path,)


def test_a_table_that_speaks_of_pages_is_one(tmp_path: Path) -> None:
    assert TEXT.open(str(_write(tmp_path, **{"data.csv": "text\n<html>\n"}))).parts


ADDRESSES: list[tuple[str, str]] = [
    ("https://a.org/b/poems.csv?raw=1", "--data does not read URLs: curl -L -o poems.csv 'https://a.org/b/poems.csv?raw=1', then --data poems.csv"),
    ("http://a.org", "--data does not read URLs: curl -L -o FILE 'http://a.org', then --data FILE"),
    ("s3://bucket/a.parquet", "--data does not read URLs: download it, then --data a.parquet"),
    ("https://huggingface.co/datasets/a/b/tree/main", "--data does not read URLs: write hf:a/b"),
    ("huggingface.co/datasets/a/b", "--data does not read URLs: write hf:a/b"),
]  # fmt: skip


@pytest.mark.parametrize(("address", "message"), ADDRESSES)
def test_an_address_is_no_file(address: str, message: str) -> None:
    _refused(TEXT, absolute(address), message)


def types_of(kind: Kind, *, but: Kind) -> str:
    """What a message says of files that another kind has and this one hasn't."""
    return f"types of {kind.name}: {' '.join(sorted({*kind.suffixes} - {*but.suffixes}))}"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.tar.xz", "xz -dk FILE unpacks it"),
        ("a.tar.BZ2", "bunzip2 -k FILE unpacks it"),
        ("a.rar", "7z x -oFOLDER FILE unpacks it into a folder to give"),
    ],
)
def test_archives_that_are_not_read_are_refused_with_what_unpacks_them(name: str, remedy: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\xfd7z\0")
    for kind, other in ((TEXT, MUSIC), (PICTURES, SOUNDS)):
        others = re.escape(types_of(other, but=kind))
        with pytest.raises(RequestError, match=f"is not of a supported type; .*; {remedy}; {others}$"):
            kind.open(str(tmp_path / name))
        with pytest.raises(RequestError, match=rf"found 1 \..* \({remedy}\)"):
            kind.open(str(tmp_path))


def test_what_was_found_instead(tmp_path: Path) -> None:
    files: dict[str, Any] = {f"{i}.nef": "" for i in range(5)} | {"a.doc": "", "Makefile": "", "b.DOC": ""}
    _write(tmp_path, **files)
    with pytest.raises(RequestError) as caught:
        PICTURES.open(str(tmp_path))
    found = "found 5 .nef (dcraw -T converts them to .tiff), 2 .doc, 1 without a suffix"
    assert str(caught.value).endswith(f"; {found}; {types_of(SOUNDS, but=PICTURES)}")
    _write(tmp_path, **{f"{i}.png": "" for i in range(5)})
    notes = PICTURES.open(str(tmp_path)).notes
    assert notes == (
        f"ignored 8 files of other types in {tmp_path}: 5 .nef (dcraw -T converts them to .tiff), 2 .doc, 1 without a suffix",
    )


def test_a_folder_of_which_most_cannot_be_read_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, **{f"{i}.heic": "" for i in range(3)}, **{f"{i}.png": "" for i in range(2)})
    if ".heic" in PICTURES.suffixes:
        pytest.skip("pillow-heif is installed")
    _refused(
        PICTURES, tmp_path, f"most of {tmp_path} is in formats that are not supported: 3 .heic ({PICTURES.remedies['.heic']})"
    )
    _write(tmp_path, **{f"{i}.txt": "" for i in range(20)}, **{"3.png": "", "4.png": ""})
    assert len(_names(PICTURES.open(str(tmp_path)))) == 4


def test_documents_of_word_processors_are_counted_and_not_passed_over(tmp_path: Path) -> None:
    _write(tmp_path, **{f"{i}.docx": "" for i in range(3)}, **{"a.txt": "text", "b.txt": "text"})
    remedy = "pandoc -t plain -o FILE.txt FILE converts one"
    _refused(TEXT, tmp_path, f"most of {tmp_path} is in formats that are not supported: 3 .docx ({remedy})")
    (tmp_path / "c.txt").write_text("text")
    assert TEXT.open(str(tmp_path)).notes[-1] == f"ignored 3 files of other types in {tmp_path}: 3 .docx ({remedy})"
    (tmp_path / "a.rtf").write_text("{\\rtf1 text}")
    with pytest.raises(RequestError, match="pandoc"):
        TEXT.open(str(tmp_path / "a.rtf"))
    (tmp_path / "e").mkdir()
    _write(tmp_path / "e", **{f"{i}.docx": "" for i in range(3)}, **{"README.md": "text"})
    _refused(TEXT, tmp_path / "e", f"most of {tmp_path / 'e'} is in formats that are not supported: 3 .docx ({remedy})")


def test_little_validation_data_is_told(tmp_path: Path) -> None:
    _write(tmp_path, **{"a.txt": "\n".join(f"the fox went over hill number {i}" for i in range(60)), "v.txt": "x" * 4999})
    options = {"tokenizer": "byte", "val": str(tmp_path / "v.txt")}
    note = "figures on only 4,999 characters of validation data are rough; give more with --val"
    assert note in _prepare(tmp_path / "a.txt", **options)
    (tmp_path / "v.txt").write_text("x" * 5000)
    notes = _prepare(tmp_path / "a.txt", **options)
    assert "validating on 1 text with 5,000 characters" in notes and not any("rough" in line for line in notes)


def _table_of_copies(path: Path, n: int) -> Path:
    path.write_text("kind\ttext\n" + "".join(f"{i}\t{'The same line.' if i else 'Another line.'}\n" for i in range(n)))
    return path


def _prepare(path: Path, **options: Any) -> list[str]:
    return prepare_text(TextRequest(str(path), **options), progress=lambda stage, done, total: None).notes


def test_a_column_of_copies_is_refused_unless_it_was_named(tmp_path: Path) -> None:
    path = _table_of_copies(tmp_path / "a.tsv", 40)
    with pytest.raises(RequestError) as caught:
        _prepare(path)
    message = (
        "38 of 40 texts of the column 'text' are copies of others; choose another with --column ('kind'), or learn the 2 that "
        "differ with --column text"
    )
    assert str(caught.value) == f"{path}: {message}"
    assert "removed 38 exact copies" in _prepare(path, reading=Reading(("text",)))
    _prepare(_table_of_copies(tmp_path / "few.tsv", 15))


def test_lines_that_are_copies_are_told_and_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The same line.\n" * 40 + "Another line.\n")
    assert "removed 39 exact copies" in _prepare(tmp_path / "a.txt", reading=Reading(layout="lines"))
