"""Archives whose members of one name are one example: labels of .cls and .json members."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc_cli.data.pictures.kind import PICTURES
from aigc_cli.data.pictures.sources.readers import check_label_applies, open_readers
from aigc_cli.errors import RequestError


def _png(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def _tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _read(path: Path, label: str | None = None) -> tuple[dict[str, str | None], tuple[str, ...]]:
    part = PICTURES.open(str(path)).training()
    check_label_applies([part], label)
    (reader,) = open_readers(part, label)
    labels = {raw.name: raw.label for raw in reader.read()}
    assert reader.count == len(labels)
    assert {raw.name: raw.label for raw in reader.read(2)}.items() <= labels.items()
    return labels, reader.notes


def test_cls_members_are_labels(tmp_path: Path) -> None:
    """A dot in the name, members that aren't neighbours, a picture without a label, a label without a picture."""
    members = {
        "22.05.png": _png(1), "22.05.cls": b"7\n", "22.06.png": _png(2), "b.png": _png(3), "c.png": _png(4), "d.cls": b"1",
        "22.06.cls": b"cat", "22.05.txt": b"a caption", "b.cls": "cafe\u0301".encode(),
    }  # fmt: skip
    labels, notes = _read(_tar(tmp_path / "a.tar", members))
    assert labels == {"22.05.png": "7", "22.06.png": "cat", "b.png": "café", "c.png": None}
    assert notes == ("labels of the .cls members",)


OBJECT = {"label": "cat", "breed": "manx", "id": 5}


@pytest.mark.parametrize(
    ("asked", "value"), [(None, "cat"), ("breed", "manx"), ("json.breed", "manx"), ("id", "5"), ("txt", "x")]
)
def test_labels_of_json_and_txt_members(asked: str | None, value: str, tmp_path: Path) -> None:
    members = {"a.png": _png(1), "a.json": json.dumps(OBJECT).encode(), "a.txt": b"x", "b.png": _png(2), "b.json": b"[1]"}
    assert _read(_tar(tmp_path / "a.tar", members), asked)[0] == {"a.png": value, "b.png": None}


def test_members_beside_no_picture_give_no_labels(tmp_path: Path) -> None:
    members = {"cat/1.png": _png(1), "dog/2.png": _png(2), "metadata.json": json.dumps(OBJECT).encode(), "x.cls": b"1"}
    labels, notes = _read(_tar(tmp_path / "a.tar", members))
    assert labels == {"cat/1.png": "cat", "dog/2.png": "dog"}
    assert notes == ("ignored files of other types in a.tar: 1 .json, 1 .cls",)


@pytest.mark.parametrize(
    ("learned", "others"), [("img.png", ["seg.png"]), ("png", ["seg.png", "depth.png"]), ("PNG", ["mask.png"])]
)
def test_of_several_pictures_an_example_one_is_learned_and_told(learned: str, others: list[str], tmp_path: Path) -> None:
    members = {}
    for i in range(4):
        members |= {f"s/{i}.{suffix}": _png(10 * i + j) for j, suffix in enumerate([*others, learned])}
        members[f"s/{i}.cls"] = b"ab"[i % 2 : i % 2 + 1]
    labels, notes = _read(_tar(tmp_path / "a.tar", members))
    assert labels == {f"s/{i}.{learned}": "ab"[i % 2] for i in range(4)}
    rest = ", ".join(f".{suffix}" for suffix in others)
    assert notes == (f"pictures are the .{learned} members, not {rest}", "labels of the .cls members")


def test_several_pictures_an_example_without_a_likely_one_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    members = {f"{i}.{suffix}": _png(i) for i in range(3) for suffix in ("left.png", "right.png", "cls")}
    path = _tar(tmp_path / "a.tar", members)
    with pytest.raises(RequestError) as caught:
        _read(path)
    start, remedy = str(caught.value).split("leave one of them: ")
    assert start == f"{path} has several pictures an example (.left.png, .right.png); "
    if shutil.which("tar") and "GNU" in subprocess.run(["tar", "--version"], capture_output=True, text=True).stdout:
        subprocess.run(remedy, shell=True, cwd=tmp_path, check=True)
        assert [*_read(path)[0]] == ["0.left.png", "1.left.png", "2.left.png"]


def test_pictures_with_other_words_in_their_names_are_all_learned(tmp_path: Path) -> None:
    names = ["a.png", "a.edited.png", "b.png", "c.png", "2022.05.png", "2022.06.png", "2023.05.png", "2023.06.png"]
    labels, notes = _read(_tar(tmp_path / "a.tar", {name: _png(i) for i, name in enumerate(names)}))
    assert ([*labels], notes) == (names, ())


@pytest.mark.parametrize("asked", ["cls", "colour"])
def test_a_label_that_no_member_gives_is_refused(asked: str, tmp_path: Path) -> None:
    path = _tar(tmp_path / "a.tar", {"a.png": _png(1), "a.json": json.dumps(OBJECT).encode()})
    with pytest.raises(RequestError) as caught:
        _read(path, asked)
    assert str(caught.value) == f"{path}: no member beside a picture gives --label {asked}; it has .json members"


def test_other_members_of_an_archive_are_counted_and_most_must_be_pictures(tmp_path: Path) -> None:
    members = {"0.png": _png(0), "1.png": _png(1), "a.psd": b"", "b.PSD": b"", "notes": b""}
    _, notes = _read(_tar(tmp_path / "a.tar", members))
    remedy = PICTURES.remedies[".psd"]
    assert notes == (f"ignored files of other types in a.tar: 2 .psd ({remedy}), 1 without a suffix",)
    with pytest.raises(RequestError) as caught:
        _read(_tar(tmp_path / "b.tar", members | {"c.psd": b""}))
    expected = f"most of {tmp_path / 'b.tar'} is in formats that are not supported: 3 .psd ({remedy}), 1 without a suffix"
    assert str(caught.value) == expected
