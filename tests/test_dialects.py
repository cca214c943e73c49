"""Delimiters, quoting and headers of delimited text, and the columns that hold texts, as people have them."""

from __future__ import annotations

import csv
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc_cli.data.sources.source import Part
from aigc_cli.data.sources.standard_input import sniff
from aigc_cli.data.tables import choice
from aigc_cli.data.tables.delimited import Dialect
from aigc_cli.data.tables.dialects import find_dialect, has_header
from aigc_cli.data.text.dataset import TextDataset, TextRequest, check_unchanged, prepare_text
from aigc_cli.data.text.documents import Reading, recognise, stream
from aigc_cli.data.text.kind import TEXT
from aigc_cli.data.text.pieces import End
from aigc_cli.errors import RequestError

TEXTS = [f"The {what} ladder, waits by door {i}." for i, what in enumerate(["quiet", "old", "hollow"] * 10)]


def _part(*paths: Path) -> Part:
    return Part(str(paths[0] if len(paths) == 1 else paths[0].parent), "files", paths)


def _texts(*paths: Path, reading: Reading = Reading()) -> list[str]:  # noqa: B008
    texts, held = [], ""
    for text, end in stream(_part(*paths), reading):
        held += text
        if end is not End.NOTHING:
            texts.append(held)
            held = ""
    return texts


def _notes(*paths: Path, reading: Reading = Reading()) -> tuple[str, ...]:  # noqa: B008
    return recognise(_part(*paths), reading).notes


def _written(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    return path


def _rows(delimiter: str, quoting: Any = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting).writerows([["id", "text"], *([i, t] for i, t in enumerate(TEXTS))])
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "delimiter", "note"),
    [
        ("a.csv", ";", "cells between semicolons, quoted"),
        ("b.csv", "\t", "cells between tabs"),
        ("c.csv", "|", "cells between vertical bars, quoted"),
        ("d.tsv", ",", "cells between commas, quoted"),
        ("e.tsv", ";", "cells between semicolons, quoted"),
    ],
)
def test_the_delimiter_is_the_rows_own(name: str, delimiter: str, note: str, tmp_path: Path) -> None:
    path = _written(tmp_path / name, _rows(delimiter))
    assert _texts(path) == TEXTS
    assert _notes(path) == ("texts of the column 'text' (also: id)", note)


def test_a_column_of_splits_that_is_not_used_is_pointed_out(tmp_path: Path) -> None:
    rows = [f'"{text}",' + f"{'test' if i % 4 == 0 else 'train'}" for i, text in enumerate(TEXTS)]
    (note,) = _notes(_written(tmp_path / "a.csv", "\n".join(["text,split", *rows]) + "\n"))
    assert note.startswith("texts of the column 'text' (")
    assert note.endswith("; 'split' is not used and all rows are: to hold some out, write a file for each split")


def test_a_dialect_as_the_suffix_says_is_not_told_and_keys_nothing(tmp_path: Path) -> None:
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        found = recognise(_part(_written(tmp_path / name, _rows(delimiter))), Reading())
        assert found.notes == ("texts of the column 'text' (also: id)",)
        assert found.unexpected == ()


