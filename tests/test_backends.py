"""A backend of two networks with two optimisers that alternate, registered from outside, goes through the real commands."""

from __future__ import annotations

import json

from conftest import Shell, install


def test_a_fourth_backend_trains_resumes_samples_and_evaluates(shell: Shell) -> None:
    assert shell.ok("train", "toy", "--steps", "40", "--run", "a").strip() == "runs/toy/a"
    longer = shell.ok("train", "toy", "--run", "a", "--resume", "--steps", "60", "--json")
    assert json.loads(longer)["steps"] == 60
    assert len(shell.ok("sample", "toy", "--run", "a", "-n", "3").splitlines()) == 3
    result = json.loads(shell.ok("eval", "toy", "--json"))
    assert 0.5 < result["mean"]["value"] < 3.5  # the data lie between 1 and 3
    assert "toy" in shell.ok("train", "--help")


def test_what_its_measures_mean_is_shown_wherever_they_are(shell: Shell) -> None:
    shell.ok("train", "toy", "--steps", "20", "--run", "a", "-q")
    page = (shell.cwd / shell.ok("report", "-q").strip()).read_text()
    for text in ("Quantile distance", "How far draws are from held-out numbers.", "Where the draws are centred."):
        assert text in page
    assert "<dt>data mean</dt><dd>the mean of the data</dd>" in page
    assert "mean.data_mean\t2\t" in shell.ok("eval", "toy", "-q")


def test_its_options_have_flags_help_and_validation(shell: Shell) -> None:
    assert "The width of the two networks" in " ".join(shell.ok("train", "toy", "--help").split())
    refused = shell("train", "toy", "--hidden", "0")
    assert (refused.returncode, refused.stderr) == (2, "aigc: --hidden must be at least 1, not 0\n")


def test_data_of_another_kind_name_every_backend_that_learns_from_it(shell: Shell) -> None:
    install(
        shell.cwd, "writing", "letters",
        "from aigc_cli.backends.base import Backend\nfrom aigc_cli.engine.settings import TrainOptions\n"
        "BACKEND = Backend('letters', 'Writes.', 'demo:x', {'train': TrainOptions}, 'writing:None', ('text',))\n",
    )  # fmt: skip
    (shell.cwd / "poems.txt").write_text("x")
    of_text = shell("train", "gan", "--data", "poems.txt", PYTHONPATH=f"{shell.env['PYTHONPATH']}:{shell.cwd}")
    assert of_text.returncode == 2 and of_text.stderr.count("\n") == 1
    assert of_text.stderr.endswith("; it holds text: 'aigc train letters' or 'aigc train transformer' learns from text\n")


def test_a_verb_that_a_backend_lacks_is_refused(shell: Shell) -> None:
    install(
        shell.cwd, "lacking", "mute",
        "from aigc_cli.backends.base import Backend\nBACKEND = Backend('mute', 'Says nothing.', 'demo:x', {}, 'lacking:None', ())\n",
    )  # fmt: skip
    refused = shell("sample", "mute", "--n", "3", PYTHONPATH=f"{shell.env['PYTHONPATH']}:{shell.cwd}")
    assert refused.returncode == 2
    assert refused.stderr == "aigc: the mute backend has no 'sample'; these have: gan, toy, transformer, vae\n"
