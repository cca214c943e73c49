"""Pictures and latent vectors through the real commands, with a backend that draws two halves."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import AIGC, Shell, make_shell
from PIL import Image

from aigc_cli.data.pictures.output import enlargement
from aigc_cli.engine.runs.run import create_run

SHAPE = (4, 6, 3)


@pytest.fixture
def halves(tmp_path: Path, halves_path: Path, shared_cache: Path) -> Shell:
    """A shell in whose directory there is a run of that backend."""
    add_run(tmp_path, "one", SHAPE)
    return make_shell(tmp_path, halves_path, shared_cache)


def add_run(folder: Path, name: str, shape: tuple[int, int, int], data: dict[str, Any] | None = None) -> None:
    run = create_run(folder / "runs", "halves", name, {} if data is None else {"data": data})
    run.model.mkdir()
    (run.model / "config.json").write_text(json.dumps({"shape": shape}))


def drawn(seed: int, index: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """What the toy draws."""
    left, right = np.rint(np.random.default_rng([seed, index]).random(2) * 255).astype(np.uint8)
    pixels = np.full(shape, 255, np.uint8)
    pixels[:, : shape[1] // 2, :3] = left
    pixels[:, shape[1] // 2 :, :3] = right
    return pixels


def opened(path: Path | io.BytesIO) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith("aigc: ") and done.stderr.count("\n") == 1
    return done.stderr.removeprefix("aigc: ").removesuffix("\n")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "runs" not in path.parts)


# Samples


def test_samples_are_files_whose_paths_are_printed(halves: Shell) -> None:
    paths = halves.ok("sample", "halves", "--n", "3", "--seed", "7").splitlines()
    assert paths == [f"samples/halves-one/seed-7-{i:06d}.png" for i in range(3)]
    for index, path in enumerate(paths):
        np.testing.assert_array_equal(opened(halves.cwd / path), drawn(7, index))
    assert files(halves.cwd) == paths
    other = halves("sample", "halves", "--n", "3", "--json")  # another seed has other files
    records = [json.loads(line) for line in other.stdout.splitlines()]
    assert [record["index"] for record in records] == [0, 1, 2]
    (seed,) = {record["seed"] for record in records}
    assert json.loads(other.stderr.splitlines()[-1])["text"] == f"seed {seed}"
    assert records[1]["path"] == f"samples/halves-one/seed-{seed}-000001.png"
    np.testing.assert_array_equal(opened(halves.cwd / records[1]["path"]), drawn(seed, 1))
    assert len(halves.ok("sample", "halves", "-q").splitlines()) == 16


def test_a_file_that_exists_is_refused_before_anything_is_drawn(halves: Shell) -> None:
    halves.ok("sample", "halves", "--n", "2", "--seed", "7")
    first, second = (halves.cwd / f"samples/halves-one/seed-7-{i:06d}.png" for i in range(2))
    first.unlink()
    second.write_bytes(b"mine")
    message = (
        "samples/halves-one/seed-7-000001.png exists; add --force to overwrite such files, or choose another place with --out"
    )
    assert refusal(halves("sample", "halves", "--n", "2", "--seed", "7")) == message
    assert not first.exists() and second.read_bytes() == b"mine"
    halves.ok("sample", "halves", "--n", "1", "--seed", "7")  # which is not in its way
    halves.ok("sample", "halves", "--n", "2", "--seed", "7", "--force")
    np.testing.assert_array_equal(opened(second), drawn(7, 1))


@pytest.mark.parametrize(("format", "suffix", "lossless"), [("webp", "webp", True), ("jpeg", "jpg", False)])
def test_formats(halves: Shell, format: str, suffix: str, lossless: bool) -> None:
    (path,) = halves.ok("sample", "halves", "-n", "1", "--seed", "1", "--format", format, "--out", "new/folder").splitlines()
    assert path == f"new/folder/seed-1-000000.{suffix}"
    with Image.open(halves.cwd / path) as image:
        assert image.format == format.upper()
    error = np.abs(opened(halves.cwd / path).astype(int) - drawn(1, 0)).max()
    assert error == 0 if lossless else error < 40


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_colour_and_transparency_keep_their_mode(halves: Shell, channels: int) -> None:
    shape = (5, 4, channels)
    add_run(halves.cwd, "other", shape)
    (path,) = halves.ok("sample", "halves", "--run", "other", "-n", "1", "--seed", "2").splitlines()
    with Image.open(halves.cwd / path) as image:
        assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    np.testing.assert_array_equal(opened(halves.cwd / path).reshape(shape), drawn(2, 0, shape))


def test_transparency_is_not_dropped_silently(halves: Shell) -> None:
    add_run(halves.cwd, "clear", (5, 4, 4))
    message = "JPEG has no transparency, but these pictures do; use PNG or WebP"
    assert refusal(halves("sample", "halves", "--run", "clear", "--seed", "1", "--format", "jpeg")) == message
    assert files(halves.cwd) == []


@pytest.mark.parametrize("arguments", [["--out", "sheet.jpg"], ["--out", "a.tar", "--format", "jpeg"], ["--format", "jpeg"]])
def test_transparency_that_cannot_be_written_is_refused_before_anything_is_drawn(halves: Shell, arguments: list[str]) -> None:
    """What the samples will be stands in run.json; a sheet is otherwise written when all are drawn."""
    add_run(halves.cwd, "clear", (5, 4, 4), {"format": {"height": 5, "width": 4, "mode": "RGBA", "fit": "crop"}})
    done = halves("sample", "halves", "--run", "clear", "--seed", "1", "--fail-at", "0", *arguments)
    assert refusal(done) == "JPEG has no transparency, but these pictures do; use PNG or WebP"
    halves.ok("sample", "halves", "--run", "clear", "--seed", "1", "--out", "sheet.webp")


def test_samples_are_of_the_kind_that_the_run_records(halves: Shell) -> None:
    """Not of the kind that the command's options suggest: this run says that its samples are texts."""
    add_run(halves.cwd, "texts", SHAPE, {"kind": "text"})
    assert len(halves.ok("sample", "halves", "--run", "texts", "--seed", "1", "-q").splitlines()) == 1
    assert len(halves.ok("sample", "halves", "--run", "texts", "--seed", "1", "-n", "3", "-q", "--out", "a.txt")) == 0
    assert len((halves.cwd / "a.txt").read_text().splitlines()) == 3
    done = halves("sample", "halves", "--run", "texts", "--seed", "1", "--format", "png")
    assert refusal(done) == "--format png: the samples of run runs/halves/texts are text, written a line each"
    add_run(halves.cwd, "smells", SHAPE, {"kind": "smells"})
    lost = halves("sample", "halves", "--run", "smells")
    assert lost.returncode == 1
    assert lost.stderr == (
        "aigc: no kind of data 'smells' is installed, only text, pictures, sounds, music; install the package that provides it\n"
    )


