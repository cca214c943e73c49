"""Delimited text that could be read otherwise than it was meant: told, or refused with a remedy."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from aigc_cli.data.text.dataset import TextRequest, prepare_text
from aigc_cli.data.text.documents import Reading, recognise, stream
from aigc_cli.data.text.kind import TEXT
from aigc_cli.errors import RequestError

TEXTS = [f"The {what} ladder waits by door {i}." for i, what in enumerate(["quiet", "old", "hollow"] * 10)]


def _written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    return path


def _read(path: Path, reading: Reading = Reading()) -> list[str]:  # noqa: B008
    return [text for text, _ in stream(TEXT.open(str(path)).training(), reading)]


def _notes(path: Path, reading: Reading = Reading()) -> str:  # noqa: B008
    return "\n".join(recognise(TEXT.open(str(path)).training(), reading).notes)


def test_a_quotation_mark_that_swallows_rows_is_refused(tmp_path: Path) -> None:
    rows = [f"{i},{text}" for i, text in enumerate(TEXTS)]
    rows[3] = '3,"' + TEXTS[3]
    rows[6] += '"'
    path = _written(tmp_path / "a.csv", "id,text\n" + "\n".join(rows) + "\n")
    with pytest.raises(RequestError, match=r"line 5: a quotation mark opens here and closes only on line 8, and the lines"):
        _read(path)


@pytest.mark.parametrize(
    "poem", ["Snow fell, and rain\nIt fell, it rained\nOn the hill, on the town", "Roses,\nviolets,\nand snow,"]
)
def test_texts_of_several_lines_with_commas_are_read(poem: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", "title,text\n" + f'Snow,"{poem}"\n' * 3)
    assert _read(path) == [poem] * 3


@pytest.mark.parametrize(
    ("delimiter", "command"),
    [("^", r"tr '^' '\t'"), ("\x01", r"tr '\001' '\t'"), ("::", r"sed 's/::/\t/g'")],
)
def test_an_unknown_delimiter_is_refused_with_a_command(delimiter: str, command: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", "".join(f"{i}{delimiter}{text}\n" for i, text in enumerate(TEXTS)))
    with pytest.raises(RequestError) as error:
        _read(path)
    assert f"{command} < {path} > a.tsv puts tabs there" in str(error.value)
    _read(_written(tmp_path / "b.csv", f"text\nalone{delimiter}\n" + "\n".join(TEXTS) + "\n"))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(f"Jack{chr(97 + i)}", f"boy of{chr(97 + i)}") for i in range(20)], "Jacka, boy ofa"),
        ([(f"la{chr(97 + i)}gu",) for i in range(20)], "laagu"),
        ([("label", "lemma"), *((f"{i % 2}", text) for i, text in enumerate(TEXTS))], ""),
        ([("kind", "phrase"), *(("neg", text) for text in TEXTS)], ""),
    ],
)
def test_a_first_row_that_looks_like_the_rest_is_told(rows: list[tuple[str, ...]], told: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", "".join(",".join(row) + "\n" for row in rows))
    shown = f'read as the header: "{told}" (--no-header if it is data)'
    assert (shown in _notes(path)) if told else ("read as the header" not in _notes(path))
    assert "read as the header" not in _notes(path, Reading(header=True))


def test_names_that_recur_in_the_first_row_are_told(tmp_path: Path) -> None:
    rows = "".join(f"{'neg' if i % 2 else 'pos'},lantern {chr(97 + i)} waits at the old door\n" for i in range(20))
    assert 'read as the header: "pos, lantern glows" (--no-header' in _notes(
        _written(tmp_path / "a.csv", "pos,lantern glows\n" + rows)
    )


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolons"), ("|", "vertical bars")])
def test_a_pipe_of_rows_is_refused(delimiter: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "".join(f"{i}{delimiter}{text}\n" for i, text in enumerate(TEXTS))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    with pytest.raises(RequestError, match=rf"2 cells between {name} in each line: --input-format csv --no-header --column 2"):
        prepare_text(TextRequest("-"), progress=lambda what, done, total: None)


def test_json_lines_by_other_names(tmp_path: Path) -> None:
    lines = "".join(f'{{"text": "{text}"}}\n' for text in TEXTS)
    assert _read(_written(tmp_path / "a.ndjson", lines)) == TEXTS
    assert "a.txt is read as plain text, but looks like JSON Lines; " in _notes(_written(tmp_path / "a.txt", lines))
    for name in ("a", "b"):
        (tmp_path / "many").mkdir(exist_ok=True)
        _written(tmp_path / "many" / f"{name}.txt", lines)
    assert "a.txt, b.txt are read as plain text, but look like JSON Lines; " in _notes(tmp_path / "many")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("# exported today\nid,text\n{plain}", "if line 2 is the header, delete those above it: tail -n +2 FILE"),
        ("My poems\n\nid,text\n{plain}", "if line 3 is the header, delete those above it: tail -n +3 FILE"),
        ("id,text\n{trailing}", "each row ends with a delimiter more: end the header with ',' too"),
        ("key,text\n{numbered}", "the rows are numbered: begin the header with a name for that column"),
        ("id,text\n{apostrophes}", "apostrophes don't quote a cell: use quotation marks"),
        ("id,text\n{unquoted}", "3 cells where the header has 2 columns$"),
    ],
)
def test_what_is_odd_in_a_row_of_another_width(content: str, told: str, tmp_path: Path) -> None:
    rows = {
        "plain": "{i},{text}",
        "trailing": "{i},{text},",
        "numbered": "{i},k{i},{text}",
        "apostrophes": "{i},'{text}, it said'",
        "unquoted": "{i},{text}, it said",
    }
    made = {name: "\n".join(row.format(i=i, text=text) for i, text in enumerate(TEXTS)) for name, row in rows.items()}
    path = _written(tmp_path / "a.csv", content.format(**made) + "\n")
    with pytest.raises(RequestError, match=told if told.endswith("$") else re.escape(told)):
        _read(path)
