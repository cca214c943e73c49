"""What a source of pictures holds: names, pictures, labels and factors; and every way in which it can be wrong."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aigc_cli.data.pictures.decoding.decode import decode
from aigc_cli.data.pictures.decoding.raw import NotDecodable, RawPicture
from aigc_cli.data.pictures.format import Look, PictureFormat, Wanted, choose_format, choose_size
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.sources.readers import READ as SUFFIXES
from aigc_cli.data.pictures.sources.readers import open_readers
from aigc_cli.data.sounds.readers import READ
from aigc_cli.data.sources import archives
from aigc_cli.data.sources.source import Part
from aigc_cli.data.sources.standard_input import sniff
from aigc_cli.errors import RequestError

PIXELS = np.random.default_rng(0).integers(2, 256, (6, 4, 5, 3), np.uint8)
LABELS = ["cat", "dog", "cat", "cat", "dog", "dog"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "PNG")
    return file.getvalue()


PNGS = [_png(pixels) for pixels in PIXELS]


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def _read(src: Path | str, split: str | None = None, label: str | None = None, step: int = 1) -> list[RawPicture]:
    source = PICTURES.open(str(src))
    part = source.parts[split] if split else source.training()
    readers = open_readers(part, label)
    read = [list(reader.read(step)) for reader in readers]
    if step == 1 and part.kind != "hub":
        assert [reader.count for reader in readers] == [len(of) for of in read]
    return [raw for of in read for raw in of]


def _pixels(raws: Sequence[RawPicture], size: tuple[int, int] = (4, 5), mode: Any = "RGB") -> np.ndarray:
    return np.stack([decode(raw.content, PictureFormat(*size, mode)).pixels for raw in raws])


def _refused(src: Path | str, message: str, **options: Any) -> None:
    with pytest.raises(RequestError) as caught:
        _read(src, **options)
    assert str(caught.value) == message
    assert "\n" not in message


# Folders


def test_subfolders_are_classes(tmp_path: Path) -> None:
    names = ["cat/0.png", "cat/deep/1.PNG", "dog/2.png", "3.png"]
    _write(tmp_path, {**dict(zip(names, PNGS, strict=False)), "cat/.hidden.png": b"", "notes.txt": b"x"})
    raws = _read(tmp_path)
    assert [(raw.name, raw.label) for raw in raws] == [
        ("3.png", None), ("cat/0.png", "cat"), ("cat/deep/1.PNG", "cat"), ("dog/2.png", "dog"),
    ]  # fmt: skip
    assert (_pixels(raws) == PIXELS[[3, 0, 1, 2]]).all()
    assert PICTURES.open(str(tmp_path)).notes == (
        f"ignored 1 file of another type in {tmp_path}: notes.txt",
        f"ignored 1 hidden or system file in {tmp_path}: cat/.hidden.png",
    )


def test_a_folder_that_holds_only_another_is_skipped(tmp_path: Path) -> None:
    _write(tmp_path, {"photos/cat/0.png": PNGS[0], "photos/dog/1.png": PNGS[1]})
    assert [raw.label for raw in _read(tmp_path)] == ["cat", "dog"]
    assert [raw.label for raw in _read(tmp_path / "photos" / "cat")] == [None]


def test_classes_in_a_folder_of_splits(tmp_path: Path) -> None:
    _write(tmp_path, {"train/cat/0.png": PNGS[0], "train/dog/1.png": PNGS[1], "test/dog/2.png": PNGS[2]})
    assert [(raw.name, raw.label) for raw in _read(tmp_path)] == [("train/cat/0.png", "cat"), ("train/dog/1.png", "dog")]
    assert [(raw.name, raw.label) for raw in _read(tmp_path, "test")] == [("test/dog/2.png", "dog")]


def test_a_folder_of_everything(tmp_path: Path) -> None:
    """Shards of all kinds are one source; a name says where each picture is."""
    _write(tmp_path, {"cat/0.png": PNGS[0], "b.zip": _zip({"dog/1.png": PNGS[1]})})
    np.save(tmp_path / "c.npy", PIXELS[2:4])
    _table_file(tmp_path / "d.parquet", [4, 5])
    raws = _read(tmp_path)
    assert [(raw.name, raw.label) for raw in raws] == [
        ("cat/0.png", "cat"), ("b.zip/dog/1.png", "dog"), ("c.npy row 0", None), ("c.npy row 1", None),
        ("d.parquet row 0", "dog"), ("d.parquet row 1", "dog"),
    ]  # fmt: skip
    assert (_pixels(raws) == PIXELS).all()


def test_what_is_not_there(tmp_path: Path) -> None:
    types, sounds = " ".join(sorted(SUFFIXES)), " ".join(sorted({*READ} - {*SUFFIXES}))
    _refused(tmp_path, f"there is no data in the folder {tmp_path}: no file of the types {types}; types of sounds: {sounds}")
    _refused("nowhere", "no such file or folder: 'nowhere'")
    _refused("demo:verse", "there is no built-in data set 'demo:verse'; there is demo:scenes, demo:shapes")
    _refused("demo:shapes?m=1", "demo:shapes has no option 'm', only n and seed; set size and mode with --size and --mode")


# Archives


def _zip(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def _tar(files: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for other in others:
            archive.addfile(other)
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


PACKED = {
    "a.zip": _zip,
    "a.tar": _tar,
    "a.tar.gz": lambda files: gzip.compress(_tar(files)),
    "a.tgz": lambda files: gzip.compress(_tar(files)),
    "a.tar.zst": lambda files: zstandard.compress(_tar(files)),
}


@pytest.mark.parametrize("name", PACKED)
def test_archives_are_streams_of_pictures(name: str, tmp_path: Path) -> None:
    members = {f"photos/{label}/{i}.png": data for i, (label, data) in enumerate(zip(LABELS, PNGS, strict=True))}
    data = PACKED[name]({"photos/README.txt": b"x", "__MACOSX/._0.png": b"", **members, "photos/.thumb.png": b""})
    _write(tmp_path, {name: data})
    raws = _read(tmp_path / name)
    assert [raw.name for raw in raws] == list(members)
    assert [raw.label for raw in raws] == LABELS
    assert (_pixels(raws) == PIXELS).all()
    assert [raw.name for raw in _read(tmp_path / name, step=4)] == list(members)[::4]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sniff(PICTURES, data) == {"a.tgz": ".tar.gz"}.get(name, name[1:])


def test_what_a_hostile_archive_holds_is_skipped(tmp_path: Path) -> None:
    secret = _write(tmp_path / "outside", {"secret.png": PNGS[0]}) / "secret.png"
    links = []
    for kind, target in ((tarfile.SYMTYPE, str(secret)), (tarfile.LNKTYPE, str(secret)), (tarfile.CHRTYPE, "")):
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = kind, target
        links.append(link)
    names = {
        "/absolute.png": PNGS[1],
        "../up.png": PNGS[2],
        "a/../../up.png": PNGS[3],
        "..\\up.png": PNGS[3],
        "good.png": PNGS[4],
    }
    _write(tmp_path, {"a.tar": _tar(names, *links)})
    link_in_zip = zipfile.ZipInfo("link.png")
    link_in_zip.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link_in_zip, str(secret))
        for name, data in names.items():
            archive.writestr(name, data)
    for name in ("a.tar", "a.zip"):
        raws = _read(tmp_path / name)
        assert [raw.name for raw in raws] == ["good.png"]
        assert (_pixels(raws) == PIXELS[4]).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "a.zip", "outside"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_archives_are_limited(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path, {name: PACKED[name]({"a.png": bytes(300_000), "b.png": PNGS[0]})}) / name
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1)
    _refused(path, f"{path} has more than 1 members; unpack it and give the folder")
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    _refused(path, f"{path}: 'a.png' in it has 300,000 bytes, more than the 1,000 allowed")
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 300_000)
    monkeypatch.setattr(archives, "SLACK_BYTES", 0)
    limit = 200 * path.stat().st_size
    _refused(path, f"{path} unpacks to more than {limit:,} bytes, too much for an archive of pictures")


def test_broken_archives(tmp_path: Path) -> None:
    tar = _tar(dict(zip("abcdef", PNGS, strict=True)))
    cut = _write(tmp_path, {"cut.tar": _tar({"a.png": bytes(9_000)})[:6_000]}) / "cut.tar"
    _refused(cut, f"{cut} is not a valid tar archive: unexpected end of data")
    no_zip = _write(tmp_path, {"no.zip": b"text"}) / "no.zip"
    _refused(no_zip, f"{no_zip} is not a valid zip archive: File is not a zip file")
    cut_gzip = _write(tmp_path, {"cut.tar.gz": gzip.compress(tar)[:300]}) / "cut.tar.gz"
    reason = "Compressed file ended before the end-of-stream marker was reached"
    _refused(cut_gzip, f"{cut_gzip} is broken and cannot be decompressed: {reason}")


def test_a_tar_with_a_broken_header_does_not_end_there(tmp_path: Path) -> None:
    whole = _tar(dict(zip("ab", [PNGS[0], PNGS[1]], strict=True)))
    second = whole.index(b"b\0", 512)
    path = _write(tmp_path, {"a.tar": whole[:second] + b"?" * 512 + whole[second + 512 :]}) / "a.tar"
    _refused(path, f"{path} is not a valid tar archive: invalid header")
    path.write_bytes(whole[: second + 100])
    _refused(path, f"{path} is not a valid tar archive: truncated header")


def test_a_broken_member_of_a_zip_is_one_picture(tmp_path: Path) -> None:
    data = bytearray(_zip({"a.png": PNGS[0], "b.png": PNGS[1]}))
    data[data.index(b"a.png") + 20] ^= 0xFF
    raws = _read(_write(tmp_path, {"a.zip": bytes(data)}) / "a.zip")
    with pytest.raises(NotDecodable):
        _pixels(raws[:1])
    assert (_pixels(raws[1:]) == PIXELS[1]).all()


def test_splits_in_an_archive_are_not_taken_for_classes(tmp_path: Path) -> None:
    path = _write(tmp_path, {"a.zip": _zip({"d/train/0.png": PNGS[0], "d/test/1.png": PNGS[1]})}) / "a.zip"
    _refused(
        path, f"{path} holds the folders test, train, which are named for splits and not classes; unpack it and give the folder"
    )


# Tables


def _table(rows: Sequence[int], features: dict[str, Any] | None = None, **columns: Any) -> pa.Table:
    images = [{"bytes": PNGS[row], "path": None} for row in rows]
    table = pa.table({"image": images, **columns})
    if features is None:
        return table
    metadata = json.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}})
    return table.replace_schema_metadata({"huggingface": metadata})


def _class_label(*names: str) -> dict[str, Any]:
    return {"_type": "ClassLabel", "names": list(names)}


def _table_file(path: Path, rows: Sequence[int] = range(6), **columns: Any) -> Path:
    labels = [["cat", "dog", "emu"].index(LABELS[row]) for row in rows]
    pq.write_table(_table(rows, {"kind": _class_label("cat", "dog", "emu")}, kind=labels, **columns), path)
    return path


def test_parquet_and_both_formats_of_arrow(tmp_path: Path) -> None:
    path = _table_file(tmp_path / "a.parquet", age=[3, 4, 5, 6, 7, 8], weight=[0.5] * 6, text=["x"] * 6)
    table = pq.read_table(path)
    with pa.ipc.new_file(tmp_path / "file.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    with pa.ipc.new_stream(tmp_path / "stream.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    for name in ("a.parquet", "file.arrow", "stream.arrow"):
        raws = _read(tmp_path / name)
        assert [raw.name for raw in raws] == [f"row {i}" for i in range(6)]
        assert [raw.label for raw in raws] == LABELS
        assert [raw.factors for raw in raws] == [(age, 0.5) for age in range(3, 9)]
        assert (_pixels(raws) == PIXELS).all()
        assert [raw.name for raw in _read(tmp_path / name, step=4)] == ["row 0", "row 4"]
        (reader,) = open_readers(PICTURES.open(str(tmp_path / name)).training(), None)
        assert (reader.classes, reader.factors) == (("cat", "dog", "emu"), ("age", "weight"))
        assert sniff(PICTURES, (tmp_path / name).read_bytes()) == Path(name).suffix


def test_pictures_as_plain_bytes_and_labels_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"data": PNGS, "label": [3, 10, None, -1, 3, 3], "name": LABELS, "x": [0.5] * 6}), path)
    assert (_pixels(_read(path)) == PIXELS).all()
    assert [raw.label for raw in _read(path)] == ["3", "10", None, "-1", "3", "3"]
    assert [raw.label for raw in _read(path, label="name")] == LABELS
    _refused(path, f"{path}: there is no column 'y'; columns other than the pictures are 'label', 'name', 'x'", label="y")
    _refused(path, f"{path}: the column 'x' is of type double, which can't be a label", label="x")


def test_columns_are_chosen_and_told(tmp_path: Path) -> None:
    table = _table([0, 1], {"mask": {"_type": "Image"}, "fine": _class_label("a", "b"), "coarse": _class_label("c")},
                   mask=[{"bytes": PNGS[2], "path": None}] * 2, fine=[1, 0], coarse=[0, 0])  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    part = PICTURES.open(str(tmp_path / "a.parquet")).training()
    (reader,) = open_readers(part, None)
    assert reader.notes == (
        "pictures of the column 'image' (not 'mask'), labels of the column 'fine' (not 'coarse'; choose with --label)",
    )
    assert [raw.label for raw in reader.read()] == ["b", "a"]
    (reader,) = open_readers(part, "coarse")
    assert (reader.classes, reader.factors) == (("c",), ("fine",))


def test_cells_without_a_picture_are_not_decodable(tmp_path: Path) -> None:
    cells = [None, {"bytes": None, "path": str(tmp_path / "a.png")}, {"bytes": b"text", "path": None}]
    _write(tmp_path, {"a.png": PNGS[0]})
    pq.write_table(pa.table({"image": cells}), tmp_path / "a.parquet")
    reasons = []
    for raw in _read(tmp_path / "a.parquet"):
        with pytest.raises(NotDecodable) as caught:
            _pixels([raw])
        reasons.append(str(caught.value))
    assert reasons == [
        "its cell is empty",
        "its cell has only a file name",
        "not a picture in a known format",
    ]


def test_wrong_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["x"], "label": [1]}), path)
    _refused(path, f"{path}: no column holds pictures; the columns are 'text', 'label'")
    for cell in ({"bytes": "text", "path": "a.png"}, {"bytes": [1]}, {"path": "a.png"}):
        pq.write_table(pa.table({"image": [cell]}), path)
        _refused(path, f"{path}: no column holds pictures; the columns are 'image'")
    pq.write_table(_table([0], {"label": _class_label("cat")}, label=[4]), path)
    _refused(path, f"{path}, row 0: label 4 is not one of the 1 classes")
    whole = _table_file(path).read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(RequestError, match=r"a\.parquet is a damaged parquet file: "):
        _read(path)
    _write(tmp_path, {"a.arrow": b"\xff\xff\xff\xff"})
    with pytest.raises(RequestError, match=r"a\.arrow is a damaged arrow file: "):
        _read(tmp_path / "a.arrow")
    packed = _write(tmp_path, {"b.parquet.gz": gzip.compress(whole)}) / "b.parquet.gz"
    _refused(packed, f"{packed} must be unpacked first: Parquet and Arrow are memory-mapped, and compressed internally")


def test_a_hub_data_set_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands for the hub: `datasets` reads both in the same way."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hub"))
    (tmp_path / "set").mkdir()
    _table_file(tmp_path / "set" / "train.parquet", age=[1, 2, 3, 4, 5, 6])
    part = Part(f"hf:{tmp_path / 'set'}", "hub", split="train")
    (reader,) = open_readers(part, None)
    raws = list(reader.read())
    assert (reader.count, reader.classes, reader.factors) == (None, ("cat", "dog", "emu"), ("age",))
    assert [(raw.name, raw.label, raw.factors) for raw in raws[:2]] == [("row 0", "cat", (1,)), ("row 1", "dog", (2,))]
    assert (_pixels(raws) == PIXELS).all()


# Arrays


def _as_float(pixels: np.ndarray) -> np.ndarray:
    return pixels / np.float32(255)


@pytest.mark.parametrize(
    "array",
    [
        PIXELS,
        PIXELS.transpose(0, 3, 1, 2),
        np.asfortranarray(PIXELS),
        PIXELS.astype(np.int64),
        PIXELS.astype(np.uint16),
        PIXELS.astype(np.uint16) * 257,
        _as_float(PIXELS),
        _as_float(PIXELS).astype(np.float64).transpose(0, 3, 1, 2),
        (_as_float(PIXELS) + 5e-5).astype(">f4"),
    ],
    ids=["nhwc", "nchw", "fortran", "int64", "8 in 16 bits", "16 bits", "float", "float nchw", "big-endian"],
)
def test_arrays_in_every_shape_and_type(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    raws = _read(tmp_path / "a.npy")
    assert [raw.name for raw in raws] == [f"row {i}" for i in range(6)]
    assert (_pixels(raws) == PIXELS).all()
    assert (_pixels(_read(tmp_path / "a.npy", step=4)) == PIXELS[::4]).all()
    (tmp_path / "b.npy.gz").write_bytes(gzip.compress((tmp_path / "a.npy").read_bytes()))
    assert (_pixels(_read(tmp_path / "b.npy.gz")) == PIXELS).all()
    np.savez_compressed(tmp_path / "c.npz", images=array)
    assert (_pixels(_read(tmp_path / "c.npz")) == PIXELS).all()
    assert sniff(PICTURES, (tmp_path / "a.npy").read_bytes()) == ".npy"
    assert sniff(PICTURES, (tmp_path / "b.npy.gz").read_bytes()) == ".npy.gz"
    assert sniff(PICTURES, (tmp_path / "c.npz").read_bytes()) == ".npz"


def test_grey_and_two_valued_arrays(tmp_path: Path) -> None:
    grey = PIXELS[..., 0]
    np.save(tmp_path / "a.npy", grey)
    assert (_pixels(_read(tmp_path / "a.npy"), mode="L")[..., 0] == grey).all()
    for dtype in (np.bool_, np.uint8, np.int32, np.float64):
        np.save(tmp_path / "a.npy", (grey > 127).astype(dtype))
        assert (_pixels(_read(tmp_path / "a.npy"), mode="L")[..., 0] == 255 * (grey > 127)).all()


def test_long_arrays_come_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aigc_cli.data.arrays._CHUNK_BYTES", 130)
    np.save(tmp_path / "a.npy", PIXELS)
    for step in (1, 3, 4):
        raws = _read(tmp_path / "a.npy", step=step)
        assert [raw.name for raw in raws] == [f"row {i}" for i in range(0, 6, step)]
        assert (_pixels(raws) == PIXELS[::step]).all()


def test_labels_and_factors_of_an_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, imgs=PIXELS, y=np.array([[10], [9], [9], [9], [9], [9]]), angle=np.arange(6.0), size=3, other=np.arange(5))
    part = PICTURES.open(str(path)).training()
    (reader,) = open_readers(part, None)
    assert reader.notes == ("pictures of the array 'imgs', labels of the array 'y'",)
    assert reader.factors == ("angle",)
    assert [(raw.label, raw.factors) for raw in reader.read()] == [("10", (0.0,)), *(("9", (i,)) for i in range(1, 6))]
    np.savez(path, data=PIXELS, species=np.array(LABELS))
    assert [raw.label for raw in _read(path, label="species")] == LABELS
    _refused(path, f"{path}: no array 'y' holds a label for each picture; 'species' could", label="y")


@pytest.mark.parametrize("names", [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("{}X", "{}Y"), ("images.{}", "label.{}")])
def test_splits_of_an_npz(names: tuple[str, str], tmp_path: Path) -> None:
    arrays = {}
    for split, rows in (("train", slice(0, 3)), ("test", slice(3, 6))):
        arrays |= {names[0].format(split): PIXELS[rows], names[1].format(split): np.array(LABELS[rows])}
    np.savez(tmp_path / "a.npz", **arrays)
    assert list(PICTURES.open(str(tmp_path / "a.npz")).parts) == ["train", "test"]
    for split, rows in (("train", slice(0, 3)), ("test", slice(3, 6))):
        raws = _read(tmp_path / "a.npz", split)
        assert [raw.label for raw in raws] == LABELS[rows]
        assert (_pixels(raws) == PIXELS[rows]).all()


NAN = _as_float(PIXELS).copy()
NAN[2, 0, 0, 0] = np.nan
SHAPE = "which have the shape (n, height, width) or with channels"
FLOATS = "floating-point pictures must be in [0, 1] or [0, 255]: scale them, such as (x + 1) / 2"
WRONG_ARRAYS: list[tuple[np.ndarray, str]] = [
    (NAN, ": picture 2 holds nan; pictures must be finite"),
    (-np.inf * np.ones((1, 4, 5)), ": picture 0 holds -inf; pictures must be finite"),
    (np.full((2, 4, 5), 300.0), f": picture 0 holds 300.0; {FLOATS}"),
    (np.full((2, 4, 5), -0.5), f": picture 0 holds -0.5; {FLOATS}"),
    (np.array([[[7] * 5] * 4, [[-1] * 5] * 4]), ": picture 1 holds -1; whole numbers must be from 0 to 65,535"),
    (np.zeros((5, 784), np.uint8), f" holds no pictures, {SHAPE}; it is uint8 of (5, 784)"),
    (np.zeros((2, 3, 4), complex), f" holds no pictures, {SHAPE}; it is complex128 of (2, 3, 4)"),
    (np.zeros((480, 640, 3), np.uint8), " has the shape (480, 640, 3); if it is one picture, give it a first axis: (1, …)"),
    (np.zeros((2, 5, 6, 7), np.uint8), " has the shape (2, 5, 6, 7), without an axis of 1, 3 or 4 channels"),
    (np.zeros((0, 5, 5), np.uint8), " is empty: its shape is (0, 5, 5)"),
    (np.array(["a"]), f" holds no pictures, {SHAPE}; it is <U1 of (1,)"),
]  # fmt: skip


@pytest.mark.parametrize(("array", "message"), WRONG_ARRAYS, ids=range(len(WRONG_ARRAYS)))
def test_arrays_that_are_no_pictures(array: np.ndarray, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array)
    _refused(path, f"{path}{message}")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return open, (str(tmp_path / "sprung"), "w")

    np.save(tmp_path / "a.npy", np.array([[[Trap()]]]), allow_pickle=True)
    _refused(tmp_path / "a.npy", f"{tmp_path / 'a.npy'} holds no pictures, {SHAPE}; it is object of (1, 1, 1)")
    np.savez(tmp_path / "b.npz", images=PIXELS, labels=np.array([Trap()] * 6))
    assert [raw.label for raw in _read(tmp_path / "b.npz")] == [None] * 6
    assert not (tmp_path / "sprung").exists()


def test_broken_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, PIXELS)
    path.write_bytes(path.read_bytes()[:-1])
    _refused(path, f"{path} is truncated: it should have the shape (6, 4, 5, 3)")
    path.write_bytes(b"text")
    with pytest.raises(RequestError, match=r"a\.npy is damaged or not a file of arrays: "):
        _read(path)
    _write(tmp_path, {"b.npz": b"text"})
    _refused(tmp_path / "b.npz", f"{tmp_path / 'b.npz'} is damaged or not a file of arrays: File is not a zip file")
    np.savez(tmp_path / "c.npz", a=PIXELS, b=PIXELS)
    several = "several arrays could be the pictures ('a', 'b'); call the right one 'images'"
    _refused(tmp_path / "c.npz", f"{tmp_path / 'c.npz'}: {several}")


# What is made of them


def test_the_first_bytes_tell_the_format() -> None:
    for kind, suffix in (
        ("PNG", ".png"),
        ("JPEG", ".jpg"),
        ("GIF", ".gif"),
        ("BMP", ".bmp"),
        ("TIFF", ".tiff"),
        ("WEBP", ".webp"),
    ):
        file = io.BytesIO()
        Image.fromarray(PIXELS[0]).save(file, kind)
        assert sniff(PICTURES, file.getvalue()) == suffix
    assert sniff(PICTURES, b"text") is None
    assert sniff(PICTURES, gzip.compress(b"text")) is None


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([(28, 28)] * 3, (28, 28)),
        ([(48, 64)] * 3, (48, 64)),
        ([(37, 50)] * 3, (37, 50)),  # small and all alike: as it is
        ([(28, 28)] * 3 + [(100, 50)] * 2, (28, 28)),
        ([(600, 800)] * 3, (48, 64)),
        ([(800, 600), (1600, 1200), (400, 300)], (64, 48)),
        ([(1080, 1920)], (36, 64)),
        ([(10, 1000)], (4, 64)),
        ([(30, 40), (60, 80), (20, 20)], (32, 40)),  # of the median shape, not enlarged
        ([(1, 1)], (1, 1)),
    ],
)
def test_the_size_that_is_chosen(sizes: list[tuple[int, int]], chosen: tuple[int, int]) -> None:
    assert choose_size(sizes) == chosen


@pytest.mark.parametrize(
    ("size", "chosen"),
    [
        ((60, 1200), (16, 256)),
        ((1200, 60), (256, 16)),
        ((120, 1200), (16, 160)),
        ((10, 200), (8, 200)),  # not enlarged
        ((5, 5000), (4, 256)),
        ((10, 60), (10, 60)),
    ],
)
def test_long_pictures_keep_some_pixels_of_the_shorter_side(size: tuple[int, int], chosen: tuple[int, int]) -> None:
    assert choose_size([size] * 3, long=True) == chosen


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), min_size=1, max_size=5), st.sampled_from([64, 128, 256]))
def test_pictures_within_4_to_1_are_as_before(sizes: list[tuple[int, int]], limit: int) -> None:
    sizes = [(max(height, -(-width // 4)), max(width, -(-height // 4))) for height, width in sizes]
    assert choose_size(sizes, limit, long=True) == choose_size(sizes, limit)


def test_a_longer_side_may_be_chosen() -> None:
    assert choose_size([(600, 800)] * 3, 256) == (192, 256)
    assert choose_size([(100, 128)] * 3, 128) == (100, 128)
    assert choose_format(Wanted(longest=128), [Look((600, 800), coloured=True)]).describe() == "128×96 RGB"
    assert choose_format(Wanted(size=(32, 32), longest=128), [Look((600, 800), coloured=True)]).describe() == "32×32 RGB"


def test_the_format_that_is_chosen() -> None:
    grey, coloured = Look((28, 28), coloured=False), Look((28, 28), coloured=True)
    assert choose_format(Wanted(), [grey, grey]).describe() == "28×28 grey"
    assert choose_format(Wanted(), [grey, coloured]).describe() == "28×28 RGB"
    assert choose_format(Wanted(size=(48, 64), mode="RGBA", fit="pad"), [grey]).describe() == "64×48 RGBA"
    format = PictureFormat(48, 64, "RGBA", "pad")
    assert PictureFormat.from_json(json.loads(json.dumps(format.to_json()))) == format
