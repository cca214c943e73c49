"""What holds for every verb of every backend on the command line: one table of commands, one test per promise."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import Shell, make_shell

TEXTS = ["transformer", "--data", "verse.txt", "--tokenizer", "char", "--d-model", "32", "--n-layers", "1", "--context", "32"]
PICTURES = ["--data", "demo:shapes?n=300", "--size", "12", "--preset", "nano", "--batch-size", "8"]
TRAINED = {"transformer": TEXTS, "gan": ["gan", *PICTURES], "vae": ["vae", *PICTURES]}
#: A command whose result is a JSON object, or, below, one whose result is a JSON object a line; and the keys of these.
OBJECT = {
    **{
        f"train {name}": (["train", *asked, "--steps", "2"], {"version", "run", "status", "steps", "seconds", "measures"})
        for name, asked in TRAINED.items()
    },
    "eval transformer": (["eval", "transformer", "-n", "0"], {"version", "run", "data", "bits_per_char"}),
    "eval gan": (["eval", "gan", "-n", "20"], {"version", "run", "data", "fd_random"}),
    "eval vae": (["eval", "vae", "-n", "0", "--k", "2"], {"version", "run", "data", "nll"}),
    "runs": (["runs"], {"version", "runs"}),
    "runs show": (["runs", "show", "gan-run"], {"version", "path", "status", "plan", "asked"}),
    "runs path": (["runs", "path", "gan-run"], {"version", "path"}),
    "report": (["report", "gan-run", "--no-eval"], {"version", "path", "run"}),
    "doctor": (["doctor"], {"version", "devices", "problems"}),
}
LINES = {
    "sample transformer": (["sample", "transformer", "-n", "2", "--match", "[a-z]{9}"], {"text", "prompt", "seed", "index"}),
    "sample gan": (["sample", "gan", "-n", "2", "--force"], {"path", "seed", "index"}),
    "sample vae": (["sample", "vae", "-n", "2", "--force"], {"path", "seed", "index"}),
    "encode vae": (["encode", "vae", "--data", "demo:shapes?n=2"], {"name", "mean", "log_var", "score"}),
    "decode vae": (["decode", "vae", "--from", "latents.jsonl", "--force"], {"path"}),
}
TABLE = OBJECT | LINES
LACKING = [(verb, name) for verb in ("encode", "decode") for name in ("gan", "transformer")]
every_command = pytest.mark.parametrize("name", TABLE)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, toy_path: Path, shared_cache: Path) -> Shell:
    """A run of every backend, and latents."""
    shell = make_shell(tmp_path_factory.mktemp("three"), toy_path, shared_cache)
    (shell.cwd / "verse.txt").write_text("".join(f"the {a} fox saw {n} hens\n" for n in range(30) for a in ("old", "red")))
    for name, asked in TRAINED.items():
        shell.ok("train", *asked, "--steps", "3", "--run", f"{name}-run")
    (shell.cwd / "latents.jsonl").write_text(shell.ok("encode", "vae", "--data", "demo:shapes?n=2", "--json"))
    return shell


@every_command
def test_the_result_is_on_standard_output_alone(three: Shell, name: str) -> None:
    done = three(*TABLE[name][0], "--quiet")
    assert done.returncode == 0 and done.stdout and done.stderr == ""


@every_command
def test_json_is_documented_keys_and_progress_is_json_too(three: Shell, name: str) -> None:
    done = three(*TABLE[name][0], "--json")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == (1 if name in OBJECT else 2)
    for line in lines:
        assert json.loads(line).keys() >= TABLE[name][1]
    for line in done.stderr.splitlines():
        assert "event" in json.loads(line)


README = (Path(__file__).parents[1] / "README.md").read_text()
TERMS = re.findall(r"`([^`]+)`", README[README.index("## Formats") : README.index("## Backends")])
#: What has names of its own: settings, versions of packages, classes and the like.
OPEN = ("data", "plan", "asked", "measures", "best", "versions", "shares", "held_out", "factors", "extras", "encodings")


def documented(key: str) -> bool:
    """Whether the README has it; a name in capitals stands for any."""
    return any(re.fullmatch(re.sub("[A-Z]+", ".+", term), key) for term in TERMS)


def keys_of(value: object) -> set[str]:
    """The keys of an object and of those inside."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys_of(inner) for key, inner in value.items() if key not in OPEN))


