"""Which names are those of splits, and how folders, arrays, archives and sources of the hub are sorted by them."""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc_cli.data.kinds import Kind
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.sources.readers import open_readers
from aigc_cli.data.sources.opening import changes
from aigc_cli.data.sources.source import Source, _sort_splits
from aigc_cli.data.sources.split_names import is_split, split_of
from aigc_cli.data.text.kind import TEXT
from aigc_cli.errors import RequestError

NAMES = {
    "train": "train Train TRAIN training Trainset TrainData train2017 x_train xTrain trainX train_images my-train.v2 trainval "
    "train_val train-00000-of-00002 poems_train 训练 训练集 唐诗训练集 唐诗_训练集 split=train entrenamiento Addestramento обучение 学習 訓練 학습 trn",
    "val": "val valid Validation valset dev devset my_val val-00000-of-00001 x_valid 验证集 dev.v1 validación Validierung 検証",
    "test": "test Testing testset x_test Test2017 test_images my-test.v2 eval evaluation 测试 宋词测试集 prueba Teste prova тест テスト 測試 시험 tst",
    "": "latest farodevigo contest trainer retrain device valley evaluate protest poems strain trains testament train_test"
    " cat 1 验证码 evaluations TESTED prova_costume teste1 tr te va",
}
CASES = [(name, split) for split, names in NAMES.items() for name in names.split()]


@pytest.mark.parametrize(("name", "split"), CASES)
def test_what_a_name_says(name: str, split: str) -> None:
    assert split_of(name) == split
    assert split_of(unicodedata.normalize("NFD", name)) == split


def test_a_name_that_says_nothing_else() -> None:
    assert all(map(is_split, ["Train", "validation", "test-00000-of-00001", "测试集"]))
    assert not any(map(is_split, ["train2017", "x_train", "train tracks", "latest"]))


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def _write(folder: Path, *names: str, length: int = 10) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_png(number) if name.endswith(".png") else b"text\n" + b"x" * length + b"\n")
    return folder


def _names(source: Source) -> dict[str, list[str]]:
    return {name: [path.relative_to(source.location).as_posix() for path in part.files] for name, part in source.parts.items()}


def _labels(source: Source, split: str) -> list[str | None]:
    return [raw.label for reader in open_readers(source.parts[split], None) for raw in reader.read()]


FOLDERS: list[tuple[Kind, list[str], dict[str, list[int]], str]] = [
    (TEXT, ["data/train-00000-of-00001.tsv", "data/test-00000-of-00001.tsv"], {"train": [0], "test": [1]},
     "splits: train (data/train-00000-of-00001.tsv), test (data/test-00000-of-00001.tsv)"),
    (TEXT, ["poems_train.tsv", "poems_test.tsv"], {"train": [0], "test": [1]},
     "splits: train (poems_train.tsv), test (poems_test.tsv)"),
    (TEXT, ["en/train.tsv", "en/test.tsv", "fr/train.tsv"], {"train": [0, 2], "test": [1]},
     "splits: train (en/train.tsv, fr/train.tsv), test (en/test.tsv)"),
    (TEXT, ["training/a.txt", "testing/b.txt"], {"train": [0], "test": [1]},
     "splits: train (training/, 1 file), test (testing/, 1 file)"),
    (TEXT, ["poems/train.txt", "poems/val.txt"], {"train": [0], "val": [1]}, "splits: train (poems/train.txt), val (poems/val.txt)"),
    (TEXT, ["www_farodevigo_es.jsonl.gz"], {"all": [0]}, ""),
    (TEXT, ["contest.txt", "latest.txt", "my train.txt", "the test.txt"], {"all": [0, 1, 2, 3]}, ""),
    (TEXT, ["test.txt", "zebra.txt"], {"all": [0, 1]}, "test in {} is not read as a split, because what is beside it isn't one"),
    (PICTURES, ["Test/cat/0.png", "Test/dog/1.png", "Train/cat/2.png", "Train/dog/3.png"], {"train": [2, 3], "test": [0, 1]},
     "splits: train (Train/, 2 files), test (Test/, 2 files)"),
    (PICTURES, ["set/images/train2017/0.png", "set/images/val2017/1.png"], {"train": [0], "val": [1]},
     "splits: train (train2017/, 1 file), val (val2017/, 1 file)"),
    (PICTURES, ["cat/test/0.png", "cat/train/1.png", "dog/test/2.png", "dog/train/3.png"], {"train": [1, 3], "test": [0, 2]},
     "splits: train (train/, 2 files), test (test/, 2 files)"),
    (PICTURES, ["car/0.png", "plane/1.png", "train/2.png"], {"all": [0, 1, 2]},
     "train in {} is not read as a split, because what is beside it isn't one"),
    (PICTURES, ["test tube/0.png", "train station/1.png"], {"all": [0, 1]}, ""),
    (PICTURES, ["car/0.png", "plane/1.png", "test tube/2.png", "train station/3.png"], {"all": [0, 1, 2, 3]}, ""),
    (PICTURES, ["test images/0.png", "train images/1.png"], {"train": [1], "test": [0]},
     "splits: train (train images/, 1 file), test (test images/, 1 file)"),
    (PICTURES, ["a.png", "test tubes.png", "train.png"], {"all": [0, 1, 2]}, ""),
    (PICTURES, ["te/0.png", "tr/1.png", "va/2.png"], {"train": [1], "val": [2], "test": [0]},
     "splits: train (tr/, 1 file), val (va/, 1 file), test (te/, 1 file)"),
    (PICTURES, ["en/0.png", "te/1.png", "tr/2.png"], {"all": [0, 1, 2]}, ""),
    (TEXT, ["entrenamiento.txt", "prueba.txt"], {"train": [0], "test": [1]},
     "splits: train (entrenamiento.txt), test (prueba.txt)"),
    (PICTURES, ["test 1.png", "train 1.png", "train 2.png"], {"all": [0, 1, 2]}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "files", "splits", "note"), FOLDERS)