@pytest.mark.parametrize(
    ("text", "own", "delimiter", "quoted"),
    [
        ("id;has;cost\n1;False;['345']\n4;False;['112', '112']\n", ",", ";", True),  # cpython#119123
        ('Country;Location;Count\nChina;"35.8;104.1";97100,7\n', ",", ";", True),  # duckdb#19578
        ("name;price\nx;1,5\ny;2,5\n", ",", ";", True),
        ("text\nRoses are red, violets blue\nSugar is sweet, and so\n", ",", ",", True),
        ('1\teng\t"opens ”\n2\teng\tb "c" d\n', "\t", "\t", False),  # tatoeba2#2973
        ('a\tb\tc\td\nC1\tC2\t"C3\tC4\nC1\tC2\tC3\tC4"\n', "\t", "\t", False),  # league/csv#435
        ('id\tt\n1\t"a\nb"\n2\tc\n', "\t", "\t", True),  # pandas writes a line break so
        ('"id"\t"t"\n"1"\t"a b"\n', "\t", "\t", True),
        ('id\tt\n1\t"He said ""hi"""\n2\tx\n', "\t", "\t", True),
        ('id\tt\n1\t"To be."\n2\t"Or not."\n', "\t", "\t", False),
        ('id\tt\n1\ta lone " mark\n', "\t", "\t", False),
    ],
)
def test_dialects_of_public_inputs(text: str, own: str, delimiter: str, quoted: bool) -> None:
    assert find_dialect(text, own, True) == Dialect(delimiter, quoted)