@every_command
def test_every_key_is_in_the_readme(three: Shell, name: str) -> None:
    lines = three.ok(*TABLE[name][0], "--json", "--quiet").splitlines()
    assert {key for line in lines for key in keys_of(json.loads(line)) if not documented(key)} == set()


@every_command
def test_without_a_terminal_there_are_no_control_codes(three: Shell, name: str) -> None:
    done = three(*TABLE[name][0])
    assert not {code for code in done.stdout + done.stderr if code < " " and code not in "\n\t"}


@every_command
def test_a_reader_that_is_gone_ends_it_silently(three: Shell, name: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [*three.command, *TABLE[name][0], "--json", "--quiet"]
    done = subprocess.run(command, cwd=three.cwd, env=three.env, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@every_command
def test_an_unknown_flag_is_one_line_and_exit_2(three: Shell, name: str) -> None:
    done = three(*TABLE[name][0], "--jsn")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "aigc: No such option: --jsn; did you mean '--json'?\n"


@pytest.mark.parametrize("name", [name for name in TABLE if name.partition(" ")[0] in ("sample", "eval", "encode", "decode")])
def test_a_run_that_is_not_there_is_one_line_and_exit_2(three: Shell, name: str) -> None:
    backend = name.partition(" ")[2]
    done = three(*TABLE[name][0], "--run", f"{backend}-rum")
    expected = f"aigc: no run '{backend}-rum' in runs/{backend}; 'aigc runs' lists them; did you mean '{backend}-run'?\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)


def test_every_flag_has_an_environment_variable(three: Shell) -> None:
    done = three("sample", "gan", "--force", AIGC_QUIET="1", AIGC_N="3", AIGC_JSON="1")
    assert (len(done.stdout.splitlines()), done.stderr) == (3, "")
    assert json.loads(done.stdout.splitlines()[2])["index"] == 2


@pytest.mark.parametrize(("verb", "backend"), LACKING)
def test_a_verb_that_a_backend_lacks_is_one_line_and_exit_2(three: Shell, verb: str, backend: str) -> None:
    done = three(verb, backend, "--data", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"aigc: the {backend} backend has no '{verb}'; these have: vae\n"


@pytest.mark.parametrize("backend", ["gan", "vae"])
@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["--out", "-"], b"seed-0-000000.png\0"),  # a tar
        (["--out", "sheet.png"], b"sheet.png\n"),
        (["--out", "sheet.webp"], b"sheet.webp\n"),
        (["--out", "samples.npz"], b"samples.npz\n"),
        (["--out", "folder", "--format", "jpeg"], b"folder/seed-0-000000.jp"),
    ],
)
def test_pictures_are_written_to_out(three: Shell, backend: str, arguments: list[str], first: bytes) -> None:
    command = [*three.command, "sample", backend, "-n", "2", "--seed", "0", "--quiet", "--force", *arguments]
    done = subprocess.run(command, cwd=three.cwd, env=three.env, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(first)


def test_commands_make_a_pipeline(three: Shell) -> None:
    """Pictures through an encoder and a decoder, texts into a model, and a run's path into the next command."""
    aigc = " ".join(three.command)
    lines = [
        f"{aigc} sample gan -n 1 --seed 3 -q --out a.png",
        f"cat a.png | {aigc} encode vae --data - --json -q | {aigc} decode vae --from - --out b.png -q",
        f'RUN=$({aigc} train {" ".join(TEXTS)} --steps 2 --quiet) && {aigc} sample transformer --run "$RUN" -n 1 --max-tokens 9 -q',
        f"printf 'The old\\nThe red\\n' | {aigc} sample transformer --prompt - --max-tokens 9 -q | wc -l",
    ]
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(lines)], cwd=three.cwd, env=three.env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "a.png" and done.stdout.splitlines()[-1].strip() == "2"
    assert (three.cwd / "b.png").exists()