def test_folders(kind: Kind, files: list[str], splits: dict[str, list[int]], note: str, tmp_path: Path) -> None:
    source = kind.open(str(_write(tmp_path, *files)))
    assert _names(source) == {name: [files[number] for number in numbers] for name, numbers in splits.items()}
    assert list(source.notes) == ([note.format(tmp_path)] if note else [])


def test_a_folder_of_a_split_is_no_class(tmp_path: Path) -> None:
    classes = ("cat", "dog")
    for name, pattern in (
        ("a", "{s}/{c}/0.png"),
        ("b", "{c}/{s}/0.png"),
        ("c", "set/{s}/{c}/x/0.png"),
        ("d", "set/x/{c}/{s}/0.png"),
    ):
        files = [pattern.format(s=split, c=of) for split in ("Train", "Test") for of in classes]
        source = PICTURES.open(str(_write(tmp_path / name, *files)))
        for split in ("train", "test"):
            assert sorted(map(str, _labels(source, split))) == ["cat", "dog"]


def test_a_little_that_is_of_no_split_is_left_out_and_told(tmp_path: Path) -> None:
    _write(tmp_path, "train.csv", "test.csv", length=1000)
    _write(tmp_path, "sample_submission.csv")
    source = TEXT.open(str(tmp_path))
    assert _names(source) == {"train": ["train.csv"], "test": ["test.csv"]}
    assert f"ignored 1 entry of no split in {tmp_path}: sample_submission.csv" in source.notes


@pytest.mark.parametrize(
    ("files", "named", "rest"),
    [
        (["poems.csv", "test.csv", "train.csv"], "test.csv, train.csv", "poems.csv"),
        (["poems.csv", "poems_test.csv"], "poems_test.csv", "poems.csv"),
        (["more/0.txt", "test/1.txt", "train/2.txt"], "test/, train/", "more/"),
        (["Extra/0.txt", "Test_Images/1.txt", "Train_Images/2.txt"], "Test_Images/, Train_Images/", "Extra/"),
    ],
)
def test_a_folder_of_which_much_is_of_no_split_is_refused(files: list[str], named: str, rest: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        TEXT.open(str(_write(tmp_path, *files)))
    advice = "give what to train on with --data, and validation data with --val"
    assert str(caught.value) == f"{tmp_path} has {named}, named as a split, and {rest}, which isn't: {advice}"


@pytest.mark.parametrize(
    ("kind", "files", "named", "rest"),
    [
        (PICTURES, ["Train/cat/0.png", "Holdout/cat/1.png"], "Train/", "Holdout/"),
        (PICTURES, ["aprendizaje/0.png", "test/1.png"], "test/", "aprendizaje/"),
        (PICTURES, ["train/0.png", "1.png"], "train/", "1.png"),
        (PICTURES, ["Extra/cat/0.png", "Holdout/cat/1.png", "Train_Images/cat/2.png"], "Train_Images/", "Extra/, Holdout/"),
        (TEXT, ["heldout.csv", "train.csv"], "train.csv", "heldout.csv"),
        (TEXT, ["heldout.txt", "train.csv"], "train.csv", "heldout.txt"),
        (TEXT, ["heldout/0.txt", "train/1.txt"], "train/", "heldout/"),
    ],
)
def test_a_split_beside_what_may_be_another_is_refused(
    kind: Kind, files: list[str], named: str, rest: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="give what to train on with --data") as caught:
        kind.open(str(_write(tmp_path, *files)))
    assert f"has {named}, named as a split, and {rest}, which isn't: " in str(caught.value)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["cat/test/0.png", "cat/train/1.png", "dog/2.png"],
         "has cat/test/, cat/train/, named as splits, and dog/ without: divide dog/ alike, such as dog/train/"),
        (["fold0/test.csv", "fold0/train.csv", "fold1/test.csv", "fold1/train.csv"], "has the folds fold0, fold1, each with"),
        (["fold0/test/0.png", "fold0/train/1.png", "fold1/test/1.png", "fold1/train/0.png"],
         "has the folds fold0, fold1, each with its own splits, and what one tests on, another trains on: give one, such as"),
    ],
)  # fmt: skip
def test_splits_below_folders_that_would_train_on_what_is_tested_are_refused(
    files: list[str], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=re.escape(reason)):
        (TEXT if files[0].endswith(".csv") else PICTURES).open(str(_write(tmp_path, *files)))


