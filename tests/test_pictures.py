"""From a source of pictures to arrays, through the cache."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aigc_cli.backends.pictures.options import changed as check_unchanged
from aigc_cli.data.cache import cache_dir
from aigc_cli.data.pictures import many
from aigc_cli.data.pictures.dataset import (
    PictureArrays,
    PictureDataset,
    PictureFormat,
    PictureRequest,
    prepare_pictures,
    read_pictures,
)
from aigc_cli.data.pictures.prepared import build as picture_build
from aigc_cli.data.pictures.sources.readers import READ as SUFFIXES
from aigc_cli.data.sounds.readers import READ
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.files import bytes_of
from aigc_cli.machine import Memory, memory

GREY = np.random.default_rng(0).integers(0, 256, (300, 6, 8, 1), np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (40, 6, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _silent(stage: str, done: int, total: int | None) -> None:
    pass


def _prepare(data: Path | str, **options: Any) -> PictureDataset:
    return prepare_pictures(PictureRequest(str(data), **options), progress=_silent)


def _read_in(format: PictureFormat, data: Path | str, **options: Any) -> PictureArrays:
    return read_pictures(str(data), format, progress=_silent, **options)


def _folder(folder: Path, pictures: np.ndarray, name: Callable[[int], str] = "{:03}.png".format) -> Path:
    for i, pixels in enumerate(pictures):
        path = folder / name(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(path)
    return folder


def _npy(path: Path, pictures: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, pictures)
    return path


def _cached_files() -> list[Path]:
    return [path for path in cache_dir().rglob("*") if path.is_file()]


def _prepared() -> dict[Path, int]:
    """When each file of the cache's entries was written; the hashes of sources beside them may be kept at any start."""
    return {file: file.stat().st_mtime_ns for file in _cached_files() if "prepared" in file.relative_to(cache_dir()).parts}


def _all(arrays: PictureArrays) -> np.ndarray:
    return arrays.take(range(len(arrays)))


def _sorted(pictures: np.ndarray) -> list[bytes]:
    return sorted(picture.tobytes() for picture in pictures)


# Splits


def test_every_picture_is_in_one_split_exactly(tmp_path: Path) -> None:
    dataset = _prepare(_folder(tmp_path / "d", GREY[:150]))
    splits = (dataset.train, dataset.select, dataset.report)
    assert _sorted(np.concatenate([_all(split) for split in splits])) == _sorted(GREY[:150])
    assert all(len(split) for split in splits)
    assert dataset.format.describe() == "8×6 grey"
    assert (dataset.classes, dataset.explicit_val, dataset.two_valued, dataset.cached) == ((), False, False, False)
    for split, name in zip(splits, ("train", "select", "report"), strict=True):
        assert (np.diff(split.rows) > 0).all()
        assert list(split.names) == [f"{row:03}.png" for row in split.rows]
        assert split.names[-1] == list(split.names)[-1]
        assert list(split.names[1:3]) == list(split.names)[1:3]
        assert split.labels is None
        assert not split.factors
        assert not split.pixels.flags.writeable
        assert dataset.info["splits"][name] == {"pictures": len(split)}
        taken = split.take(np.array([1, 0, 1]))
        assert taken.shape == (3, 6, 8, 1)
        assert (taken == GREY[split.rows[[1, 0, 1]]]).all()
    assert dataset.notes[0] == "150 pictures, 8×6 grey"
    json.dumps(dataset.info)


def test_pictures_stay_in_their_split_when_others_come_or_move(tmp_path: Path) -> None:
    some = _prepare(_npy(tmp_path / "some.npy", GREY[:200]))
    more = _prepare(_npy(tmp_path / "more.npy", GREY[::-1]))
    for name in ("train", "select", "report"):
        of_some, of_more = (set(_sorted(_all(getattr(dataset, name)))) for dataset in (some, more))
        assert of_some <= of_more


