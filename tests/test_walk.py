"""Which files a folder holds: links, loops, hidden files and what systems leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from aigc_cli.data.sources.source import Source
from aigc_cli.data.sources.walk import walk
from aigc_cli.data.text.kind import TEXT


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text\n")
    return folder


def _names(source: Source) -> list[str]:
    return [path.relative_to(source.location).as_posix() for path in source.training().files]


def test_files_are_in_the_order_of_their_names_level_by_level(tmp_path: Path) -> None:
    _touch(tmp_path, "b.txt", "a/2.txt", "a/b/1.txt", "a.txt", "a-/0.txt")
    assert walk(tmp_path).files == [("a", "2.txt"), ("a", "b", "1.txt"), ("a-", "0.txt"), ("a.txt",), ("b.txt",)]


def test_links_to_folders_are_followed_at_every_depth(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "d", "x/dog/0.txt")
    elsewhere = _touch(tmp_path / "elsewhere", "1.txt", "deep/2.txt")
    (folder / "x" / "cat").symlink_to(elsewhere)
    source = TEXT.open(str(folder))
    assert _names(source) == ["x/cat/1.txt", "x/cat/deep/2.txt", "x/dog/0.txt"]
    assert source.notes == (f"followed links: x/cat → {elsewhere}",)


def test_nothing_is_read_twice_and_no_loop_is_entered(tmp_path: Path) -> None:
    folder = _touch(tmp_path / "d", "b/0.txt")
    elsewhere = _touch(tmp_path / "elsewhere", "1.txt")
    (folder / "a").symlink_to(folder / "b")  # before it by name
    (folder / "b" / "loop").symlink_to("..")
    (folder / "self").symlink_to(".")
    (folder / "up").symlink_to(tmp_path)
    (folder / "y").symlink_to(elsewhere)
    (folder / "z").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    found = walk(folder)
    assert ["/".join(parts) for parts in found.files] == ["b/0.txt", "y/1.txt"]
    assert [link for link, _ in found.followed] == [("y",)]
    assert [link for link, _ in found.repeated] == [("a",), ("b", "loop"), ("self",), ("up",), ("y", "back"), ("z",)]


def test_links_to_files_are_files_and_broken_ones_are_told(tmp_path: Path) -> None:
    """As in the cache of the hub, where every file is a link to one without a suffix."""
    folder, blobs = tmp_path / "snapshot", _touch(tmp_path / "blobs", "0a1b")
    folder.mkdir()
    (folder / "train.txt").symlink_to(blobs / "0a1b")
    (folder / "gone.txt").symlink_to(blobs / "nothing")
    source = TEXT.open(str(folder))
    assert _names(source) == ["train.txt"]
    assert source.notes[-1] == f"ignored 1 broken link in {folder}: gone.txt"


@pytest.mark.parametrize(
    "name",
    ["@eaDir/0.txt/SYNO_THUMB.txt", "#recycle/0.txt", "__MACOSX/d/._0.txt", "$RECYCLE.BIN/0.txt", ".ipynb_checkpoints/0.txt",
     "._0.txt", "node_modules/0.txt", "sub/.git/0.txt", "Lost+Found/a/0.txt"],
)  # fmt: skip
def test_what_systems_leave_behind_is_ignored_and_told(name: str, tmp_path: Path) -> None:
    source = TEXT.open(str(_touch(tmp_path, "0.txt", "sub/1.txt", name)))
    assert _names(source) == ["0.txt", "sub/1.txt"]
    assert source.notes == (f"ignored 1 hidden or system file in {tmp_path}: {name}",)


def test_the_folder_itself_may_have_any_name(tmp_path: Path) -> None:
    assert _names(TEXT.open(str(_touch(tmp_path / ".hidden" / "@eaDir", "0.txt")))) == ["0.txt"]


def test_system_files_of_other_types_are_not_worth_a_word(tmp_path: Path) -> None:
    source = TEXT.open(str(_touch(tmp_path, "0.txt", "Thumbs.db", "desktop.ini", ".DS_Store", ".git/HEAD")))
    assert source.notes == ()
