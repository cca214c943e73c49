"""Windows into large pictures, as --tile learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aigc_cli.backends.pictures.batches import PictureBatches
from aigc_cli.data.pictures.dataset import (
    PictureArrays,
    PictureDataset,
    PictureFormat,
    PictureRequest,
    prepare_pictures,
    read_pictures,
)
from aigc_cli.data.pictures.sources import windows
from aigc_cli.errors import RequestError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _silent(stage: str, done: int, total: int | None) -> None:
    pass


def prepare(data: Path, **options: Any) -> PictureDataset:
    return prepare_pictures(PictureRequest(str(data), tile=True, **options), progress=_silent)


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose pixels say where they are: the row in red, the column in green."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.mgrid[:height, :width]
    return picture


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    save(tmp_path / "photos" / "wall.png", coordinates(230, 250))
    return tmp_path / "photos"


def corners(pictures: np.ndarray) -> np.ndarray:
    """Where windows of `coordinates` are, after checking that each is one."""
    places = pictures[:, 0, 0, :2].astype(int)
    for picture, (down, right) in zip(pictures, places, strict=True):
        expected = coordinates(256, 256)[down : down + picture.shape[0], right : right + picture.shape[1]]
        assert np.array_equal(picture, expected)
    return places


def every(arrays: PictureArrays) -> np.ndarray:
    return arrays.take(np.arange(len(arrays)))


def covered(places: np.ndarray, side: int) -> np.ndarray:
    found = np.zeros((256, 256), bool)
    for down, right in places:
        found[down : down + side, right : right + side] = True
    return found


def test_one_photo_is_learned_from_windows_and_held_out_in_parts(photo: Path) -> None:
    data = prepare(photo, size=(16, 16))
    assert data.format == PictureFormat(16, 16, "RGB", region=(32, 32))
    assert data.train.shape == (16, 16, 3)
    train, select, report = (covered(corners(every(arrays)), 16) for arrays in (data.train, data.select, data.report))
    assert train.any() and select.any() and report.any()
    assert not (train & select).any() and not (train & report).any() and not (select & report).any()
    assert (train | select | report).sum() == 7 * 7 * 32 * 32  # all that is in whole regions
    assert data.notes[0] == "49 parts of pictures, windows of 16×16 RGB"


def test_batches_see_other_windows_of_the_same_regions_every_time(photo: Path) -> None:
    data = prepare(photo, size=(16, 16))
    batches = PictureBatches(data.train, 64, seed=3)
    seen = [corners(batches(step)["pixels"].numpy()) for step in range(40)]
    assert np.array_equal(seen[7], corners(PictureBatches(data.train, 64, seed=3)(7)["pixels"].numpy()))
    places = {tuple(place) for places in seen for place in places.tolist()}
    assert len(places) > 20 * 64  # of 40 · 64 draws among 289 in each of about 40 regions
    assert not (covered(np.array(list(places)), 16) & covered(corners(every(data.select)), 16)).any()


def test_the_same_request_is_read_once_and_what_was_chosen_reads_the_same(photo: Path) -> None:
    first = prepare(photo)
    assert first.format.size == (32, 32) and not first.cached
    again = prepare(photo)
    settled = prepare(photo, size=(32, 32), ground="white", white=first.format.white)  # as a run records it
    for other in (again, settled):
        assert other.cached and other.format == first.format
        assert np.array_equal(every(other.train), every(first.train))
    assert PictureFormat.from_json(first.format.to_json()) == first.format
    assert not {"region", "reduced"} & set(PictureFormat(8, 8, "L").to_json())


def test_pictures_are_reduced_before_they_are_cut(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "wide.png", np.full((100, 400, 3), 90, np.uint8) + coordinates(100, 200).repeat(2, 1) // 4)
    data = prepare(tmp_path / "photos", size=(16, 16), reduced=200)
    assert len({*data.train.rows, *data.select.rows, *data.report.rows}) == 6  # 200 × 50 in parts of 32 × 32


def test_pictures_that_are_too_small_are_refused_or_if_few_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    draw = np.random.default_rng(0)
    save(folder / "small.png", draw.integers(0, 256, (40, 12, 3), np.uint8))
    with pytest.raises(RequestError, match="--tile cuts windows of 16×16 from pictures, and some are only 12×40"):
        prepare(folder, size=(16, 16))
    for number in range(30):
        save(folder / f"{number}.png", draw.integers(0, 256, (64, 64, 3), np.uint8))
    data = prepare(folder, size=(16, 16))
    assert data.format.region == (32, 32)
    assert any("skipped 1" in note and "it is only 12×40, and the others are cut into 32×32" in note for note in data.notes)


def test_pictures_between_one_and_two_windows_are_cut_into_what_there_is(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(8):
        save(tmp_path / "photos" / f"{number}.png", draw.integers(0, 256, (20, 48, 3), np.uint8))
    assert prepare(tmp_path / "photos", size=(16, 16)).format.region == (20, 32)
    with pytest.raises(RequestError, match=r"cuts pictures into 40×20, and .* holds one such part"):
        save(tmp_path / "single" / "0.png", draw.integers(0, 256, (20, 40, 3), np.uint8))
        prepare(tmp_path / "single", size=(20, 20))


def test_regions_are_spread_evenly_if_there_are_too_many(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = coordinates(230, 250)
    parts, left_out = windows.cut(picture, (32, 32), 10)
    assert len(parts) == 10 and left_out == 39
    assert {tuple(part[0, 0, :2].tolist()) for part in parts} >= {(3, 13), (195, 205)}  # the first and the last
    monkeypatch.setattr(windows, "MOST_BYTES", 20 * 32 * 32 * 3)
    data = prepare(photo, size=(16, 16))
    assert len({*data.train.rows, *data.select.rows, *data.report.rows}) == 20
    assert "29 more parts of this size are left out, evenly" in data.notes


def test_other_pictures_are_cut_in_the_format_of_a_run(photo: Path, tmp_path: Path) -> None:
    format = prepare(photo, size=(16, 16)).format
    save(tmp_path / "others" / "0.png", coordinates(64, 96))
    arrays = read_pictures(str(tmp_path / "others"), format, progress=_silent)
    assert len(arrays) == 6 * 9
    corners(every(arrays))