def test_copies_are_removed_whatever_their_format(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", GREY[:50])
    _folder(folder, GREY[:7], "copy-{}.bmp".format)
    dataset = _prepare(folder)
    assert _sorted(np.concatenate([_all(s) for s in (dataset.train, dataset.select, dataset.report)])) == _sorted(GREY[:50])
    assert "removed 7 exact copies" in dataset.notes
    assert dataset.info["dropped"] == {"empty": 0, "copies": 7, "in_validation": 0}


def test_given_validation_data_stay_whole_and_their_copies_leave_the_training_data(tmp_path: Path) -> None:
    val = np.concatenate([GREY[:10], GREY[:1], GREY[250:260]])
    dataset = _prepare(_npy(tmp_path / "a.npy", GREY[:200]), val=str(_npy(tmp_path / "b.npy", val)))
    assert dataset.explicit_val
    assert (_all(dataset.train) == GREY[10:200]).all()
    assert (_all(dataset.select) == val).all()
    assert (_all(dataset.report) == val).all()
    assert "removed 10 that are in the validation data too" in dataset.notes
    assert "validating on 21 pictures" in dataset.notes
    assert dataset.info["val"]["location"] == str(tmp_path / "b.npy")
    assert _prepare(tmp_path / "a.npy", val=str(tmp_path / "b.npy")).cached


def test_validation_data_take_the_format_of_the_training_data(tmp_path: Path) -> None:
    train = _npy(tmp_path / "a.npy", GREY[:50])
    dataset = _prepare(train, val=str(_npy(tmp_path / "b.npy", RGB[:20].repeat(2, axis=1).repeat(2, axis=2))))
    assert dataset.select.pixels.shape == (20, 6, 8, 1)
    assert "--val: 16×12 made 8×6 (--fit crop)" in dataset.notes


def test_a_folder_of_splits_trains_on_train_alone(tmp_path: Path) -> None:
    _folder(tmp_path / "d" / "train", GREY[:100])
    _folder(tmp_path / "d" / "test", GREY[100:120])
    without = _prepare(tmp_path / "d")
    assert not without.explicit_val
    assert sum(len(split) for split in (without.train, without.select, without.report)) == 100
    _folder(tmp_path / "d" / "valid", GREY[120:130])
    dataset = _prepare(tmp_path / "d")
    assert dataset.explicit_val
    assert (_all(dataset.train) == GREY[:100]).all()
    assert (_all(dataset.select) == GREY[120:130]).all()
    assert (_all(_read_in(dataset.format, tmp_path / "d")) == GREY[100:120]).all()
    assert (_all(_read_in(dataset.format, tmp_path / "d", split="val")) == GREY[120:130]).all()
    with pytest.raises(RequestError) as caught:
        _read_in(dataset.format, tmp_path / "d" / "test", split="val")
    assert str(caught.value) == f"{tmp_path / 'd' / 'test'} has no splits, not 'val'"


def test_splits_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=GREY[:100, ..., 0], y_train=np.arange(100) % 3, x_test=GREY[100:130, ..., 0])
    dataset = _prepare(tmp_path / "a.npz")
    assert len(dataset.train) + len(dataset.select) + len(dataset.report) == 100
    assert dataset.classes == ("0", "1", "2")
    assert (_all(_read_in(dataset.format, tmp_path / "a.npz")) == GREY[100:130]).all()
    assert check_unchanged(dataset.info) == []


def test_two_pictures_are_the_fewest(tmp_path: Path) -> None:
    dataset = _prepare(_npy(tmp_path / "a.npy", GREY[:2]))
    assert _sorted(np.concatenate([_all(dataset.train), _all(dataset.select)])) == _sorted(GREY[:2])
    assert (_all(dataset.select) == _all(dataset.report)).all()
    assert "figures on only 1 held out are rough; give more with --val" in dataset.notes


# Labels, factors, values


