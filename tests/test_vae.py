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

from aigc_cli.engine.runs.run import open_run
from aigc_cli.metrics.pictures.reconstruction import psnr, ssim

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
    assert "the first 3 of 7 pictures; for all of them, use -n 7" in few.stderr
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


def test_a_class_is_sampled_by_name(trained: Shell) -> None:
    dark = pictures(trained, "--run", "grey", "--label", "dark", "-n", 8, "--seed", 1, out="dark.npz")
    light = pictures(trained, "--run", "grey", "--label", "1", "-n", 8, "--seed", 1, out="light.npz")
    assert dark.mean() < light.mean()
    for label, words in (("dork", "did you mean 'dark'"), ("2", "no such class")):
        refused = trained("sample", "vae", "--run", "grey", "--label", label, "--out", "x.npz")
        assert refused.returncode == 2 and words in refused.stderr
    refused = trained("sample", "vae", "--run", "shapes", "--label", "dark", "--out", "x.npz")
    assert refused.returncode == 2 and "--conditional" in refused.stderr


def test_pictures_are_reconstructed_as_of_their_own_class(trained: Shell) -> None:
    both = pictures(trained, "--run", "grey", "--reconstruct", "grey", "-n", 300, out="both.npz")
    for label, its in (("dark", both[:4]), ("light", both[150:154])):
        asked = ("--run", "grey", "--reconstruct", f"grey/{label}", "-n", 4, "--label")
        assert np.array_equal(pictures(trained, *asked, label, out=f"own-{label}.npz"), its)
    assert not np.array_equal(pictures(trained, *asked, "dark", out="other-class.npz"), its)


def test_encoded_labels_are_decoded_by(trained: Shell) -> None:
    direct = pictures(trained, "--run", "grey", "--reconstruct", "grey", "-n", 300, out="by-label.npz")
    for name in ("z.tsv", "z.jsonl", "z.npz", "z.parquet"):
        trained.ok("encode", "vae", "--run", "grey", "--data", "grey", "--k", 1, "--out", name, "-q")
        trained.ok("decode", "vae", "--run", "grey", "--from", name, "--out", f"{name}.out.npz", "-q")
        with np.load(trained.cwd / f"{name}.out.npz") as arrays:
            assert np.array_equal(arrays["pictures"], direct), name
    assert (trained.cwd / "z.tsv").read_text().splitlines()[0].startswith("name\tlabel\tscore\t")
    table = [line.split("\t") for line in (trained.cwd / "z.tsv").read_text().splitlines()]
    (trained.cwd / "bare.tsv").write_text("".join("\t".join([row[0], *row[2:]]) + "\n" for row in table[:5]))
    refused = trained("decode", "vae", "--run", "grey", "--from", "bare.tsv", "--out", "bare.npz")
    assert refused.returncode == 2
    assert "bare.tsv: there is no column 'label'" in refused.stderr and "--label" in refused.stderr
    trained.ok("decode", "vae", "--run", "grey", "--from", "bare.tsv", "--label", "dark", "--out", "bare.npz", "-q")
    with np.load(trained.cwd / "bare.npz") as arrays:
        assert np.array_equal(arrays["pictures"], direct[:4])
    (trained.cwd / "bare.tsv").write_text((trained.cwd / "z.tsv").read_text().replace("\tdark\t", "\tdusk\t", 1))
    refused = trained("decode", "vae", "--run", "grey", "--from", "bare.tsv", "--out", "dusk.npz")
    assert refused.returncode == 2 and "label 'dusk': the model has no such class" in refused.stderr


def test_a_picture_of_no_known_class_is_refused_by_a_model_of_labelled_ones(trained: Shell) -> None:
    one = "grey/dark/000.png"
    for verb, *asked in (
        ("sample", "--reconstruct", one, "--out", "no.npz"),
        ("sample", "--interpolate", one, one, "--out", "no.npz"),
        ("encode", "--data", "grey/dark", "--out", "no.tsv"),
        ("eval", "--data", "grey/dark", "-n", 0),
    ):
        refused = trained(verb, "vae", "--run", "grey", *asked)
        assert refused.returncode == 2, verb
        line = refused.stderr.splitlines()[-1]
        assert "trained only on labelled pictures" in line and "--label" in line
    assert pictures(trained, "--run", "grey", "--reconstruct", one, "--label", "dark", out="one.npz").shape == (1, 12, 12, 1)


