"""JSON in the layouts that people and programs write tables in."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aigc_cli.data.sources.source import Part
from aigc_cli.data.text.dataset import TextRequest, prepare_text
from aigc_cli.data.text.documents import Reading, recognise, stream
from aigc_cli.errors import RequestError

ROWS = [{"text": "one \u2028 line"}, {"text": "two"}, {"text": "three"}]
TEXTS = [row["text"] for row in ROWS]


def _read(path: Path) -> tuple[list[str], tuple[str, ...]]:
    part = Part(str(path), "files", (path,))
    return [text for text, _ in stream(part, Reading())], recognise(part, Reading()).notes


def _pretty(values: list[Any]) -> str:
    return "".join(json.dumps(value, indent=2) + "\n" for value in values)


LAYOUTS = {
    "an object a line": ("".join(json.dumps(row) + "\n" for row in ROWS), None),
    "objects over several lines, as jq writes": (_pretty(ROWS), None),
    "record separators (RFC 7464)": ("".join(f"\x1e{json.dumps(row)}\n" for row in ROWS), None),
    "values with commas between": (",\n".join(json.dumps(row, indent=1) for row in ROWS), None),
    "an array": (json.dumps(ROWS, indent=1), None),
    "an array on one line": (json.dumps(ROWS), None),
    "strings": (json.dumps(TEXTS), None),
    "arrays of lines": (json.dumps([[text] for text in TEXTS]), None),
    "an array a line": ("".join(json.dumps([text]) + "\n" for text in TEXTS), None),
    "rows under a name": (_pretty([{"version": 1, "poems": ROWS}]), "rows of 'poems'"),
    "texts under a name": (_pretty([{"poems": TEXTS}]), "rows of 'poems'"),
    "pandas split": (
        json.dumps({"columns": ["text"], "index": [0, 1, 2], "data": [[text] for text in TEXTS]}),
        "columns and rows as pandas writes 'split'",
    ),
    "pandas table": (json.dumps({"schema": {"fields": []}, "data": ROWS}), "rows of 'data'"),
    "pandas columns": (
        json.dumps({"text": {str(i): text for i, text in enumerate(TEXTS)}, "id": {"0": 1, "1": 2, "2": 3}}),
        "columns of numbered rows as pandas writes 'columns'",
    ),
    "pandas index": (
        json.dumps({str(i): row for i, row in enumerate(ROWS)}),
        "one row per name; the names are not read",
    ),
    "lists by column": (json.dumps({"id": [1, 2, 3], "text": TEXTS}), "a list for each of the columns 'id', 'text'"),
    "texts by number": (json.dumps(dict(enumerate(TEXTS))), "one text per name; the names are not read"),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".json.gz"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_gives_its_texts_and_is_told(layout: str, suffix: str, tmp_path: Path) -> None:
    content, note = LAYOUTS[layout]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(content.encode()) if suffix.endswith("gz") else content.encode())
    texts, notes = _read(path)
    assert texts == TEXTS
    assert (note is None or note in notes) and len(notes) <= 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"train": ROWS, "test": ROWS},
            " holds the splits train, test: write each to a file of its own (jq -c '.train[]' a.json > train.jsonl) "
            "and give their folder with --data",
        ),
        (
            {"a": 1, "b": [1, 2, 3]},
            ": an object with the keys 'a' (a number), 'b' (a list of 3); expected a list of objects, one object per line, "
            'or {"data": [...]}',
        ),
    ],
)
def test_other_objects_are_refused_by_their_shape(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RequestError) as caught:
        _read(path)
    assert str(caught.value) == f"{path}{message}"


_SENTENCE = "The quiet river leans by the old door, and sings."


@pytest.mark.parametrize(
    ("content", "lines", "message"),
    [
        (
            [{"id": 1, "body": {"text": _SENTENCE}}] * 2,
            True,
            ": the texts are inside 'body': jq -c '.body.text' FILE > texts.jsonl",
        ),
        ([{"id": 1, "body": {"a b": _SENTENCE}}] * 2, False, ": the texts are inside 'body': jq -c '.[].body.\"a b\"' FILE > "),
        (
            {"version": "2", "data": [{"title": "T", "paragraphs": [{"context": _SENTENCE, "qas": []}]}]},
            False,
            ": the texts are inside 'paragraphs': jq -c '.data[].paragraphs[].context' FILE > texts.jsonl",
        ),
        (
            [[1, _SENTENCE]] * 2,
            True,
            ", line 1: expected text, found a list with a text in it: jq -c '.[1]' FILE > texts.jsonl",
        ),
        (
            [[1, _SENTENCE]] * 2,
            False,
            ", item 1: expected text, found a list with a text in it: jq -c '.[][1]' FILE > texts.jsonl",
        ),
        ([{"title": "A talk", "messages": [{"role": "user", "content": _SENTENCE}] * 2}] * 2, True, ": 'messages' is a chat"),
    ],
)
def test_texts_inside_objects_are_refused_with_the_command_that_takes_them_out(
    content: Any, lines: bool, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in content) if lines else json.dumps(content))
    with pytest.raises(RequestError) as caught:
        _read(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_column_that_is_asked_for_and_holds_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"poem": _SENTENCE, "more": {"text": _SENTENCE}}] * 2))
    with pytest.raises(RequestError, match=r"the texts are inside 'more': jq -c '\.\[\]\.more\.text' FILE"):
        list(stream(Part(str(path), "files", (path,)), Reading(("more",))))


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
@pytest.mark.parametrize(
    "content",
    [
        {"data": [{"title": "T", "paragraphs": [{"context": _SENTENCE}]}]},
        [{"a b": {"text": _SENTENCE}}],
        [[1, _SENTENCE]],
        [[1, {"text": _SENTENCE}]],
    ],
)
def test_the_command_takes_the_texts_out(content: Any, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(RequestError) as caught:
        _read(tmp_path / "a.json")
    command = str(caught.value)[str(caught.value).index("jq ") :].partition(" takes ")[0].replace("FILE", "a.json")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)
    assert _read(tmp_path / "texts.jsonl")[0] == [_SENTENCE]


def test_short_remarks_inside_objects_do_not_hide_the_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"poem": _SENTENCE, "meta": {"by": "Ann Bell"}}] * 2))
    assert _read(path)[0] == [_SENTENCE] * 2


def test_one_row_stays_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "a poem", "tags": ["x", "y"]}\n')
    assert _read(path)[0] == ["a poem"]


def test_a_broken_value_among_several_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n "text": "a"\n}\n{\n "text" "b"\n}\n')
    with pytest.raises(RequestError) as caught:
        _read(path)
    expected = "line 5: not valid JSON: Expecting ':' delimiter (in the value that begins on line 4)"
    assert str(caught.value) == f"{path}, {expected}"


def test_rows_without_a_text_are_empty_and_a_number_is_refused(tmp_path: Path) -> None:
    lines = [f'{{"id": {i}, "text": "It fell {i} times."}}' for i in range(30)]
    lines[3], lines[5], lines[7] = '{"id": 3, "text": NaN}', '{"id": 5}', '{"id": 7, "text": null}'
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    data = prepare_text(TextRequest(str(path)), progress=lambda what, done, total: None)
    assert data.info["dropped"] == {"empty": 3, "copies": 0, "in_validation": 0}
    path.write_text("\n".join([*lines, '{"id": 31, "text": 5}']))
    with pytest.raises(RequestError, match=r"a\.jsonl, line 31: expected text, found int"):
        prepare_text(TextRequest(str(path)), progress=lambda what, done, total: None)


def test_a_column_of_bytes_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": [b"It fell.", b"It rained."]}), tmp_path / "a.parquet")
    with pytest.raises(RequestError, match="'body' holds bytes: store them as strings"):
        prepare_text(TextRequest(str(tmp_path / "a.parquet")), progress=lambda what, done, total: None)


@pytest.mark.parametrize(
    ("value", "filter_", "first"),
    [
        ({"took": 1, "hits": {"total": 2, "hits": [{"_source": {"body": "It fell."}}] * 2}}, ".hits.hits[]", {"_source": {"body": "It fell."}}),
        ({"Li Bai": [{"poem": "It fell."}], "Du Fu": [{"poem": "It rained."}] * 2}, ".[][]", {"poem": "It fell."}),
        ({"Li Bai": ["It fell."], "Du Fu": ["It rained."] * 2}, ".[][]", "It fell."),
        ({"users": [{"bio": "of the hill"}], "posts": [{"post": "It fell on it."}] * 3, "n": 1}, ".posts[]", {"post": "It fell on it."}),
    ],
)  # fmt: skip
def test_the_list_inside_an_object_is_taken_out_by_the_command_that_is_named(
    value: Any, filter_: str, first: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value))
    with pytest.raises(RequestError) as error:
        _read(path)
    assert f"jq -c '{filter_}' FILE > texts.jsonl takes out the rows of its longest list" in str(error.value)
    if shutil.which("jq"):
        done = subprocess.run(["jq", "-c", filter_, path], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout.splitlines()[0]) == first


def test_messages_of_texts_and_parts_are_joined_by_the_command_that_is_named(tmp_path: Path) -> None:
    parts = [{"type": "link", "text": "http://x.y"}, " It fell on the hill."]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "Chat", "messages": [{"id": 0, "text": parts}, {"id": 1, "text": "It rained on it."}]}))
    with pytest.raises(RequestError) as error:
        _read(path)
    filter_ = '.messages[].text | if type == "array" then map(.text? // .) | join("") else . end'
    assert f"jq -c '{filter_}' FILE > texts.jsonl takes them out" in str(error.value)
    if shutil.which("jq"):
        done = subprocess.run(["jq", "-c", filter_, path], capture_output=True, text=True, check=True)
        assert [json.loads(line) for line in done.stdout.splitlines()] == [
            "http://x.y It fell on the hill.",
            "It rained on it.",
        ]


def test_a_list_of_lists_of_messages_is_a_chat(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([[{"role": "user", "content": "Is it snow?"}, {"role": "assistant", "content": "It is."}]] * 3))
    with pytest.raises(RequestError, match=r"item 1: each row is a chat \(a list of messages\)"):
        _read(path)
