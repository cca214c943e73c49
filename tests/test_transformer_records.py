"""`aigc train transformer` on records of texts and pictures, from a table to pictures from words and words from pictures."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Shell, make_shell
from PIL import Image

from aigc_cli.backends.transformer.config import DecoderOnlyPlan
from aigc_cli.backends.transformer.decoder_only.model import load_pretrained
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220)}
SMALL = ["--steps", "30", "--preset", "nano", "--d-model", "32", "--n-layers", "2", "--batch-size", "8", "--threads", "1"]


def squares(folder: Path, n: int = 60) -> Path:
    """A table of captions and the names of n pictures of coloured squares, no two of them equal."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir(parents=True)
    lines = ["picture\tcaption"]
    for number in range(n):
        name, colour = list(COLOURS.items())[number % 3]
        pixels = np.full((16, 16, 3), 255, np.uint8)
        x, y = rng.integers(0, 8, 2)
        pixels[y : y + 7, x : x + 7] = colour
        pixels[0, 0] = number
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
        lines.append(f"pictures/{number}.png\ta {name} square")
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    return folder / "captions.tsv"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, toy_path: Path, shared_cache: Path) -> Shell:
    return make_shell(tmp_path_factory.mktemp("records"), toy_path, shared_cache)


@pytest.fixture(scope="module")
def table(shell: Shell) -> Path:
    return squares(shell.cwd / "data")


