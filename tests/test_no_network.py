"""Nothing is fetched, unless a data set on the Hub is named: every verb runs where no connection can be made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hostile import aigc
from PIL import Image


@pytest.fixture(autouse=True)
def alone(no_network: None, toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without what else keeps the libraries from the network in tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def ok(*arguments: object) -> None:
    told = (
        aigc(*arguments, "--device", "cpu")
        if arguments[0] in ("train", "sample", "eval", "encode", "decode")
        else aigc(*arguments)
    )
    assert told.code == 0, (arguments, told.err)


SMALL = ("--preset", "nano", "--steps", "2", "--batch-size", "4", "--eval-items", "4", "--run", "r", "-q")


def test_texts(poems: Path) -> None:
    ok("train", "transformer", "--data", poems, "--column", "text", "--context", "16", "--devices", "1", *SMALL)
    ok("sample", "transformer", "-n", "1", "--max-tokens", "5")
    ok("eval", "transformer", "-n", "4")
    ok("report", "--no-eval")
    ok("runs")
    ok("doctor")


def test_a_table_of_addresses(tmp_path: Path) -> None:
    rows = [f'{i}\t"https://example.com/{i}.png" is where the picture of fox number {i} is' for i in range(100)]
    (tmp_path / "a.tsv").write_text("\n".join(["url\ttext", *(f"https://example.com/{row}" for row in rows)]))
    ok("train", "transformer", "--data", "a.tsv", "--dry-run", "--preset", "nano", "--steps", "2", "-q")
    (tmp_path / "b.csv").write_text("\n".join(["file_name,text", *(f"https://example.com/{i}.png,fox {i}" for i in range(9))]))
    told = aigc("train", "gan", "--data", "b.csv", "--dry-run")
    assert told.code == 2 and "are not downloaded" in told.err
    told = aigc("train", "gan", "--data", "https://example.com/a.zip")
    assert told.code == 2 and "--data does not read URLs" in told.err


def test_pictures(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(40):
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    ok("train", "gan", "--data", "photos", *SMALL)
    ok("sample", "gan", "-n", "1", "--out", "a.png")
    ok("train", "vae", "--data", "photos", *SMALL)
    ok("sample", "vae", "-n", "1", "--out", "b.png")
    ok("encode", "vae", "--data", "photos", "--out", "z.npz")
    ok("decode", "vae", "--from", "z.npz", "--out", "c.npz")
    ok("eval", "vae", "-n", "8")
