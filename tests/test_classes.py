"""Which classes pictures have, and that every class that can be drawn was trained."""

from __future__ import annotations

import io
import json
import os
import subprocess
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc_cli.backends.pictures.loaded import LoadedPictures
from aigc_cli.backends.pictures.options import PictureTrainOptions
from aigc_cli.data import splits
from aigc_cli.data.pictures.dataset import PictureDataset, PictureRequest, prepare_pictures, read_pictures

GREY = np.random.default_rng(0).integers(0, 256, (200, 6, 8), np.uint8)
NFD, NFC = (unicodedata.normalize(form, "café") for form in ("NFD", "NFC"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _silent(stage: str, done: int, total: int | None) -> None:
    pass


def _prepare(data: Path, **options: Any) -> PictureDataset:
    return prepare_pictures(PictureRequest(str(data), **options), progress=_silent)


def _folder(folder: Path, **classes: range) -> Path:
    for name, numbers in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            Image.fromarray(GREY[number]).save(folder / name / f"{number}.png")
    return folder


def _trained(dataset: PictureDataset) -> dict[str, int]:
    assert dataset.train.labels is not None
    return {name: int((dataset.train.labels == number).sum()) for number, name in enumerate(dataset.classes)}


def test_copies_in_several_classes_are_of_the_smallest(tmp_path: Path) -> None:
    dataset = _prepare(_folder(tmp_path, all=range(60), cat=range(0, 60, 2), dog=range(1, 60, 2)), conditional=True)
    assert dataset.classes == ("cat", "dog")
    assert min(_trained(dataset).values()) > 20
    assert dataset.train.labels is not None
    assert all(
        name.startswith(dataset.classes[label]) for name, label in zip(dataset.train.names, dataset.train.labels, strict=True)
    )
    assert "60 pictures are in several classes; kept as 'cat' (30), 'dog' (30)" in dataset.notes
    assert "no pictures to train on, so no class: 'all'" in dataset.notes
    assert "classes: cat 30, dog 30" in dataset.notes
    assert dataset.info["classes"] == ["cat", "dog"]


def test_folders_that_are_not_utf8_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    names = {name: os.fsdecode(name.encode("gbk")) for name in ("猫", "狗")}  # as old programs unpack; the first is UTF-8 too
    folder = _folder(tmp_path, **{names["猫"]: range(30), names["狗"]: range(30, 60)})
    dataset = _prepare(folder, conditional=True)
    assert sorted(dataset.classes) == ["狗", "猫"]
    assert any(note.startswith("names read as GB18030 (not marked as UTF-8): ") for note in dataset.notes)
    assert all(char < "\udc80" for name in dataset.train.names for char in name)


class _InGBK(zipfile.ZipInfo):
    """A member whose name is written as old programs do: not in UTF-8, and not marked."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode("gbk"), 0


def test_the_locale_chooses_the_names_of_what_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(60):
            content = io.BytesIO()
            Image.fromarray(GREY[number]).save(content, "png")
            archive.writestr(_InGBK(f"{'猫狗'[number % 2]}/{number}.png"), content.getvalue())
    for locale, classes in (("C", {"猫", "狗"}), ("ko_KR.UTF-8", {"챔", "뭍"}), ("C", {"猫", "狗"})):
        monkeypatch.setenv("LC_ALL", locale)
        assert {*_prepare(tmp_path / "a.zip", conditional=True).classes} == classes


def test_a_picture_with_a_class_is_kept_before_its_copy_without(tmp_path: Path) -> None:
    folder = _folder(tmp_path, cat=range(20), dog=range(20, 40))
    for number in range(40):
        Image.fromarray(GREY[number]).save(folder / f"{number}.png")
    assert sum(_trained(_prepare(folder, conditional=True)).values()) > 30


@pytest.mark.parametrize("number", range(40, 80))
def test_the_only_picture_of_a_class_is_trained_on(number: int, tmp_path: Path) -> None:
    """One of ten would be held out by its hash."""
    dataset = _prepare(_folder(tmp_path, cat=range(20), dog=range(20, 40), lynx=range(number, number + 1)), conditional=True)
    assert _trained(dataset)["lynx"] == 1
    assert "classes with a single picture, used for training: 'lynx'" in dataset.notes


def test_every_class_is_trained_on_however_few_its_pictures() -> None:
    for seed in range(200):
        random = np.random.default_rng(seed)
        n, classes = int(random.integers(3, 60)), int(random.integers(1, 10))
        hashes, labels = random.integers(0, 2**64, n, np.uint64), random.integers(-1, classes, n)
        plan = splits.plan_with_slice(hashes, np.ones(n, np.int64), "pictures", classes=labels)
        trained, held = labels[plan.splits == splits.TRAIN], labels[plan.splits > splits.TRAIN]
        assert len(held) >= 1
        singles = sum(np.bincount(labels[labels >= 0], minlength=classes) == 1)
        if n - singles > classes + 1:
            assert {*trained} - {-1} == {*labels} - {-1}


def test_classes_change_nothing_where_they_are_all_trained_on_and_no_copy_is_in_two() -> None:
    for seed in range(300):
        random = np.random.default_rng(seed)
        n = int(random.integers(40, 2000))
        hashes = random.integers(0, 2**64, n, np.uint64)
        hashes = np.concatenate([hashes, hashes[: n // 4]])
        ones, labels = np.ones(len(hashes), np.int64), (hashes % np.uint64(3)).astype(np.int64)
        without, with_classes = (splits.plan_with_slice(hashes, ones, "pictures", classes=of) for of in (None, labels))
        assert (without.splits == with_classes.splits).all()
        val = hashes[:20]
        assert (
            splits.plan_with_val(hashes, ones, val).splits == splits.plan_with_val(hashes, ones, val, classes=labels).splits
        ).all()


def test_a_class_of_nothing_but_empty_examples() -> None:
    """Copies are kept in the smallest class that has examples at all."""
    hashes, lengths, labels = np.array([7, 8, 9, 7, 5], np.uint64), np.array([1, 1, 1, 1, 0]), np.array([0, 0, 0, 1, 2])
    plan = splits.plan_with_val(hashes, lengths, np.empty(0, np.uint64), classes=labels)
    assert plan.splits.tolist() == [splits.DROPPED, *[splits.TRAIN] * 3, splits.DROPPED]
    assert (plan.dropped["empty"], plan.dropped["copies"]) == (1, 1)


def test_a_declared_class_without_pictures_is_left_out_and_told(tmp_path: Path) -> None:
    cells = []
    for pixels in GREY[:30]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["ant", "bird", "cow"]}}
    table = pa.table({"image": cells, "label": pa.array([0, 2] * 15, pa.int64())})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = _prepare(tmp_path / "a.parquet", conditional=True)
    assert dataset.classes == ("ant", "cow")
    assert dataset.train.labels is not None
    assert (dataset.train.labels == dataset.train.rows % 2).all()
    assert "no pictures to train on, so no class: 'bird'" in dataset.notes
    of_a_run = _prepare(tmp_path / "a.parquet", conditional=True, classes=("ant", "bird", "cow"))
    assert of_a_run.train.labels is not None
    assert (of_a_run.train.labels == 2 * (of_a_run.train.rows % 2)).all()


def test_labels_of_validation_data_go_by_their_names(tmp_path: Path) -> None:
    train = _folder(tmp_path / "train", ant=range(10), bee=range(10, 20), cow=range(20, 30))
    val = _folder(tmp_path / "val", ant=range(30, 32), cow=range(32, 34))
    dataset = _prepare(train, val=str(val), conditional=True)
    assert dataset.select.labels is not None
    assert dataset.select.labels.tolist() == [0, 0, 2, 2]


def test_a_class_whose_pictures_are_all_in_the_validation_data_is_left_out(tmp_path: Path) -> None:
    train = _folder(tmp_path / "train", ant=range(10), bee=range(10, 20), cow=range(20, 30))
    dataset = _prepare(train, val=str(_folder(tmp_path / "val", cow=range(20, 30))), conditional=True)
    assert dataset.classes == ("ant", "bee")
    assert "the validation data have labels that the training data lack: 'cow' (10)" in dataset.notes


def test_names_of_classes_are_compared_as_they_are_read(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", **{NFD: range(12), NFC: range(12, 20), "tea": range(20, 40)})
    dataset = _prepare(folder, conditional=True)
    assert dataset.classes == (NFC, "tea")
    assert "classes: café 20, tea 20" in dataset.notes
    of_an_old_run = read_pictures(str(folder), dataset.format, classes=("tea", NFD), progress=_silent)
    assert of_an_old_run.labels is not None
    assert {*of_an_old_run.labels.tolist()} == {0, 1}


@pytest.mark.parametrize("learned", [NFD, NFC])
@pytest.mark.parametrize("asked", [NFD, NFC])
def test_a_label_is_found_however_its_letters_are_composed(learned: str, asked: str) -> None:
    class Run(LoadedPictures):
        takes_unlabelled = False

    plan: Any = PictureTrainOptions(conditional=True)
    run = Run(plan=plan, data={}, classes=("tea", learned), device=None)  # type: ignore[arg-type]
    assert run.chosen(asked) == (1,)


def test_classes_that_look_alike_and_pictures_without_a_class_are_told(tmp_path: Path) -> None:
    folder = _folder(tmp_path, cat=range(10), Cat=range(10, 20), dog=range(20, 30))
    Image.fromarray(GREY[30]).save(folder / "loose.png")
    notes = _prepare(folder).notes
    assert "classes: Cat 10, cat 10, dog 10" in notes
    assert "classes that differ only in case or spaces: 'Cat', 'cat'" in notes
    assert "1 picture is in no class: loose.png" in notes


@pytest.mark.parametrize("column", [NFD, NFC])
@pytest.mark.parametrize("asked", [NFD, NFC])
def test_a_column_of_labels_is_found_however_its_letters_are_composed(column: str, asked: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY[:30], **{column: np.array([NFD, NFC, "tea"] * 10)})
    cells = []
    for pixels in GREY[:30]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    pq.write_table(pa.table({"image": cells, column: [NFD, NFC, "tea"] * 10}), tmp_path / "a.parquet")
    for name in ("a.npz", "a.parquet"):
        assert _prepare(tmp_path / name, label=asked).classes == (NFC, "tea")


def _source(folder: Path, kind: str, **classes: range) -> tuple[Path, dict[str, Any]]:
    """The same pictures and classes, in every form that a source gives classes."""
    folder.mkdir(parents=True)
    pictures = [(name, number) for name, numbers in classes.items() for number in numbers]
    pngs = []
    for _, number in pictures:
        Image.fromarray(GREY[number]).save(file := io.BytesIO(), "PNG")
        pngs.append(file.getvalue())
    match kind:
        case "folders":
            return _folder(folder / "d", **classes), {}
        case "metadata":
            for (_, number), png in zip(pictures, pngs, strict=True):
                (folder / f"{number}.png").write_bytes(png)
            rows = (f"{number}.png,{name}\n" for name, number in pictures)
            (folder / "metadata.csv").write_text("file_name,label\n" + "".join(rows))
            return folder, {"label": "label"}
        case "column":
            table = pa.table({"image": pngs, "label": [name for name, _ in pictures]})
            pq.write_table(table, folder / "d.parquet")
            return folder / "d.parquet", {}
        case "array":
            labels = np.array([name for name, _ in pictures])
            np.savez(folder / "d.npz", images=GREY[[number for _, number in pictures]], labels=labels)
            return folder / "d.npz", {}
    with zipfile.ZipFile(folder / "d.zip", "w") as archive:
        for (name, number), png in zip(pictures, pngs, strict=True):
            archive.writestr(f"{number}.png", png)
            archive.writestr(f"{number}.cls", name)
    return folder / "d.zip", {}


@pytest.mark.parametrize("kind", ["folders", "metadata", "column", "array", "WebDataset"])
@pytest.mark.parametrize("conditional", [True, False])
def test_a_class_with_one_picture_is_told_wherever_classes_are_from(conditional: bool, kind: str, tmp_path: Path) -> None:
    source, options = _source(tmp_path / "d", kind, cat=range(20), dog=range(20, 40), lynx=range(41, 42))
    dataset = _prepare(source, conditional=conditional, **options)
    (told,) = [note for note in dataset.notes if "single picture" in note]
    of_lynx = [row for row, name in enumerate(dataset.train.names) if "41" in name or name == "row 40"]
    use = ", used for training" if of_lynx else ""
    assert of_lynx or not conditional
    assert told == f"classes with a single picture{use}: 'lynx'"


@pytest.mark.parametrize("kind", ["files", "tables", "arrays"])
def test_a_test_split_larger_than_the_training_split_is_told(kind: str, tmp_path: Path) -> None:
    sizes = {"train": range(10), "test": range(10, 30)}
    if kind == "files":
        source = _folder(tmp_path / "d", **sizes)
    elif kind == "arrays":
        np.savez(tmp_path / "d.npz", **{f"x_{split}": GREY[[*numbers]] for split, numbers in sizes.items()})
        source = tmp_path / "d.npz"
    else:
        for split, numbers in sizes.items():
            path, _ = _source(tmp_path / split, "column", a=numbers)
            source = tmp_path / "d"
            source.mkdir(exist_ok=True)
            path.rename(source / f"{split}.parquet")
    assert "fewer pictures in train (10) than in test (20)" in _prepare(source).notes


def test_more_to_validate_on_than_to_train_on_is_told(tmp_path: Path) -> None:
    dataset = _prepare(_folder(tmp_path / "d", train=range(10), val=range(10, 30)))
    assert "fewer pictures to train on (10) than to validate on (20)" in dataset.notes


def test_empty_folders_and_folders_in_two_unicode_forms_are_told(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", **{NFC: range(10), NFD: range(10, 20), "tea": range(20, 30)})
    (folder / "bird" / "young").mkdir(parents=True)
    (folder / "bird" / ".DS_Store").write_bytes(b"")
    notes = _prepare(folder, conditional=True).notes
    assert f"folders of one name in two Unicode forms (NFC and NFD) are read as one: {NFC!r}" in notes
    assert f"ignored 1 empty folder in {folder}: bird" in notes


def test_folders_that_each_class_has_are_told_with_how_to_learn_them(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for number in range(2):
        _folder(folder / "train" / f"fold{number}", cat=range(number, 20, 4), dog=range(20 + number, 40, 4))
    _folder(folder / "test" / "fold0", cat=range(50, 52), dog=range(52, 54))
    notes = _prepare(folder, conditional=True).notes
    (told,) = [note for note in notes if "each has cat, dog in it" in note]
    assert told.startswith("the classes are the upper folders (fold0, fold1), and")
    command = told.partition("the lower ones: ")[2].removesuffix(", then --label label")
    subprocess.run(command, shell=True, check=True)
    dataset = _prepare(folder, conditional=True, label="label")
    assert _trained(dataset).keys() == {"cat", "dog"}
    assert all(f"/{dataset.classes[of]}/" in name for name, of in zip(dataset.train.names, dataset.train.labels, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("split", ["test", "val"])
def test_classes_of_a_split_that_are_not_trained_on_are_told(split: str, tmp_path: Path) -> None:
    _folder(tmp_path / "d" / "train", cat=range(10), dog=range(10, 20))
    _folder(tmp_path / "d" / split, cat=range(20, 25), lynx=range(25, 28))
    told = {
        "test": "the test split has classes that are not trained on",
        "val": "the validation data have labels that the training data lack",
    }
    assert f"{told[split]}: 'lynx' (3)" in _prepare(tmp_path / "d", conditional=True).notes
    assert not any("lynx" in note for note in _prepare(tmp_path / "d").notes if split == "test")