def test_labels_are_numbers_of_the_classes(tmp_path: Path) -> None:
    kinds = ["ant", "bee", "cow"]
    folder = _folder(tmp_path / "d", GREY[:90], lambda i: f"{kinds[i % 3]}/{i:03}.png")
    _folder(folder, GREY[90:100], "loose-{}.png".format)
    dataset = _prepare(folder)
    assert dataset.classes == tuple(kinds)
    assert dataset.notes[0] == "100 pictures, 8×6 grey, 3 classes"
    for split in (dataset.train, dataset.select, dataset.report):
        assert split.labels is not None
        expected = [-1 if "loose" in name else kinds.index(name[:3]) for name in split.names]
        assert split.labels.tolist() == expected
    read = _read_in(dataset.format, folder / "bee", classes=dataset.classes)
    assert read.labels is None
    _folder(tmp_path / "e", GREY[:4], lambda i: f"{kinds[2 - i // 2]}/{i}.png")
    read = _read_in(dataset.format, tmp_path / "e", classes=dataset.classes)
    assert read.labels is not None
    assert {name: int(label) for name, label in zip(read.names, read.labels, strict=True)} == {
        "bee/2.png": 1, "bee/3.png": 1, "cow/0.png": 2, "cow/1.png": 2,
    }  # fmt: skip
    assert _read_in(dataset.format, tmp_path / "e").labels is None


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY[:60], labels=np.arange(60)[::-1] % 12)
    dataset = _prepare(tmp_path / "a.npz")
    assert dataset.classes == tuple(map(str, range(12)))
    assert dataset.train.labels is not None
    assert (dataset.train.labels == (59 - dataset.train.rows) % 12).all()


def test_labels_that_were_never_seen(tmp_path: Path) -> None:
    train = _folder(tmp_path / "d", GREY[:40], lambda i: f"{'ant' if i % 2 else 'bee'}/{i}.png")
    other = _folder(tmp_path / "e", GREY[40:44], lambda i: f"{'cow' if i % 2 else 'bee'}/{i}.png")
    dataset = _prepare(train, val=str(other))
    assert dataset.select.labels is not None
    assert dataset.select.labels.tolist() == [1, 1, -1, -1]
    assert "the validation data have labels that the training data lack: 'cow' (2)" in dataset.notes
    with pytest.raises(RequestError) as caught:
        _read_in(dataset.format, other, classes=dataset.classes)
    assert str(caught.value) == f"{other}: the model never saw the labels 'cow'; it saw 'ant', 'bee'"


def test_one_class_is_none(tmp_path: Path) -> None:
    dataset = _prepare(_folder(tmp_path / "d", GREY[:20], "ant/{}.png".format))
    assert (dataset.classes, dataset.train.labels) == ((), None)


def test_factors_go_with_their_pictures(tmp_path: Path) -> None:
    table = {
        "image": [{"bytes": None, "path": None}] * 40,
        "angle": np.arange(40) / 8,
        "count": np.arange(40.0),
        "gap": [None, 1] * 20,
    }
    cells = []
    for pixels in RGB:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    pq.write_table(pa.table({**table, "image": cells}), tmp_path / "a.parquet")
    dataset = _prepare(tmp_path / "a.parquet")
    assert "'gap' is not known for every example, so it isn't a factor" in dataset.notes
    for split in (dataset.train, dataset.select, dataset.report):
        assert list(split.factors) == ["angle", "count"]
        assert (split.factors["angle"] == split.rows / 8).all()
        assert (split.factors["count"] == split.rows).all()
        assert split.factors["count"].dtype == np.int64  # whole numbers, however they are stored
        assert (_all(split) == RGB[split.rows]).all()


def test_whether_the_training_pictures_are_two_valued(tmp_path: Path) -> None:
    bits = np.where(GREY[:60] > 127, 255, 0).astype(np.uint8)
    assert _prepare(_npy(tmp_path / "a.npy", bits)).two_valued
    bits[-1, 0, 0, 0] = 254
    assert not _prepare(_npy(tmp_path / "b.npy", bits[30:]), val=str(_npy(tmp_path / "v.npy", bits[:30]))).two_valued
    assert _prepare(tmp_path / "v.npy", val=str(tmp_path / "b.npy")).two_valued  # of the training pictures alone


def test_built_in_shapes_in_any_format() -> None:
    dataset = _prepare("demo:shapes?n=300", size=(48, 64), mode="RGBA")
    assert dataset.format.describe() == "64×48 RGBA"
    assert dataset.classes == ("ellipse", "square", "triangle", "cross")
    assert list(dataset.train.factors) == ["shape", "colour", "size", "x", "y", "turn"]
    assert dataset.train.labels is not None
    assert (dataset.train.factors["shape"] == dataset.train.labels).all()
    assert _prepare("demo:shapes?seed=0&n=300", size=(48, 64), mode="RGBA").cached
    usual = _read_in(PictureFormat(32, 32, "RGB"), "demo:shapes?n=20&seed=5")
    assert _all(usual).shape == (20, 32, 32, 3)
    assert check_unchanged(dataset.info) == []
    changed = {**dataset.info, "fingerprint": "other"}
    assert check_unchanged(changed) == ["demo:shapes?n=300 is generated differently by this version of aigc"]