def test_a_sheet_is_nearly_square(halves: Shell) -> None:
    assert halves.ok("sample", "halves", "--n", "5", "--seed", "3", "--out", "sheet.png") == "sheet.png\n"
    sheet = opened(halves.cwd / "sheet.png")
    height, width = 16 * 4, 16 * 6  # pictures of 4 by 6 pixels are enlarged, each pixel to a square of 16
    assert sheet.shape == (2 * height + 2, 3 * width + 2 * 2, 3)
    for index in range(5):
        top, left = index // 3 * (height + 2), index % 3 * (width + 2)
        found = sheet[top : top + height, left : left + width]
        np.testing.assert_array_equal(found, np.kron(drawn(3, index), np.ones((16, 16, 1), np.uint8)))
    assert (sheet[height : height + 2] == 255).all() and (sheet[:, width : width + 2] == 255).all()
    assert (sheet[height:, 2 * (width + 2) :] == 255).all()
    line = json.loads(halves.ok("sample", "halves", "--n", "4", "--seed", "3", "--out", "s.webp", "--json"))
    assert line == {"path": "s.webp", "seed": 3, "n": 4, "columns": 2, "scale": 16}
    assert opened(halves.cwd / "s.webp").shape == (2 * height + 2, 2 * width + 2, 3)
    halves.ok("sample", "halves", "--n", "1", "--seed", "3", "--out", "one.png")
    np.testing.assert_array_equal(opened(halves.cwd / "one.png"), drawn(3, 0))  # no sheet


