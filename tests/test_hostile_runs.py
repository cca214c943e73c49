"""Run folders from a stranger: no verb writes or deletes outside of what the user named, reads without bound, or crashes."""

from __future__ import annotations

import json
import os
import shutil
import stat
from itertools import islice
from pathlib import Path

import pytest
from conftest import Shell
from hostile import aigc, content_of, replaced

from aigc_cli.engine.checkpoints import manifest
from aigc_cli.engine.runs.run import Run, open_run
from aigc_cli.errors import RequestError
from aigc_cli.files import read_json, written_aside

NEWEST = "step-000040"
VERBS = (
    ("runs", "list"), ("runs", "list", "--json"), ("runs", "show", "r"), ("runs", "path", "r"), ("report", "r", "--no-eval"),
    ("sample", "toy", "--run", "r", "-n", "1"), ("eval", "toy", "--run", "r"), ("train", "toy", "--run", "r", "--resume", "-q"),
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(module_shell: Shell) -> Path:
    module_shell.ok("train", "toy", "--steps", "40", "--hidden", "2", "--eval-every", "20", "--run", "r", "-q")
    return module_shell.cwd / "runs/toy/r"


@pytest.fixture
def run(finished: Path, tmp_path: Path, toy: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that can be resumed, in the current folder."""
    run = tmp_path / "here" / "runs/toy/r"
    shutil.copytree(finished, run, symlinks=True)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    monkeypatch.chdir(tmp_path / "here")
    return run


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What must not be touched: files and folders of the names that aigc writes and deletes."""
    outside = tmp_path / "outside"
    for name in (
        "file",
        "step-000001/model/config.json",
        "step-000020/state/optimizers.safetensors",
        ".tmp-mine/x",
        ".tmp-file",
    ):
        path = outside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"hidden": 2}')  # a model's configuration, as far as the toy's goes
    return outside


def test_whatever_a_record_says(run: Path) -> None:
    """A sample of all values and verbs; `tests/benchmarks/hostile.py` tries all of them, with every backend."""
    record = json.loads((run / "run.json").read_text())
    changes = list(replaced(record))
    assert len(changes) > 1500
    for number, (what, changed) in enumerate(islice(changes, 0, None, 131)):
        (run / "run.json").write_text(json.dumps(changed))
        for verb in (*VERBS[:4], VERBS[4 + number % 4]):
            told = aigc(*verb)
            assert not told.crashed, (what, verb, told)


@pytest.mark.parametrize("classes", [0, [[]], {"label": 0}])
def test_classes_that_are_no_texts(run: Path, classes: object) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "data": {**record["data"], "classes": classes}}))
    told = aigc("train", "toy", "--run", "r", "--resume")
    assert told.code == 2 and "its run.json is not as aigc writes it (" in told.err


@pytest.mark.parametrize("name", ["state/position.json", "state/optimizers.json", "manifest.json"])
def test_whatever_a_checkpoint_says(run: Path, name: str) -> None:
    """Its manifest is right again, as a stranger would write it."""
    checkpoint = run / "checkpoints" / NEWEST
    content, whole = json.loads((checkpoint / name).read_text()), content_of(run)
    step = {"state/position.json": 97, "state/optimizers.json": 211, "manifest.json": 151}[name]
    for what, changed in islice(replaced(content), 0, None, step):
        if name == manifest.NAME:
            changed = {key: value for key, value in changed.items() if key != "sha256"}
            (checkpoint / name).write_text(json.dumps({**changed, "sha256": manifest._digest_of(changed)}))
        else:
            (checkpoint / name).write_text(json.dumps(changed))
            manifest.write_manifest(checkpoint)
        for verb in VERBS[6:]:
            told = aigc(*verb)
            assert not told.crashed, (what, verb, told)
        shutil.rmtree(run)
        for path, (kind, data) in whole.items():
            if kind == "folder":
                (run / path).mkdir(parents=True)
            elif kind == "link":
                (run / path).symlink_to(os.fsdecode(data))
            else:
                (run / path).parent.mkdir(parents=True, exist_ok=True)
                (run / path).write_bytes(data)


LINKS = {
    ".lock": "file", "metrics.jsonl": "file", "checkpoints": "", "samples": "", f"samples/{NEWEST}.txt": "file",
    "report.html": "file", f"checkpoints/{NEWEST}": "step-000001", f"checkpoints/{NEWEST}/state": "step-000020/state",
    "model": "step-000020/model", "checkpoints/earlier": "step-000001", "init": "step-000001", "run.json.lock": "file",
}  # fmt: skip


@pytest.mark.parametrize("status", ["interrupted", "finished"])
@pytest.mark.parametrize("name", LINKS)
def test_links_lead_no_verb_outside(run: Path, outside: Path, name: str, status: str) -> None:
    (outside / "step-000020" / "model").mkdir()
    (outside / "step-000020" / "model" / "config.json").write_text('{"hidden": 2}')
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": status}))
    place = run / name
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.symlink_to(outside / LINKS[name])
    before = content_of(outside)
    for verb in (VERBS[4], VERBS[7], ("train", "toy", "--run", "r", "--resume", "--steps", "41", "-q"), ("runs", "prune", "r", "--yes"), ("runs", "rm", "r", "--yes")):  # fmt: skip
        told = aigc(*verb)
        assert not told.crashed, (verb, told)
        assert content_of(outside) == before, verb
    assert not run.exists() and not list(run.parent.glob(".tmp-*"))