# The format


def test_mixed_sizes_are_made_one_and_told(tmp_path: Path) -> None:
    sizes = [(30, 40), (600, 800), (60, 80), (300, 400), (90, 120)]
    for i in range(20):
        height, width = sizes[i % 5]
        picture = np.full((height, width, 3), (3 * i, 200, 90), np.uint8)
        _folder(tmp_path / "d", picture[None], lambda _, i=i: f"{i:02}.png")
    dataset = _prepare(tmp_path / "d")
    assert dataset.format.describe() == "64×48 RGB"
    why = "--longest-side 64; --size chooses another size"
    assert f"5 sizes, from 40×30 to 800×600: made 64×48 (--fit crop; {why})" in dataset.notes
    assert (_all(dataset.train)[:, 0, 0, 0] == 3 * dataset.train.rows).all()
    asked = _prepare(tmp_path / "d", size=(16, 16), fit="pad")
    assert "5 sizes, from 40×30 to 800×600: made 16×16 (--fit pad, bars beside those of another shape)" in asked.notes
    assert (_all(asked.train)[:, :2] == 0).all()


def test_colours_that_the_sample_did_not_show_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_SAMPLE", 2)
    pictures = np.repeat(GREY[:20], 3, axis=3)
    pictures[5] = RGB[5]
    dataset = _prepare(_npy(tmp_path / "a.npy", pictures))
    assert dataset.format.mode == "L"
    assert "1 of 20 are in colour and were made grey; --mode RGB keeps the colours" in dataset.notes
    asked = _prepare(tmp_path / "a.npy", mode="L")
    assert not any("colours" in note for note in asked.notes)
    assert _prepare(tmp_path / "a.npy", mode="RGB").format.mode == "RGB"


def test_transparency_is_kept_only_where_it_is_asked_for(tmp_path: Path) -> None:
    pictures = np.concatenate([RGB, np.full((40, 6, 8, 1), 255, np.uint8)], axis=3)
    pictures[7, ..., 3] = 0
    folder = _folder(tmp_path / "d", pictures)
    assert "laid 1 of 40 that are transparent on white; --mode RGBA keeps the transparency" in _prepare(folder).notes
    kept = _prepare(folder, mode="RGBA")
    assert (_all(kept.train) == pictures[kept.train.rows]).all()


# The cache


def test_a_second_start_decodes_nothing(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", GREY[:60])
    first = _prepare(folder)
    before = _prepared()
    script = (
        "import sys\n"
        "from aigc_cli.data.pictures.dataset import PictureRequest, prepare_pictures\n"
        f"dataset = prepare_pictures(PictureRequest({str(folder)!r}), progress=print)\n"
        "assert dataset.cached\n"
        "assert not {'PIL', 'pyarrow', 'datasets', 'torch', 'tokenizers'} & sys.modules.keys()\n"
        "print(dataset.notes, dataset.info, dataset.train.rows.tolist(), sep='\\n')\n"
    )
    second = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert second.stdout == f"{first.notes}\n{first.info}\n{first.train.rows.tolist()}\n"
    assert _prepared() == before


def test_the_same_content_elsewhere_is_found(tmp_path: Path) -> None:
    _npy(tmp_path / "a.npy", GREY[:60])
    first = _prepare(tmp_path / "a.npy")
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    second = _prepare(tmp_path / "b.npy")
    assert (first.cached, second.cached) == (False, True)
    assert second.info["location"] == str(tmp_path / "b.npy")
    assert first.info["fingerprint"] == second.info["fingerprint"]


def test_what_was_asked_for_enters_the_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=GREY[:40], y=np.arange(40) % 2, z=np.arange(40) % 3)
    requests: list[dict[str, Any]] = [
        {},
        {"size": (6, 8)},
        {"size": (8, 8)},
        {"size": (8, 8), "fit": "pad"},
        {"mode": "RGB"},
        {"label": "z"},
    ]
    for cached in (False, True):
        assert [_prepare(tmp_path / "a.npz", **request).cached for request in requests] == [cached] * 6


