"""One reader of prompts, and arguments that are not UTF-8."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from conftest import Shell
from hypothesis import given
from hypothesis import strategies as st

from aigc_cli.backends.transformer.config import Sample, Train
from aigc_cli.backends.transformer.inputs import read_inputs, with_breaks
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.errors import RequestError
from aigc_cli.options import fields_of
from aigc_cli.ui.text import one_line


def _prompts(prompt: str) -> list[str | None]:
    return [text.prompt for text in read_inputs(Start(with_eot=True), [], prompt)]


def _piped(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return _prompts("-")


@given(st.text())
def test_what_sample_writes_is_read_back(text: str) -> None:
    assert with_breaks(one_line(text)) == text


def test_other_backslashes_stay() -> None:
    assert with_breaks(r"\alpha \ \\n \t") == r"\alpha \ \n \t"


def test_a_file_is_read_as_training_texts_are(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "p.txt").write_bytes("春眠\r\n不觉晓\r\n".encode(encoding))
        assert _prompts(f"@{tmp_path / 'p.txt'}") == ["春眠\r\n不觉晓\r\n"]
    (tmp_path / "p.txt").write_bytes("床前明月光，疑是地上霜。".encode("gb18030"))
    with pytest.raises(RequestError, match=r"it looks like GB18030: mv .* && iconv -f GB18030"):
        _prompts(f"@{tmp_path / 'p.txt'}")
    with pytest.raises(RequestError, match=r"cannot read .*nothing: No such file or directory"):
        _prompts(f"@{tmp_path / 'nothing'}")


def test_lines_of_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "\ufeffone\r\n" + r"two\nlines" + '\n{"text": "of sample\\n--json", "seed": 1}\n{"x": 1}\n"quoted"\n'
    expected = ["one", "two\nlines", "of sample\n--json", '{"x": 1}', '"quoted"']
    assert _piped(lines.encode(), monkeypatch) == expected
    assert _piped(json.dumps({"prompt": "a\r\n\\n"}).encode(), monkeypatch) == ["a\r\n\\n"]


BAD = os.fsdecode(b"ab\xb0\xa1")


@pytest.mark.parametrize("name", ["prompt", "given", "stop", "match"])
def test_text_that_is_not_utf8_is_one_line(name: str) -> None:
    field = fields_of(Sample)[name]
    with pytest.raises(RequestError) as caught:
        field.check([BAD] if field.repeated else BAD, field.flag)
    hint = "; write it to a file and give @FILE" if name == "prompt" else ""
    assert str(caught.value) == f"--{name} is not UTF-8: byte 0xB0 after 2 characters{hint}"


def test_names_of_files_that_are_not_utf8_are_printed_escaped(shell: Shell) -> None:
    folder = shell.cwd / BAD
    folder.mkdir()
    (folder / "poems.txt").write_text("".join(f"The quiet river, number {i}.\n" for i in range(300)))
    plan = json.loads(
        shell.ok("train", "transformer", "--data", folder, "--steps", "3", "--preset", "nano", "--dry-run", "--json")
    )
    assert plan["data"]["location"] == str(folder)
    (folder / "poems.txt").write_bytes(b"")
    done = shell("train", "transformer", "--data", folder, "--dry-run")
    assert done.returncode == 2 and r"ab\xb0\xa1" in done.stderr


def test_names_of_files_may_be_any_bytes() -> None:
    assert fields_of(Train)["data"].check(BAD, "--data") == BAD
    with pytest.raises(RequestError, match="--column is not UTF-8"):
        fields_of(Train)["column"].check(BAD, "--column")
