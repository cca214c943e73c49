"""Labels from metadata.csv, .jsonl or .parquet beside pictures, as the ImageFolder of Hugging Face's `datasets` reads them."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc_cli.backends.pictures.options import changed as check_unchanged
from aigc_cli.data.pictures.dataset import PictureDataset, PictureRequest, prepare_pictures, read_pictures
from aigc_cli.data.pictures.sources import metadata
from aigc_cli.errors import RequestError

NAMES = [f"été{i}.png" for i in range(12)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _pictures(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng([seed, len(name)]).integers(0, 256, (8, 8, 3), np.uint8)).save(folder / name)
    return folder


def _prepare(folder: Path, **options: Any) -> PictureDataset:
    return prepare_pictures(PictureRequest(str(folder), **{"conditional": True, **options}), progress=lambda *_: None)


def _labels(dataset: PictureDataset) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for arrays in (dataset.train, dataset.select, dataset.report):
        numbers = [-1] * len(arrays) if arrays.labels is None else arrays.labels.tolist()
        found |= {name: dataset.classes[of] if of >= 0 else None for name, of in zip(arrays.names, numbers, strict=True)}
    return found


def _write(path: Path, names: list[str], column: str = "label") -> dict[str, str]:
    """A table that gives the names the labels x and y in turn."""
    rows = [{"file_name": name, column: "xy"[i % 2]} for i, name in enumerate(names)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(f"file_name;{column}\n" + "".join(f"{row['file_name']};{row[column]}\n" for row in rows))
    return {row["file_name"]: row[column] for row in rows}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_labels_are_joined_by_name_whatever_its_form(form: str, suffix: str, tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", *(unicodedata.normalize(form, name) for name in NAMES))
    wanted = _write(folder / f"metadata.{suffix}", [unicodedata.normalize("NFC", name) for name in NAMES])
    dataset = _prepare(folder)
    assert dataset.classes == ("x", "y")
    assert {unicodedata.normalize("NFC", name): label for name, label in _labels(dataset).items()} == wanted
    assert f"labels of the column 'label' of metadata.{suffix}" in dataset.notes
    assert _prepare(folder).cached


def test_a_table_in_each_folder_names_what_is_in_it(tmp_path: Path) -> None:
    names = [f"{split}/{i}.png" for split in ("train", "val") for i in range(6)]
    folder = _pictures(tmp_path / "d", *names)
    for split in ("train", "val"):
        _write(folder / split / "metadata.csv", [f"{i}.png" for i in range(6)])
    dataset = _prepare(folder)
    assert _labels(dataset) == {name: "xy"[i % 2] for i, name in enumerate(names)}
    assert not any("not there" in note for note in dataset.notes)


def test_a_table_above_the_splits_names_what_is_in_both(tmp_path: Path) -> None:
    names = [f"{split}/{i}.png" for split in ("train", "val") for i in range(6)]
    folder = _pictures(tmp_path / "d", *names)
    _write(folder / "metadata.csv", names)
    dataset = _prepare(folder)
    assert _labels(dataset) == {name: "xy"[i % 2] for i, name in enumerate(names)}
    assert not any("not there" in note for note in dataset.notes)


def test_what_is_listed_but_missing_and_what_is_not_listed_is_counted(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", *(f"{i}.png" for i in range(12)))
    _write(folder / "metadata.csv", [*(f"{i}.png" for i in range(10)), "gone.png", "../etc/x.png", str(tmp_path / "d/1.png")])
    dataset = _prepare(folder)
    assert [note for note in dataset.notes if "metadata.csv" in note] == [
        "labels of the column 'label' of metadata.csv",
        "metadata.csv: cells between semicolons, quoted",
        f"3 listed in metadata.csv are not there: gone.png, ../etc/x.png, {tmp_path}/d/1.png",
    ]
    assert "2 pictures are in no class: 10.png, 11.png" in dataset.notes


def test_another_column_is_named_by_label(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", *NAMES)
    _write(folder / "metadata.csv", NAMES, "kind")
    why = "metadata.csv is not read: it has no column label, labels or class; --label names one of 'kind'"
    with pytest.raises(RequestError) as caught:
        _prepare(folder)
    assert why in str(caught.value)
    assert _prepare(folder, label="kind").classes == ("x", "y")
    with pytest.raises(RequestError, match=r"metadata.csv in .* has no column 'sort'; it has 'kind'"):
        _prepare(folder, label="sort")


def test_without_classes_the_table_changes_nothing_and_is_told(tmp_path: Path) -> None:
    before = _prepare(_pictures(tmp_path / "d", *NAMES), conditional=False).info
    _write(tmp_path / "d" / "metadata.csv", NAMES)
    dataset = _prepare(tmp_path / "d", conditional=False)
    assert (dataset.info, dataset.cached, dataset.classes) == (before, True, ())
    assert [note for note in dataset.notes if "metadata" in note] == [
        "metadata.csv is not read: its labels are for --conditional"
    ]


def test_folders_of_classes_come_first(tmp_path: Path) -> None:
    names = [f"{of}/{i}.png" for of in ("cat", "dog") for i in range(6)]
    folder = _pictures(tmp_path / "d", *names)
    _write(folder / "metadata.csv", names)
    dataset = _prepare(folder)
    assert dataset.classes == ("cat", "dog")
    assert "metadata.csv is not read: the folders are the classes; --label NAME takes them from its column" in dataset.notes
    assert _prepare(folder, label="label").classes == ("x", "y")


def test_a_table_of_other_pictures_is_refused(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", "a.png", "b.png")
    _write(folder / "metadata.csv", ["c.png", "d.png"])
    with pytest.raises(RequestError, match=r"lists none of the pictures in .*: it names 'c.png', and there is 'a.png'"):
        _prepare(folder)
    (folder / "metadata.csv").write_text("image,label\na.png,x\n")
    with pytest.raises(
        RequestError, match="needs a column 'file_name' that names the pictures; its columns are 'image', 'label'"
    ):
        _prepare(folder)


def test_a_run_notices_other_labels(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", *NAMES)
    _write(folder / "metadata.csv", NAMES)
    info = json.loads(json.dumps(_prepare(folder).info))
    assert check_unchanged(info) == []
    _write(folder / "metadata.csv", NAMES[::-1])
    assert check_unchanged(info) == [f"the labels of {folder} have changed since this run was trained"]


def test_other_pictures_are_read_with_the_labels_beside_them(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", *NAMES)
    _write(folder / "metadata.csv", NAMES)
    dataset = _prepare(folder)
    other = _pictures(tmp_path / "e", "1.png", "2.png")
    (other / "metadata.csv").write_text("file_name,label\n1.png,y\n2.png,x\n")
    arrays = read_pictures(str(other), dataset.format, classes=dataset.classes, progress=lambda *_: None)
    assert arrays.labels is not None and arrays.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("written", "read", "told"),
    [
        (["cat ", " dog"], ["cat", "dog"], "labels are read without the spaces around them"),
        (["0.0", "1.0"], ["0", "1"], "labels such as 1.0 are read as 1"),
        (["cat", "dog", "NaN"], ["cat", "dog", None], "'NaN' is no label"),
        (["0.0", "1.5"], ["0.0", "1.5"], ""),
    ],
)
def test_values_that_are_no_labels_as_they_are_written(
    written: list[str], read: list[str | None], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _pictures(tmp_path / "d", *NAMES)
    rows = "".join(f'{name},"{written[i % len(written)]}"\n' for i, name in enumerate(NAMES))
    (folder / "metadata.csv").write_text("file_name,label\n" + rows)
    dataset = _prepare(folder)
    assert _labels(dataset) == {name: read[i % len(read)] for i, name in enumerate(NAMES)}
    assert [note for note in dataset.notes if note.startswith("metadata.csv: ")] == [f"metadata.csv: {told}"] * bool(told)
    with monkeypatch.context() as earlier:
        earlier.setattr(metadata, "_plain", lambda found, classes: (found, []))
        info = _prepare(folder).info
    assert check_unchanged(info) == []
    assert set(_labels(_prepare(folder, classes=tuple(info["classes"]))).values()) == {*written}


@pytest.mark.parametrize("form", ["{}", "pictures/{}.png", "{}.PNG", "{}.jpg"])
def test_pictures_that_a_table_names_in_another_form(form: str, tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", *NAMES)
    wanted = _write(folder / "metadata.csv", [form.format(name.removesuffix(".png")) for name in NAMES])
    dataset = _prepare(folder)
    assert list(_labels(dataset).values()).count("x") == list(wanted.values()).count("x") == 6
    assert f"metadata.csv names pictures in another form, such as {form.format('été0')!r} for 'été0.png'" in dataset.notes
    elsewhere = _pictures(tmp_path / "e", "train/0.png", "train/1.png", "val/0.png", "val/1.png")
    _write(elsewhere / "metadata.csv", ["train/0.png", "train/1.png"])
    with pytest.raises(RequestError, match="lists none of the pictures"):  # those it names are other ones
        _prepare(elsewhere)
    _pictures(folder, "other/été0.png")  # it is no longer plain which is meant
    with pytest.raises(RequestError, match="lists none of the pictures"):
        _prepare(folder)


def test_a_table_by_another_name_is_pointed_out(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", *NAMES)
    (folder / "labels.csv").write_text("id,breed\nété0,pug\n")
    with pytest.raises(RequestError, match=r"rename labels.csv to metadata.csv, and its column of names to file_name"):
        _prepare(folder, label="breed")


def test_arrays_that_are_no_labels_are_named(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "d.npz", images=np.zeros((9, 5, 5), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None] * 20, y=np.eye(9)
    )
    with pytest.raises(
        RequestError, match=r"has no labels \(it holds .*'y' \(float64 of \(9, 9\)\), and labels are whole numbers"
    ):
        _prepare(tmp_path / "d.npz")


def test_a_table_in_an_archive_is_named_where_classes_are_learned(tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "d", *NAMES)
    _write(folder / "metadata.csv", NAMES)
    shutil.make_archive(str(tmp_path / "d"), "zip", folder)
    with pytest.raises(
        RequestError, match=r"has no labels \(metadata.csv in d.zip is not read: unpack it and give the folder\)"
    ):
        _prepare(tmp_path / "d.zip")