def test_a_renamed_class_is_another_source(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", GREY[:40], lambda i: f"{'ant' if i % 2 else 'bee'}/{i}.png")
    info = json.loads(json.dumps(_prepare(folder).info))
    assert check_unchanged(info) == []
    (folder / "ant").rename(folder / "cow")
    assert check_unchanged(info) == [f"{folder} has changed since this run was trained"]
    assert _prepare(folder).classes == ("bee", "cow")


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    path = _npy(tmp_path / "a.npy", GREY[:60])
    _prepare(path)
    (pixels,) = [file for file in _cached_files() if file.name == "pixels.bin"]
    pixels.write_bytes(pixels.read_bytes()[:-1])
    assert not _prepare(path).cached
    assert _prepare(path).cached


def test_a_source_that_changed_or_is_gone_is_told(tmp_path: Path) -> None:
    train, val = _folder(tmp_path / "d", GREY[:40]), _npy(tmp_path / "v.npy", GREY[40:60])
    info = json.loads(json.dumps(_prepare(train, val=str(val)).info))
    assert check_unchanged(info) == []
    os.utime(val, ns=(0, 0))
    assert check_unchanged(info) == []  # touched, but the same
    _folder(train, GREY[100:101], "new-{}.png".format)
    val.unlink()
    assert check_unchanged(info) == [
        f"{train} has changed since this run was trained: 41 files now, 40 then",
        f"{val} is gone",
    ]


def test_a_source_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = _npy(tmp_path / "a.npy", GREY[:100])

    def change(stage: str, done: int, total: int | None) -> None:
        if (stage, done) == ("reading pictures", 64):
            _npy(path, GREY[100:200])

    with pytest.raises(AigcError) as caught:
        prepare_pictures(PictureRequest(str(path)), progress=change)
    assert str(caught.value) == f"{path} has changed while it was read; try again when nothing writes to it"
    assert not _cached_files()


def test_progress_is_reported_in_pictures(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    path = _npy(tmp_path / "a.npy", GREY[:200])
    prepare_pictures(PictureRequest(str(path)), progress=lambda *report: seen.append(report))
    assert seen[0] == ("looking at a sample", 0, None)
    assert [report for report in seen if report[0] == "reading pictures"] == [
        ("reading pictures", done, 200) for done in (64, 128, 192, 200)
    ]


# Standard input and single pictures


class _Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", images=GREY[:60])
    data = (tmp_path / "a.npz").read_bytes()
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    dataset = prepare_pictures(PictureRequest("-"), progress=_silent)
    assert dataset.spooled is not None and dataset.spooled.read_bytes() == data
    assert len(dataset.train) + len(dataset.select) + len(dataset.report) == 60
    dataset.spooled.rename(tmp_path / "input.npz")  # as a run keeps it
    assert _prepare(tmp_path / "input.npz").cached
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    assert len(_read_in(dataset.format, "-")) == 60


def test_an_archive_in_a_pipe_is_not_named_by_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path / "d", GREY[:20])
    (folder / "notes.txt").write_text("text")
    archive = Path(shutil.make_archive(str(tmp_path / "d"), "tar", folder))
    monkeypatch.setattr(sys, "stdin", _Stdin(archive.read_bytes()))
    notes = prepare_pictures(PictureRequest("-"), progress=_silent).notes
    assert "ignored files of other types in standard input: 1 .txt" in notes


def test_a_list_of_files_and_a_pattern_are_refused_with_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _folder(tmp_path / "d", GREY[:2])
    monkeypatch.setattr(sys, "stdin", _Stdin(b"".join(b"%s\n" % bytes(path) for path in folder.iterdir())))
    with pytest.raises(RequestError, match="standard input is a list of files; pipe their content: tar -cf - -T LIST"):
        prepare_pictures(PictureRequest("-"), progress=_silent)
    with pytest.raises(RequestError, match=f"patterns are not read, but a folder is: --data {folder}$"):
        _prepare(folder / "*.png")


def test_a_picture_is_a_source_to_read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _folder(tmp_path, RGB[:1])
    format = PictureFormat(6, 8, "RGB")
    read = _read_in(format, tmp_path / "000.png")
    assert (_all(read) == RGB[:1]).all()
    assert list(read.names) == ["000.png"]
    monkeypatch.setattr(sys, "stdin", _Stdin((tmp_path / "000.png").read_bytes()))
    read = _read_in(format, "-")
    assert (_all(read) == RGB[:1]).all()
    assert list(read.names) == ["standard input"]


def test_copies_count_when_they_are_only_read(tmp_path: Path) -> None:
    read = _read_in(PictureFormat(6, 8, "L"), _npy(tmp_path / "a.npy", np.concatenate([GREY[:3], GREY[:3]])))
    assert (_all(read) == np.concatenate([GREY[:3], GREY[:3]])).all()


# Bad input


def test_pictures_that_cannot_be_decoded_are_skipped_and_told(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "d", GREY[:100])
    (folder / "017.png").write_bytes(b"text")
    (folder / "020.png").write_bytes((folder / "021.png").read_bytes()[:50])
    dataset = _prepare(folder)
    note = "skipped 2 that cannot be decoded: '017.png' (not a picture in a known format), '020.png' (image file is truncated)"
    assert note in dataset.notes
    assert [entry["name"] for entry in dataset.info["unreadable"]] == ["017.png", "020.png"]
    assert sum(len(split) for split in (dataset.train, dataset.select, dataset.report)) == 98
    assert list(dataset.train.names) == [f"{n:03}.png" for n in range(100) if f"{n:03}.png" in set(dataset.train.names)]
    assert note in _read_in(dataset.format, folder).notes
    for i in range(9):
        (folder / f"{i:03}.png").write_bytes(b"")
    with pytest.raises(RequestError) as caught:
        _prepare(folder)
    reasons = ", ".join(f"'{i:03}.png' (it is empty)" for i in range(9))
    more = f"more than a tenth of the pictures in {folder} cannot be decoded: {reasons}"
    assert str(caught.value) == f"{more}, '017.png' (not a picture in a known format), …; replace or remove them"


def _one(folder: Path) -> Path:
    return _folder(folder, GREY[:1])


def _same(folder: Path) -> Path:
    return _folder(folder, np.repeat(GREY[:1], 3, axis=0))


def _no_picture(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a.png").write_bytes(b"text")
    return folder / "a.png"


def _nan(folder: Path) -> Path:
    return _npy(folder / "a.npy", np.where(np.arange(5)[:, None, None] == 3, np.nan, np.zeros((5, 4, 6))))


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


TYPES, OF_SOUNDS = " ".join(sorted(SUFFIXES)), " ".join(sorted({*READ} - {*SUFFIXES}))
FEW = "training needs at least two different ones"
WRONG: list[tuple[Callable[[Path], Path], dict[str, Any], str]] = [
    (_empty, {}, f"there is no data in the folder {{src}}: no file of the types {TYPES}; types of sounds: {OF_SOUNDS}"),
    (_one, {}, f"{{src}} holds one picture; {FEW}"),
    (_same, {}, f"{{src}} holds 3 pictures, all the same; {FEW}"),
    (_no_picture, {}, "{src} cannot be decoded: not a picture in a known format"),
    (_nan, {}, "{src}: picture 3 holds nan; pictures must be finite"),
    (_one, {"label": "kind"}, "--label is for tables, .npz files, archives and folders with a metadata.csv; {src} has none"),
    (_one, {"size": (0, 4)}, "--size 4x0: width and height must be at least 1"),
    (_one, {"val": "-"}, "--val cannot be standard input; name a file"),
    (_one, {"val": "no.png"}, "no such file or folder: 'no.png'"),
    (_one, {"val": "{src}"}, "nothing is left to train on: all of {src} is in the validation data too"),
    (_one, {"input_format": "png"}, "--input-format is for standard input (--data -); the format of a file follows from its name"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "options", "message"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_request_is_one_exact_line_and_leaves_nothing_half_written(
    make: Callable[[Path], Path], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    src = make(tmp_path / "d")
    options = {name: value.format(src=src) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(RequestError) as caught:
        _prepare(src, **options)
    assert str(caught.value) == message.format(src=src)
    assert not list(cache_dir().rglob(".tmp-*"))


def test_a_size_that_nothing_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _npy(tmp_path / "a.npy", GREY[:60])
    with pytest.raises(RequestError) as caught:
        _prepare(path, size=(100_000, 100_000))
    limit = memory().total
    assert limit is not None
    assert str(caught.value) == (
        "training on pictures of 100000×100000 grey takes 15 TB for each, more than the "
        f"{bytes_of(limit)} of memory that this process may use; choose a smaller --size"
    )
    little = Memory(total=1 << 20, available=1 << 20, limited=True)  # as a control group may allow
    with monkeypatch.context() as patch, pytest.raises(RequestError, match="memory that this process may use"):
        patch.setattr(picture_build, "memory", lambda: little)
        _prepare(path, size=(28, 28))
    many = "demo:shapes?n=4000000000"
    with pytest.raises(
        RequestError, match=r"^4,000,000,000 pictures of 512×512 RGB take 3\.1 PB, and the cache .* has .* left; "
    ):
        _prepare(many, size=(512, 512))
    assert not _cached_files()


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"", {}, "standard input is empty; pipe the data in, or name a file with --data"),
        (b"text", {}, "standard input is not in a known format of pictures; give its format with --input-format"),
        (b"text", {"input_format": "png"}, "standard input cannot be decoded: not a picture in a known format"),
        (
            b"x",
            {"input_format": "docx"},
            "--input-format 'docx' is not one of " + ", ".join([*(s[1:] for s in SUFFIXES), "jsonl"]),
        ),
    ],
)
def test_wrong_standard_input_leaves_nothing(
    data: bytes, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for use in (_prepare, lambda src, **options: _read_in(PictureFormat(4, 4, "L"), src, **options)):
        monkeypatch.setattr(sys, "stdin", _Stdin(data))
        with pytest.raises(RequestError) as caught:
            use("-", **options)
        assert str(caught.value) == message
        assert not _cached_files()


@pytest.mark.parametrize(("suffix", "merged"), [("tif", ""), ("gif", " -coalesce"), ("webp", " -coalesce")])
def test_pages_and_frames_after_the_first_are_told(suffix: str, merged: str, tmp_path: Path) -> None:
    for i in range(0, 20, 2):
        pages = [Image.fromarray(pixels.squeeze()) for pixels in GREY[i : i + 2]]
        (tmp_path / "d").mkdir(exist_ok=True)
        pages[0].save(tmp_path / "d" / f"{i}.{suffix}", save_all=True, append_images=pages[1:])
    assert "10 pictures have 2 pages or frames, of which the first is used" in _prepare(tmp_path / "d").notes
    with pytest.raises(
        RequestError, match=f"has 2 pages or frames: 'magick 0.{suffix}{merged} %04d.png' writes each to a file"
    ):
        _prepare(tmp_path / "d" / f"0.{suffix}")


@pytest.mark.parametrize(("options", "told"), [({}, True), ({"fit": "pad"}, False), ({"fit": "stretch"}, False)])
def test_pictures_of_which_much_is_cut_off_are_told(options: dict[str, Any], told: bool, tmp_path: Path) -> None:
    _folder(tmp_path / "d", GREY[:15])
    for i in range(3):
        Image.fromarray(np.tile(GREY[20 + i, ..., 0], (1, 3))).save(tmp_path / "d" / f"wide {i}.png")
    notes = _prepare(tmp_path / "d", **options).notes
    assert any("3 of 18 lose over 40% of their area, which --fit pad keeps" in note for note in notes) == told


def test_what_is_told_of_validation_data_is_marked_and_told_once(tmp_path: Path) -> None:
    train, val = _folder(tmp_path / "d", GREY[:20]), _folder(tmp_path / "v", GREY[20:40])
    for folder in (train, val):
        (folder / "000.png").write_bytes(b"")
    (val / "001.png").write_bytes(b"text")
    notes = _prepare(train, val=str(val)).notes
    assert "skipped 1 that cannot be decoded: '000.png' (it is empty)" in notes
    assert [note for note in notes if note.startswith("--val: ")] == [
        "--val: skipped 2 that cannot be decoded: '000.png' (it is empty), '001.png' (not a picture in a known format)"
    ]
