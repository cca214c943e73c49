"""Shell completion of the word before the cursor."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Shell
from test_runs import a_run

from aigc_cli.data.tables.table import column_names

LINE = {"title": "Dawn", "author": "Li", "text": "the sun", "two words": "", "$(id)": ""}


def offered(shell: Shell, line: str, **environ: str) -> list[str]:
    """What bash is offered for the last word of a line, which is empty after a space."""
    words = len(line.split(" ")) - 1
    return shell.ok(_AIGC_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(words), **environ).split()


@pytest.fixture
def runs(shell: Shell) -> Shell:
    a_run(shell.cwd / "runs", "verse-1")
    a_run(shell.cwd / "runs", "verse-2", status="interrupted")
    a_run(shell.cwd / "runs", "faces-1", backend="gan")
    a_run(shell.cwd / "elsewhere", "other-1")
    return shell


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("aigc sample transformer --run ", {"verse-1", "verse-2"}),
        ("aigc train transformer --resume --run verse-2", {"verse-2"}),
        ("aigc train gan --init-from f", {"faces-1"}),
        ("aigc eval vae --run ", set()),
        ("aigc runs show ", {"verse-1", "verse-2", "faces-1"}),
        ("aigc report v", {"verse-1", "verse-2"}),
        ("aigc runs rm verse-1 ", {"verse-2", "faces-1"}),
        ("aigc sample transformer --runs-dir elsewhere --run ", {"other-1"}),
    ],
)
def test_runs_are_completed_for_commands_that_can_use_them(runs: Shell, line: str, wanted: set[str]) -> None:
    assert set(offered(runs, line)) == wanted


def test_completion_finds_runs_by_the_environment_variable(runs: Shell) -> None:
    assert offered(runs, "aigc sample transformer --run ", AIGC_RUNS="elsewhere") == ["other-1"]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("aigc tr", ["train"]),
        ("aigc train v", ["vae"]),
        ("aigc train vae --conditi", ["--conditional"]),
        ("aigc train gan --preset m", ["micro"]),
        ("aigc train gan --objective ", ["r3", "minimax", "non-saturating", "hinge"]),
        ("aigc train vae --device c", ["cpu", "cuda"]),
        ("aigc train transformer --tokenizer b", ["bpe", "byte"]),
        ("aigc train transformer --minutes ", []),
    ],
)
def test_verbs_flags_and_choices_are_offered(shell: Shell, line: str, wanted: list[str]) -> None:
    assert offered(shell, line) == wanted


def test_column_names_the_data_are_offered_but_none_that_a_shell_would_split_or_run(shell: Shell) -> None:
    (shell.cwd / "poems.tsv").write_text("\t".join(LINE) + "\n" + "\t".join(LINE.values()) + "\n")
    assert offered(shell, "aigc train transformer --data poems.tsv --column ") == ["title", "author", "text"]
    assert offered(shell, "aigc train transformer --data poems.tsv --column au") == ["author"]
    assert offered(shell, "aigc train transformer --data poems.tsv --fields title,t") == ["title,text"]
    assert offered(shell, "aigc train transformer --column ", AIGC_DATA="poems.tsv") == ["title", "author", "text"]
    assert offered(shell, "aigc train transformer --data nothing.tsv --column ") == []
    assert offered(shell, "aigc train transformer --column ") == []


def test_column_names_every_kind_of_table(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table, names = pa.Table.from_pylist([LINE]), list(LINE)
    pq.write_table(table, tmp_path / "t.parquet")
    for file, new in (("t.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with pa.OSFile(str(tmp_path / file), "w") as sink, new(sink, table.schema) as writer:
            writer.write_table(table)
    (tmp_path / "t.csv").write_text('title,author,text,"two words",$(id)\n')
    (tmp_path / "t.jsonl").write_text(json.dumps(LINE) + "\n{}\n")
    (tmp_path / "t.json").write_text(json.dumps([LINE, {}], indent=1))
    with gzip.open(tmp_path / "t.tsv.gz", "wt") as file:
        file.write("\t".join(LINE) + "\n")
    for file in ("t.parquet", "t.arrow", "stream.arrow", "t.csv", "t.jsonl", "t.json", "t.tsv.gz"):
        assert column_names(str(tmp_path / file)) == names, file
    splits = tmp_path / "splits"
    splits.mkdir()
    (tmp_path / "t.csv").rename(splits / "train.csv")
    (tmp_path / "t.jsonl").rename(splits / "test.jsonl")
    assert column_names(str(splits)) == names
    (tmp_path / "lines.jsonl").write_text('"a text"\n')
    assert column_names(str(tmp_path / "lines.jsonl")) == []


def test_zsh_shows_descriptions_of_runs(runs: Shell) -> None:
    said = runs.ok(_AIGC_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="aigc sample gan --run ")
    assert '"faces-1":"gan, finished, ' in said


def test_completion_imports_nothing_heavy(runs: Shell) -> None:
    code = (
        "import sys, aigc_cli.app\naigc_cli.app.run()\n"
        "print({'torch', 'numpy', 'pyarrow', 'datasets'} & set(sys.modules), file=sys.stderr)"
    )
    (runs.cwd / "poems.tsv").write_text("title\ttext\n")
    line = "aigc train transformer --data poems.tsv --fields title,"
    env = {**runs.env, "_AIGC_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": "6"}
    done = subprocess.run([sys.executable, "-c", code], cwd=runs.cwd, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["title,text"] and done.stderr.strip() == "set()"