def test_the_separator_that_excel_names_is_no_header(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", "sep=;\r\nid;text\r\n1;one, two\r\n")
    assert _texts(path) == ["one, two"]
    assert "skipped the first line, sep=;" in _notes(path)


def test_a_mark_kept_in_a_tsv_is_told(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.tsv", 'id\ttext\n1\t"To be."\n2\tplain\n')
    assert _texts(path) == ['"To be."', "plain"]
    assert "1 of the first cells begins with a quotation mark, which is kept" in _notes(path)


def test_quotes_that_first_come_late_in_a_tsv(tmp_path: Path) -> None:
    plain = "".join(f"{i}\tplain words\n" for i in range(50_000))
    path = _written(tmp_path / "a.tsv", f'id\ttext\n{plain}x\t"He said ""hi"""\ny\t"two\nlines"\n')
    assert _texts(path)[-2:] == ['He said "hi"', "two\nlines"]


@pytest.mark.parametrize("row", [1, 20, 30])
def test_an_open_quote_is_named_where_it_opens(row: int, tmp_path: Path) -> None:
    lines = _rows(",").splitlines()
    lines[row] = lines[row].removesuffix('"')
    path = _written(tmp_path / "a.csv", "\n".join(lines) + "\n")
    with pytest.raises(RequestError, match=f"line {row + 1}: a quotation mark opens here and "):
        _texts(path)


def test_a_quote_that_swallows_rows_is_named_where_it_opens(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", 'id,text\n1,"a\n2,b\n3,"c\n')
    with pytest.raises(RequestError, match=r"line 2: a quotation mark opens here and closes only on line 4, within a cell$"):
        _texts(path)
    path = _written(tmp_path / "b.csv", 'id,text\n1,x\n"2,b\n3,c"\n4,x\n')
    with pytest.raises(
        RequestError, match=r"line 3: a quotation mark opens here and closes only on line 4; that makes a row of 1"
    ):
        _texts(path)


def test_a_wrong_quote_among_many_right_ones_is_named_in_a_tsv(tmp_path: Path) -> None:
    rows = [f'{i}\t"He said ""{text}"""\n' for i, text in enumerate(TEXTS)]
    path = _written(tmp_path / "a.tsv", "".join(["id\ttext\n", *rows[:20], '20\t"He said it\n', *rows[21:]]))
    with pytest.raises(RequestError, match=r"line 22: a quotation mark opens here and "):
        _texts(path)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (
            'id,text\n1,"He said \\"no\\", and left"\n',
            'line 2: quotation marks in a cell are written \\" here; they must be doubled',
        ),
        ("'id','text'\n'1','yes'\n'2','no'\n", "all cells are in apostrophes; quote them with quotation marks, or not at all"),
        ('id, text\n1, "yes of course, and no"\n', "a quotation mark after a space does not open a cell: remove such spaces"),
        ("text\nyes, and no\nno, and yes, and no\n", "name the file a.txt and add --lines, otherwise quote the texts"),
    ],
)
def test_what_is_not_csv_is_refused_with_a_remedy(content: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        _texts(_written(tmp_path / "a.csv", content))
    assert remedy in str(caught.value)


def test_quoted_cells_between_tabs_in_a_csv(tmp_path: Path) -> None:
    rows = "".join(f'{i}\t"{text}"\n' for i, text in enumerate(TEXTS))
    assert _texts(_written(tmp_path / "a.csv", f"id\ttext\n{rows}")) == TEXTS
    path = _written(tmp_path / "b.csv", f'id\ttext\n{rows}30\t"No," he said\n')
    assert _texts(path)[-1] == '"No," he said'
    assert "31 of the first cells begin with a quotation mark, which is kept" in _notes(path)


def test_columns_of_one_name_are_refused_if_they_are_read(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", "text,text,poem\n1,one,a\n")
    with pytest.raises(RequestError, match=r"a\.csv: several columns are called 'text'; rename them in the header$"):
        _texts(path)
    assert _texts(path, reading=Reading(("poem",))) == ["a"]


def test_columns_without_a_name_are_not_listed(tmp_path: Path) -> None:
    assert _notes(_written(tmp_path / "a.csv", "id,text,\n1,one,\n2,two,\n")) == ("texts of the column 'text' (also: id)",)


@pytest.mark.parametrize(
    ("first", "below", "header"),
    [
        (["id", "text"], ["1", "a"], True),
        (["What is your name?", "Timestamp"], ["Ann", "2024/01/02 10:00:00"], True),
        (["The quiet river leans by the old door"], ["The other river"], False),
        (["1", "one"], ["2", "two"], False),
        (["poem"], ["2"], True),
        (["床前明月光，疑是地上霜。"], ["举头望明月"], False),
        (["Poem", "Author"], ["A b c", "Ann"], True),
        (["Go.", "Va !"], ["Run.", "Cours !"], False),
        (["正文"], ["床前明月光，疑是地上霜。"], True),
        (["country", "1990", "1991"], ["The land of the river", "4", "7"], True),
        (["The land of rivers", "1990"], ["The land of hills", "1991"], False),
        (["2019", "2020"], ["A line of it", "Another line"], True),
        (["1", "2"], ["7", "A line of it"], True),
    ],
)
def test_a_header_is_told_from_a_first_row(first: list[str], below: list[str], header: bool) -> None:
    assert has_header([first, below, below]) is header


def test_a_first_row_of_data_is_read_and_told(tmp_path: Path) -> None:
    path = _written(tmp_path / "a.csv", "".join(f'"{text}"\n' for text in TEXTS))
    assert _texts(path) == TEXTS
    assert 'no header: "The quiet ladder, waits by do…" is read as data (--header if it is one)' in _notes(path)
    assert _texts(path, reading=Reading(header=True)) == TEXTS[1:]
    _written(tmp_path / "c.csv", '"""Hello,"" he said, and left."\n' + "".join(f'"{text}"\n' for text in TEXTS))
    assert any(note.startswith('no header: "Hello," he said, and left. is read') for note in _notes(tmp_path / "c.csv"))
    names = _written(tmp_path / "b.csv", "Ann\nBob\n")
    assert _texts(names) == ["Bob"]
    assert _texts(names, reading=Reading(header=False)) == ["Ann", "Bob"]


WORDS = st.text(alphabet="abc ,;|\t\"'.\n!?", max_size=12)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=8), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
)
def test_what_a_csv_writer_writes_is_read_back(rows: list[tuple[str, str]], quoting: Any) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=quoting).writerows([("id", "text"), *rows])
    assert find_dialect(out.getvalue(), ",", True) == Dialect(",", True)


# Columns


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    return _written(path, "".join(json.dumps(row) + "\n" for row in rows))


