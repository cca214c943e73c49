"""What a number means in pictures of more than 8 bits: the same in TIFF, PNG and arrays."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aigc_cli.data.pictures import many
from aigc_cli.data.pictures.dataset import PictureDataset, PictureRequest, prepare_pictures, read_pictures
from aigc_cli.data.pictures.decoding.white import FULL, in_8_bits, white_of
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.errors import RequestError

GREY = np.random.default_rng(0).integers(0, 250, (12, 4, 5)).astype(np.uint8)
GREY[:, 0, 0] = 249  # each comes near to white


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _save(folder: Path, kind: str, pictures: np.ndarray) -> Path:
    if kind == "npy":
        np.save(folder.with_suffix(".npy"), pictures)
        return folder.with_suffix(".npy")
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{i:02}.{kind}")
    return folder


def _prepare(source: Path, **options: Any) -> PictureDataset:
    return prepare_pictures(PictureRequest(str(source), **options), progress=lambda *_: None)


def _read(source: Path, format: PictureFormat) -> np.ndarray:
    arrays = read_pictures(str(source), format, progress=lambda *_: None)
    return arrays.take(range(len(arrays)))[..., 0]


@pytest.mark.parametrize("kind", ["tif", "png", "npy"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_bits_are_told_by_the_greatest_number(bits: int, kind: str, tmp_path: Path) -> None:
    source = _save(tmp_path / "d", kind, (GREY.astype(np.uint16) << (bits - 8)) + 1)
    dataset = _prepare(source)
    assert dataset.format.white == 2**bits - 1
    assert np.abs(_read(source, dataset.format).astype(int) - GREY).max() <= 1
    told = [note for note in dataset.notes if "is white" in note]
    highest = (249 << (bits - 8)) + 1
    assert told == [f"numbers up to {highest:,.4g}: {2**bits - 1:,} ({bits} bits) is white"] * (bits < 16)
    assert _prepare(source, white=2**bits - 1).cached  # as a resumed run asks


@pytest.mark.parametrize("kind", ["tif", "npy"])
@pytest.mark.parametrize("scale", [1, 255])
def test_floats_from_0_to_1_or_to_255(scale: int, kind: str, tmp_path: Path) -> None:
    source = _save(tmp_path / "d", kind, (GREY / np.float32(255) * np.float32(scale)).astype(np.float32))
    dataset = _prepare(source)
    assert dataset.format.white == scale
    assert (_read(source, dataset.format) == GREY).all()


def test_a_dark_picture_of_a_bright_set_stays_dark(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 16
    deep[3] //= 64
    dataset = _prepare(_save(tmp_path / "d", "tif", deep))
    assert _read(tmp_path / "d", dataset.format)[3].max() <= 4


@pytest.mark.parametrize("first", [np.uint8, np.uint16])
def test_what_the_sample_does_not_show_starts_the_reading_again(
    first: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of 12 bits of which the sample holds only dark ones, or only some of 8 bits."""
    monkeypatch.setattr(many, "_SAMPLE", 1)
    folder = _save(tmp_path / "d", "png", GREY[:1].astype(first))
    for i in range(1, 12):
        Image.fromarray(GREY[i].astype(np.uint16) * 16).save(folder / f"{i:02}.png")
    dataset = _prepare(folder)
    assert dataset.format.white == 4095
    assert np.abs(_read(folder, dataset.format)[1:].astype(int) - GREY[1:]).max() <= 1


