"""Which column is taken for the texts, by its words, and when the user is asked."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aigc_cli.data.tables.words import has_words, is_prose
from aigc_cli.data.text.documents import Reading, recognise, stream
from aigc_cli.data.text.kind import TEXT
from aigc_cli.errors import RequestError

NAMES = [f"{a}{b}{c}".title() for a in ("ga", "se", "di", "mo") for b in ("ta", "li", "re") for c in ("ca", "ge")]
CAPTIONS = ["lantern glows", "bright waits", "old quiet", "hollow waits", "golden hollow", "quiet lantern"] * 4


def _table(path: Path, header: list[str], *columns: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *zip(*columns, strict=True)])
    return path


def _first(path: Path) -> str:
    return next(stream(TEXT.open(str(path)).training(), Reading()))[0]


@pytest.mark.parametrize(
    "code",
    [
        lambda i: hashlib.sha256(bytes([i])).hexdigest(),
        lambda i: f"images/archive/2020/part-{i:06}/full_resolution.jpeg",
        lambda i: f"https://example.org/archive/2020/{i:06}/full.jpeg" if i else "n/a",
        lambda i: f"January {i + 1}, 1800",
        lambda i: f"Tue Jan {i + 1:02} 10:00:00 +0000 2020",
        lambda i: f"$ {i}.99 USD",
        lambda i: f"+49 (0)30 1234{i}",
        lambda i: f"POINT ({i}.123 0.456)",
    ],
)
def test_codes_are_not_chosen_over_texts_and_the_user_is_asked_beside_names(code: object, tmp_path: Path) -> None:
    assert callable(code)
    codes = [code(i) for i in range(24)]
    assert _first(_table(tmp_path / "a.csv", ["a", "caption"], codes, CAPTIONS)) == CAPTIONS[0]
    with pytest.raises(RequestError, match=r"choose one with --column, .* 'a' .*, 'b' "):
        _first(_table(tmp_path / "b.csv", ["a", "b"], codes, NAMES))


def test_names_of_several_words_are_chosen_only_beside_numbers(tmp_path: Path) -> None:
    cities = [f"New {name}" for name in NAMES]
    assert _first(_table(tmp_path / "a.csv", ["id", "city"], [*map(str, range(24))], cities)) == cities[0]
    with pytest.raises(RequestError, match="choose one with --column"):
        _first(_table(tmp_path / "b.csv", ["name", "city"], NAMES, cities))


def test_the_items_of_lists_are_judged_one_by_one(tmp_path: Path) -> None:
    rows = [{"title": title, "links": [f"https://example.org/{i}/{k}" for k in range(9)]} for i, title in enumerate(CAPTIONS)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert _first(tmp_path / "a.jsonl") == CAPTIONS[0]
    lines = [{"title": title, "lines": ["It fell on the hill,", "and on the town."]} for title in NAMES]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert _first(tmp_path / "b.jsonl") == "It fell on the hill,\nand on the town."


def test_a_column_named_text_that_holds_codes_or_nothing(tmp_path: Path) -> None:
    bodies = [f"It fell on the hill, {i} times." for i in range(24)]
    with pytest.raises(RequestError, match=r"choose a column with --column: 'text' \(\"T00\"\), 'body' \(\"It fell"):
        _first(_table(tmp_path / "a.csv", ["text", "body"], [f"T{i:02}" for i in range(24)], bodies))
    assert _first(_table(tmp_path / "b.csv", ["text", "body"], NAMES, bodies)) == NAMES[0]
    assert _first(_table(tmp_path / "c.csv", ["text", "body"], [""] * 24, bodies)) == bodies[0]
    pq.write_table(pa.table({"text": [""] * 24, "body": bodies}), tmp_path / "d.parquet")
    assert _first(tmp_path / "d.parquet") == bodies[0]
    pq.write_table(pa.table({"text": bodies, "remark": [""] * 24}), tmp_path / "e.parquet")
    told = recognise(TEXT.open(str(tmp_path / "e.parquet")).training(), Reading()).notes
    assert told == ("texts of the column 'text' (also: remark)",)
    found = recognise(TEXT.open(str(tmp_path / "d.parquet")).training(), Reading())
    assert "texts of the column 'body'" in found.notes[0]


@pytest.mark.parametrize(
    ("value", "prose", "worded"),
    [
        ("The lantern glows.", True, True),
        ("Yes, please.", True, True),
        ("\u6625\u7720\u4e0d\u89ba\u66c9", True, True),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", True, True),
        ("\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", True, True),
        ("def f(x):\n    if x is None:\n        return the first value\n", True, True),
        ("Jack Smith", False, True),
        ("lantern", False, True),
        ("3 May 2020", False, True),
        ("12 kg", False, False),
        ("10:30 pm", False, False),
    ],
)
def test_words_of_a_value(value: str, prose: bool, worded: bool) -> None:
    assert (is_prose(value), has_words(value)) == (prose, worded)