def test_the_column_is_chosen_over_many_rows(tmp_path: Path) -> None:
    rows = [{"id": "rec-0", "line": None}, *({"id": f"rec-{i}", "line": text} for i, text in enumerate(TEXTS))]
    path = _jsonl(tmp_path / "a.jsonl", rows)
    assert _texts(path) == ["", *TEXTS]
    found = recognise(_part(path), Reading())
    assert found.notes == ("texts of the column 'line' (the only one with texts; also: id)",)
    assert found.unexpected, "an entry of the cache made by the first row alone must not be found"


def test_a_column_that_is_null_throughout_one_file(tmp_path: Path) -> None:
    first = _jsonl(tmp_path / "a.jsonl", [{"id": f"r{i}", "body": None} for i in range(3)])
    second = _jsonl(tmp_path / "b.jsonl", [{"id": f"s{i}", "body": text} for i, text in enumerate(TEXTS)])
    assert _texts(first, second) == ["", "", "", *TEXTS]


@pytest.mark.parametrize("packing", ["csv", "jsonl", "json", "parquet"])
def test_a_column_that_is_empty_in_the_first_rows(packing: str, tmp_path: Path) -> None:
    rows = [{"id": i, "note": f"my note {i}", "body": None if i < 2500 else TEXTS[i % 12] * 2} for i in range(3000)]
    path = tmp_path / f"a.{packing}"
    if packing == "csv":
        _written(path, "id,note,body\n" + "".join(f'{row["id"]},{row["note"]},"{row["body"] or ""}"\n' for row in rows))
    elif packing == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if packing == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    assert _texts(path)[2500:] == [row["body"] for row in rows[2500:]]
    assert _notes(path) == ("texts of the column 'body' (its texts are the longest; also: id, note)",)


def test_a_column_that_the_first_rows_lack_is_not_passed_over(tmp_path: Path) -> None:
    rows = [{"id": f"r{i}"} if i < 1500 else {"id": f"r{i}", "body": TEXTS[0]} for i in range(2000)]
    assert _texts(_jsonl(tmp_path / "a.jsonl", rows)) == [""] * 1500 + [TEXTS[0]] * 500


def test_a_column_that_is_empty_in_very_many_rows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_FURTHER_ROWS", 2000)
    path = _written(tmp_path / "a.csv", "poem,remark\n" + "".join(f"A line of number {i},\n" for i in range(4000)))
    assert _notes(path) == (
        "texts of the column 'poem' (the only one with texts; also: remark)", "'remark': empty in the first 2,000 rows",
    )  # fmt: skip
    path = _written(tmp_path / "b.csv", "id,remark\n" + "".join(f"r{i},\n" for i in range(4000)))
    with pytest.raises(
        RequestError, match=r"no column holds texts in the first 2,000 rows, where 'remark' is empty; choose one"
    ):
        _texts(path)