@pytest.mark.parametrize(
    ("height", "width", "times"), [(1, 1, 96), (28, 28, 3), (48, 20, 2), (49, 20, 1), (64, 64, 1), (500, 400, 1)]
)
def test_large_pictures_stay_as_they_are_on_a_sheet(height: int, width: int, times: int) -> None:
    assert enlargement(height, width) == times


def test_a_sheet_has_the_columns_of_the_backend(halves: Shell) -> None:
    halves.ok("sample", "halves", "--n", "5", "--seed", "3", "--row", "--out", "row.png")
    assert opened(halves.cwd / "row.png").shape == (16 * 4, 5 * 16 * 6 + 4 * 2, 3)


def test_a_sheet_too_large_for_its_format_is_refused_at_the_first_picture(halves: Shell) -> None:
    add_run(halves.cwd, "large", (600, 600, 1))
    done = halves("sample", "halves", "--run", "large", "--n", "1000", "--seed", "1", "--fail-at", "1", "--out", "sheet.webp")
    assert refusal(done) == "a picture of 19,262×19,262 is too large for .webp, whose limit is 16,383 pixels a side; use .png"


def test_an_array(halves: Shell) -> None:
    halves.ok("sample", "halves", "--n", "5", "--seed", "3", "--out", "samples.npz")
    with np.load(halves.cwd / "samples.npz") as loaded:
        np.testing.assert_array_equal(loaded["pictures"], [drawn(3, index) for index in range(5)])
        assert loaded["pictures"].dtype == np.uint8
        assert (loaded["seed"].tolist(), loaded["index"].tolist()) == ([3] * 5, [0, 1, 2, 3, 4])
    assert files(halves.cwd) == ["samples.npz"]


def test_a_tar_in_a_pipe(halves: Shell) -> None:
    command = f"{' '.join(AIGC)} sample halves --n 30 --seed 4 --out - | tar -x -C out"
    (halves.cwd / "out").mkdir()
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=halves.cwd, env=halves.env, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "run runs/halves/one\n")
    assert files(halves.cwd) == [f"out/seed-4-{i:06d}.png" for i in range(30)]
    np.testing.assert_array_equal(opened(halves.cwd / "out/seed-4-000029.png"), drawn(4, 29))
    assert halves.ok("sample", "halves", "--n", "3", "--seed", "4", "--out", "three.tar", "--format", "webp") == "three.tar\n"
    with tarfile.open(halves.cwd / "three.tar") as tar:
        assert tar.getnames() == [f"seed-4-{i:06d}.webp" for i in range(3)]
        content = tar.extractfile(tar.getmembers()[2])
        assert content is not None
        np.testing.assert_array_equal(opened(io.BytesIO(content.read())), drawn(4, 2))


def test_a_member_leaves_as_soon_as_it_is_drawn(halves: Shell) -> None:
    """Two members come out of a command that fails at the third, and no end of the archive."""
    command = f"{' '.join(AIGC)} sample halves --seed 4 --fail-at 2 --out - | cat > broken.tar; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=halves.cwd, env=halves.env, capture_output=True, text=True)
    assert done.stdout == "1\n"
    content = (halves.cwd / "broken.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r|", ignore_zeros=False) as tar:
        assert tar.getnames() == ["seed-4-000000.png", "seed-4-000001.png"]
    assert not content.endswith(bytes(1024))


@pytest.mark.parametrize("out", ["sheet.png", "samples.npz", "samples.tar", "folder"])
def test_nothing_is_half_written(halves: Shell, out: str) -> None:
    done = halves("sample", "halves", "--seed", "4", "--fail-at", "2", "--out", out)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "aigc: RuntimeError: the toy broke (--debug shows the traceback)"
    whole = [f"folder/seed-4-{i:06d}.png" for i in range(2)] if out == "folder" else []
    assert files(halves.cwd) == whole == done.stdout.splitlines()


