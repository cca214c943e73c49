"""Checkpoints whose files were damaged after they were written: found by their digests, named, and others used instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import Shell

from aigc_cli.engine.checkpoints import manifest
from aigc_cli.engine.checkpoints.manifest import copy_manifest, damage, damage_above, write_manifest
from aigc_cli.errors import RequestError

NEWEST, BEFORE = "step-000040", "step-000020"


def flip(file: Path, bit: int = -5) -> None:
    """Flip one bit; by default one of the last byte."""
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Not a checkpoint, but small enough to try everything."""
    for name, content in (("model/config.json", b'{"a": 1}'), ("model/x/weights", b"\0\1\2\3"), ("state/empty", b"")):
        file = tmp_path / "whole" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    write_manifest(tmp_path / "whole")
    return tmp_path / "whole"


def test_every_flipped_bit_and_every_truncation_is_found_and_named(folder: Path) -> None:
    assert damage(folder) is None
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) == 4
    for file in files:
        whole = file.read_bytes()
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            # A manifest without its last line end is whole.
            assert (damage(folder) or "").startswith(f"{file} is damaged") or whole[length:] == b"\n", (file, length)
        for bit in range(8 * len(whole)):
            file.write_bytes(whole)
            flip(file, bit)
            found = damage(folder)
            same = file.name == manifest.NAME and _read(file) == json.loads(whole)  # a space that became a tab
            assert (found or "").startswith(f"{file} is damaged") or same, (file, bit, found)
        if file.name != manifest.NAME:
            file.unlink()
            assert damage(folder) == f"{file} is missing"
        file.write_bytes(whole)
    assert damage(folder) is None


def _read(file: Path) -> object:
    try:
        return json.loads(file.read_bytes())
    except ValueError:
        return None


def test_only_what_is_asked_for_is_looked_at(folder: Path) -> None:
    flip(folder / "model" / "x" / "weights")
    assert damage(folder, ("state/", "model/config.json")) is None
    assert damage(folder, ("model/",)) == damage_above(folder / "model") == damage_above(folder / "model" / "x")
    assert damage_above(folder.parent) is None and damage_above(folder / "state") is None


def test_a_copy_is_compared_with_the_original(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "model", tmp_path / "copy" / "model")
    flip(tmp_path / "copy" / "model" / "config.json")
    copy_manifest(folder, tmp_path / "copy")
    assert damage(tmp_path / "copy") == f"{tmp_path}/copy/model/config.json is damaged: its content is not what was written"
    (folder / manifest.NAME).unlink()  # as of earlier versions
    copy_manifest(folder, tmp_path / "copy")
    assert damage(tmp_path / "copy") is None


@pytest.mark.parametrize("name", ["../whole/model/config.json", "/etc/hostname", "model/device"])
def test_a_manifest_has_nothing_else_read(folder: Path, name: str) -> None:
    (folder / "model" / "device").symlink_to("/dev/zero")
    rewrite(folder, files={name: {"bytes": 8, "sha256": "0" * 64}})
    assert "is damaged" in (damage(folder) or "")


def rewrite(folder: Path, **changes: object) -> None:
    content = json.loads((folder / manifest.NAME).read_text()) | changes
    del content["sha256"]
    (folder / manifest.NAME).write_text(json.dumps({**content, "sha256": manifest._digest_of(content)}))


def test_a_newer_format_is_refused(folder: Path) -> None:
    rewrite(folder, format=manifest.FORMAT + 1, new="field")
    with pytest.raises(RequestError, match=r"whole was written by a newer aigc \(checkpoint format 2\); update aigc to open"):
        damage(folder)


# Through the command line


@pytest.fixture(scope="module")
def finished(module_shell: Shell) -> Path:
    module_shell.ok("train", "toy", "--steps", "40", "--seed", "1", "--run", "whole", "-q")
    return module_shell.cwd / "runs/toy/whole"


@pytest.fixture
def run(finished: Path, shell: Shell) -> Path:
    """A run that was interrupted at its last step, of which the best checkpoint is the newest."""
    run = shell.cwd / "runs/toy/r"
    shutil.copytree(finished, run, symlinks=True)
    assert sorted(path.name for path in run.glob("checkpoints/*")) == [BEFORE, NEWEST]
    point_at(run, NEWEST)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    return run


def point_at(run: Path, checkpoint: str) -> None:
    (run / "model").unlink()
    (run / "model").symlink_to(f"checkpoints/{checkpoint}/model")