def test_titles_lose_to_texts_and_equals_are_refused_with_examples(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", [{"title": f"A door {i}", "words": text * 3} for i, text in enumerate(TEXTS)])
    assert _texts(path)[0] == TEXTS[0] * 3
    assert _notes(path) == ("texts of the column 'words' (its texts are the longest; also: title)",)
    path = _jsonl(tmp_path / "b.jsonl", [{"a": text, "b": text} for text in TEXTS])
    with pytest.raises(RequestError, match=r"'a' \(\"The quiet ladder, waits by do…\"\), 'b' "):
        _texts(path)


@pytest.mark.parametrize(
    "other", ["2024/01/02 10:00:00 AM GMT+2", "2024-01-02T10:00:00+00:00", "https://example.org/a/" + "long-" * 12]
)
def test_times_and_addresses_are_no_texts(other: str, tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", [{"a": other, "answer": text} for text in TEXTS])
    assert _notes(path) == ("texts of the column 'answer' (the only one with texts; also: a)",)


def test_text_in_capitals_and_names_in_another_form(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", [{"TEXT": text, "caf\u00e9": text} for text in TEXTS])
    assert _texts(path) == TEXTS
    asked = Reading(("Cafe\u0301",))
    assert _texts(path, reading=asked) == TEXTS
    assert _notes(path, reading=asked) == ("read the column 'café'",)


def test_pairs_and_chats_are_refused_with_what_to_name(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", [{"question": text, "answer": text} for text in TEXTS])
    with pytest.raises(RequestError, match="holds pairs: --source question --target answer learns to answer, --column answer"):
        _texts(path)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path = _jsonl(tmp_path / "b.jsonl", [{"id": f"r{i}", "messages": turns} for i in range(3)])
    with pytest.raises(RequestError, match=r"'messages' is a chat .*--source and --target"):
        _texts(path)
    with pytest.raises(RequestError, match=r"'messages' is a chat"):
        _texts(path, reading=Reading(("messages",)))


@pytest.mark.parametrize("others", [{}, {"id": "r1"}])
def test_texts_inside_a_structure_of_parquet(others: dict[str, str], tmp_path: Path) -> None:
    pq.write_table(
        pa.Table.from_pylist([{**others, "translation": {"en": TEXTS[0], "de": TEXTS[1]}}] * 3), tmp_path / "a.parquet"
    )
    with pytest.raises(RequestError, match=r"the texts are inside 'translation': Dataset\.flatten\(\) of"):
        _texts(tmp_path / "a.parquet")
    rows = [{**others, "poem": text, "by": {"name": "Ann"}} for text in TEXTS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    assert _texts(tmp_path / "b.parquet") == TEXTS


@pytest.mark.parametrize("packing", ["parquet", "json", "jsonl"])
def test_lists_of_strings_are_lines(packing: str, tmp_path: Path) -> None:
    rows = [{"title": f"Door {i}", "lines": [text, text]} for i, text in enumerate(TEXTS)]
    path = tmp_path / f"a.{packing}"
    if packing == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if packing == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    assert _texts(path) == [f"{text}\n{text}" for text in TEXTS]
    assert any("'lines'" in note and "each a list of strings, joined as lines" in note for note in _notes(path))


def test_files_of_one_folder_choose_together_or_each_its_own(tmp_path: Path) -> None:
    first = _written(tmp_path / "a.csv", _rows(","))
    second = _written(tmp_path / "b.csv", "poem\nA line of it\n")
    assert _texts(first, second) == [*TEXTS, "A line of it"]
    assert _notes(first, second)[1] == "b.csv: texts of the column 'poem'"


# Standard input


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        ("id\ttext\n1\tone\n2\ttwo\n3\tcut", ".tsv"),
        ("id;text\n1;one\n2;two, too\n", ".csv"),
        ('title,text\na,"one, or two"\nb,two\n', ".csv"),
        ("Roses are red, violets\nSugar is sweet, and so\n", ".txt"),
        ("1\tone\n2\ttwo\n", ".txt"),
        ("one\ntwo\n", ".txt"),
        ("text, of a poem\nwhich has, commas\n", ".txt"),
        ('{"text": "a"}\n', ".jsonl"),
        ('{\n  "text": "a"\n}\n', ".jsonl"),
        ('[\n{"text": "a"},\n]\n', ".json"),
        ('[[1, "one"], [2, "two"]]\n', ".json"),
        ("[Verse]\nThe river sings\n", ".txt"),
        ("[[Image]] of a river\nand more\n", ".txt"),
        ("{ in braces }\nThe river sings\n", ".txt"),
    ],
)
def test_a_pipe_is_a_table_only_where_its_header_says_so(head: str, suffix: str) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        assert sniff(TEXT, head.encode(encoding)) == suffix


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TextDataset]:
    def prepared(content: str, *, input_format: str | None = None, **reading: Any) -> TextDataset:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        request = TextRequest("-", input_format=input_format, reading=Reading(**reading))
        return prepare_text(request, progress=lambda what, done, total: None)

    return prepared


def test_a_pipe_of_lines_is_told_and_columns_of_it_name_the_option(piped: Callable[..., TextDataset]) -> None:
    lines = "".join(f"{text}\n" for text in TEXTS)
    assert piped(lines).notes[0] == "standard input is read as a text per line (--input-format names its format)"
    with pytest.raises(
        RequestError, match=r"standard input has no columns; .*; if it is a table, name its format with --input-f"
    ):
        piped(lines, columns=("a", "b"))


def test_a_pipe_that_is_read_as_a_table_is_told_and_may_be_lines(piped: Callable[..., TextDataset]) -> None:
    content = "text,id\n" + "".join(f"{text.replace(',', '')}, and {i}\n" for i, text in enumerate(TEXTS))
    table = piped(content)
    assert table.notes[0] == (
        "standard input is read as CSV with the columns 'text', 'id' (--input-format txt --lines reads a text per line)"
    )
    lines = piped(content, input_format="txt", layout="lines")
    assert lines.train.n_docs > table.train.n_docs / 2 and "," in lines.tokenizer.decode(lines.train.tokens.tolist())


def test_a_pipe_of_rows_without_a_header_is_refused(piped: Callable[..., TextDataset]) -> None:
    content = "".join(f"{i}\teng\t{text}\n" for i, text in enumerate(TEXTS))
    with pytest.raises(
        RequestError, match=r"^standard input has 3 cells between tabs in each line: --input-format tsv --no-header"
    ):
        piped(content)
    with pytest.raises(
        RequestError, match=r"--input-format tsv reads the columns 'nummer', 'tekst' \(add --no-header if those"
    ):
        piped("nummer\ttekst\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(TEXTS)))
    table = piped(content, input_format="tsv", header=False, columns=("3",))
    assert "eng" not in table.tokenizer.decode(table.train.tokens.tolist())
    lines = piped(content, layout="lines")
    assert "eng" in lines.tokenizer.decode(lines.train.tokens.tolist())


def test_an_archive_in_a_pipe_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "A text.")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "a.zip").read_bytes())))
    with pytest.raises(RequestError, match=r"^standard input is an archive: save it to a file, and name that with --data$"):
        prepare_text(TextRequest("-"), progress=lambda what, done, total: None)


