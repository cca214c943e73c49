"""The command line as its users meet it: help, errors, exit codes, pipes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import AIGC, Shell

SAMPLE = ("sample", "transformer", "--run", "verse", "--seed", "1", "-q")
TINY = ["--d-model", "32", "--n-layers", "1", "--context", "32", "--batch-size", "4", "--eval-items", "8"]


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    """A shell in whose directory a small model was trained."""
    module_shell.ok("train", "transformer", "--steps", "30", *TINY, "--run", "verse", "-q")
    return module_shell


@pytest.mark.parametrize("arguments", [["--help"], ["train", "transformer", "--help"], ["runs"], ["--version"]])
def test_what_answers_at_once_imports_nothing_heavy(shell: Shell, arguments: list[str]) -> None:
    code = (
        "import sys; from aigc_cli.app import run\n"
        f"sys.argv = ['aigc', *{arguments!r}]\n"
        "assert run() == 0\n"
        "heavy = {'torch', 'numpy', 'datasets', 'tokenizers', 'transformers', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=shell.env, cwd=shell.cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("arguments", "status", "said"), [(["--version"], 0, "aigc "), (["runs", "show", "gone"], 2, "")])
def test_a_process_that_ends_without_being_taken_apart_loses_nothing(
    shell: Shell, arguments: list[str], status: int, said: str
) -> None:
    code = (
        "import atexit, sys, threading, time; from aigc_cli import app\n"
        f"sys.argv = ['aigc', *{arguments!r}]\n"
        "work = lambda: (threading.main_thread().join(), time.sleep(0.3), print('the thread is done'))\n"
        "run = app.run\n"
        "def with_others():\n"
        "    atexit.register(print, 'others are done', end='')\n"
        "    threading.Thread(target=work).start()\n"
        "    return run()\n"
        "app.run = with_others\n"
        "app.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=shell.env, cwd=shell.cwd, capture_output=True, text=True)
    assert done.returncode == status
    assert done.stdout.startswith(said) and done.stdout.endswith("the thread is done\nothers are done")


def test_a_backend_where_a_command_was_wanted_gets_an_example(shell: Shell) -> None:
    done = shell("gan", "train")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "aigc: 'gan' is a backend, not a command; use it like this: aigc train gan\n"


def test_messages_name_the_newest_run_if_none_was_given(trained: Shell) -> None:
    assert "run runs/transformer/verse\n" in trained("sample", "transformer", "--seed", "1", "--max-tokens", "3").stderr
    named = trained("sample", "transformer", "--seed", "1", "--max-tokens", "3", "--run", "verse")
    assert (named.returncode, named.stderr) == (0, "")


def test_minutes_do_not_train_a_run_longer_and_the_message_says_what_does(trained: Shell) -> None:
    done = trained("train", "transformer", "--run", "verse", "--resume", "--minutes", "2")
    assert done.returncode == 2
    assert "--minutes is for new runs" in done.stderr and "a larger --steps than 30" in done.stderr


def test_help_lists_commands_as_one_comes_to_need_them(shell: Shell) -> None:
    listed = re.findall(r"^│ (\w+) ", shell.ok("--help").partition("Commands")[2], flags=re.M)
    assert listed == ["train", "sample", "eval", "encode", "decode", "runs", "report", "doctor"]


def test_help_names_every_option_with_its_default_and_unit(shell: Shell) -> None:
    text = " ".join(shell.ok("train", "transformer", "--help", COLUMNS="200").replace("│", " ").split())
    for part in ("--minutes", "--context", "(tokens, at least 2)", "[default: (at most 10)]", "Main options", "Model"):
        assert part in text
    assert text.index("--data") < text.index("--n-layers") < text.index("--checkpoint-seconds")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian", "transformer"], "No such command 'trian'. Did you mean 'train'?"),
        (["train", "transfromer"], "No such command 'transfromer'. Did you mean 'transformer'?"),
        (["train", "transformer", "--setps", "3"], "No such option: --setps; did you mean '--steps'?"),
        (["sample", "transformer", "--label", "3"], "No such option: --label"),
        (["report", "--run", "x"], "No such option: --run; name the run directly, as in: aigc report NAME"),
        (["runs", "show", "--run", "x"], "No such option: --run; name the run directly, as in: aigc report NAME"),
        (["report", "--runs", "x"], "No such option: --runs; did you mean '--runs-dir'?"),
        (["train", "transformer", "--steps", "abc"], "--steps takes a whole number"),
        (["train", "transformer", "--lr", "x"], "--lr takes a number"),
        (["train", "transformer", "--steps", "0"], "--steps must be at least 1, not 0"),
        (["train", "transformer", "--tokenizer", "chr"], "--tokenizer must be one of auto, char, bpe, byte, word or spacy:PIPELINE, not 'chr'; did you mean 'char'?"),
        (["train", "transformer", "--run", "a/b"], "--run 'a/b' is not a name: use letters, digits, '.', '_', '+' and '-'"),
        (["train", "transformer", "--resume"], "no transformer run to resume in runs; name one with --run, or start one without --resume: that also goes on with one that was interrupted before its own training began"),
        (["train", "transformer", "--resume", "--run", "nope"], "no run 'nope' in runs/transformer; if it was interrupted before its own training began, the same command without --resume goes on"),
        (["train", "transformer", "--device", "cuda:7"], "--device cuda:7: PyTorch sees 0 CUDA devices here; use --device auto"),
        (["train", "transformer", "--device", "abacus"], "--device must be auto, cpu, cuda, cuda:N or mps, not 'abacus'"),
        (["train", "transformer", "--lines", "--paragraphs"], "--lines and --paragraphs can't be used together"),
        (["sample", "transformer"], "no transformer run in runs; train one with: aigc train transformer"),
        (["eval", "transformer", "--run", "nope"], "no run 'nope' in runs/transformer; 'aigc runs' lists them"),
        (["sample", "transformer", "--run", "./nope"], "nope is not a run (it has no run.json); 'aigc runs' lists them"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line_and_exit_2(shell: Shell, arguments: list[str], line: str) -> None:
    done = shell(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"aigc: {line}"
    assert not (shell.cwd / "runs").exists()


BAD_DATA = {
    "empty.txt": b"",
    "blank.txt": b"\n \n\n",
    "short.txt": b"ab",
    "latin1.txt": "ein schöner Tag\n".encode("latin-1") * 30,
    "broken.txt.gz": b"\x1f\x8b\x08\x00not really",
    "columns.tsv": b"a\tb\nx\ty\n",
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_are_one_line_and_exit_2_and_nothing_is_written(shell: Shell, tmp_path: Path, name: str) -> None:
    cache = tmp_path / "own-cache"
    (shell.cwd / name).write_bytes(BAD_DATA[name])
    done = shell("train", "transformer", "--data", name, "--steps", "2", AIGC_CACHE_DIR=str(cache))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("aigc: ")
    assert name in done.stderr.splitlines()[-1]
    assert not (shell.cwd / "runs").exists()
    assert not list(cache.rglob("tokenizer.json"))


def test_debug_shows_the_traceback(shell: Shell) -> None:
    done = shell("sample", "transformer", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_train_prints_the_run_and_json_prints_one_object(shell: Shell, poems: Path) -> None:
    done = shell("train", "transformer", "--data", poems.name, "--steps", "4", *TINY)
    assert (done.returncode, done.stdout) == (0, "runs/transformer/poems-1\n")
    done = shell("train", "transformer", "--data", poems.name, "--steps", "4", *TINY, "--json")
    result = json.loads(done.stdout)
    assert result["run"] == "runs/transformer/poems-2"
    assert (result["version"], result["status"], result["steps"]) == (1, "finished", 4)
    assert result["measures"]["bits_per_char"] > 0
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events[-1] == "finished" and {"started", "trained", "evaluated", "saved"} <= set(events)
    done = shell("train", "transformer", "--data", poems.name, "--steps", "4", *TINY, "--quiet")
    assert done.stderr == ""


def test_flags_come_from_the_environment_and_toml_too(shell: Shell, poems: Path) -> None:
    (shell.cwd / "settings.toml").write_text(f"data = '{poems}'\nsteps = 50\nd-model = 32\nn_layers = 1\ncontext = 32\n")
    out = shell.ok("train", "transformer", "--config", "settings.toml", "--json", AIGC_STEPS="3", AIGC_RUNS_DIR="elsewhere")
    assert json.loads(out)["steps"] == 3
    assert json.loads(out)["run"] == "elsewhere/transformer/poems-1"


def test_a_minute_budget_is_kept(shell: Shell) -> None:
    """Not a test of speed: whatever the machine does in that time, it plans for it. A busy machine may take longer."""
    out = json.loads(shell.ok("train", "transformer", "--minutes", "0.2", "--json"))
    plan = json.loads((shell.cwd / out["run"] / "run.json").read_text())["plan"]
    assert plan["steps"] == out["steps"] >= 1
    assert plan["minutes"] is None
    assert out["seconds"] < 12


def test_samples_are_lines_in_a_pipe_and_exact_in_json(trained: Shell) -> None:
    lines = trained.ok("sample", "transformer", "-n", "5", "--seed", "1", "-q").removesuffix("\n").split("\n")
    assert len(lines) == 5
    records = [
        json.loads(line)
        for line in trained.ok("sample", "transformer", "-n", "5", "--seed", "1", "--json", "-q").removesuffix("\n").split("\n")
    ]
    assert [record["text"].replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r") for record in records] == lines
    assert {record["seed"] for record in records} == {1}
    assert "\nseed " in trained("sample", "transformer", "--max-tokens", "3").stderr


def test_prompts_are_answered_in_order(trained: Shell) -> None:
    out = trained.ok(
        "sample",
        "transformer",
        "--prompt",
        "-",
        "-n",
        "2",
        "--max-tokens",
        "4",
        "--json",
        "-q",
        input="The moon\nA longer beginning\n\n",
    )
    records = [json.loads(line) for line in out.removesuffix("\n").split("\n")]
    assert [record["prompt"] for record in records] == ["The moon"] * 2 + ["A longer beginning"] * 2 + [""] * 2
    assert [record["index"] for record in records] == list(range(6))
    echoed = trained.ok("sample", "transformer", "--prompt", "O ", "--echo", "--max-tokens", "4", "-q")
    assert echoed.startswith("O ")


def test_streamed_text_is_the_same_text(trained: Shell) -> None:
    arguments = ["sample", "transformer", "-n", "3", "--seed", "5", "--max-tokens", "40", "-q"]
    assert trained.ok(*arguments, "--stream") == trained.ok(*arguments)


def test_out_writes_a_file_and_never_over_one(trained: Shell) -> None:
    trained.ok("sample", "transformer", "--out", "s.txt", "--seed", "1", "--max-tokens", "5", "-q")
    before = (trained.cwd / "s.txt").read_text()
    refused = trained("sample", "transformer", "--out", "s.txt", "--seed", "2", "--max-tokens", "5", "-q")
    assert refused.returncode == 2
    assert refused.stderr == "aigc: --out s.txt exists; add --force to overwrite it, or choose another name\n"
    assert (trained.cwd / "s.txt").read_text() == before
    trained.ok("sample", "transformer", "--out", "s.txt", "--seed", "2", "--max-tokens", "5", "-q", "--force")


def test_a_closed_pipe_ends_it_silently(trained: Shell) -> None:
    command = f"{' '.join(AIGC)} sample transformer -n 3000 --max-tokens 50 -q | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=trained.cwd, env=trained.env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "141"
    assert done.stderr == ""


def test_losing_standard_error_never_stops_training(shell: Shell, poems: Path) -> None:
    command = f"{' '.join(AIGC)} train transformer --data {poems} --steps 6 {' '.join(TINY)} 2> >(exit)"
    done = subprocess.run(["bash", "-c", command], cwd=shell.cwd, env=shell.env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "runs/transformer/poems-1\n")


def test_eval_reports_the_law_of_the_demo_as_a_floor(trained: Shell) -> None:
    result = json.loads(trained.ok("eval", "transformer", "-n", "20", "--json", "-q"))
    assert result["version"] == 1 and result["data"] == "held-out"
    cost = result["bits_per_char"]
    assert cost["low"] < cost["value"] < cost["high"] and cost["n"] > 500
    assert 0.5 < cost["floor"]["value"] < cost["value"]
    assert cost["baseline"]["order"] >= 1
    assert result["novelty_3"]["human"]["n"] == 20
    table = [line.split("\t") for line in trained.ok("eval", "transformer", "-n", "0", "-q").splitlines()]
    assert table[0] == ["metric", "value", "low", "high", "n"]
    assert {row[0]: row[1] for row in table}["bits_per_char"] == f"{cost['value']:.6g}"


def test_data_from_standard_input_is_kept_in_the_run(shell: Shell) -> None:
    lines = "".join(f"line number {i} of a text that came through a pipe\n" for i in range(300))
    run = shell.cwd / shell.ok("train", "transformer", "--data", "-", "--steps", "6", *TINY, "-q", input=lines).strip()
    assert run.name == "stdin-1"
    assert (run / "input.txt").read_text() == lines
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["location"] == record["plan"]["data"] == "input.txt"
    assert record["data"]["splits"]["train"]["documents"] > 200
    shell.ok("train", "transformer", "--run", "stdin-1", "--resume", "--steps", "9", "-q")
    shell.ok("eval", "transformer", "-n", "0", "-q")


@pytest.mark.parametrize("version", ["this one", "earlier"])
def test_a_run_can_be_moved(shell: Shell, poems: Path, version: str) -> None:
    """Its standard input, and the weights that it began with."""
    kept = "".join(f"line number {i} of a text that came through a pipe\n" for i in range(300))
    shell.ok("train", "transformer", "--data", poems, "--steps", "2", *TINY, "--run", "origin", "-q")
    begun = ["--data", "-", "--init-from", "origin", "--steps", "6", *TINY, "--run", "moved", "-q"]
    run = shell.cwd / shell.ok("train", "transformer", *begun, input=kept).strip()
    record = json.loads((run / "run.json").read_text())
    assert (record["plan"]["data"], record["plan"]["init_from"]) == ("input.txt", "init")
    if version == "earlier":
        for settings, name in ((record["plan"], "data"), (record["plan"], "init_from"), (record["data"], "location")):
            settings[name] = str(run / settings[name])
        (run / "run.json").write_text(json.dumps(record))
    (shell.cwd / "runs").rename(shell.cwd / "elsewhere")
    moved, where = shell.cwd / "elsewhere/transformer/moved", ("--runs-dir", "elsewhere", "-q")
    shell.ok("eval", "transformer", "--run", "moved", "-n", "0", *where)
    shell.ok("train", "transformer", "--config", moved / "run.json", "--run", "again", *where)
    last = "checkpoints/step-000006/model/model.safetensors"
    assert (moved / last).read_bytes() == (moved.parent / "again" / last).read_bytes()
    shell.ok("train", "transformer", "--run", "moved", "--resume", "--steps", "9", *where)
    record = json.loads((moved / "run.json").read_text())
    assert record["data"]["location"] == "input.txt"
    for plan in (record["plan"], *record["earlier_plans"]):
        assert (plan["data"], plan["init_from"]) == ("input.txt", "init")


def test_changed_data_is_noticed(shell: Shell, poems: Path) -> None:
    shell.ok("train", "transformer", "--data", poems, "--steps", "6", *TINY, "--run", "a", "-q")
    with poems.open("a") as file:
        file.write("99\tone more\n")
    resumed = shell("train", "transformer", "--run", "a", "--resume", "--steps", "9", "-q")
    assert resumed.returncode == 2
    assert resumed.stderr == (
        f"aigc: {poems} has changed since this run was trained, so run runs/transformer/a can't be resumed; "
        "start a new run from its weights with --init-from a\n"
    )
    evaluated = shell("eval", "transformer", "-n", "0", "-q")
    assert evaluated.returncode == 2
    assert f"{poems} has changed since this run was trained" in evaluated.stderr


def test_init_from_copies_weights(trained: Shell, poems: Path) -> None:
    done = trained("train", "transformer", "--steps", "5", *TINY, "--init-from", "verse", "--run", "tuned")
    assert done.returncode == 0, done.stderr
    assert "13 of 13 weight tensors initialised from runs/transformer/verse" in done.stderr
    other = trained("train", "transformer", "--steps", "5", *TINY, "--d-model", "64", "--init-from", "verse")
    assert "2 of 13 weight tensors initialised" in other.stderr  # the norms of queries and keys


def test_two_trainers_on_one_run_are_refused(shell: Shell) -> None:
    import fcntl

    shell.ok("train", "toy", "--steps", "20", "--run", "a", "-q")
    with (shell.cwd / "runs/toy/a/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = shell("train", "toy", "--run", "a", "--resume", "--steps", "30", "-q")
    assert refused.returncode == 2
    assert refused.stderr == "aigc: run runs/toy/a is being trained by another process\n"


def test_runs_are_listed_shown_and_found(trained: Shell) -> None:
    rows = [line.split("\t") for line in trained.ok("runs").splitlines()]
    assert rows[0] == ["name", "backend", "status", "steps", "best", "data", "created", "bytes"]
    assert ["verse", "transformer", "finished", "30"] in [row[:4] for row in rows]
    listed = json.loads(trained.ok("runs", "list", "--json"))
    assert {run["name"] for run in listed["runs"]} >= {"verse"}
    assert trained.ok("runs", "path", "verse") == "runs/transformer/verse\n"
    assert "reason\ttokenizer: " in trained.ok("runs", "show", "verse")
    assert json.loads(trained.ok("runs", "show", "verse", "--json"))["plan"]["steps"] == 30
    wrong = trained("runs", "show", "vers")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "aigc: no run 'vers' in runs; 'aigc runs' lists them; did you mean 'verse'?\n",
    )


def test_only_what_the_training_text_has_is_written_unless_a_form_asks_for_more(trained: Shell) -> None:
    """After 30 steps a model would still draw any of 256 bytes."""
    run = trained.cwd / "runs/transformer/verse"
    unseen = json.loads((run / "model/aigc.json").read_text())["start"]["unseen"]
    assert len(unseen) > 100
    written = [
        json.loads(line)["text"] for line in trained.ok(*SAMPLE, "-n", "40", "--max-tokens", "30", "--json").splitlines()
    ]
    assert all(character.isascii() and (character.isprintable() or character == "\n") for character in "".join(written))
    assert trained.ok(*SAMPLE, "--match", "[山水]{3}", "-n", "1").strip("山水\n") == ""
    assert all(text.isascii() for text in trained.ok(*SAMPLE, "--beam", "4", "-n", "4", "--max-tokens", "9").splitlines())


def test_control_characters_of_data_never_reach_a_terminal(shell: Shell) -> None:
    """In a pseudo-terminal, samples of a text full of escape sequences come out as harmless text."""
    import pty

    (shell.cwd / "evil.txt").write_text("".join(f"\x1b[31mred{i}\x1b[0m\x07\n" for i in range(400)))
    shell.ok("train", "transformer", "--data", "evil.txt", "--lines", "--steps", "30", *TINY, "-q")
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*AIGC, "sample", "transformer", "-n", "8", "--seed", "1", "-q"], cwd=shell.cwd, env=shell.env, stdout=child
    )
    process.wait()
    os.close(child)
    shown = os.read(parent, 1 << 16)
    assert b"\x1b" not in shown and b"\x07" not in shown
    assert b"\\x1b" in shown


def test_eval_measures_other_data(trained: Shell, poems: Path) -> None:
    result = json.loads(trained.ok("eval", "transformer", "--run", "verse", "--data", poems, "-n", "0", "--json", "-q"))
    assert (result["data"], result["bits_per_char"]["n"]) == (str(poems), 180)


def test_training_longer_and_killed_at_once_resumes_from_before_the_cool_down(shell: Shell) -> None:
    shell.ok("train", "toy", "--steps", "40", "--run", "a", "-q")
    shell.ok("train", "toy", "--steps", "80", "--run", "b", "-q")
    record = shell.cwd / "runs/toy/a/run.json"
    known = json.loads(record.read_text())
    # As a kill right after `--resume --steps 80` leaves it: the new plan, and the cooled-down checkpoint of the old one.
    record.write_text(json.dumps({**known, "plan": {**known["plan"], "steps": 80}, "status": "running", "continued_from": 20}))
    done = shell("train", "toy", "--run", "a", "--resume")
    assert "steps 20 to 80" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("cooldown", "begin", "where"),
    [("0.5", 20, "before the cool-down"), ("1", 40, "at the learning rate of a run of 80 steps")],
)
def test_training_longer_continues_from_before_the_cooldown(shell: Shell, cooldown: str, begin: int, where: str) -> None:
    shell.ok("train", "toy", "--steps", "40", "--cooldown", cooldown, "--log-every", "1", "--run", "a", "-q")
    done = shell("train", "toy", "--run", "a", "--resume", "--steps", "80")
    assert f"continuing from step {begin}, {where}, to step 80" in done.stderr
    lines = [json.loads(line) for line in (shell.cwd / "runs/toy/a/metrics.jsonl").read_text().splitlines()]
    assert [line for line in lines if line["event"] == "continued"] == [{"event": "continued", "step": begin, "steps": 80}]
    trained = [(line["step"], line["lr"]) for line in lines if line["event"] == "trained"]
    assert [step for step, _ in trained] == [*range(1, 81)]
    assert dict(trained)[begin + 1] > dict(trained)[80]


def test_training_that_cannot_write_says_what_was_saved(trained: Shell) -> None:
    """Files of at most 40 kB, which no checkpoint is."""
    command = [sys.executable, "-m", "aigc_cli.app", "train", "transformer", "--steps", "8", *TINY, "--run", "cramped"]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 40; exec "$@"', "sh", *command],
        cwd=trained.cwd,
        env=trained.env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("aigc: ")]
    assert "training failed at step" in line and "no checkpoint had been saved yet" in line


def test_training_longer_never_ends_with_a_worse_model(shell: Shell) -> None:
    run = shell.cwd / "runs/toy/a"
    shell.ok("train", "toy", "--steps", "40", "--run", "a", "-q")
    position = run / "checkpoints/step-000040/state/position.json"
    (run / "checkpoints/step-000040/manifest.json").unlink()  # as of earlier versions
    position.write_text(json.dumps({**json.loads(position.read_text()), "best_step": 40, "best": 0.0}))  # not to be surpassed
    model = (run / "model/model.safetensors").read_bytes()
    for steps in ("80", "120"):
        done = shell("train", "toy", "--run", "a", "--resume", "--steps", steps, "--json")
        assert "the longer training never beat step 40 of the earlier one on held-out data" in done.stderr
        result = json.loads(done.stdout)
        assert (result["steps"], result["measures"]) == (int(steps), {"step": 40, "distance": 0.0})
        assert (run / "model/model.safetensors").read_bytes() == model
    shell.ok("runs", "prune", "a", "--yes")
    assert [path.name for path in run.glob("checkpoints/*")] == ["earlier"]
    assert (run / "model/model.safetensors").read_bytes() == model
    shell.ok("train", "toy", "--steps", "3", "--init-from", "a", "--run", "c", "-q")


def test_training_longer_replaces_the_model_by_a_better_one(shell: Shell) -> None:
    run = shell.cwd / "runs/toy/a"
    shell.ok("train", "toy", "--steps", "40", "--run", "a", "-q")
    position = run / "checkpoints/step-000040/state/position.json"
    (run / "checkpoints/step-000040/manifest.json").unlink()  # as of earlier versions
    position.write_text(json.dumps({**json.loads(position.read_text()), "best_step": 40, "best": 99.0}))
    done = shell("train", "toy", "--run", "a", "--resume", "--steps", "80")
    assert "the run keeps its current model until a better one is found" in done.stderr
    assert "never beat" not in done.stderr
    best = json.loads((run / "run.json").read_text())["best"]
    assert (run / "model").readlink() == Path(f"checkpoints/step-{best['step']:06d}/model")
    assert 0 < best["distance"] < 99 and not (run / "checkpoints/earlier").exists()


def test_closed_standard_streams_are_no_accident(shell: Shell) -> None:
    command = f"{' '.join(AIGC)} train toy --steps 3 2>&-; echo $?; {' '.join(AIGC)} train toy --steps 3 -q >&-; echo $?"
    done = subprocess.run(["bash", "-c", command], cwd=shell.cwd, env=shell.env, capture_output=True, text=True)
    assert done.stdout.split() == ["runs/toy/numbers-1", "0", "0"]
    assert done.stderr == ""


def test_a_run_started_with_init_from_can_be_repeated_without_the_other_run(trained: Shell, poems: Path) -> None:
    import shutil

    shutil.copytree(trained.cwd / "runs/transformer/verse", trained.cwd / "runs/transformer/origin", symlinks=True)
    trained.ok(
        "train", "transformer", "--data", poems, "--steps", "4", *TINY, "--init-from", "origin", "--run", "tuned-2", "-q"
    )
    shutil.rmtree(trained.cwd / "runs/transformer/origin")
    tuned = trained.cwd / "runs/transformer/tuned-2"
    trained.ok("train", "transformer", "--config", tuned / "run.json", "--run", "tuned-3", "-q")
    last = "checkpoints/step-000004/model/model.safetensors"
    assert (tuned / last).read_bytes() == (tuned.parent / "tuned-3" / last).read_bytes()
    assert (tuned / "model/tokenizer.json").read_bytes() == (
        trained.cwd / "runs/transformer/verse/model/tokenizer.json"
    ).read_bytes()


@pytest.mark.slow
def test_a_default_budget_is_a_ceiling(shell: Shell, poems: Path) -> None:
    """So little text doesn't need the default ten minutes."""
    done = shell("train", "transformer", "--data", poems, *TINY, "--json")
    result = json.loads(done.stdout)
    assert result["seconds"] < 300
    reasons = json.loads((shell.cwd / result["run"] / "run.json").read_text())["reasons"]
    assert any("steps are enough for so little data" in reason for reason in reasons)
