"""Cache entries are complete or absent, whatever goes wrong and whatever other processes write."""

from __future__ import annotations

import io
import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from places import read_only, small_disk

from aigc_cli.commands import train
from aigc_cli.data import cache
from aigc_cli.data.sources import standard_input
from aigc_cli.errors import AigcError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _fill(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "a").write_text("one")
    (folder / "b").write_text("two")


def _is_whole(folder: Path) -> bool:
    return (folder / "inner" / "a").read_text() == "one" and (folder / "b").read_text() == "two"


def test_the_folder_is_the_users_unless_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("AIGC_CACHE_DIR")
    assert str(cache.cache_dir()).endswith("aigc")


def test_an_entry_is_there_after_it_is_made() -> None:
    assert cache.lookup("k") is None
    with cache.new_entry("k") as folder:
        _fill(folder)
        assert cache.lookup("k") is None
    found = cache.lookup("k")
    assert found is not None
    assert _is_whole(found)
    cache.discard("k")
    assert cache.lookup("k") is None
    cache.discard("k")  # discarding nothing is nothing


def test_equal_parts_have_equal_keys() -> None:
    assert cache.key_of({"a": 1, "b": None}, "x") == cache.key_of({"b": None, "a": 1}, "x")
    assert cache.key_of("ab", "c") != cache.key_of("a", "bc")


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_failure_at_any_step_leaves_the_entry_whole_or_absent(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flush and every rename fails once, in turn."""
    owner, name = (os, "fsync") if step == "fsync" else (Path, "rename")
    genuine: Callable[..., object] = getattr(owner, name)
    for failing in range(20):
        calls = 0

        def fails_once(*args: object, failing: int = failing) -> object:
            nonlocal calls
            calls += 1
            if calls == failing + 1:
                raise OSError(28, "No space left on device")
            return genuine(*args)

        monkeypatch.setattr(owner, name, fails_once)
        key = f"{step}-{failing}"
        try:
            with cache.new_entry(key) as folder:
                _fill(folder)
        except AigcError as error:
            assert "No space left on device; free disk space or set AIGC_CACHE_DIR" in str(error)
        monkeypatch.setattr(owner, name, genuine)
        found = cache.lookup(key)
        assert found is None or _is_whole(found)
        assert not list(cache.cache_dir().rglob(".tmp-*"))
        if calls <= failing:
            assert found is not None
            return
        with cache.new_entry(key) as folder:  # and it can be made after all
            _fill(folder)
        assert _is_whole(cache.cache_dir() / "prepared" / key)
    raise AssertionError("there are fewer steps than this")


def test_an_exception_inside_leaves_nothing() -> None:
    with pytest.raises(ZeroDivisionError), cache.new_entry("k") as folder:
        _fill(folder)
        raise ZeroDivisionError
    assert cache.lookup("k") is None
    assert not list((cache.cache_dir() / "prepared").iterdir())


def test_a_process_killed_while_making_leaves_the_entry_absent() -> None:
    script = (
        "import os, signal\n"
        "from aigc_cli.data import cache\n"
        "with cache.new_entry('k') as folder:\n"
        "    (folder / 'b').write_text('two')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode != 0
    assert cache.lookup("k") is None
    (left,) = (cache.cache_dir() / "prepared").iterdir()
    old = time.time() - 2 * 24 * 3600
    os.utime(left, (old, old))
    with cache.new_entry("other") as folder:
        _fill(folder)
    assert not left.exists()  # swept once it is a day old


def test_two_makers_at_once_both_end_with_a_whole_entry() -> None:
    with cache.new_entry("k") as first:
        _fill(first)
        with cache.new_entry("k") as second:
            _fill(second)
        assert cache.lookup("k") is not None
    found = cache.lookup("k")
    assert found is not None
    assert _is_whole(found)
    assert [path.name for path in found.parent.iterdir()] == ["k"]


def _kept_elsewhere(caplog: pytest.LogCaptureFixture) -> Path:
    """An entry is kept in a temporary folder, which one warning names."""
    for key in ("k", "other"):
        with cache.new_entry(key) as folder:
            _fill(folder)
    found = cache.lookup("k")
    assert found is not None and _is_whole(found)
    (warning,) = caplog.messages
    assert f"prepared data are kept in {cache.place()} until this command ends; AIGC_CACHE_DIR names another folder" in warning
    return found


@pytest.fixture
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.mark.usefixtures("_own_temporary_folder")
@pytest.mark.parametrize("why", ["a file is in its place", "it is in a file", "no home", "no such home", "no permission"])
def test_a_cache_that_cannot_be_made_is_done_without(
    why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "file"))
    if why == "it is in a file":
        monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "file" / "cache"))
    if "home" in why:
        monkeypatch.delenv("AIGC_CACHE_DIR")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
    if why == "no home":
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # KeyError: nobody is known
    if why == "no permission":
        monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "shut" / "cache"))
        (tmp_path / "shut").mkdir()
        with read_only(tmp_path / "shut"):
            found = _kept_elsewhere(caplog)
    else:
        found = _kept_elsewhere(caplog)
    assert found.is_relative_to(tmp_path / "tmp")
    assert not Path("~").exists()


@pytest.mark.usefixtures("_own_temporary_folder")
def test_a_read_only_cache_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with cache.new_entry("k") as folder:
        _fill(folder)
    with read_only(tmp_path / "cache"):
        found = cache.lookup("k")
        assert found is not None and _is_whole(found) and not caplog.messages
        cache.discard("k")
        with cache.new_entry("k") as folder:  # it was damaged, say
            _fill(folder)
        assert cache.lookup("k") != found
        assert len(caplog.messages) == 1 and ("Read-only" in caplog.text or "Permission" in caplog.text)


@pytest.mark.usefixtures("_own_temporary_folder")
@pytest.mark.parametrize("elsewhere", [True, False])
def test_an_entry_that_does_not_fit_is_made_again_elsewhere(
    elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> None:
        with cache.new_entry("k") as folder:
            (folder / "a").write_bytes(bytes(200_000))

    (tmp_path / "cache").mkdir()
    with small_disk(tmp_path / "cache", "100k"):
        if elsewhere:
            cache.again(make)
            found = cache.lookup("k")
            assert found is not None and found.is_relative_to(tmp_path / "tmp")
            assert cache.room(200_000) > 200_000
            assert len(caplog.messages) == 1 and "No space left on device" in caplog.text
        else:
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "cache"))
            with pytest.raises(AigcError, match="No space left on device") as caught:
                cache.again(make)
            assert "\n" not in str(caught.value)
        assert not list((tmp_path / "cache" / "prepared").iterdir())


@pytest.mark.usefixtures("_own_temporary_folder")
def test_standard_input_that_does_not_fit_is_copied_on_elsewhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = b"".join(f"line {n} of many\n".encode() for n in range(20_000))
    stream = io.BytesIO(content)
    (tmp_path / "cache").mkdir()
    with small_disk(tmp_path / "cache", "100k"):
        copy = standard_input._copied(stream.read(1_000), lambda n: stream.read(30_001), ".txt")
        assert copy.is_relative_to(tmp_path / "tmp") and copy.suffix == ".txt"
        assert copy.read_bytes() == content
        assert not list((tmp_path / "cache" / "stdin").iterdir()) and not list(copy.parent.glob(".tmp-*"))
    assert len(caplog.messages) == 1 and "No space left on device" in caplog.text


@pytest.mark.usefixtures("_own_temporary_folder")
def test_compiled_code_is_kept_where_no_one_else_can_put_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # as if it were unset; so it is put back afterwards
    train._own_compiled_code()
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder == cache.compiled() and folder.parent == tmp_path / "cache"
    assert folder.stat().st_mode & 0o777 == 0o700
    theirs = folder.rename(tmp_path / "theirs")
    folder.symlink_to(theirs)
    assert cache.compiled().parent != tmp_path / "cache" and "is another user's" in caplog.text
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "mine")
    train._own_compiled_code()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "mine"


@pytest.mark.usefixtures("_own_temporary_folder")
def test_without_any_folder_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(AigcError) as caught, cache.new_entry("k"):
        pass
    assert str(caught.value) == (
        f"the cache {tmp_path / 'file'} cannot be written to (File exists), and neither can a temporary folder "
        "(File exists); free disk space or set AIGC_CACHE_DIR"
    )


@pytest.mark.usefixtures("_own_temporary_folder")
def test_what_is_kept_elsewhere_is_removed_at_exit_and_after_a_kill_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code = (
        "import os, sys\n"
        "from aigc_cli import app\n"
        "from aigc_cli.data import cache\n"
        "def run():\n"
        "    print(cache.place(), flush=True)\n"
        "    if len(sys.argv) > 1: os._exit(9)\n"
        "    return 0\n"
        "app.run = run\n"
        "app.main()\n"
    )
    env = {**os.environ, "AIGC_CACHE_DIR": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "tmp")}
    killed = subprocess.run([sys.executable, "-c", code, "killed"], env=env, capture_output=True, text=True).stdout.strip()
    assert Path(killed).is_dir()
    os.utime(killed, (time.time() - 120,) * 2)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert Path(done.stdout.strip()).parent == tmp_path / "tmp" and done.stderr.count("\n") == 1
    assert not list((tmp_path / "tmp").iterdir())