def test_many_texts_of_which_some_have_such_names_are_one_source(tmp_path: Path) -> None:
    names = [f"the test {i}.txt" for i in range(20)] + [f"how to train {i}.txt" for i in range(20)] + ["other.txt"]
    source = TEXT.open(str(_write(tmp_path, *names)))
    assert (list(source.parts), source.notes) == (["all"], ())


def test_arrays_named_for_splits_are_told(tmp_path: Path) -> None:
    pixels = np.zeros((2, 4, 4), np.uint8)
    np.savez(tmp_path / "a.npz", x_training=pixels, x_testing=pixels, latest=pixels)
    source = PICTURES.open(str(tmp_path / "a.npz"))
    assert list(source.parts) == ["train", "test"]
    assert source.notes == ("splits: train (x_training), test (x_testing)",)


def test_an_archive_of_splits_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, name in enumerate(("set/Train/cat/0.png", "set/Test/cat/1.png")):
            archive.writestr(name, _png(number))
    with pytest.raises(RequestError, match="holds the folders Test, Train, which are named for splits and not classes"):
        open_readers(PICTURES.open(str(tmp_path / "a.zip")).training(), None)


def test_an_archive_of_a_split_and_another_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, name in enumerate(("Train/cat/0.png", "Holdout/cat/1.png")):
            archive.writestr(name, _png(number))
    with pytest.raises(RequestError, match="holds the folders Holdout, Train, which are named for splits"):
        open_readers(PICTURES.open(str(tmp_path / "a.zip")).training(), None)


def test_splits_of_the_hub() -> None:
    def parts(*names: str) -> dict[str, str]:
        return {name: part.split for name, part in _sort_splits("hf:a/b@c", names).parts.items()}

    assert parts("train_sft", "test_sft") == {"train": "train_sft", "test": "test_sft"}
    assert _sort_splits("hf:a/b@c", ["train_sft", "test_sft"]).notes == ("splits: train (train_sft), test (test_sft)",)
    assert parts("unsupervised", "test", "train", "train_extra") == {"train": "train", "test": "test"}
    assert _sort_splits("hf:a/b@c", ["train", "test", "unsupervised"]).notes == (
        "splits: train, test",
        "ignored 1 other split in hf:a/b@c: unsupervised",
    )
    assert parts("latest") == {"all": "latest"}
    with pytest.raises(RequestError) as caught:
        parts("train_sft", "train_gen", "test_sft")
    assert str(caught.value) == "hf:a/b@c has several splits for train: train_sft, train_gen; download the one you mean"


def test_a_run_of_what_is_sorted_otherwise_now_says_so(tmp_path: Path) -> None:
    """As one of before names like Train were recognised."""
    _write(tmp_path, "Train/0.png", "Test/1.png")
    then = {"location": str(tmp_path), "split": "", "files": 2, "fingerprint": "", "val": None}
    assert changes(PICTURES, then) == [f"{tmp_path} is now read as the splits train, test, and was read as one"]
    then = {**then, "location": str(tmp_path / "Train"), "split": "val"}
    assert changes(PICTURES, then) == [f"{tmp_path / 'Train'} is now read as one, and has no split val"]