def test_a_pipe_of_json_strings_is_pointed_out(piped: Callable[..., TextDataset]) -> None:
    content = "".join(json.dumps(text) + "\n" for text in TEXTS)
    assert piped(content).notes[0].endswith("with the quotation marks (--input-format jsonl reads JSON strings)")


def test_a_note_on_a_pipe_does_not_name_its_copy(piped: Callable[..., TextDataset]) -> None:
    assert "lines end at carriage returns in standard input" in piped("".join(f"{text}\r" for text in TEXTS)).notes


def test_a_web_page_in_a_pipe_is_refused_and_may_be_text(piped: Callable[..., TextDataset]) -> None:
    page = "<!DOCTYPE html>\n<html><body>\n" + "\n".join(TEXTS)
    with pytest.raises(RequestError, match=r"^standard input is a web page; --input-format txt reads it as text$"):
        piped(page)
    assert piped(page, input_format="txt").train is not None
    assert piped("<html> is a word\n" + "\n".join(TEXTS)).train is not None


def test_a_run_of_an_earlier_version_is_not_resumed_on_other_rows(tmp_path: Path) -> None:
    for name, changed in (("plain.csv", False), ("semicolons.csv", True)):
        path = _written(tmp_path / name, _rows(";" if changed else ","))
        info = prepare_text(TextRequest(str(path)), progress=lambda what, done, total: None).info
        assert check_unchanged(info) == []
        earlier = {name: value for name, value in info.items() if name != "read_as"}
        told = (
            f"{path} was read otherwise when this run was trained; now: texts of the column 'text' (also: id); cells between "
        )
        assert [line.startswith(told) for line in check_unchanged(earlier)] == [True] * changed
