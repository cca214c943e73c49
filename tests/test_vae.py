"""The VAE through its commands, on the shapes that the package draws."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import Shell
from PIL import Image

SHAPES = "demo:shapes?n=600"
SMALL = ["--preset", "nano", "--batch-size", "32", "--steps"]


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    """A run of 20×14 RGBA shapes, and one of grey ones that knows their classes."""
    module_shell.ok(
        "train", "vae", "--data", SHAPES, "--size", "20x14", "--mode", "RGBA", *SMALL, "40", "--run", "shapes", "-q"
    )
    grey = module_shell.cwd / "grey"
    draw = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 210)):
        (grey / name).mkdir(parents=True)
        for i in range(150):
            pixels = np.clip(level + draw.normal(0, 20, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(grey / name / f"{i:03}.png")
    module_shell.ok("train", "vae", "--data", "grey", "--conditional", *SMALL, "200", "--run", "grey", "-q")
    return module_shell


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def pictures(shell: Shell, *arguments: object, out: str) -> np.ndarray:
    shell.ok("sample", "vae", *arguments, "--out", out, "-q")
    with np.load(shell.cwd / out) as arrays:
        return np.asarray(arrays["pictures"])


def test_samples_have_the_data_s_shape_and_depend_on_seed_and_number_alone(trained: Shell) -> None:
    five = pictures(trained, "--run", "shapes", "-n", 5, "--seed", 3, out="five.npz")
    assert five.shape == (5, 14, 20, 4) and five.dtype == np.uint8
    two = pictures(trained, "--run", "shapes", "-n", 5, "--seed", 3, "--batch-size", 2, out="two.npz")
    assert np.abs(five.astype(int) - two).max() <= 1
    assert not np.array_equal(five, pictures(trained, "--run", "shapes", "-n", 5, "--seed", 4, out="other.npz"))


def test_at_temperature_zero_all_samples_are_the_same(trained: Shell) -> None:
    cold = pictures(trained, "--run", "shapes", "-n", 3, "--temperature", 0, out="cold.npz")
    assert (cold == cold[0]).all()


def test_a_folder_and_a_tar_of_samples(trained: Shell) -> None:
    paths = trained.ok("sample", "vae", "--run", "shapes", "-n", 3, "--seed", 9, "-q").splitlines()
    assert len(paths) == 3
    assert all(Image.open(trained.cwd / path).size == (20, 14) for path in paths)
    again = trained("sample", "vae", "--run", "shapes", "-n", 3, "--seed", 9, "-q")
    assert again.returncode == 2 and "--force" in again.stderr


def test_encode_then_decode_is_reconstruct(trained: Shell) -> None:
    trained.ok("encode", "vae", "--run", "shapes", "--data", "demo:shapes?n=7&seed=5", "--out", "l.parquet", "-q")
    trained.ok("decode", "vae", "--run", "shapes", "--from", "l.parquet", "--out", "decoded.npz", "-q")
    direct = pictures(trained, "--run", "shapes", "--reconstruct", "demo:shapes?n=7&seed=5", out="direct.npz")
    with np.load(trained.cwd / "decoded.npz") as arrays:
        assert np.array_equal(arrays["pictures"], direct)
    assert direct.shape == (7, 14, 20, 4)
    few = trained("sample", "vae", "--run", "shapes", "--reconstruct", "demo:shapes?n=7&seed=5", "-n", 3, "--out", "few.npz")
    assert "the first 3 of 7 pictures; -n 7 takes all of them" in few.stderr
    with np.load(trained.cwd / "few.npz") as arrays:
        assert np.array_equal(arrays["pictures"], direct[:3])


def test_encode_gives_a_row_a_picture_with_its_score(trained: Shell) -> None:
    rows = lines(trained.ok("encode", "vae", "--run", "shapes", "--data", "demo:shapes?n=9&seed=5", "--json", "-q"))
    assert len(rows) == 9
    for row in rows:
        assert len(row["mean"]) == len(row["log_var"])
        assert row["bits_per_dim"] == pytest.approx(row["score"] / (14 * 20 * 4) / np.log(2), rel=1e-5)
        assert 0 <= row["percentile"] <= 100


def test_noise_scores_as_odder_than_what_was_learned(trained: Shell) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (4, 14, 20, 4), dtype=np.uint8)
    np.save(trained.cwd / "noise.npy", noise)
    rows = lines(trained.ok("encode", "vae", "--run", "shapes", "--data", "noise.npy", "--json", "-q"))
    assert [row["percentile"] for row in rows] == [100] * 4


def test_interpolation_ends_at_the_reconstructions_of_its_two_pictures(trained: Shell) -> None:
    drawn = pictures(trained, "--run", "shapes", "-n", 2, "--seed", 1, out="ends.npz")
    for name, pixels in zip("ab", drawn, strict=True):
        Image.fromarray(pixels).save(trained.cwd / f"{name}.png")
    way = pictures(trained, "--run", "shapes", "--interpolate", "a.png", "b.png", "-n", 5, out="way.npz")
    for picture, name in ((way[0], "a"), (way[-1], "b")):
        end = pictures(trained, "--run", "shapes", "--reconstruct", f"{name}.png", out=f"{name}.npz")[0]
        assert np.abs(picture.astype(int) - end).max() <= 1
    assert len(way) == 5


def test_traverse_has_a_row_a_latent(trained: Shell) -> None:
    rows = lines(trained.ok("sample", "vae", "--run", "shapes", "--traverse", "-n", 3, "--out", "t/", "--json", "-q"))
    latents = [row["latent"] for row in rows]
    assert len(rows) == 3 * len(set(latents)) and latents[0] == latents[1] == latents[2]
    nats = [row["nats"] for row in rows]
    assert nats == sorted(nats, reverse=True)


def test_a_class_that_was_learned_is_drawn_by_its_name(trained: Shell) -> None:
    dark = pictures(trained, "--run", "grey", "--label", "dark", "-n", 8, "--seed", 1, out="dark.npz")
    light = pictures(trained, "--run", "grey", "--label", "1", "-n", 8, "--seed", 1, out="light.npz")
    assert dark.mean() < light.mean()
    for label, words in (("dork", "did you mean 'dark'"), ("2", "no such class")):
        refused = trained("sample", "vae", "--run", "grey", "--label", label, "--out", "x.npz")
        assert refused.returncode == 2 and words in refused.stderr
    refused = trained("sample", "vae", "--run", "shapes", "--label", "dark", "--out", "x.npz")
    assert refused.returncode == 2 and "--conditional" in refused.stderr


def test_eval_measures_every_held_out_picture_once(trained: Shell) -> None:
    result = json.loads(trained.ok("eval", "vae", "--run", "shapes", "--k", 8, "--json", "-q"))
    held_out = json.loads((trained.cwd / "runs/vae/shapes/run.json").read_text())["data"]["splits"]["report"]["pictures"]
    for key in ("nll", "elbo", "rate", "distortion", "bits_per_dim", "psnr", "ssim"):
        assert result[key]["n"] == held_out, key
    assert result["nll"]["value"] <= -result["elbo"]["value"]
    assert -result["elbo"]["value"] == pytest.approx(result["rate"]["value"] + result["distortion"]["value"], rel=1e-5)
    assert result["bits_per_dim"]["value"] == pytest.approx(result["nll"]["value"] / (14 * 20 * 4) / np.log(2))
    assert 1 <= result["nll"]["effective_samples"] <= 8
    assert set(result["mig"]["factors"]) >= {"shape", "colour", "x", "y"}
    assert 0 <= result["mmd"]["p_value"] <= 1
    for key in ("fd_random", "kd_random", "precision", "recall", "density", "coverage", "copies"):
        assert result[key]["n"] == held_out and result[key]["features"] == "random", key
        assert result[key]["floor"]["n"] == held_out, key
    assert result["fd_random"]["value"] > result["fd_random"]["floor"]["value"]


def test_eval_of_samples_by_a_classifier_with_a_sheet_of_the_nearest(trained: Shell) -> None:
    asked = ("eval", "vae", "--run", "grey", "--k", 2, "--data", "grey", "--samples", 80)
    result = json.loads(trained.ok(*asked, "--features", "labels", "--copies", "near.png", "--json", "-q"))
    assert result["class_shares"]["n"] == result["fd_labels"]["n"] == 80
    assert result["fd_labels"]["accuracy"]["value"] > 0.9
    assert set(result["class_shares"]["shares"]) == {"dark", "light"}
    assert Image.open(trained.cwd / "near.png").size == (8 * (8 * 12 + 2) - 2,) * 2  # eight times as large
    refused = trained(*asked, "--copies", "near.png")
    assert refused.returncode == 2 and "--force" in refused.stderr


def test_eval_without_samples(trained: Shell) -> None:
    result = json.loads(trained.ok("eval", "vae", "--run", "shapes", "--k", 2, "--samples", 0, "--json", "-q"))
    assert "nll" in result and not {"fd_random", "copies"} & set(result)


def test_eval_of_other_pictures_and_in_another_batch_size(trained: Shell) -> None:
    one, other = (
        json.loads(
            trained.ok("eval", "vae", "--run", "shapes", "--data", "demo:shapes?n=50&seed=8", "--batch-size", b, "--json", "-q")
        )
        for b in (64, 7)
    )
    assert one["elbo"]["n"] == other["elbo"]["n"] == 50
    assert one["psnr"]["value"] == pytest.approx(other["psnr"]["value"], rel=1e-3)


def test_binarised_pictures(trained: Shell) -> None:
    trained.ok("train", "vae", "--data", "grey", "--binarise", "dynamic", *SMALL, "40", "--run", "binary", "-q")
    record = json.loads((trained.cwd / "runs/vae/binary/run.json").read_text())
    assert record["plan"]["likelihood"] == "bernoulli"
    result = json.loads(trained.ok("eval", "vae", "--run", "binary", "--k", 4, "--json", "-q"))
    # Two grey levels of independent pixels: no model can be below the entropy of a pixel drawn from them.
    assert 0.3 * 144 < result["nll"]["value"] < 144


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", SHAPES, "--size", "big"], "--size big: give a side in pixels"),
        (["--data", "plain.npy", "--conditional"], "has no labels"),
        (["--data", SHAPES, "--likelihood", "bernoulli"], "--binarise dynamic"),
        (["--data", SHAPES, "--binarise", "dynamic", "--likelihood", "gaussian"], "leave out --likelihood"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(module_shell: Shell, arguments: list[str], words: str) -> None:
    np.save(module_shell.cwd / "plain.npy", np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8))
    before = sorted(module_shell.cwd.rglob("*"))
    done = module_shell("train", "vae", *arguments, "--steps", "3")
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert sorted(module_shell.cwd.rglob("*")) == before


def test_a_tar_on_standard_output(trained: Shell, tmp_path: Path) -> None:
    import subprocess

    from conftest import AIGC

    done = subprocess.run(
        [*AIGC, "sample", "vae", "--run", "shapes", "-n", "3", "--out", "-", "-q"],
        cwd=trained.cwd, env=dict(trained.env), capture_output=True, check=True,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        members = archive.getmembers()
        assert len(members) == 3
        file = archive.extractfile(members[0])
        assert file is not None and Image.open(file).size == (20, 14)
