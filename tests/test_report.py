"""`aigc report`: a self-contained page that is correct and executes nothing from the run."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import AIGC, Shell
from PIL import Image

from aigc_cli.backends.registry import backends
from aigc_cli.commands.page import MAX_FRAMES
from aigc_cli.engine.meanings import Meanings
from aigc_cli.engine.runs.run import Run, open_run
from aigc_cli.ui.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Curves, ticks

EVIL = """"'><script>alert('x')</script><img src=x onerror="alert(1)">&amp;\u202e\x1b[31m"""
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """The elements of a page with their attributes, the texts by element, and whether every element is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.open = text, [], []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def inside(self, tag: str) -> str:
        return "\n".join(data for name, data in self.texts if name == tag)

    @property
    def said(self) -> str:
        return " ".join(" ".join(data for name, data in self.texts if name not in ("script", "style", "title")).split())


def make_run(folder: Path, name: str = "a", **changes: Any) -> Path:
    """A run directory as training leaves it, without a model."""
    run = folder / "runs" / "toy" / name
    (run / "samples").mkdir(parents=True)
    record = {
        "format": 1,
        "backend": "toy",
        "created": "2026-01-02T03:04:05.678Z",
        "status": "finished",
        "asked": {"data": "demo:numbers", "steps": 40, "lr": None, "seed": 0, "hidden": None},
        "plan": {"data": "demo:numbers", "steps": 40, "lr": 0.01, "seed": 0, "hidden": 16, "poison": None},
        "reasons": ["hidden: 16, since numbers are small"],
        "data": {"location": "demo:numbers", "fingerprint": "f0", "splits": {"train": {"numbers": 12345}}},
        "versions": {"aigc": "0.1.0", "torch": "2.12"},
        "device": "cpu (x86_64, 1 threads)",
        "steps": 40,
        "seconds": 75.0,
        "best": {"step": 40, "distance": 0.25},
    }
    (run / "run.json").write_text(json.dumps(record | changes))
    lines: list[dict[str, Any]] = []
    for step in (10, 20, 30, 40):
        trained = {"critic_loss": 1.0, "generator_loss": 2.0 - step / 40, "lr": 0.01, "skipped": 0, "seconds": step / 10}
        lines.append({"event": "trained", "step": step, **trained, "numbers_per_second": 100.0})
        lines.append({"event": "evaluated", "step": step, "distance": 10.0 / step, "best": True})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in (10, 20, 30, 40):
        (run / "samples" / f"step-{step:06d}.txt").write_text(f"text at {step}")
    return run


def picture(path: Path, size: int = 8, colour: tuple[int, int, int] = (200, 30, 30)) -> Path:
    Image.new("RGB", (size, size), colour).save(path)
    return path


def report(cwd: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Page:
    """The page that the command prints, in this process: for what needs no process of its own."""
    from aigc_cli.commands import report as module
    from aigc_cli.options import gather

    monkeypatch.chdir(cwd)
    flags: dict[str, Any] = {"eval": False, "quiet": True, "run": arguments[0] if arguments else None}
    module.run(gather(module.ReportOptions, flags))
    (path,) = cwd.glob(f"runs/*/{arguments[0] if arguments else '*'}/report.html")
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    """A shell in whose directory a run of pictures was trained, for a few steps, and measured in its page."""
    import numpy as np

    draw = np.random.default_rng(0)
    photos = module_shell.cwd / "photos"
    photos.mkdir()
    for i in range(300):
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(photos / f"{i:03}.png")
    module_shell.ok("train", "gan", "--data", "photos", "--preset", "nano", "--steps", "4", "--batch-size", "4", "--eval-every", "2", "--run", "tiny", "-q")  # fmt: skip
    return module_shell


@pytest.fixture(scope="module")
def measured(trained: Shell) -> dict[str, Any]:
    """What `aigc eval` says of that run."""
    found: dict[str, Any] = json.loads(trained.ok("eval", "gan", "--json", "-q"))
    return found


# What it shows


def test_a_trained_run_becomes_one_page_with_its_measures_and_nearest_pairs(trained: Shell, measured: dict[str, Any]) -> None:
    done = trained("report", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {"version": 1, "path": "runs/gan/tiny/report.html", "run": "runs/gan/tiny"}
    assert {json.loads(line)["event"] for line in done.stderr.splitlines()} == {"stage"}
    page = Page((trained.cwd / told["path"]).read_text())
    for title in ("Precision", "Coverage", "Margin", "Fréchet distance, random features"):
        assert title in page.said
    assert f"{measured['density']['value']:.4g}" in page.said
    assert f"{measured['recall']['floor']['value']:.4g}" in page.said
    sheets = [image["alt"] for image in page.all("img")]
    assert sheets == [f"Samples at step {step}" for step in (2, 4)] + ["Samples, each with the training example closest to it"]  # fmt: skip
    assert not list(trained.cwd.glob("runs/gan/tiny/.tmp-*"))
    (again,) = [line for line in page.inside("pre").splitlines() if "--config" in line]
    assert again == "aigc train gan --config runs/gan/tiny/run.json --run tiny-again"
    trained.ok(*again.split()[1:], "-q")
    weights = [trained.cwd / "runs/gan" / name / "model/model.safetensors" for name in ("tiny", "tiny-again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_page_is_written_with_the_reason_why_evaluation_failed(trained: Shell) -> None:
    shutil.copytree(trained.cwd / "runs/gan/tiny", trained.cwd / "elsewhere/gan/moved", symlinks=True)
    run = trained.cwd / "elsewhere/gan/moved"
    record = json.loads((run / "run.json").read_text())
    gone = json.loads(json.dumps(record).replace(str(trained.cwd / "photos"), "/nowhere/photos"))
    (run / "run.json").write_text(json.dumps(gone))
    done = trained("report", "elsewhere/gan/moved")
    assert (done.returncode, done.stdout) == (0, "elsewhere/gan/moved/report.html\n")
    assert re.search("^warning: not measured: .*/nowhere/photos", done.stderr, re.M)
    page = Page((run / "report.html").read_text())
    assert re.search("Not measured: .*/nowhere/photos", page.said)
    wrong = trained("report", "elsewhere/gan/moved", "--device", "cuda:7")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "aigc: --device cuda:7: PyTorch sees 0 CUDA devices here; use --device auto\n",
    )


def test_the_facts_of_a_run_are_on_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: None) -> None:
    make_run(tmp_path)
    page = report(tmp_path, monkeypatch)
    for fact in (
        "finished", "in 1:15", "Quantile distance 0.25 while training, best at step 40", "12,345 numbers", "x86_64, 1 threads",
        "hidden: 16, since numbers are small", "--hidden 16 The width of the two networks.", "--steps 40", "torch 2.12",
        "Not measured: --no-eval was given.", "aigc sample toy --run a -n 4 --seed 0", "aigc eval toy --run a --seed 0",
        "Step 40 quantile distance 0.25, the best, kept",
    ):  # fmt: skip
        assert fact in page.said
    assert "--poison" not in page.said
    asked, decided, left = (page.said.index(text) for text in ("Set by you", "Decided by aigc", "Defaults"))
    places = [page.said.index(f"{flag} ") for flag in ("--steps", "--lr", "--seed 0 Seed of")]
    assert asked < places[0] < decided < places[1] < left < places[2]


def test_previews_are_a_film_in_order_with_the_last_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    for step in range(50, 5050, 50):
        picture(run / "samples" / f"step-{step:06d}.png", colour=(step % 256, 0, 0))
    secret = tmp_path / "secret.txt"
    secret.write_text("a private line")
    (run / "samples" / "step-000015.txt").symlink_to(secret)
    (run / "samples" / "step-000025.png").write_bytes(b"no picture")
    page = report(tmp_path, monkeypatch)
    shown = [figure["data-step"] or "" for figure in page.all("figure") if "data-step" in figure]
    steps = [int(step.removeprefix("step ").replace(",", "")) for step in shown]
    assert steps == sorted(set(steps)) and len(steps) <= MAX_FRAMES and (steps[0], steps[-1]) == (10, 5000)
    assert max(b - a for a, b in pairwise(steps)) <= 4 * 50
    assert "a private line" not in page.text
    assert page.all("input")[0]["max"] == str(len(steps) - 1)
    last = page.all("img")[-1]
    assert (
        base64.b64decode(str(last["src"]).removeprefix("data:image/png;base64,"))
        == (run / "samples/step-005000.png").read_bytes()
    )
    assert int(str(last["width"])) % 8 == 0 and last["class"] == "pixels"
    assert "Step 10 distance 1 " in page.said and f"{104 - len(steps) + 1} more are in the run's folder" in page.said


@pytest.mark.parametrize("missing", ["metrics.jsonl", "samples", "everything"])
def test_a_run_that_has_little_has_a_page_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    run = make_run(tmp_path)
    if missing == "everything":
        record = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({key: record[key] for key in ("format", "backend", "created", "status")}))
        (run / "metrics.jsonl").write_text('[]\n3\n{"event": "trained", "step": 1, "loss": NaN}\n{"event": "evaluated", "ste')
    shutil.rmtree(run / "samples") if missing != "metrics.jsonl" else (run / "metrics.jsonl").write_text("")
    page = report(tmp_path, monkeypatch)
    assert ("Nothing was reported yet." in page.said) == (missing != "samples")
    assert ("Samples during training" in page.said) == (missing == "metrics.jsonl")
    assert page.all("script") == ([{}] if missing == "metrics.jsonl" else [])


# Safety


def test_whatever_comes_from_a_run_is_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "<script>alert('n')<"
    run = make_run(
        tmp_path, name, backend=EVIL, status="finished", first_sample=f"-n 4; {EVIL}", reasons=[EVIL, {EVIL: EVIL}], device=EVIL, best={"step": EVIL, EVIL: 1.0},
        asked={EVIL: EVIL}, plan={EVIL: [EVIL, 1]}, versions={EVIL: EVIL},
        data={"location": EVIL, EVIL: {EVIL: EVIL}, "files": [{EVIL: EVIL}], "understood": {EVIL: EVIL, "skipped": [{"what": EVIL, "count": EVIL, "examples": [EVIL]}]}, "splits": {EVIL: {EVIL: EVIL}, "train": {EVIL: 1}}},
    )  # fmt: skip
    lines = [{"event": "evaluated", "step": step, EVIL: step, f"{EVIL}_loss": step, "best": True} for step in (1, 2)]
    lines += [{"event": "concern", "step": 2, "name": EVIL, "text": EVIL}, {"event": "undone", "step": 2, "to": EVIL}]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "samples" / "step-000010.txt").write_text(f"{EVIL}</pre><script>alert('s')</script>")
    page = report(tmp_path, monkeypatch)
    assert len(page.all("script")) == 1 and "alert" not in page.inside("script")
    assert not [attributes for _, attributes in page.tags if any(key.startswith("on") for key in attributes)]
    assert page.all("img") == []
    assert "\x1b" not in page.text and "\u202e" not in page.text
    assert page.said.count("<script>alert('x')</script>") > 15
    assert "<script>alert('s')</script>" in page.said
    (again,) = [line for line in page.inside("pre").splitlines() if "--config" in line]
    words = shlex.split(again)
    assert words[:2] == ["aigc", "train"] and words[3:] == [
        "--config",
        f"{run.relative_to(tmp_path)}/run.json",
        "--run",
        "script-alert-n-again",
    ]
    assert words[2] == EVIL.replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")
    assert "aigc sample" not in page.inside("pre")  # of no backend that is known


def test_what_a_stranger_s_run_would_have_typed_is_quoted(tmp_path: Path) -> None:
    for said, typed in (("-n 4; rm -rf ~", "-n '4;' rm -rf '~'"), ("'$(reboot)", "-n 4"), (["-n"], "'[-n]'")):
        assert Run(tmp_path, {"first_sample": said}).first_sample == typed


def test_measures_and_notes_are_escaped_and_what_is_unknown_is_shown_by_its_name() -> None:
    from aigc_cli.backends.gan.meanings import MEANINGS as GAN
    from aigc_cli.ui.report import Measured, Report, in_table, render

    measures = {
        EVIL: {"value": 1.5, "low": 1.0, "high": 2.0, "n": 7, "unit": EVIL, "floor": {"value": 0.5, "low": None}, EVIL: EVIL},
        "wobble_of_text": {"value": None, "low": None, "high": None, "n": 3},
        "precision": {"value": -0.25, "low": -0.5, "high": 0.0, "n": 12345, "train": 0.75, "k": 3},
    }
    measured = Measured(EVIL, measures, [EVIL], examples=[{EVIL: EVIL, "picture": in_table(b"no picture")}])
    text = render(Report("a", "finished", EVIL, {"backend": "x"}, [], [], measured, "", [], [(EVIL, EVIL)], EVIL, meanings=GAN))
    page = Page(text)
    assert page.all("script") == [] and page.all("img") == []
    assert "1 to 2" in page.said and "floor 0.5" in page.said and "Wobble of text not finite" in page.said
    assert (
        "Precision The share of samples that look like real pictures. Higher is better. k 3 −0.25 −0.5 to 0 12,345 train 0.75"
        in page.said
    )


def test_nothing_is_fetched_and_only_the_pages_own_script_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    picture(run / "samples" / "step-000050.png")
    page = report(tmp_path, monkeypatch)
    (policy,) = [meta["content"] or "" for meta in page.all("meta") if "http-equiv" in meta]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for directive, element in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(page.inside(element).encode()).digest()).decode()
        assert rules[directive] == f"'sha256-{digest}'"
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        for key in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert key not in attributes or str(attributes[key]).startswith("data:image/png;base64,")
    assert not {"link", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    assert "url(" not in page.inside("style") and "@import" not in page.inside("style")
    assert [meta["content"] for meta in page.all("meta") if meta.get("name") == "viewport"] == [
        "width=device-width, initial-scale=1"
    ]
    assert all(image["alt"] for image in page.all("img"))


# Where it goes


def test_out_refuses_an_existing_file_unless_it_is_the_runs_own_page(shell: Shell) -> None:
    run = make_run(shell.cwd)
    make_run(shell.cwd, "older", created="2025-01-02T03:04:05.678Z")
    assert shell.ok("report", "--no-eval") == "runs/toy/a/report.html\n"
    (run / "report.html").write_text("old")
    assert shell.ok("report", "--no-eval", "--out", "runs/toy/a/report.html", "-q") == "runs/toy/a/report.html\n"
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")
    (shell.cwd / "b.html").write_text("mine")
    refused = shell("report", "--no-eval", "--out", "b.html")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "aigc: --out b.html exists; add --force to overwrite it, or choose another name\n"
    assert (shell.cwd / "b.html").read_text() == "mine"
    assert shell.ok("report", "older", "--no-eval", "--out", "b.html", "--force") == "b.html\n"
    assert "<h1>older</h1>" in (shell.cwd / "b.html").read_text()
    assert sorted(path.name for path in shell.cwd.iterdir()) == ["b.html", "runs"]


def test_a_link_in_the_place_of_the_page_is_replaced_and_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    (tmp_path / "precious").write_text("kept")
    (run / "report.html").symlink_to(tmp_path / "precious")
    report(tmp_path, monkeypatch)
    assert (tmp_path / "precious").read_text() == "kept"
    assert not (run / "report.html").is_symlink()


def test_the_page_goes_to_standard_output_and_a_closed_pipe_is_silent(shell: Shell) -> None:
    run = make_run(shell.cwd)
    for step in range(50, 90):
        (run / "samples" / f"step-{step:06d}.txt").write_text("a line\n" * 600)
    for unbuffered in ("", "1"):
        page = shell.ok("report", "--no-eval", "--out", "-", PYTHONUNBUFFERED=unbuffered)
        assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert not (run / "report.html").exists()
    both = shell("report", "--no-eval", "--out", "-", "--json")
    assert (both.returncode, both.stdout) == (2, "")
    assert both.stderr == "aigc: --json and --out - both want standard output; leave out one of them\n"
    command = f'{" ".join(AIGC)} report --no-eval --out - | head -c 9; echo " ${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], cwd=shell.cwd, env=shell.env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("<!DOCTYPE 141\n", "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "no run 'nope' in runs; 'aigc runs' lists them"),
        ([], "no run in runs; train one with: aigc train BACKEND"),
    ],
)
def test_a_wrong_request_is_one_line(shell: Shell, arguments: list[str], line: str) -> None:
    done = shell("report", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"aigc: {line}\n")


def test_the_command_line_answers_without_the_template_engine() -> None:
    code = "import sys, aigc_cli.app; aigc_cli.app.build(); assert not {'jinja2', 'torch', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0


# Curves


def test_curves_go_through_the_values(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {chart.name: chart for chart in Curves(lines, {"step": 40, "distance": 0.25}).charts()}
    assert list(found) == ["loss", "distance", "lr", "numbers_per_second"]
    assert [line.label for line in found["loss"].lines] == ["critic loss", "generator loss"]
    xs = [[float(point.split(",")[0]) for point in line.points.split()] for line in found["loss"].lines]
    assert xs == [[LEFT + (WIDTH - LEFT - RIGHT) * part for part in (0.25, 0.5, 0.75, 1.0)]] * 2
    flat, falling = ([float(point.split(",")[1]) for point in line.points.split()] for line in found["loss"].lines)
    assert len(set(flat)) == 1 and falling == sorted(falling) and falling[-1] == flat[-1]
    steps = [b - a for a, b in pairwise(falling)]
    assert max(steps) - min(steps) <= 0.2
    assert all(TOP <= y <= HEIGHT - BOTTOM for y in [*flat, *falling])
    (tick,) = [tick for tick in found["loss"].y_ticks if float(tick.text) == 1.0]
    assert tick.at == pytest.approx(flat[0], abs=0.1)
    assert [text for *_, text in found["distance"].lines[0].marks] == [
        "step 10: 1",
        "step 20: 0.5",
        "step 30: 0.3333",
        "step 40: 0.25",
    ]
    assert found["distance"].best == WIDTH - RIGHT and found["loss"].best is None
    before = {"step": 40, "distance": 0.1}  # of a training before this one, which was better
    assert all(chart.best is None for chart in Curves(lines, before).charts())


def test_curves_forget_what_the_run_went_back_behind() -> None:
    lines = [{"event": "trained", "step": step, "loss": 1.0} for step in (10, 20, 30)]
    lines += [{"event": "rolled_back", "step": 33, "to": 15, "lr_scale": 0.5}, {"event": "trained", "step": 25, "loss": 2.0}]
    lines += [{"event": "continued", "step": 25, "steps": 2000}]
    curves = Curves(lines)
    assert curves.trained["loss"] == [(10, 1.0), (25, 2.0)]
    assert curves.happenings() == [
        ("33", "the loss was not finite: rolled back to step 15 at half the learning rate"),
        ("25", "trained longer from here, to step 2,000"),
    ]


def test_a_steep_beginning_runs_off_the_scale_and_many_points_are_thinned() -> None:
    lines = [{"event": "trained", "step": step, "loss": 5000.0 if step < 20 else 10 - step / 1000} for step in range(1, 5001)]
    (chart,) = Curves(lines).charts()
    assert chart.cut == "5,000"
    ys = [float(point.split(",")[1]) for point in chart.lines[0].points.split()]
    assert 200 < len(ys) <= 400 and ys[0] < 0
    assert min(ys[20:]) >= TOP and max(ys) <= HEIGHT - BOTTOM
    falling = [{"event": "evaluated", "step": step, "gap": 10.0 ** (3 - step), "best": False} for step in (1, 2, 3, 4, 5)]
    (chart,) = Curves(falling).charts()
    marks = [y for _, y, _ in chart.lines[0].marks]
    assert "logarithmic" in chart.unit and [tick.text for tick in chart.y_ticks] == ["0.01", "0.1", "1", "10", "100"]
    assert all(b - a == pytest.approx(marks[1] - marks[0], abs=0.2) for a, b in pairwise(marks))


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 2500, ["0", "1,000", "2,000"]),
        (0.61, 1.02, ["0.7", "0.8", "0.9", "1.0"]),
        (-3, 3, ["−2", "0", "2"]),
        (5, 5, ["5"]),
        (0, 3e-7, ["0.0e+00", "1.0e−07", "2.0e−07", "3.0e−07"]),
    ],
)
def test_ticks_are_round(low: float, high: float, texts: list[str]) -> None:
    assert [text for _, text in ticks(low, high, 5)] == texts


def test_every_measure_of_the_backends_is_explained(trained: Shell, measured: dict[str, Any]) -> None:
    names = [name for name, value in measured.items() if isinstance(value, dict)]
    run = open_run(trained.cwd / "runs/gan/tiny")
    reported = {
        name
        for line in map(json.loads, run.metrics.read_text().splitlines())
        for name in line
        if name.endswith(("loss", "random", "train"))
    }
    assert len(names) >= 8 and len(reported) >= 3
    gan, transformer, vae = (backends()[name].meanings for name in ("gan", "transformer", "vae"))
    for name in {*names, *reported}:
        assert gan.of(name).sentence, name
    for name in ("bits_per_char", "bits_per_char_title", "distinct_3", "novelty_12", "chrf", "loss", "lr"):
        assert transformer.of(name).sentence, name
    for name in ("nll", "mig", "precision"):
        assert vae.of(name).sentence, name
    assert transformer.of("novelty_12").title == "New 12-grams"
    assert transformer.of("bits_per_char_first_line").title == "Bits per character of first line"


def test_a_measure_of_a_backend_that_is_not_installed_is_shown_by_its_name() -> None:
    unknown = Meanings()
    assert unknown.of("wobble_of_text").title == "Wobble of text" and not unknown.of("wobble_of_text").sentence
    assert unknown.of("tokens_per_second").unit == "tokens/s"
    assert list(unknown.beside({"value": 1, "floor": {"value": 2}, "k": 3})) == ["floor"]


# In a browser

BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
DRIVER = """
<script>
const slider = document.querySelector("[data-controls] input");
slider.value = 1;
slider.dispatchEvent(new Event("input"));
document.body.dataset.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
</script>
"""


def browsed(path: Path, profile: Path, *more: str) -> Page:
    """A page as the browser has it after its scripts have run."""
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}",
        "--window-size=500,800",
        "--dump-dom",
        *more,
    ]
    try:
        shown = subprocess.run([str(BROWSER), *options, path.as_uri()], capture_output=True, text=True, timeout=120).stdout
    except subprocess.TimeoutExpired:
        shown = ""
    if "</html>" not in shown:
        pytest.skip(f"{BROWSER} does not start here")
    return Page(shown)


WATCHER = """
addEventListener("securitypolicyviolation", (event) => { document.body.dataset.violated = event.violatedDirective; });
addEventListener("load", () => {
  const seen = document.body.dataset;
  seen.pictures = [...document.images].map((image) => image.naturalWidth).join();
  seen.styled = getComputedStyle(document.body).margin;
  for (const audio of document.querySelectorAll("audio")) {
    audio.addEventListener("loadedmetadata", () => { seen.seconds = audio.duration; });
    audio.addEventListener("error", () => { seen.seconds = "none"; });
    audio.load();
  }
});
"""
HOSTILE = (
    """</title></style></script></pre><script>document.body.dataset.owned = 1</script>"><img src=x onerror="document.body.dataset"""
    """.owned = 2"><svg onload="document.body.dataset.owned = 3"><a href="javascript:document.body.dataset.owned = 4">x</a>"""
    """<meta http-equiv="refresh" content="0;url=https://example.com"><iframe srcdoc="<script>parent.document.body.dataset.owned = 5"""
    """</script>"></iframe><base href="https://example.com"><link rel=stylesheet href=//example.com/a.css>{{ 7 * 7 }}"""
)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_page_of_hostile_captions_shows_and_plays_everything_and_runs_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy is as the page has it, but that it lets the test's own script run too."""
    import soundfile

    from aigc_cli.ui import report as module
    from aigc_cli.ui.report import FilmFrame, Measured, Report, in_table, player, png, render

    shown, sound = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (6, 6), (9, 90, 9)).save(shown, "PNG")
    soundfile.write(sound, [0.0] * 4000, 8000, format="WAV")
    content = shown.getvalue()
    (film := tmp_path / "film.txt").write_text(HOSTILE)
    heard = player("audio/wav", sound.getvalue(), content)
    assert heard is not None
    digest = base64.b64encode(hashlib.sha256(WATCHER.encode()).digest()).decode()
    policy = module._policy
    monkeypatch.setattr(module, "_policy", lambda *of: policy(*of).replace("script-src", f"script-src 'sha256-{digest}'"))
    record = {"backend": HOSTILE, "device": HOSTILE, "data": {"location": HOSTILE, HOSTILE: HOSTILE, "splits": {HOSTILE: {HOSTILE: HOSTILE}}}, "reasons": [HOSTILE], "best": {"step": 1, HOSTILE: 2.0}}  # fmt: skip
    examples = [{HOSTILE: HOSTILE, "picture": in_table(content)}]
    measured = Measured(
        HOSTILE, {HOSTILE: {"value": 1.0, "n": 2, "low": None, "high": None}}, [HOSTILE], png(content), examples
    )
    metrics = [{"event": "evaluated", "step": step, HOSTILE: 1.0 / step, "best": True} for step in (1, 2)]
    metrics.append({"event": "concern", "step": 2, "text": HOSTILE})
    frames = [FilmFrame(1, text=film.read_text()), FilmFrame(2, png(content))]
    settings = [module.Setting(HOSTILE, HOSTILE, "given", HOSTILE)]
    told = Report(HOSTILE, HOSTILE, HOSTILE, record, metrics, frames, measured, "", settings, [(HOSTILE, HOSTILE)], HOSTILE, players=[heard])  # fmt: skip
    path = tmp_path / "page.html"
    path.write_text(render(told).replace("</body>", f"<script>{WATCHER}</script></body>"))
    page = browsed(path, tmp_path / "profile", "--virtual-time-budget=3000")
    (body,) = page.all("body")
    assert "data-owned" not in body and "data-violated" not in body
    assert body["data-pictures"] == "6,6,6,6" and body["data-seconds"] == "0.5"
    assert body["data-styled"] != "8px"  # a browser's own
    assert not page.all("iframe") and not page.all("base") and not page.all("link") and not page.all("a")
    assert [frame.get("class") for frame in page.all("figure") if "data-step" in frame] == [None, "on"]
    assert HOSTILE in page.inside("h1") and "{{ 7 * 7 }}" in page.inside("pre")


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_the_film_is_played_by_its_slider_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path)
    text = report(tmp_path, monkeypatch).text
    path = tmp_path / "page.html"

    def frames(page: Page) -> list[str]:
        return [str(figure["data-step"]) for figure in page.all("figure") if figure.get("class") == "on"]

    path.write_text(text.replace("</body>", f"{DRIVER}</body>"))  # the policy holds it back, and lets the page's own run
    page = browsed(path, tmp_path / "profile")
    assert frames(page) == ["step 40"]
    assert "data-wide" not in page.all("body")[0]
    assert "hidden" not in next(attributes for _, attributes in page.tags if "data-controls" in attributes)
    path.write_text(re.sub('<meta http-equiv="Content[^>]*>', "", text).replace("</body>", f"{DRIVER}</body>"))
    page = browsed(path, tmp_path / "profile")
    assert frames(page) == ["step 20"]
    assert page.all("body")[0]["data-wide"] == "false"
    (slider,) = page.all("input")
    assert slider["aria-valuetext"] == "step 20"
    half = LEFT + (WIDTH - LEFT - RIGHT) / 2
    assert {line["transform"] for line in page.all("line") if "data-cursor" in line} == {f"translate({half} 0)"}
