"""Pictures as people have them, each of a kind that tools were reported to misread. See `test_faults.py`."""

from __future__ import annotations

import io
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from faulty import Content, Input, Make, files, packed, together
from PIL import Image, ImageDraw


def picture(number: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    """A disc or a square on a light ground, different for each number."""
    rng = np.random.default_rng(number)
    image = Image.new("RGB", size, (240, 240, 240))
    x, y = (int(rng.integers(0, side // 2)) for side in size)
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if number % 2 else draw.rectangle
    shape((x, y, x + size[0] // 2, y + size[1] // 2), fill=tuple(rng.integers(0, 200, 3).tolist()))
    return image


def pictures(*folders: str, n: int = 12, suffix: str = ".png", first: int = 0) -> dict[str, Image.Image]:
    """n different pictures a folder."""
    count = iter(range(first, first + n * len(folders)))
    return {f"{folder}/{number}{suffix}": picture(next(count)) for folder in folders for number in range(n)}


class _Member(zipfile.ZipInfo):
    """A member whose name is stored as it is, without the mark of UTF-8."""

    raw: bytes

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.raw, self.flag_bits & ~0x800


def unmarked_zip(name: str, contents: Mapping[str, Content], encoding: str) -> Make:
    """A zip whose names are in an encoding that it doesn't mark."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for path, content in contents.items():
                member = _Member(str(len(archive.filelist)))
                member.raw = path.encode(encoding)
                archive.writestr(member, packed(content))

    return make


def tar(name: str, contents: Mapping[str, Content], **options: Any) -> Make:
    def make(folder: Path) -> None:
        with tarfile.open(folder / name, "w", **options) as archive:
            for path, content in contents.items():
                data = packed(content, Path(path).suffix)
                member = tarfile.TarInfo(path)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

    return make


def png(rows: npt.NDArray[np.uint16], transparent: Sequence[int]) -> bytes:
    """A 16-bit PNG, grey (height, width) or RGB (height, width, 3), with a transparent level (tRNS)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if rows.ndim == 3 else 0, 0, 0, 0)
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    chunks = ((b"IHDR", header), (b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)), (b"IDAT", zlib.compress(data)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in (*chunks, (b"IEND", b"")))


def grey(number: int) -> npt.NDArray[np.uint8]:
    return np.asarray(picture(number).convert("L"))


def white_on_nothing(number: int) -> Image.Image:
    alpha = 255 - grey(number)
    return Image.fromarray(np.dstack([np.full((*alpha.shape, 3), 255, np.uint8), alpha]))


def nfd(name: str) -> str:
    return unicodedata.normalize("NFD", name)


def link_to_class(folder: Path) -> None:
    """A folder of a class that is a link, one folder down, and a link that leads back."""
    files(pictures("elsewhere", "set/train/dog"))(folder)
    (folder / "set/train/cat").symlink_to(folder / "elsewhere")
    (folder / "set/train/dog/loop").symlink_to("..")


def gan(make: Make, data: str, n: int = 0, **more: Any) -> Input:
    return Input(make, data, n, backend="gan", options="--conditional", **more)


HEIC = b"\0\0\0\x18ftypheic" + bytes(50)
PICTURES = {
    "Train-and-Test": gan(
        files({**pictures("set/Train/cat", "set/Train/dog"), **pictures("set/Test/cat", "set/Test/dog", n=4, first=99)}),
        "set",
        24,
        understood={"splits": {"train": "Train/", "test": "Test/"}},
        label="cat",
    ),
    "training-one-deeper": gan(
        files(
            {**pictures("set/data/training/cat", "set/data/training/dog"), **pictures("set/data/testing/cat", n=4, first=99)}
        ),
        "set",
        24,
        told=("splits: train (training/, 24 files), test (testing/, 4 files)",),
    ),
    "zip-in-gbk": gan(unmarked_zip("a.zip", pictures("猫", "狗"), "gbk"), "a.zip", 24, told=("GB18030",), label="猫"),
    "zip-in-utf8-unmarked": gan(unmarked_zip("a.zip", pictures("猫", "狗"), "utf-8"), "a.zip", 24, label="狗"),
    "zip-with-backslashes": gan(
        unmarked_zip("a.zip", {name.replace("/", "\\"): each for name, each in pictures("cat", "dog").items()}, "ascii"),
        "a.zip",
        24,
        label="cat",
    ),
    "classes-in-nfd": gan(files(pictures(nfd("set/café"), "set/tea")), "set", 24, label="café"),
    "class-is-a-link": gan(link_to_class, "set", 24, told=("followed link",), label="cat"),
    "copies-in-several-classes": gan(
        files({**pictures("set/all", n=24), **{f"set/{'dog' if i % 2 else 'cat'}/{i}.png": picture(i) for i in range(24)}}),
        "set",
        48,
        told=("in several classes", "no pictures to train on, so no class: 'all'"),
        label="cat",
    ),
    "only-picture-of-a-class": gan(
        files({**pictures("set/cat", "set/dog"), "set/lynx/0.png": picture(99)}),
        "set",
        25,
        told=("classes with a single picture, used for training: 'lynx'",),
        label="lynx",
    ),
    "white-on-nothing": Input(
        files({f"set/{i}.png": white_on_nothing(i) for i in range(24)}),
        "set",
        24,
        "vae",
        told=("on black, as they vanish on white",),
    ),
    "grey-16-bit-transparent": Input(
        files({f"set/{i}.png": png(np.where(grey(i) > 230, 0, grey(i).astype(np.uint16) * 257), (0,)) for i in range(24)}),
        "set",
        24,
        "vae",
        told=("laid 24 of 24 that are transparent on white",),
    ),
    "12-bits-in-16": Input(
        files({f"set/{i}.tif": Image.fromarray(grey(i).astype(np.uint16) * 16) for i in range(24)}),
        "set",
        24,
        "vae",
        told=("4,095",),
    ),
    "float-tiff": Input(
        files({f"set/{i}.tif": Image.fromarray(grey(i).astype(np.float32) / 255) for i in range(24)}), "set", 24, "vae"
    ),
    "heic-only": Input(
        files({f"set/IMG_{i}.HEIC": HEIC for i in range(5)}), "set", backend="vae", refused=("5 .heic", "pip install")
    ),
    "synology": gan(
        files({**pictures("set/cat", "set/dog"), "set/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg": picture(99, (120, 120))}),
        "set",
        24,
        told=("@eaDir",),
        understood={"classes": {"cat": 12, "dog": 12}},
    ),
    "webdataset-cls": gan(
        tar(
            "a.tar",
            {f"{i:03}.{suffix}": picture(i) if suffix == "png" else str(i % 2) for i in range(24) for suffix in ("png", "cls")},
        ),
        "a.tar",
        24,
        label="1",
    ),
    "wide-pictures": Input(
        files({f"set/{i}.png": picture(i, (1200, 60)) for i in range(12)}),
        "set",
        12,
        "vae",
        small=False,
        told=("1200×60 made 256×16",),
    ),
    # Public reports: what other tools made of it is in the issue that is named
    "datasets#7201-train.png": Input(
        files({**pictures("set"), "set/train.png": picture(98), "set/test tubes.png": picture(99)}), "set", 14, "vae"
    ),
    "vision#2831-checkpoints": gan(
        files({**pictures("set/cat", "set/dog"), "set/.ipynb_checkpoints/a-checkpoint.png": picture(99)}),
        "set",
        24,
        told=(".ipynb_checkpoints",),
    ),
    "vision#4925-empty-folder-beside-splits": gan(
        files(
            {
                **pictures("set/train/cat", "set/train/dog"),
                **pictures("set/validation/cat", n=4, first=90),
                "set/other/.keep": "",
            }
        ),
        "set",
        24,
        told=("splits: train (train/, 24 files), val (validation/, 4 files)",),
    ),
    "ultralytics#13936-a-class-less": gan(
        files({**pictures("set/train/ant", "set/train/bee", "set/train/cat"), **pictures("set/val/cat", n=4, first=90)}),
        "set",
        36,
    ),
    "libzip#212-5c-in-shift-jis": gan(
        unmarked_zip("a.zip", pictures("ソース", "表", "犬です"), "cp932"), "a.zip", 36, label="表", told=("Shift-JIS",)
    ),
    "zip#233-5c-in-gbk": gan(unmarked_zip("a.zip", pictures("乗车", "诚实", "开锁"), "gbk"), "a.zip", 36, label="诚实"),
    "tarindexer#9-cp1251": gan(
        tar("a.tar", pictures("кошка", "собака"), encoding="cp1251", format=tarfile.GNU_FORMAT),
        "a.tar",
        24,
        told=("names read as",),
        label="кошка",
    ),
    "manyfold#2545-resource-forks": gan(
        files(
            {
                **pictures("set/cat", "set/dog"),
                "set/cat/._1.png": b"\0\5\x16\7",
                "set/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg": picture(99),
            }
        ),
        "set",
        24,
        told=("ignored 2 hidden and system files",),
    ),
    "paperbanana#240-metadata-in-nfc": gan(
        together(
            files({nfd(f"set/été{i}.png"): picture(i) for i in range(24)}),
            files({"set/metadata.csv": "file_name,label\n" + "".join(f"été{i}.png,{'xy'[i % 2]}\n" for i in range(24))}),
        ),
        "set",
        24,
        label="x",
    ),
    "pillow#3159-floats": Input(
        files({f"set/{i}.tif": Image.fromarray(grey(i).astype(np.float32) - 100) for i in range(24)}),
        "set",
        backend="vae",
        refused=("floats from -31 to 140", "such as (x + 31) / 171"),
    ),
    "datasets#7144-dots-in-names": gan(
        tar(
            "a.tar", {**{f"22.{i:02}.png": picture(i) for i in range(24)}, **{f"22.{i:02}.cls": str(i % 3) for i in range(24)}}
        ),
        "a.tar",
        24,
        told=("labels of the .cls members",),
        label="2",
    ),
    # Others
    "classes-train-plane-car": gan(files(pictures("set/train", "set/plane", "set/car")), "set", 36, label="train"),
    "gbk-names-elsewhere": gan(
        unmarked_zip("猫.zip", pictures("猫", "狗"), "gbk"), "猫.zip", 24, told=("GB18030",), environ={"LC_ALL": "ja_JP.UTF-8"}
    ),
    "Cat-and-cat": gan(files({**pictures("set/Cat", "set/cat")}), "set", 24, told=("differ only in case",)),
    "rgb-16-bit-transparent": Input(
        files(
            {
                f"set/{i}.png": png(
                    np.where(
                        (np.asarray(picture(i)) > 230).all(axis=2, keepdims=True),
                        np.array([0x1234, 0x5678, 0x9ABC], np.uint16),
                        np.asarray(picture(i)).astype(np.uint16) * 257,
                    ),
                    (0x1234, 0x5678, 0x9ABC),
                )
                for i in range(24)
            }
        ),
        "set",
        24,
        "vae",
        told=("laid 24 of 24 that are transparent on white",),
    ),
    "loop": gan(
        together(files(pictures("set/cat", "set/dog")), lambda folder: (folder / "set/cat/loop").symlink_to("..")),
        "set",
        24,
        told=("1 link to what is already read",),
    ),
}