def test_interpolation_and_traversal_have_a_class(trained: Shell) -> None:
    for name, label in (("first", "dark"), ("last", "light")):
        (trained.cwd / name / label).mkdir(parents=True)
        source = trained.cwd / "grey" / label / "007.png"
        (trained.cwd / name / label / "007.png").write_bytes(source.read_bytes())
    asked = ("sample", "vae", "--run", "grey", "--interpolate", "first", "last", "-n", 4, "--json", "-q", "--out")
    assert [row["label"] for row in lines(trained.ok(*asked, "way"))] == ["dark", "dark", "light", "light"]
    way = [np.asarray(Image.open(trained.cwd / "way" / f"way-{i:06d}.png")).astype(int) for i in range(4)]
    for picture, end in ((way[0], "first"), (way[-1], "last")):
        whole = pictures(trained, "--run", "grey", "--reconstruct", end, out=f"{end}.npz")[0, ..., 0]
        assert np.abs(picture - whole).max() <= 1
    rows = lines(trained.ok("sample", "vae", "--run", "grey", "--traverse", "-n", 2, "--out", "common", "--json", "-q"))
    assert len({row["label"] for row in rows}) == 1
    asked = ("sample", "vae", "--run", "grey", "--traverse", "-n", 2, "--json", "-q", "--label")
    levels = {}
    for label in ("dark", "light"):
        rows = lines(trained.ok(*asked, label, "--out", f"along-{label}"))
        assert {row["label"] for row in rows} == {label}
        levels[label] = np.mean([np.asarray(Image.open(trained.cwd / str(row["path"]))) for row in rows])
    assert levels["dark"] < levels["light"]


def test_reconstructions_are_measured_with_their_own_labels(trained: Shell) -> None:
    measured = json.loads(trained.ok("eval", "vae", "--run", "grey", "--k", 1, "--data", "grey", "-n", 0, "--json", "-q"))
    found = pictures(trained, "--run", "grey", "--reconstruct", "grey", "-n", 300, out="measured.npz")
    files = [trained.cwd / "grey" / label / f"{i:03}.png" for label in ("dark", "light") for i in range(150)]
    real = np.stack([np.asarray(Image.open(file))[..., None] for file in files])
    assert measured["psnr"]["value"] == pytest.approx(np.median(psnr(real, found)), rel=1e-6)
    assert measured["ssim"]["value"] == pytest.approx(np.mean(ssim(real, found)), rel=1e-6)


def test_a_model_that_saw_unlabelled_pictures_takes_them(trained: Shell) -> None:
    draw = np.random.default_rng(0)
    for i in range(120):
        label = ("dark", "light", "")[i % 3]
        pixels = np.clip({"dark": 40, "light": 210, "": 120}[label] + draw.normal(0, 20, (12, 12)), 0, 255).astype(np.uint8)
        (trained.cwd / "partly" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(trained.cwd / "partly" / label / f"{i:03}.png")
    trained.ok("train", "vae", "--data", "partly", "--conditional", *SMALL, "20", "--run", "partly", "-q")
    assert pictures(trained, "--run", "partly", "--reconstruct", "grey/dark/000.png", out="p.npz").shape == (1, 12, 12, 1)
    rows = trained.ok("encode", "vae", "--run", "partly", "--data", "partly", "--k", 1, "--json", "-q")
    assert {row["label"] for row in lines(rows)} == {"dark", "light", None}


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
    asked = ("eval", "vae", "--run", "grey", "--k", 2, "--data", "grey", "-n", 80)
    result = json.loads(trained.ok(*asked, "--features", "labels", "--copies", "near.png", "--json", "-q"))
    assert result["class_shares"]["n"] == result["fd_labels"]["n"] == 80
    assert result["fd_labels"]["accuracy"]["value"] > 0.9
    assert set(result["class_shares"]["shares"]) == {"dark", "light"}
    assert Image.open(trained.cwd / "near.png").size == (8 * (8 * 12 + 2) - 2,) * 2  # eight times as large
    refused = trained(*asked, "--copies", "near.png")
    assert refused.returncode == 2 and "--force" in refused.stderr


def test_eval_without_samples(trained: Shell) -> None:
    result = json.loads(trained.ok("eval", "vae", "--run", "shapes", "--k", 2, "-n", 0, "--json", "-q"))
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
        (["--data", SHAPES, "--binarise", "dynamic", "--likelihood", "gaussian"], "remove --likelihood"),
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


def test_the_suggested_command_draws_a_class(trained: Shell) -> None:
    assert open_run(trained.cwd / "runs/vae/shapes").first_sample == "-n 4"
    assert open_run(trained.cwd / "runs/vae/grey").first_sample == "--label dark -n 4"
