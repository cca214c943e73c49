"""What was understood of a source, as run.json records it (`data.understood`)."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Shell
from PIL import Image

from aigc_cli.data.pictures.dataset import PictureFormat, PictureRequest, prepare_pictures, read_pictures
from aigc_cli.data.sources.opening import open_training
from aigc_cli.data.text.dataset import TextRequest, encode_documents, prepare_text
from aigc_cli.data.text.kind import TEXT
from aigc_cli.data.text.tokenizers.tokenizer import byte
from aigc_cli.data.understood import by_suffix
from aigc_cli.ui.report_tables import understood

LINES = [f"the fox went over hill number {number}" for number in range(60)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _silent(stage: str, done: int, total: int | None) -> None:
    pass


def _text(data: Path | str, **options: Any) -> dict[str, Any]:
    found = prepare_text(TextRequest(str(data), tokenizer="byte", **options), progress=_silent).info["understood"]
    assert isinstance(found, dict)
    return {name: value for name, value in found.items() if name != "near_duplicates"}  # test_near.py


def _write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_files_splits_and_what_is_skipped_are_recorded_as_they_are_told(tmp_path: Path) -> None:
    _write(
        tmp_path / "d", train_tsv="text\na\n", dev__a_txt="b", dev__b_txt="c", test_tsv="text\nd\n", notes_psd="x", g_bin="y"
    )
    (tmp_path / "v.txt").write_text("e")
    with open_training(TEXT, str(tmp_path / "d"), str(tmp_path / "v.txt"), None) as opened:
        assert opened.describe()["understood"] == {
            "files": {"count": 4, "by_suffix": {".tsv": 2, ".txt": 2}, "examples": ["dev/a.txt", "dev/b.txt", "test.tsv"]},
            "splits": {"train": "train.tsv", "val": "dev/, 2 files", "test": "test.tsv"},
            "skipped": [{"what": "files of other types", "count": 2, "examples": ["g.bin", "notes.psd"]}],
            "val": {"files": {"count": 1, "by_suffix": {".txt": 1}, "examples": ["v.txt"]}},
        }
        assert opened.notes == (
            "splits: train (train.tsv), val (dev/, 2 files), test (test.tsv)",
            f"ignored 2 files of other types in {tmp_path / 'd'}: g.bin, notes.psd",
        )


def test_what_is_skipped_of_validation_data_is_told(tmp_path: Path) -> None:
    _write(tmp_path, d__a_txt="a", v__b_txt="b", v__c_psd="c")
    with open_training(TEXT, str(tmp_path / "d"), str(tmp_path / "v"), None) as opened:
        assert opened.notes == (f"--val: ignored 1 file of another type in {tmp_path / 'v'}: c.psd",)


def test_columns_and_dialects_of_tables(tmp_path: Path) -> None:
    rows = "".join(f"{number};{line}\n" for number, line in enumerate([*LINES, *LINES[:3]]))
    (tmp_path / "a.csv").write_text("id;poem\n" + rows)
    assert _text(tmp_path / "a.csv") == {
        "files": {"count": 1, "by_suffix": {".csv": 1}, "examples": ["a.csv"]},
        "columns": {"read": ["poem"], "why": "the only one with texts", "others": ["id"]},
        "tables": [{"delimiter": ";", "quoted": True, "header": True, "files": 1}],
        "removed": {"copies": 3},
    }
    (tmp_path / "v.tsv").write_text("\n".join(["poem\tid", *(f"{line} later\t1" for line in LINES)]), encoding="utf-16")
    found = _text(tmp_path / "a.csv", val=str(tmp_path / "v.tsv"))
    assert found["val"] == {
        "files": {"count": 1, "by_suffix": {".tsv": 1}, "examples": ["v.tsv"]},
        "columns": {"read": ["poem"], "why": "the only one with texts", "others": ["id"]},
        "tables": [{"delimiter": "\t", "quoted": False, "header": True, "files": 1}],
        "encodings": {"utf-16": "v.tsv"},
    }


def test_standard_input_is_not_called_by_the_name_of_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("\n".join(LINES).encode())))
    assert _text("-") == {"files": {"count": 1, "by_suffix": {".txt": 1}, "examples": ["standard input"]}}


def test_classes_and_pictures_that_cannot_be_decoded(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 8), np.uint8)
    for number, grey in enumerate([*pixels, pixels[0]]):
        path = tmp_path / "d" / ("cat" if number % 4 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(path)
    (tmp_path / "d" / "cat" / "bad.png").write_bytes(b"x")
    for _ in range(2):  # also from the cache
        found = prepare_pictures(PictureRequest(str(tmp_path / "d")), progress=_silent).info["understood"]
        assert {name: value for name, value in found.items() if name != "near_duplicates"} == {
            "files": {"count": 42, "by_suffix": {".png": 42}, "examples": ["cat/1.png", "cat/10.png", "cat/11.png"]},
            "origins": {"labels": "the folders"},
            "classes": {"cat": 30, "dog": 10},
            "skipped": [{"what": "pictures that cannot be decoded", "count": 1, "examples": ["cat/bad.png"]}],
            "removed": {"copies": 1},
        }


def test_the_report_has_a_row_for_each_fact() -> None:
    assert understood(
        {
            "files": {"count": 3, "by_suffix": {".csv": 2, ".txt": 1}, "examples": ["a.csv", "b.csv", "c.txt"]},
            "columns": {"read": ["poem"], "others": ["id"]},
            "tables": [{"delimiter": "\t", "quoted": False, "files": 2}, {"delimiter": ";", "quoted": True, "files": 1}],
            "skipped": [{"what": "files of other types", "count": 2, "examples": ["a.zip", "b.pdf"]}],
        }
    ) == [
        ("files", "2 .csv, 1 .txt, such as a.csv, b.csv, c.txt"),
        ("columns", "read poem, others id"),
        ("tables", "delimiter tab, quoted no, files 2"),
        ("tables", "delimiter ;, quoted yes, files 1"),
        ("skipped", "2 files of other types, such as a.zip, b.pdf"),
    ]


def test_files_by_suffix_are_counted_most_first_and_the_rest_together() -> None:
    suffixes = [".heic"] * 5 + [".mov"] * 4 + [".txt"] * 3 + [".xmp"] * 2 + [".aae", ".dat", ".dat"]
    assert by_suffix(suffixes, {".heic": "convert them"}) == "5 .heic (convert them), 4 .mov, 3 .txt, 2 .xmp and 3 more"


def test_how_data_to_evaluate_on_are_read_is_told(tmp_path: Path) -> None:
    rows = "".join(f"{number};{line}\n" for number, line in enumerate(LINES))
    _write(tmp_path / "d", train_csv=f"id;poem\n{rows}", test_csv=f"id;poem\n{rows}", notes_psd="x")
    told: list[str] = []
    encode_documents(str(tmp_path / "d"), byte(), progress=_silent, tell=told.append)
    assert told == [
        "splits: train (train.csv), test (test.csv)",
        f"ignored 1 file of another type in {tmp_path / 'd'}: notes.psd",
        "read the split test",
        "texts of the column 'poem' (the only one with texts; also: id)",
        "cells between semicolons, quoted",
    ]


def test_how_pictures_to_evaluate_on_are_read_is_told(tmp_path: Path) -> None:
    for number in range(2):
        path = tmp_path / "test" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8), number, np.uint8)).save(path)
    (tmp_path / "test" / "a.txt").write_text("x")
    found = read_pictures(str(tmp_path), PictureFormat(6, 8, "L"), progress=_silent)
    assert found.notes == [
        "splits: test (test/, 2 files)",
        f"ignored 1 file of another type in {tmp_path}: test/a.txt",
        "read the split test",
    ]


def test_columns_of_pictures_and_labels_are_told_and_recorded(tmp_path: Path) -> None:
    pngs = []
    for number in range(20):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 8), np.uint8)).save(file, "PNG")
        pngs.append(file.getvalue())
    table = pa.table({"id": range(20), "picture": pngs, "label": ["cat", "dog"] * 10, "class": ["a"] * 20})
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = prepare_pictures(PictureRequest(str(tmp_path / "a.parquet")), progress=_silent)
    assert dataset.info["understood"]["origins"] == {"pictures": "the column 'picture'", "labels": "the column 'label'"}
    assert "pictures of the column 'picture', labels of the column 'label'" in dataset.notes


def test_layouts_of_json_and_normalised_characters(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"text": f"{line} \u2126"} for line in LINES]}))
    found = _text(tmp_path / "a.json")
    assert (found["layouts"], found["normalised"]) == (["rows of 'data'"], 60)


def test_runs_of_earlier_versions_are_resumed_evaluated_and_reported_without_it(shell: Shell) -> None:
    (shell.cwd / "a.csv").write_text("id;poem\n" + "".join(f"{number};{line}\n" for number, line in enumerate(LINES)))
    tiny = ["--d-model", "32", "--n-layers", "1", "--context", "16"]
    shell.ok("train", "transformer", "--data", "a.csv", *tiny, "--steps", "2", "--run", "old", "-q")
    page = shell.cwd / "runs/transformer/old/report.html"
    shell.ok("report", "old", "--no-eval")
    assert "How it was read" in page.read_text() and "<dt>columns</dt>" not in page.read_text()
    path = shell.cwd / "runs/transformer/old/run.json"
    record = json.loads(path.read_text())
    assert record["data"].pop("understood")["columns"]["read"] == ["poem"]
    path.write_text(json.dumps(record))
    assert json.loads(shell.ok("train", "transformer", "--run", "old", "--resume", "--steps", "3", "--json"))["steps"] == 3
    assert "bits_per_char" in shell.ok("eval", "transformer", "--run", "old", "-n", "0", "-q")
    shell.ok("report", "old", "--no-eval")
    assert "How it was read" not in page.read_text()
