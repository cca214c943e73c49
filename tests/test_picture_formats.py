"""Formats by their suffixes and first bytes, those of phones and of cameras among them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc_cli.data.pictures.decoding.decode import decode
from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.sources.readers import open_readers
from aigc_cli.data.sources.standard_input import sniff

GREY = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
FORMATS = {
    "a.jfif": "JPEG",
    "b.jpe": "JPEG",
    "c.avif": "AVIF",
    "d.jp2": "JPEG2000",
    "e.pgm": "PPM",
    "f.pnm": "PPM",
    "g.ppm": "PPM",
}


def test_every_suffix_is_read(tmp_path: Path) -> None:
    for name, kind in FORMATS.items():
        image = Image.fromarray(GREY)
        (image.convert("RGB") if name == "g.ppm" else image).save(tmp_path / name, kind)
    (reader,) = open_readers(PICTURES.open(str(tmp_path)).training(), None)
    read = {raw.name: decode(raw.content, PictureFormat(8, 8, "L")).pixels[..., 0] for raw in reader.read()}
    assert list(read) == list(FORMATS)
    for name in ("d.jp2", "e.pgm", "f.pnm", "g.ppm"):
        assert (read[name] == GREY).all()


def test_a_pgm_of_16_bits_has_its_own_white(tmp_path: Path) -> None:
    dark = (GREY.astype(np.uint16) * 4).astype(">u2")  # 10 bits
    (tmp_path / "a.pgm").write_bytes(b"P5\n8 8\n1023\n" + dark.tobytes())
    (reader,) = open_readers(PICTURES.open(str(tmp_path)).training(), None)
    (raw,) = reader.read()
    for white in (1023, 65535):
        decoded = decode(raw.content, PictureFormat(8, 8, "L", white=white))
        assert np.abs(decoded.pixels[..., 0].astype(int) - GREY).max() <= 1
        assert decoded.highest is None


@pytest.mark.parametrize(("kind", "suffix"), [("AVIF", ".avif"), ("JPEG2000", ".jp2"), ("PPM", ".pgm")])
def test_first_bytes_of_standard_input(kind: str, suffix: str) -> None:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, kind)
    assert sniff(PICTURES, file.getvalue()) == suffix


PLUGIN = """
from PIL import Image, PngImagePlugin

class Heif(PngImagePlugin.PngImageFile):
    format = "HEIF"
    def _open(self):
        self.fp.read(12)
        super()._open()

def register_heif_opener():
    Image.register_open("HEIF", Heif, lambda head: head[4:12] == b"ftypheic")
"""
HIDDEN = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "pillow_heif" else find(name, *rest)
"""
READ = """
import sys
from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.sources.readers import open_readers
from aigc_cli.data.pictures.decoding.decode import decode
from aigc_cli.data.pictures.format import PictureFormat
(reader,) = open_readers(PICTURES.open(sys.argv[1]).training(), None)
(raw,) = reader.read()
with raw.content() as file:
    print(raw.name, PICTURES.recognise(file.read()), decode(raw.content, PictureFormat(8, 8, "L")).pixels.max())
"""


def _run(code: str, folder: Path, plugins: Path) -> subprocess.CompletedProcess[str]:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(file, "PNG")
    folder.mkdir()
    (folder / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + file.getvalue())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(plugins), *sys.path])}
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=False
    )


def test_heic_is_read_with_its_plugin(tmp_path: Path) -> None:
    """A stand-in for pillow-heif."""
    (tmp_path / "pillow_heif.py").write_text(PLUGIN)
    done = _run(READ, tmp_path / "d", tmp_path)
    assert done.stdout.strip() == "IMG_1.HEIC .heic 77", done.stderr


def test_without_its_plugin_a_folder_of_heic_says_what_reads_them(tmp_path: Path) -> None:
    done = _run(HIDDEN + READ, tmp_path / "d", tmp_path)
    assert "1 .heic (pip install 'aigc-cli[heic]' reads them)" in done.stderr