@pytest.fixture(scope="module")
def painter(shell: Shell, table: Path) -> str:
    """A run that draws from captions; its codec was trained first."""
    done = shell("train", "transformer", "--data", table, "--fields", "caption,picture", "--run", "painter", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "first, a codec" in done.stderr
    return "painter"


@pytest.fixture(scope="module")
def codec(shell: Shell, painter: str) -> Path:
    (run,) = (shell.cwd / "runs" / "vae").iterdir()
    return run


@pytest.fixture(scope="module")
def namer(shell: Shell, table: Path, codec: Path) -> str:
    shell.ok(
        "train", "transformer", "--data", table, "--fields", "picture,caption", "--run", "namer", "--codec", codec.name, *SMALL
    )
    return "namer"


@pytest.fixture(scope="module")
def asker(shell: Shell, table: Path, codec: Path) -> str:
    """A run that answers three questions about each picture."""
    lines = ["picture\tquestion\tanswer"]
    for number in range(60):
        colour, other = [*COLOURS][number % 3], [*COLOURS][(number + number % 2) % 3]
        for question, answer in (
            ("what colour is it?", colour),
            (f"is it {other}?", "no" if number % 2 else "yes"),
            ("what is it?", f"{colour} square"),
        ):
            lines.append(f"pictures/{number}.png\t{question}\t{answer}")
    questions = table.parent / "questions.tsv"
    questions.write_text("\n".join(lines) + "\n")
    arguments = ["--fields", "picture,question,answer", "--run", "asker", "--codec", codec.name, *SMALL]
    shell.ok("train", "transformer", "--data", questions, *arguments)
    return "asker"


def record(shell: Shell, run: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((shell.cwd / "runs" / "transformer" / run / "run.json").read_text())
    return content


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_run_says_what_its_records_are(shell: Shell, painter: str, codec: Path) -> None:
    data = record(shell, painter)["data"]
    assert isinstance(data, dict)
    assert data["fields"] == [{"name": "caption", "kind": "text"}, {"name": "picture", "kind": "pictures"}]
    assert data["kind"] == "pictures"
    reasons = record(shell, painter)["reasons"]
    assert any("codes of" in reason for reason in reasons)  # type: ignore[attr-defined]
    assert json.loads((codec / "run.json").read_text())["status"] == "finished"


def test_the_codec_of_the_same_request_is_used_again(shell: Shell, table: Path, painter: str, codec: Path) -> None:
    done = shell("train", "transformer", "--data", table, "--fields", "caption,picture", "--run", "again", *SMALL)
    assert done.returncode == 0
    assert f"is there already: {codec.relative_to(shell.cwd)}" in done.stderr
    assert re.search(r", trained for \d+ steps$", done.stderr, re.M)
    assert [run.name for run in (shell.cwd / "runs" / "vae").iterdir()] == [codec.name]


def test_pictures_are_drawn_from_words(shell: Shell, painter: str) -> None:
    arguments = ["sample", "transformer", "--run", painter, "--given", "caption=a red square", "-n", "3", "--seed", "7"]
    lines = shell.ok(*arguments, "--json").splitlines()
    samples = [json.loads(line) for line in lines]
    assert [sample["index"] for sample in samples] == [0, 1, 2]
    assert {sample["caption"] for sample in samples} == {"a red square"}
    drawn = [pixels(shell.cwd / sample["path"]) for sample in samples]
    assert {picture.shape for picture in drawn} == {(16, 16, 3)}
    shell.ok(*arguments, "--out", "sheet.png")
    assert (shell.cwd / "sheet.png").exists()
    shell.ok(*arguments, "--out", "guided.npz", "--guidance", "3")
    shell.ok(*arguments, "--out", "plain.npz")
    with np.load(shell.cwd / "plain.npz") as plain, np.load(shell.cwd / "guided.npz") as guided:
        key = next(name for name in plain.files if plain[name].ndim == 4)
        assert np.array_equal(plain[key], np.stack(drawn))
        assert not np.array_equal(plain[key], guided[key])


def test_without_words_a_caption_is_drawn_too(shell: Shell, painter: str) -> None:
    (line,) = shell.ok(
        "sample", "transformer", "--run", painter, "-n", "1", "--seed", "3", "--json", "--out", "free/", "--temperature", "0.5"
    ).splitlines()
    assert set(json.loads(line)) == {"path", "seed", "index", "caption"}


def test_a_run_is_whole_without_its_codecs_run(
    shell: Shell, painter: str, tmp_path: Path, toy_path: Path, shared_cache: Path
) -> None:
    arguments = ["--given", "caption=a blue square", "-n", "2", "--seed", "1"]
    shell.ok("sample", "transformer", "--run", painter, *arguments, "--out", "here.npz")
    elsewhere = make_shell(tmp_path, toy_path, shared_cache)
    shutil.copytree(shell.cwd / "runs" / "transformer" / painter, tmp_path / "runs" / "transformer" / painter, symlinks=True)
    elsewhere.ok("sample", "transformer", "--run", painter, *arguments, "--out", "there.npz")
    with np.load(shell.cwd / "here.npz") as here, np.load(elsewhere.cwd / "there.npz") as there:
        assert all(np.array_equal(here[name], there[name]) for name in here.files)


def test_transformers_opens_the_model_and_agrees(shell: Shell, painter: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = shell.cwd / "runs" / "transformer" / painter / "model"
    theirs, words = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ours, tokenizer = load_pretrained(folder), Tokenizer.load(folder)
    n = len(tokenizer.codes)
    assert [*tokenizer.codes] == [*range(len(words) - n, len(words))]  # the last ones of the vocabulary
    codes = [0, 1, n - 1] * 5 + [7]
    begins, ends, *picture = words.convert_tokens_to_ids(["<|endoftext|>", "<|field|>", *(f"<|code-{of}|>" for of in codes)])
    ids = [begins, *words.encode("a red square"), ends, *picture]
    caption = tokenizer.encode("a red square")
    assert ids == [tokenizer.sos_id, *caption, tokenizer.field_id, *(tokenizer.codes[code] for code in codes)]
    with torch.no_grad():
        batch = torch.tensor([ids])
        torch.testing.assert_close(ours.logits(ours(batch)), theirs(batch).logits, atol=1e-4, rtol=0)


def test_words_are_drawn_from_pictures(shell: Shell, namer: str, table: Path) -> None:
    picture = table.parent / "pictures" / "4.png"
    lines = shell.ok(
        "sample", "transformer", "--run", namer, "--given", f"picture={picture}", "-n", "2", "--seed", "1", "--json"
    )
    samples = [json.loads(line) for line in lines.splitlines()]
    assert len(samples) == 2
    assert samples[0]["text"] == samples[0]["caption"]
    assert samples[0]["picture"] == str(picture)
    likeliest = shell.ok("sample", "transformer", "--run", namer, "--given", f"picture={picture}", "--beam", "2", "-n", "1")
    assert likeliest.strip()
    matched = shell.ok(
        "sample", "transformer", "--run", namer, "--given", f"picture={picture}", "-n", "1", "--match", "a (red|green) square"
    )
    assert matched.strip() in ("a red square", "a green square")
    given = json.dumps({"picture": str(picture)})
    assert (
        shell.ok("sample", "transformer", "--run", namer, "--given", "-", "-n", "1", input=f"{given}\n{given}\n").count("\n")
        == 2
    )


def test_drawn_pictures_are_measured(shell: Shell, painter: str) -> None:
    measures = json.loads(shell.ok("eval", "transformer", "--run", painter, "--json"))
    assert measures["nats_per_record"]["value"] > 0
    assert "another" in measures["nats_per_picture_picture"]
    assert measures["bits_per_char_caption"]["n"] == measures["nats_per_record"]["n"]


def test_answers_are_measured(shell: Shell, namer: str, table: Path) -> None:
    measures = json.loads(shell.ok("eval", "transformer", "--run", namer, "--data", table, "--json"))
    exact = measures["exact_match"]
    assert exact["n"] == 60
    assert exact["frequent"]["value"] == pytest.approx(1 / 3, abs=0.05)
    assert 0 <= exact["another_picture"]["value"] <= 1
    assert measures["retrieval"]["chance"] == 1 / 16


def test_a_judge_says_whether_drawn_pictures_suit_their_words(shell: Shell, painter: str, table: Path) -> None:
    found = json.loads(shell.ok("eval", "transformer", "--run", painter, "--data", table, "--json"))["agreement"]
    assert found["n"] == found["real"]["n"] == found["reconstructed"]["n"] == 60
    assert found["real"]["value"] > 0.8  # three colours are easy
    assert found["low"] <= found["value"] <= found["high"]
    assert (found["among"], found["chance"]) == (3, 1 / 3)


def test_records_of_one_picture_are_learned_together(shell: Shell, asker: str, painter: str, namer: str) -> None:
    plans = {run: record(shell, run)["plan"] for run in (asker, painter, namer)}
    assert {run: plan["together"] for run, plan in plans.items()} == {asker: True, painter: False, namer: False}  # type: ignore[index]
    assert {run: plan["last_field"] for run, plan in plans.items()} == {asker: 0.5, painter: 0.5, namer: 0.5}  # type: ignore[index]
    assert any("the same picture are learned together" in reason for reason in record(shell, asker)["reasons"])  # type: ignore[attr-defined]
    lines = (shell.cwd / "runs" / "transformer" / asker / "metrics.jsonl").read_text().splitlines()
    costs = [event["nats_per_last_field"] for event in map(json.loads, lines) if event["event"] == "evaluated"]
    assert costs[-1] < costs[0]
    measures = json.loads(shell.ok("eval", "transformer", "--run", asker, "--json", "-n", "20"))
    assert measures["exact_match"]["n"] > 10


def test_such_a_run_resumes_bit_for_bit(shell: Shell, asker: str) -> None:
    run, again = (shell.cwd / "runs" / "transformer" / name for name in (asker, "resumed"))
    shutil.copytree(run, again, symlinks=True)
    *_, earlier, last = sorted(again.glob("checkpoints/step-*"))
    shutil.rmtree(last)
    (again / "model").unlink()
    (again / "model").symlink_to(earlier.relative_to(again) / "model")
    content = json.loads((again / "run.json").read_text()) | {"status": "running"}
    (again / "run.json").write_text(json.dumps(content))
    shell.ok("train", "transformer", "--run", again.name, "--resume")
    assert weights(again) == weights(run)


def test_a_plan_of_an_earlier_version_weighs_no_field_and_learns_each_record_alone(shell: Shell, asker: str) -> None:
    plan = dict(record(shell, asker)["plan"])  # type: ignore[call-overload]
    assert (plan.pop("last_field"), plan.pop("together")) == (0.5, True)
    read = DecoderOnlyPlan.read(plan)
    assert (read.last_field, read.together) == (0.0, False)


def test_records_of_one_field_are_not_learned_together(shell: Shell, table: Path, codec: Path) -> None:
    done = shell(
        "train", "transformer", "--data", table, "--fields", "picture", "--codec", codec.name, "--together", "--dry-run", *SMALL
    )
    assert done.returncode == 2
    assert "--together is for records of several fields" in done.stderr


def examples_of(page: str) -> list[list[str | bytes]]:
    """The table of unseen examples on a report page, with its titles first: texts, and the content of pictures."""
    (table,) = re.findall(r'<table class="examples">(.*?)</table>', page, re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in re.findall(r"<tr>(.*?)</tr>", table, re.S)]
    prefix = '<img src="data:image/png;base64,'
    return [
        [base64.b64decode(of.removeprefix(prefix).partition('"')[0]) if of.startswith(prefix) else of for of in row]
        for row in cells
    ]


def test_the_report_shows_pictures_beside_what_is_drawn_for_their_words(shell: Shell, painter: str, table: Path) -> None:
    shell.ok("report", painter, "--out", "painter.html")
    titles, *rows = examples_of((shell.cwd / "painter.html").read_text())
    assert titles == ["caption", "picture", "picture, reconstructed", "picture, drawn"]
    assert rows
    files = {pixels(path).tobytes(): int(path.stem) for path in (table.parent / "pictures").iterdir()}
    for caption, *pictures in rows:
        real, reconstructed, drawn = (np.asarray(Image.open(io.BytesIO(of))) for of in pictures if isinstance(of, bytes))
        assert caption == f"a {[*COLOURS][files[real.tobytes()] % 3]} square"
        assert real.shape == reconstructed.shape == drawn.shape
        assert not np.array_equal(reconstructed, drawn)


def test_the_report_shows_words_beside_those_that_are_written_for_their_pictures(shell: Shell, namer: str) -> None:
    measures = json.loads(shell.ok("eval", "transformer", "--run", namer, "--json"))
    shell.ok("report", namer, "--out", "namer.html")
    titles, *rows = examples_of((shell.cwd / "namer.html").read_text())
    assert titles == ["picture", "caption", "caption, written"]
    assert len(rows) == measures["exact_match"]["n"] < 12
    assert all(isinstance(picture, bytes) for picture, *_ in rows)
    right = sum(text == written for _, text, written in rows)
    assert right == round(measures["exact_match"]["value"] * len(rows))


def test_a_run_from_anothers_weights_keeps_the_codec(shell: Shell, table: Path, painter: str, tmp_path: Path) -> None:
    shell.ok("train", "transformer", "--data", table, "--init-from", painter, "--run", "tuned", *SMALL[2:], "--steps", "4")
    aside = tmp_path / "painter"
    (shell.cwd / "runs" / "transformer" / painter).rename(aside)
    try:
        shell.ok("train", "transformer", "--run", "tuned", "--resume", "--steps", "6")
    finally:
        aside.rename(shell.cwd / "runs" / "transformer" / painter)


def test_records_are_read_from_standard_input(shell: Shell, table: Path, painter: str) -> None:
    rows = [line.split("\t") for line in table.read_text().splitlines()[1:]]
    lines = [json.dumps({"picture": f"data/{name}", "caption": caption}) for name, caption in rows]
    arguments = ["--run", "piped", *SMALL[2:], "--steps", "4"]
    shell.ok("train", "transformer", "--data", "-", *arguments, input="\n".join(lines) + "\n")
    shell.ok("train", "transformer", "--run", "piped", "--resume", "--steps", "6")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--given", "picture=nowhere.png"], "nowhere.png"),
        (["--given", "picture=data/captions.tsv"], "picture"),
        (["--given", "picture=data"], "name a picture, not a folder"),
        (["--given", "caption=x"], "can only be given with"),
        (["--prompt", "a"], "is a picture"),
        (["--guidance", "-1"], "--guidance"),
    ],
)
def test_what_a_namer_cannot_do_is_said(shell: Shell, namer: str, arguments: list[str], said: str) -> None:
    done = shell("sample", "transformer", "--run", namer, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_given_texts_that_are_too_long_are_cut_and_told_of(shell: Shell, painter: str) -> None:
    words = ["a red square " + "and more " * n for n in (1000, 150_000)]
    lines = "".join(json.dumps({"caption": text}) + "\n" for text in words)
    done = shell(
        "sample", "transformer", "--run", painter, "--given", "-", "-n", "1", "--seed", "1", "--out", "long.npz", input=lines
    )
    assert done.returncode == 0
    assert (
        len(re.findall(r"--given caption: cut to its first \d+ tokens, the most that this run has room for", done.stderr)) == 1
    )
    with np.load(shell.cwd / "long.npz") as both:
        assert len(next(both[name] for name in both.files if both[name].ndim == 4)) == 2


# Records good and bad, by the command: their lines and exit codes


def described(shell: Shell, codec: Path, data: object, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Training on records, as far as the plan."""
    done = shell("train", "transformer", "--data", data, "--codec", codec, "--dry-run", *arguments, *SMALL)
    assert "Traceback" not in done.stderr
    return done


def test_bad_records_are_left_out_and_named(shell: Shell, codec: Path, tmp_path: Path) -> None:
    table = squares(tmp_path / "a")
    folder = table.parent / "pictures"
    (folder / "words.txt").write_text("no picture")
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:60])
    more = ["pictures/gone.png\tgone", "pictures/words.txt\twords", "\tnothing", f"pictures/5.png\t{'long ' * 200_000}"]
    with table.open("a") as file:
        file.write("\n".join(more) + "\n")
    done = described(shell, codec, table)
    assert done.returncode == 0
    for told in (
        "59 records: caption (text), picture (picture, 16×16 RGB)",
        f"1 picture that is not there in {table}: pictures/gone.png",
        f"1 file that is no picture in {table}: pictures/words.txt",
        "skipped 1 that cannot be decoded: 'pictures/4.png'",
        "skipped 1 record without a picture: record 63",
        "skipped 1 record with a text of over 65,536 characters: record 64",
    ):
        assert told in done.stdout + done.stderr


def test_members_with_odd_names_are_read_or_left_out(shell: Shell, codec: Path, table: Path, tmp_path: Path) -> None:
    pictures = [path.read_bytes() for path in sorted((table.parent / "pictures").iterdir())]
    names = ["a b", "ü/猫", "quote'\"", "-n", "*?", "new\nline", "x" * 90, *map(str, range(40))]
    outside = ["../out", "/absolute", "a/../../out"]
    with tarfile.open(tmp_path / "odd.tar", "w") as tar:
        for name, picture in zip([*names, *outside], pictures, strict=False):
            for suffix, content in ((".png", picture), (".txt", f"the picture of {name}".encode())):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    done = described(shell, codec, tmp_path / "odd.tar")
    assert done.returncode == 0
    said = done.stdout + done.stderr
    assert f"{len(names)} records: caption (text), picture (picture, 16×16 RGB)" in said
    assert "with absolute paths or '..'" in said


def _all_in(name: str) -> Callable[[Path], object]:
    """A table whose pictures are all those of a name with a number in it."""
    return lambda table: table.write_text("picture\tcaption\n" + "".join(f"{name.format(n)}\ttext {n}\n" for n in range(30)))


def _wide(table: Path) -> None:
    names = [f"c{number}" for number in range(10_000)]
    rows = [[f"pictures/{n}.png", *[f"word {n}"] * 10_000] for n in range(3)]
    table.write_text("\n".join("\t".join(row) for row in [["picture", *names], *rows]) + "\n")


BOTH = ["--fields", "caption,picture"]


@pytest.mark.parametrize(
    ("change", "arguments", "line"),
    [
        (_all_in("../{}.png"), BOTH, "'../0.png' is outside of the folder"),
        (_all_in("/etc/{}.png"), BOTH, "'/etc/0.png' is outside of the folder"),
        (_all_in("https://x.org/{}.png"), BOTH, "are not downloaded"),
        (_all_in("pictures/gone-{}.png"), BOTH, "none of the pictures in 'picture' is there"),
        (_wide, [], "has 10,000 columns of texts: name the fields to learn, at most 16"),
        (_wide, ["--fields", ",".join(f"c{n}" for n in range(10_000)) + ",picture"], "--fields names 10,001 fields"),
        (lambda table: None, ["--fields", "capton,picture"], "did you mean 'caption'?"),
        (lambda table: None, ["--fields", "picture,picture"], "--fields names 'picture' twice"),
    ],
    ids=["outside", "absolute", "addresses", "gone", "wide", "many-fields", "misspelt", "twice"],
)  # fmt: skip
def test_records_that_are_refused(
    change: Callable[[Path], object], arguments: list[str], line: str, shell: Shell, codec: Path, tmp_path: Path
) -> None:
    table = squares(tmp_path / "a", 30)
    change(table)
    done = described(shell, codec, table, *arguments)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("aigc: ") and line in last


@pytest.mark.parametrize("arguments", [["--max-tokens", "3"], ["--match", "a+"], ["--beam", "2"], ["--stop", "x"]])
def test_what_is_for_texts_is_refused_for_pictures(shell: Shell, painter: str, arguments: list[str]) -> None:
    done = shell("sample", "transformer", "--run", painter, *arguments)
    assert done.returncode == 2
    assert "only for texts" in done.stderr


def test_a_codec_for_other_pictures_is_refused(shell: Shell, table: Path, codec: Path) -> None:
    done = shell(
        "train", "transformer", "--data", table, "--fields", "caption,picture", "--codec", codec.name, "--size", "12", *SMALL
    )
    assert done.returncode == 2
    assert "is for pictures of --size 16x16, --mode RGB; leave out --size" in done.stderr


def test_nothing_of_a_codec_is_kept_of_a_dry_run(shell: Shell, table: Path, painter: str) -> None:
    before = sorted((shell.cwd / "runs").rglob("run.json"))
    planned = shell.ok(
        "train", "transformer", "--data", table, "--fields", "caption,picture", "--dry-run", "--seed", "5", *SMALL
    )
    assert "a red square | " in planned
    assert sorted((shell.cwd / "runs").rglob("run.json")) == before


def weights(run: Path) -> dict[str, bytes]:
    """The models of a run's last checkpoint."""
    last = max((run / "checkpoints").glob("step-*"))
    return {str(file.relative_to(last)): file.read_bytes() for file in sorted(last.rglob("*.safetensors"))}


@pytest.mark.slow
def test_killed_in_either_phase_the_same_command_or_resume_ends_alike(
    shell: Shell, table: Path, painter: str, codec: Path, tmp_path: Path, toy_path: Path, shared_cache: Path
) -> None:
    elsewhere = make_shell(tmp_path, toy_path, shared_cache)
    command = ["train", "transformer", "--data", table, "--fields", "caption,picture", "--run", "painter", *SMALL]
    command += ["--checkpoint-seconds", "0.01"]
    of_codec, of_run = tmp_path / "runs" / "vae" / codec.name, tmp_path / "runs" / "transformer" / "painter"
    kill_after(elsewhere.start(*command), of_codec)
    assert not of_run.exists()
    kill_after(elsewhere.start(*command), of_run)
    assert weights(of_codec) == weights(codec)
    elsewhere.ok("train", "transformer", "--resume", "--run", "painter")
    assert weights(of_run) == weights(shell.cwd / "runs" / "transformer" / painter)


@pytest.mark.slow
def test_interrupted_while_the_codec_is_trained_it_says_how_to_go_on(
    table: Path, painter: str, codec: Path, tmp_path: Path, toy_path: Path, shared_cache: Path
) -> None:
    elsewhere = make_shell(tmp_path, toy_path, shared_cache)
    process = elsewhere.start(
        "train", "transformer", "--data", table, *SMALL[2:], "--steps", "3000", "--checkpoint-seconds", "0.1"
    )
    wait_for_checkpoint(process, tmp_path / "runs" / "vae")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130
    assert said.splitlines()[-1].endswith("was trained; the same command goes on with it")


def kill_after(process: subprocess.Popen[str], run: Path) -> None:
    """Kill a process once this run has a checkpoint."""
    wait_for_checkpoint(process, run)
    process.kill()
    process.communicate()
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "running"


def wait_for_checkpoint(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a run in this folder, or the run itself, has a checkpoint."""
    deadline = time.monotonic() + 240
    while not list(folder.rglob("checkpoints/step-*")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.02)