def test_what_a_link_would_have_changed_is_named(run: Path, outside: Path) -> None:
    shutil.rmtree(run / "samples")
    (run / "samples").symlink_to(outside)
    told = aigc("train", "toy", "--run", "r", "--resume")
    assert told.code == 2 and "run runs/toy/r: samples is a link, and nothing outside a run is changed" in told.err


def test_a_run_that_is_a_link_is_removed_alone(run: Path, outside: Path) -> None:
    run.rename(outside / "r")
    run.symlink_to(outside / "r")
    before = content_of(outside)
    assert aigc("runs", "rm", "r", "--yes").out == "runs/toy/r\n"
    assert not run.is_symlink() and {**content_of(outside), "r/.lock": 0} == {**before, "r/.lock": 0}


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", ".lock", f"checkpoints/{NEWEST}/manifest.json", f"checkpoints/{NEWEST}/state/position.json"])  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "deep", "folder"])
def test_nothing_is_read_without_end(run: Path, name: str, kind: str) -> None:
    place = run / name
    place.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    elif kind == "folder":
        place.mkdir()
    elif kind == "deep":
        place.write_text("[" * 100_000 + "]" * 100_000)
    else:
        with place.open("wb") as file:
            file.truncate(1 << 40)
    for verb in VERBS[0], VERBS[2], VERBS[4], VERBS[5], VERBS[7]:
        told = aigc(*verb)
        assert not told.crashed, (verb, told)


def test_json_is_refused_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"", b"[" * 100_000, b'{"a": ' * 100_000, b"1" * 5000, b"\xff\xfe", b"[1", b"\0"):
        path.write_bytes(content)
        with pytest.raises(ValueError):
            read_json(path)
    with pytest.raises(OSError, match="larger than the 3 B allowed"):
        path.write_bytes(b"[1,2]")
        read_json(path, 3)
    for name in ("/dev/zero", "/dev/null", str(tmp_path)):
        with pytest.raises(OSError):
            read_json(Path(name))


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, 'a = "\0"', "a.b.c = 1", "steps = {}", "steps = 1e999", "lr = nan"])  # fmt: skip
def test_settings_are_refused_in_a_line(text: str, run: Path) -> None:
    Path("a.toml").write_text(text)
    told = aigc("train", "toy", "--config", "a.toml", "--dry-run")
    assert told.code == 2 and len(told.err.splitlines()) == 1 and not told.crashed


# What is written


def test_an_output_is_not_written_through_a_link_that_was_there(tmp_path: Path) -> None:
    """In a folder that others can write to, a file's temporary name can't be known beforehand."""
    target = tmp_path / "target"
    for name in (f".tmp-a.txt-{os.getpid()}", f".tmp-a.txt-{os.getpid()}0"):
        (tmp_path / name).symlink_to(target)
    with written_aside(tmp_path / "a.txt") as file:
        assert not list(tmp_path.glob(f".tmp-a.txt-{os.getpid()}?*")) or file.name != target
        file.write(b"x")
    assert not target.exists() and (tmp_path / "a.txt").read_bytes() == b"x"


def test_a_link_that_leads_nowhere_is_not_a_new_file(run: Path, tmp_path: Path) -> None:
    Path("out.txt").symlink_to(tmp_path / "nowhere")
    told = aigc("sample", "toy", "--run", "r", "--out", "out.txt")
    assert told.code == 2 and "--out out.txt exists" in told.err and not (tmp_path / "nowhere").exists()


def test_files_have_the_permissions_that_the_umask_says(tmp_path: Path, toy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    try:
        data = "".join(f"{number / 100}\n" for number in range(200)).encode()
        told = aigc("train", "toy", "--data", "-", "--steps", "4", "--run", "r", input=data)
        assert told.code == 0, told.err
        for verb in (("sample", "toy", "--out", "s.txt"), ("report", "r", "--no-eval"), ("report", "r", "--out", "p.html")):
            assert aigc(*verb).code == 0
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.lstat().st_mode) for path in tmp_path.rglob("*") if not path.is_symlink()}  # fmt: skip
    assert {"runs/toy/r/input.csv", "runs/toy/r/run.json", "runs/toy/r/report.html", "s.txt", "p.html"} <= modes.keys()
    wrong = {name: oct(mode) for name, mode in modes.items() if mode != (0o750 if (tmp_path / name).is_dir() else 0o640)}
    assert not wrong


@pytest.mark.parametrize("record", [{}, {"plan": {}}, {"plan": {"arch": "x"}, "data": {}}])
def test_a_run_of_which_little_is_known_is_not_used(tmp_path: Path, record: dict[str, object]) -> None:
    from aigc_cli.backends.transformer.architectures import of_run

    with pytest.raises(RequestError, match=r"its run.json is not as aigc writes it"):
        of_run(Run(tmp_path, record))


def test_a_record_that_no_version_writes_is_refused(tmp_path: Path) -> None:
    good = {"format": 1, "backend": "toy", "status": "finished", "created": "2026-01-02T03:04:05.678Z"}
    for wrong in ([], 3, {**good, "format": "1"}, {**good, "created": "now"}, {**good, "data": []}, {**good, "steps": "4"}):
        (tmp_path / "run.json").write_text(json.dumps(wrong))
        with pytest.raises(RequestError, match="is not a run"):
            open_run(tmp_path)
