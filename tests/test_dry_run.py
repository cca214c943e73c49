"""`train --dry-run`: training does what it prints, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Shell, settled
from PIL import Image

from aigc_cli.engine.planning.budget import Costs, expected_seconds
from aigc_cli.engine.settings import Plan, TrainOptions
from aigc_cli.ui.text import cut

ASKED = {
    "toy": ["toy"],
    "transformer": [
        "transformer",
        "--data",
        "poems.tsv",
        "--preset",
        "nano",
        "--d-model",
        "32",
        "--n-layers",
        "1",
        "--context",
        "16",
    ],
    "gan": ["gan", "--data", "demo:shapes?n=300", "--size", "12", "--preset", "nano"],
    "vae": ["vae", "--data", "demo:shapes?n=300", "--size", "12", "--preset", "nano"],
}


@pytest.mark.parametrize("name", ASKED)
def test_the_printed_plan_is_the_one_trained_and_no_run_is_created(name: str, shell: Shell, poems: Path) -> None:
    before = sorted(shell.cwd.rglob("*"))
    said = json.loads(shell.ok("train", *ASKED[name], "--steps", "3", "--dry-run", "--json"))
    assert sorted(shell.cwd.rglob("*")) == before
    made = json.loads(shell.ok("train", *ASKED[name], "--steps", "3", "--json"))
    record = json.loads((shell.cwd / made["run"] / "run.json").read_text())
    assert said["steps"] == made["steps"] == 3
    assert said["plan"] | {"minutes": None} == record["plan"]
    assert (said["data"], said["reasons"], said["device"]) == (record["data"], record["reasons"], record["device"])
    assert said["seconds"] > 0 and said["memory"] > 50e6 and said["parameters"] > 0


def test_the_printed_time_is_the_budget(shell: Shell) -> None:
    said = json.loads(shell.ok("train", "toy", "--minutes", "1", "--dry-run", "--json"))
    assert 20 < said["seconds"] <= 60
    assert said["steps"] > 100


def test_a_person_sees_examples_of_the_data(shell: Shell, poems: Path) -> None:
    lines = [
        line.split("\t")
        for line in shell.ok("train", *ASKED["transformer"], "--steps", "3", "--dry-run", COLUMNS="200").splitlines()
    ]
    texts = {line.split("\t")[1] for line in poems.read_text().splitlines()}
    examples = [value for name, value in lines if name == "example"]
    assert [example.split(" (")[0] for example in examples] == ["first", "longest", "shortest"]
    assert texts.issuperset(example.partition(": ")[2] for example in examples)
    assert "documents" in dict(map(tuple, lines))["train"]
    pictures = shell.ok("train", *ASKED["gan"], "--steps", "3", "--dry-run")
    assert "example\tfirst (triangle): row 0\n" in pictures
    assert pictures.count("example\tof a class") == 3  # and the first picture


def test_examples_of_texts_are_one_line_and_cut_to_the_terminal_but_whole_in_json(shell: Shell) -> None:
    texts = ["b", "春眠不覺曉" * 20, *(f"the fox went over hill number {number}" for number in range(60)), "one\n\ttwo" * 80]
    rows = "\n".join(json.dumps({"text": text}) for text in texts)
    (shell.cwd / "a.jsonl").write_text(rows)
    asked = ["train", *ASKED["transformer"], "--data", "a.jsonl", "--steps", "1", "--dry-run"]
    found = json.loads(shell.ok(*asked, "--json"))
    assert found["which"] == ["first and shortest (1 character, row 1)", "longest (640 characters, row 63)"]
    assert found["examples"] == [texts[0], texts[-1]]
    (shell.cwd / "one.txt").write_text("\n".join(texts[2:]))
    told = shell("train", *ASKED["transformer"], "--data", "one.txt", "--steps", "1", "--dry-run")
    assert "example\tfirst, longest and shortest (" in told.stdout and "train\t1 document, " in told.stdout
    assert "1 step (about " in told.stderr
    lines = [line for line in shell.ok(*asked, COLUMNS="56").splitlines() if line.startswith("example\t")]
    assert lines == [
        "example\tfirst and shortest (1 character, row 1): b",
        "example\tlongest (640 characters, row 63): one\\n\\ttwoone…",
    ]


def test_examples_of_pictures_are_the_largest_and_smallest_files_and_one_of_each_class(shell: Shell) -> None:
    rng = np.random.default_rng(0)
    for number in range(30):
        path = shell.cwd / "d" / ("cat" if number < 20 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 20 if number in (5, 6, 7) else 12 if number in (25, 26, 27) else 16  # some of them are trained on
        Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(path)
    asked = ["train", *ASKED["vae"], "--data", "d", "--steps", "1", "--dry-run", "--json"]
    found = json.loads(shell.ok(*asked))
    assert found["which"] == ["first (16×16, cat)", "largest file (20×20, cat)", "smallest file (12×12, dog)"]
    assert found["examples"][0] == "cat/00.png"
    assert any("training pictures: expect near copies" in reason for reason in found["reasons"])


def test_epochs_follow_the_steps(shell: Shell) -> None:
    """279 training pictures in batches of 93."""
    asked = ["train", *ASKED["gan"], "--batch-size", "93", "--dry-run", "--json"]
    said = json.loads(shell.ok(*asked, "--steps", "6"))
    assert said["reasons"][-1] == "6 steps (about 2 epochs)"


def test_reasons_are_told_once(shell: Shell) -> None:
    asked = ["train", *ASKED["vae"], "--steps", "3", "--dry-run"]
    said = shell(*asked)
    assert (said.stdout + said.stderr).count("likelihood: ") == 1
    quiet = shell(*asked, "-q")
    assert (quiet.stdout.count("reason\tlikelihood: "), quiet.stderr) == (1, "")


@pytest.mark.parametrize(
    ("text", "line"),
    [("abc", "abc"), ("abcd", "ab…"), ("春", "春"), ("春眠", "春…"), ("a春眠", "a…"), ("e\u0301bc", "e\u0301bc"), ("", "")],
)
def test_a_line_is_cut_by_columns(text: str, line: str) -> None:
    assert cut(text, 3) == line


def test_it_is_of_a_new_run_and_refuses_what_training_would(shell: Shell) -> None:
    resumed = shell("train", "toy", "--resume", "--dry-run")
    assert (resumed.returncode, resumed.stderr) == (2, "aigc: --dry-run is of a new run: leave out --resume\n")
    missing = shell("train", "transformer", "--data", "none.txt", "--dry-run")
    assert missing.returncode == 2 and "none.txt" in missing.stderr


def test_the_text_of_a_pipe_is_read_and_left_nowhere(shell: Shell, tmp_path: Path) -> None:
    texts = "".join(f"the fox went over hill number {number}\n" for number in range(60))
    asked = ["transformer", "--data", "-", "--d-model", "32", "--n-layers", "1", "--context", "16", "--steps", "3"]
    assert "the fox" in shell.ok("train", *asked, "--dry-run", input=texts, TMPDIR=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("torchinductor")] == []  # is PyTorch's


def test_what_steps_evaluations_and_checkpoints_take_together() -> None:
    options = settled(TrainOptions(steps=100, eval_every=40, eval_items=10))
    plan = Plan.of(options, batch_size=1, lr=1.0)
    assert expected_seconds(plan, Costs(step=1.0, eval_item=0.1, look=2.0, save=3.0)) == 100 + 3 * (2 + 1 + 3)