@pytest.mark.parametrize("out", ["sheet.png", "samples.npz"])
def test_one_file_is_not_overwritten_unasked(halves: Shell, out: str) -> None:
    (halves.cwd / out).write_bytes(b"mine")
    arguments = ["sample", "halves", "--n", "2", "--out", out]
    assert refusal(halves(*arguments)) == f"--out {out} exists; add --force to overwrite it, or choose another name"
    assert (halves.cwd / out).read_bytes() == b"mine"
    halves.ok(*arguments, "--force")
    assert (halves.cwd / out).read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "-", "--json"], "--json and --out - both want standard output; leave out one of them"),
        (["--out", "film.mp4"], "--out film.mp4: .mp4 is not written here; name a folder (end it with /), a sheet (.png .jpg .jpeg .webp .bmp .tif .tiff), an array (.npz) or a tar (.tar)"),
        (["--out", "sheet.png", "--format", "webp"], "--out sheet.png is no webp by its suffix; leave out --format"),
        (["--out", "a.npz", "--format", "webp"], "--out a.npz is an array, not webp pictures; leave out --format"),
        (["--out", "missing/sheet.png"], "--out missing/sheet.png cannot be written; name a file in an existing folder"),
        (["--out", "a-file/pictures"], "--out a-file/pictures: a-file is not a folder that can be written to"),
    ],
)  # fmt: skip
def test_wrong_requests(halves: Shell, arguments: list[str], message: str) -> None:
    (halves.cwd / "a-file").write_text("x")
    assert refusal(halves("sample", "halves", "--seed", "1", *arguments)) == message
    assert files(halves.cwd) == ["a-file"]


def test_a_folder_may_have_any_name(halves: Shell) -> None:
    assert halves.ok("sample", "halves", "-n", "1", "--seed", "1", "--out", "v1.5/") == "v1.5/seed-1-000000.png\n"
    assert halves.ok("sample", "halves", "-n", "1", "--seed", "2", "--out", "v1.5") == "v1.5/seed-2-000000.png\n"


def test_a_tar_is_not_shown_on_a_terminal(halves: Shell) -> None:
    parent, child = pty.openpty()
    done = subprocess.run(
        [*AIGC, "sample", "halves", "--out", "-"], cwd=halves.cwd, env=halves.env, stdout=child, stderr=subprocess.PIPE
    )
    os.close(child)
    os.close(parent)
    assert done.returncode == 2
    assert b"--out - writes a tar, which a terminal cannot show; pipe it on, or name a file or folder" in done.stderr


@pytest.mark.parametrize("arguments", ["--out -", ""])
def test_a_closed_pipe_is_silent(halves: Shell, arguments: str) -> None:
    command = f"{' '.join(AIGC)} sample halves --n 3000 -q {arguments} | head -c 20 > first; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=halves.cwd, env=halves.env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("141\n", "")
    assert len(files(halves.cwd)) < 3001
    assert not list(halves.cwd.rglob(".tmp-*"))


# Latent vectors


@pytest.fixture
def pictures(halves: Shell) -> np.ndarray:
    drawings = np.stack([drawn(9, index) for index in range(5)])
    np.save(halves.cwd / "pictures.npy", drawings)
    return drawings


@pytest.mark.parametrize("out", ["latents.parquet", "latents.npz", "latents.tsv", "latents.jsonl"])
def test_encode_and_decode_return_the_pictures(halves: Shell, pictures: np.ndarray, out: str) -> None:
    assert halves.ok("encode", "halves", "--data", "pictures.npy", "--out", out) == f"{out}\n"
    halves.ok("decode", "halves", "--from", out, "--out", "decoded.npz")
    with np.load(halves.cwd / "decoded.npz") as loaded:
        np.testing.assert_array_equal(loaded["pictures"], pictures)
        assert loaded["name"].tolist() == [f"picture\t{i}" for i in range(5)]
    records = [json.loads(line) for line in halves.ok("decode", "halves", "--from", out, "--json").splitlines()]
    assert records[4] == {"path": "samples/halves-one/decoded-000004.png", "name": "picture\t4"}
    np.testing.assert_array_equal(opened(halves.cwd / records[4]["path"]), pictures[4])
    again = (
        "samples/halves-one/decoded-000000.png exists; add --force to overwrite such files, or choose another place with --out"
    )
    assert refusal(halves("decode", "halves", "--from", out)) == again


