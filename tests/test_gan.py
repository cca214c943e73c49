"""The GAN through its commands, on the shapes that the package draws."""

from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest
from conftest import Shell
from PIL import Image
from safetensors.numpy import load_file

from aigc_cli.engine.runs.run import open_run

SHAPES = "demo:shapes?n=600"
SMALL = ["--preset", "nano", "--batch-size", "32", "--threads", "1", "--steps"]


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    """A run of 20×14 RGBA shapes, and one of grey pictures that knows their classes."""
    module_shell.ok(
        "train", "gan", "--data", SHAPES, "--size", "20x14", "--mode", "RGBA", *SMALL, "40", "--run", "shapes", "-q"
    )
    draw = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 210)):
        folder = module_shell.cwd / "grey" / name
        folder.mkdir(parents=True)
        for i in range(150):
            pixels = np.clip(level + draw.normal(0, 20, (12, 12)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:03}.png")
    module_shell.ok("train", "gan", "--data", "grey", "--conditional", *SMALL, "120", "--run", "grey", "-q")
    return module_shell


def pictures(shell: Shell, *arguments: object, out: str) -> np.ndarray:
    shell.ok("sample", "gan", *arguments, "--out", out, "--force", "-q")
    with np.load(shell.cwd / out) as arrays:
        return np.asarray(arrays["pictures"])


def test_samples_have_the_data_s_shape_and_depend_on_seed_and_number_alone(trained: Shell) -> None:
    five = pictures(trained, "--run", "shapes", "-n", 5, "--seed", 3, out="five.npz")
    assert five.shape == (5, 14, 20, 4) and five.dtype == np.uint8
    two = pictures(trained, "--run", "shapes", "-n", 5, "--seed", 3, "--batch-size", 2, out="two.npz")
    assert np.abs(five.astype(int) - two).max() <= 1
    assert not np.array_equal(five, pictures(trained, "--run", "shapes", "-n", 5, "--seed", 4, out="other.npz"))


def test_a_seed_is_a_picture(trained: Shell) -> None:
    """The same one, under the same name, alone or among others."""
    paths = trained.ok("sample", "gan", "--run", "shapes", "--seeds", "7-9,3", "-q").splitlines()
    assert [path.rpartition("/")[2] for path in paths] == [f"seed-{seed}-000000.png" for seed in (7, 8, 9, 3)]
    together = [np.asarray(Image.open(trained.cwd / path)).astype(int) for path in paths]
    for seed, picture in zip((7, 8, 9, 3), together, strict=True):
        alone = pictures(trained, "--run", "shapes", "-n", 1, "--seed", seed, out="alone.npz")[0]
        assert np.abs(picture - alone).max() <= 1


def test_interpolation_between_seeds_starts_and_ends_at_their_pictures(trained: Shell) -> None:
    way = pictures(trained, "--run", "shapes", "--interpolate", 3, 8, "-n", 5, out="way.npz").astype(int)
    ends = pictures(trained, "--run", "shapes", "--seeds", "3,8", out="ends.npz")
    assert len(way) == 5
    assert np.abs(way[0] - ends[0]).max() <= 1 and np.abs(way[-1] - ends[1]).max() <= 1
    steps = np.abs(np.diff(way, axis=0)).mean((1, 2, 3))
    assert steps.max() < np.abs(way[0] - way[-1]).mean()


def test_truncated_to_nothing_all_samples_of_a_class_or_cluster_are_the_same(trained: Shell) -> None:
    cut = pictures(trained, "--run", "grey", "--label", "light", "-n", 3, "--truncation", 0, out="cut.npz")
    assert (cut == cut[0]).all()
    cut = pictures(trained, "--run", "shapes", "-n", 40, "--truncation", 0, out="cut.npz")
    assert 1 < len(np.unique(cut.reshape(40, -1), axis=0)) <= 10


def test_clusters_are_found_where_there_are_no_classes_and_kept_with_the_model(trained: Shell) -> None:
    shapes, grey = (open_run(trained.cwd / "runs/gan" / name) for name in ("shapes", "grey"))
    assert (shapes.record["plan"]["clusters"], grey.record["plan"]["clusters"]) == (10, 0)
    assert json.loads((shapes.model / "config.json").read_text())["n_clusters"] == 10
    assert "n_clusters" not in json.loads((grey.model / "config.json").read_text())
    (trained.cwd / "old.json").write_text(
        json.dumps({"plan": {k: v for k, v in shapes.record["plan"].items() if k != "clusters"}})
    )
    plan = json.loads(trained.ok("train", "gan", "--config", "old.json", "--dry-run", "--json", "-q"))["plan"]
    assert plan["clusters"] == 0  # as before there were any
    shares = load_file(shapes.model / "model.safetensors")["shares"]
    assert shares.shape == (10,) and shares.min() >= 0 and shares.sum() == pytest.approx(1, abs=1e-4)


def test_a_class_is_sampled_by_name(trained: Shell) -> None:
    dark = pictures(trained, "--run", "grey", "--label", "dark", "-n", 8, "--seed", 1, out="dark.npz")
    light = pictures(trained, "--run", "grey", "--label", "1", "-n", 8, "--seed", 1, out="light.npz")
    assert dark.mean() < light.mean()
    for label, words in (("dork", "did you mean 'dark'"), ("2", "no such class")):
        refused = trained("sample", "gan", "--run", "grey", "--label", label, "--out", "x.npz")
        assert refused.returncode == 2 and words in refused.stderr
    refused = trained("sample", "gan", "--run", "shapes", "--label", "dark", "--out", "x.npz")
    assert refused.returncode == 2 and "--conditional" in refused.stderr


def test_without_a_label_the_classes_take_turns(trained: Shell) -> None:
    lines = trained.ok("sample", "gan", "--run", "grey", "--seed", 6, "-n", 4, "--out", "turns/", "--json", "-q").splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["dark", "light", "dark", "light"]
    lines = trained.ok("sample", "gan", "--run", "grey", "--seeds", "6-8", "--out", "more/", "--json", "-q").splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["dark", "light", "dark"]


def test_samples_into_a_tar_and_onto_a_sheet(trained: Shell) -> None:
    trained.ok("sample", "gan", "--run", "shapes", "-n", 130, "--seed", 1, "--out", "many.tar", "-q")
    with tarfile.open(trained.cwd / "many.tar") as archive:
        assert len(archive.getmembers()) == 130
    trained.ok("sample", "gan", "--run", "shapes", "--interpolate", 1, 2, "-n", 4, "--out", "way.png", "-q")
    assert Image.open(trained.cwd / "way.png").size == (4 * (4 * 20 + 2) - 2, 4 * 14)  # four times as large


def test_previews_are_of_the_same_latents_and_metrics_tell_how_it_goes(trained: Shell) -> None:
    run = trained.cwd / "runs/gan/shapes"
    previews = sorted((run / "samples").glob("*.png"))
    assert len(previews) == 2
    assert {Image.open(path).size for path in previews} == {(8 * 22 - 2, 8 * 16 - 2)}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (report, *_) = [line for line in lines if line["event"] == "trained"]
    assert {"discriminator_loss", "generator_loss", "discriminator_grad_norm", "generator_grad_norm", "margin"} <= set(report)
    (look, *_) = [line for line in lines if line["event"] == "evaluated"]
    assert {"kd_random", "spread", "margin_train", "margin_held_out", "augmentation"} <= set(look)


def test_eval_measures_samples_with_a_floor_and_the_discriminator(trained: Shell) -> None:
    result = json.loads(trained.ok("eval", "gan", "--run", "shapes", "-n", 50, "--json", "-q"))
    held_out = json.loads((trained.cwd / "runs/gan/shapes/run.json").read_text())["data"]["splits"]["report"]["pictures"]
    for key in ("fd_random", "kd_random", "precision", "recall", "density", "coverage", "copies"):
        assert result[key]["n"] == min(50, held_out) and "floor" in result[key], key
    assert result["kd_random"]["value"] > result["kd_random"]["floor"]["value"]
    assert result["margin"]["n"] == held_out < result["margin"]["train"]["n"]
    assert result["margin"]["value"] > 0  # after so few steps anything real looks more real than a sample


def test_eval_of_other_pictures_and_without_samples(trained: Shell) -> None:
    result = json.loads(
        trained.ok("eval", "gan", "--run", "shapes", "--data", "demo:shapes?n=40&seed=8", "-n", 0, "--json", "-q")
    )
    assert set(result) == {"version", "run", "data", "margin"}
    assert result["margin"]["n"] == 40


def test_the_margin_of_a_conditional_model_is_of_labelled_pictures(trained: Shell) -> None:
    asked = ("eval", "gan", "--run", "grey", "--samples", 0, "--json", "--data")
    assert json.loads(trained.ok(*asked, "grey"))["margin"]["n"] == 300
    done = trained(*asked, "grey/dark")  # without its folder, a picture's class is not known
    assert "margin" not in json.loads(done.stdout)
    assert "no margin: the pictures have no labels, but the model was trained only on labelled pictures" in done.stderr


def test_a_learning_rate_that_diverges_ends_in_one_line_and_leaves_the_last_good_model(trained: Shell) -> None:
    done = trained(
        "train", "gan", "--data", SHAPES, "--size", "9", "--lr", "1e9", "--warmup", "0", *SMALL, "60", "--run", "wild"
    )
    assert done.returncode == 1
    assert "try a smaller --lr" in done.stderr.splitlines()[-1]
    assert sum("at half the learning rate" in line for line in done.stderr.splitlines()) == 3


def test_two_pictures_and_one_of_each_class_are_enough_to_train(module_shell: Shell) -> None:
    draw = np.random.default_rng(0)
    for name in "abc":
        (module_shell.cwd / "few" / name).mkdir(parents=True)
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(module_shell.cwd / "few" / name / "1.png")
    done = module_shell("train", "gan", "--data", "few", "--conditional", *SMALL, "4", "--run", "few")
    assert done.returncode == 0, done.stderr
    assert "training pictures: expect near copies of them" in done.stderr
    assert pictures(module_shell, "--run", "few", "--label", "b", "-n", 1, out="few.npz").shape == (1, 8, 8, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "gan", "--data", "nowhere"], "nowhere"),
        (["train", "gan", "--data", SHAPES, "--augment", "much"], "--augment must be auto, off or a number from 0 to 0.8, not 'much'"),
        (["train", "gan", "--data", SHAPES, "--objective", "wgan"], "--objective must be one of r3, minimax, non-saturating, hinge"),
        (["train", "gan", "--data", SHAPES, "--tile", "--clusters", "8"], "--clusters and --tile can't be used together"),
        (["sample", "gan", "--run", "shapes", "--seeds", "1-x"], "--seeds 1-x: give whole numbers or ranges, such as 1-100,200"),
        (["sample", "gan", "--run", "shapes", "--seeds", "1-3", "--seed", "9"], "--seed and --seeds can't be used together"),
        (["sample", "gan", "--run", "shapes", "--interpolate", "a", "b"], "--interpolate a: give whole numbers"),
        (["encode", "gan", "--data", SHAPES], "the gan backend has no 'encode'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_wrong_request_is_one_line_and_leaves_nothing(trained: Shell, arguments: list[str], words: str) -> None:
    before = sorted(trained.cwd.rglob("*"))
    done = trained(*arguments)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert sorted(trained.cwd.rglob("*")) == before


def test_the_suggested_command_draws_a_class(trained: Shell) -> None:
    assert open_run(trained.cwd / "runs/gan/shapes").first_sample == "-n 4"
    assert open_run(trained.cwd / "runs/gan/grey").first_sample == "--label dark -n 4"
