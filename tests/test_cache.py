"""Cache entries are complete or absent, whatever goes wrong and whatever other processes write."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aigc_cli.data import cache
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
    assert cache.cache_dir().name == "aigc"


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


def test_a_cache_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(AigcError) as caught, cache.new_entry("k"):
        pass
    expected = f"cannot write to the cache {tmp_path / 'file'}: Not a directory; free disk space or set AIGC_CACHE_DIR"
    assert str(caught.value) == expected