def test_latents_in_a_pipe(halves: Shell, pictures: np.ndarray) -> None:
    table = halves.ok("encode", "halves", "--data", "pictures.npy", "-q")
    rows = [line.split("\t") for line in table.splitlines()]
    assert rows[0] == ["name", "mean_0", "mean_1", "log_var_0", "log_var_1", "score"]
    assert [row[0] for row in rows[1:]] == [f"picture\\t{i}" for i in range(5)]
    lines = halves.ok("encode", "halves", "--data", "pictures.npy", "--json", "-q")
    record = json.loads(lines.splitlines()[3])
    assert list(record) == ["name", "mean", "log_var", "score"]
    assert record["name"] == "picture\t3"
    assert record["mean"] == [float(cell) for cell in rows[4][1:3]]
    for written in (table, lines):
        halves.ok("decode", "halves", "--from", "-", "--out", "sheet.png", "--force", input=written)
        np.testing.assert_array_equal(opened(halves.cwd / "sheet.png")[: 16 * 4 : 16, : 16 * 6 : 16], pictures[0])
    binary = f"{' '.join(AIGC)} encode halves --data pictures.npy --format {{}} | {' '.join(AIGC)} decode halves --from - --out {{}}.npz"
    for format in ("npz", "parquet"):
        command = binary.format(format, format)
        subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=halves.cwd, env=halves.env, check=True, capture_output=True
        )
        with np.load(halves.cwd / f"{format}.npz") as loaded:
            np.testing.assert_array_equal(loaded["pictures"], pictures)


def test_data_from_standard_input(halves: Shell, pictures: np.ndarray) -> None:
    command = f"cat pictures.npy | {' '.join(AIGC)} encode halves --data - --json | head -n 2"
    done = subprocess.run(["bash", "-c", command], cwd=halves.cwd, env=halves.env, capture_output=True, text=True)
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == ["picture\t0", "picture\t1"]
    assert json.loads(done.stderr) == {"event": "note", "text": "run runs/halves/one", "level": "info"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to encode with --data: a file, a folder, or '-' for standard input"),
        (["--data", "nothing.npy"], "cannot read nothing.npy: [Errno 2] No such file or directory: 'nothing.npy'"),
        (["--data", "pictures.npy", "--out", "latents.pkl"], "--out latents.pkl: its suffix is none of .npz .parquet .tsv .jsonl; say which with --format"),
        (["--data", "pictures.npy", "--out", "latents.tsv", "--format", "npz"], "--out latents.tsv is no npz by its suffix; leave out --format"),
        (["--data", "pictures.npy", "--json", "--format", "tsv"], "--json writes JSON Lines to standard output; leave out --format tsv"),
        (["--data", "pictures.npy", "--out", "pictures.npy", "--format", "npz"], "--out pictures.npy exists; add --force to overwrite it, or choose another name"),
    ],
)  # fmt: skip
def test_wrong_requests_to_encode(halves: Shell, pictures: np.ndarray, arguments: list[str], message: str) -> None:
    assert refusal(halves("encode", "halves", *arguments)) == message
    assert files(halves.cwd) == ["pictures.npy"]


def test_wrong_requests_to_decode(halves: Shell) -> None:
    assert (
        refusal(halves("decode", "halves"))
        == "name the latent vectors to decode with --from: a file, or '-' for standard input"
    )
    assert refusal(halves("decode", "halves", "--from", "no.tsv")) == "cannot read no.tsv: No such file or directory"
    np.save(halves.cwd / "wide.npy", np.zeros((2, 3)))
    message = "wide.npy: its vectors have 3 numbers, but this model's have 2; decode with the run that encoded them (--run)"
    assert refusal(halves("decode", "halves", "--from", "wide.npy", "--out", "new")) == message
    assert files(halves.cwd) == ["wide.npy"]


def test_a_backend_without_latent_vectors_says_so(halves: Shell) -> None:
    for verb in ("encode", "decode"):
        message = refusal(halves(verb, "transformer", "--data", "x"))
        assert message.startswith(f"the transformer backend has no {verb!r}; these have: halves")