@pytest.mark.parametrize("kind", ["tif", "npy"])
def test_a_picture_that_makes_all_others_dark_is_told(kind: str, tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 16
    deep[3, 0, 0] = 60_000
    source = _save(tmp_path / "d", kind, deep)
    name = "03.tif" if kind == "tif" else "row 3"
    told = f"white is 65,535 because of 1 of 12 ({name}), so the others are dark; --white 4095 suits them"
    assert told in _prepare(source).notes
    asked = _prepare(source, white=4095)
    assert "1 of 12 have numbers above white (4,095)" in asked.notes
    assert np.abs(_read(source, asked.format)[[0, 1, 2]].astype(int) - GREY[:3]).max() <= 1


@pytest.mark.parametrize(("bits", "factor"), [(10, 64), (12, 16), (16, 0)])
def test_colours_of_16_bits_that_are_not_all_used_are_told(bits: int, factor: int, tmp_path: Path) -> None:
    """Pillow reads the first 8 bits of each channel."""
    (tmp_path / "d").mkdir()
    for i, grey in enumerate(GREY):
        rows = np.repeat((grey.astype(">u2") << (bits - 8))[..., None], 3, axis=2)
        data = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
        header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 16, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
        packed = (struct.pack(">I", len(of)) + name + of + struct.pack(">I", zlib.crc32(name + of)) for name, of in chunks)
        (tmp_path / "d" / f"{i:02}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    told = [note for note in _prepare(tmp_path / "d").notes if "16 bits" in note]
    assert told == [
        f"12 have colours of 16 bits of which {bits} are used, so they are dark; "
        f"magick mogrify -evaluate multiply {factor} makes use of all"
    ] * (bits < 16)


@pytest.mark.parametrize(("highest", "factor"), [(1, 255), (3, 85)])
def test_masks_with_the_numbers_of_classes_are_refused_with_what_makes_them_visible(
    highest: int, factor: int, tmp_path: Path
) -> None:
    source = _save(tmp_path / "d", "png", GREY % (highest + 1))
    with pytest.raises(RequestError, match=rf"only numbers from 0 to {highest} of 255.*-evaluate multiply {factor} [*].png'"):
        _prepare(source)
    Image.fromarray(GREY[0]).save(source / "bright.png")
    assert len(_prepare(source).train) > 5


def test_a_run_keeps_its_white_and_tells_what_is_above_it(tmp_path: Path) -> None:
    trained = _prepare(_save(tmp_path / "a", "tif", GREY.astype(np.uint16) * 16)).format
    brighter = _save(tmp_path / "b", "tif", GREY.astype(np.uint16) * 64)
    arrays = read_pictures(str(brighter), trained, progress=lambda *_: None)
    assert "12 of 12 have numbers above white (4,095)" in arrays.notes
    assert (arrays.take([0])[0, 0, 0] == 255).all()


def test_earlier_runs_take_16_bits_in_full(tmp_path: Path) -> None:
    earlier = PictureFormat.from_json({"height": 4, "width": 5, "mode": "L", "fit": "crop"})
    source = _save(tmp_path / "a", "tif", GREY.astype(np.uint16) * 16)
    assert earlier.white == FULL
    assert (_read(source, earlier) == np.rint(GREY.astype(int) * 16 / 257)).all()


REFUSED = [
    (GREY / np.float32(255) * 2 - 1, "it holds floats from -1 to 0.9529: write them in [0, 1], such as (x + 1) / 2"),
    (GREY.astype(np.float32) * 4, "it holds floats from 0 to 996: write floats in [0, 1], such as x / 996"),
    (np.full((12, 4, 5), np.nan, np.float32), "it holds numbers that are not finite"),
    (GREY.astype(np.int32) * 1000, "it holds numbers from 0 to 2.49e+05: write floats in [0, 1], such as x / 2.49e+05"),
]


@pytest.mark.parametrize(("pictures", "reason"), REFUSED, ids=["-1 to 1", "large floats", "NaN", "32 bits"])
def test_numbers_that_mean_nothing_are_refused_with_what_to_do(pictures: np.ndarray, reason: str, tmp_path: Path) -> None:
    pictures[:, 0, 1] = pictures[:, 1, 1] if np.isnan(pictures).any() else pictures.min()
    folder = _save(tmp_path / "d", "tif", pictures.astype(pictures.dtype))
    with pytest.raises(RequestError) as caught:
        _prepare(folder)
    assert f"'00.tif' ({reason})" in str(caught.value)


def test_floats_beside_16_bits_keep_their_own_meaning() -> None:
    assert in_8_bits(np.array([0.0, 0.5, 1.0]), 4095).tolist() == [0, 128, 255]
    assert in_8_bits(np.array([0, 4095], np.uint16), 4095).tolist() == [0, 255]
    assert in_8_bits(np.array([0, 65535], np.uint16), 1).tolist() == [0, 255]
    assert in_8_bits(np.array([0, 1], np.uint16), 1).tolist() == [0, 255]
    assert [white_of([number]) for number in (0.3, 1, 2, 256, 1024, 4096, 16384)] == [1, 1, 255, 1023, 4095, 16383, 65535]