@pytest.mark.parametrize(
    "name", ["model/model.safetensors", "state/networks.safetensors", "state/position.json", "manifest.json"]
)
def test_training_continues_from_the_newest_whole_checkpoint(run: Path, finished: Path, shell: Shell, name: str) -> None:
    (run / "checkpoints" / NEWEST / name).write_bytes((run / "checkpoints" / NEWEST / name).read_bytes()[:-5])
    done = shell("train", "toy", "--run", "r", "--resume")
    assert done.returncode == 0, done.stderr
    assert f"runs/toy/r/checkpoints/{NEWEST}/{name} is damaged" in done.stderr
    assert "this checkpoint is not used" in done.stderr
    for file in ("model/model.safetensors", "state/networks.safetensors", "state/optimizers.safetensors"):
        ours, theirs = (of / "checkpoints" / NEWEST / file for of in (run, finished))
        assert ours.read_bytes() == theirs.read_bytes(), file
    assert (run / "model").readlink() == (finished / "model").readlink()
    shell.ok("train", "toy", "--run", "r", "--resume", "--steps", "41", "-q")
    assert not list(run.glob("checkpoints/.tmp-*"))


def test_no_training_continues_without_a_whole_checkpoint(run: Path, shell: Shell) -> None:
    for checkpoint in (BEFORE, NEWEST):
        flip(run / "checkpoints" / checkpoint / "state/optimizers.json")
    done = shell("train", "toy", "--run", "r", "--resume")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and f"{BEFORE}/state/optimizers.json is damaged" in line and "can't be resumed" in line
    assert sorted(path.name for path in run.glob("checkpoints/*")) == [BEFORE, NEWEST]


@pytest.mark.parametrize("verb", [("sample", "-n", "3"), ("eval",)])
def test_the_newest_whole_model_is_used(run: Path, shell: Shell, verb: tuple[str, ...]) -> None:
    arguments = (verb[0], "toy", "--run", "r", "--seed", "5", *verb[1:])
    point_at(run, BEFORE)
    before = shell.ok(*arguments)
    point_at(run, NEWEST)
    assert shell.ok(*arguments) != before
    flip(run / "model" / "model.safetensors")
    done = shell(*arguments)
    assert (done.returncode, done.stdout) == (0, before)
    assert f"{NEWEST}/model/model.safetensors is damaged: its content is not what was written; using the" in done.stderr
    assert f"newest whole checkpoint instead, runs/toy/r/checkpoints/{BEFORE}" in done.stderr
    flip(run / "checkpoints" / BEFORE / "model" / "config.json")
    done = shell(*arguments)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "") and "is damaged" in line and "no other checkpoint is whole" in line


def test_a_newer_checkpoint_is_refused_by_every_verb(run: Path, shell: Shell) -> None:
    rewrite(run / "checkpoints" / NEWEST, format=2)
    for arguments in (("train", "toy", "--resume"), ("sample", "toy"), ("eval", "toy"), ("runs", "prune", "r", "--yes")):
        done = shell(*arguments, *(() if arguments[0] == "runs" else ("--run", "r")))
        told = done.stderr.splitlines()[-1]
        assert (done.returncode, done.stdout) == (2, ""), told
        assert "written by a newer aigc" in told or "needs its checkpoints to resume" in told
    assert (run / "checkpoints" / NEWEST / "model").exists()


def test_another_run_starts_from_whole_weights_only(run: Path, shell: Shell) -> None:
    start = ("train", "toy", "--steps", "3", "--init-from", "r", "--run")
    flip(run / "checkpoints" / NEWEST / "state/averages.safetensors")
    done = shell(*start, "second")
    assert done.returncode == 0 and "is damaged" in done.stderr and f"{BEFORE}" in done.stderr
    init = shell.cwd / "runs/toy/second/init"
    assert damage(init) is None and (init / manifest.NAME).exists()
    flip(init / "state/networks.safetensors")
    again = shell("train", "toy", "--config", "runs/toy/second/run.json", "--run", "third")
    assert again.returncode == 2 and "init/state/networks.safetensors is damaged" in again.stderr


def test_pruning_keeps_a_whole_model(run: Path, shell: Shell) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "finished"}))
    flip(run / "model/model.safetensors")
    shell.ok("runs", "prune", "r", "--yes")
    assert (run / "model").readlink() == Path(f"checkpoints/{BEFORE}/model")
    shell.ok("sample", "toy", "--run", "r", "-q")
