"""Find how delimited text is written: which delimiter, whether quoted, whether with a header.

The suffix suggests a dialect, and the rows decide: in the right one every sampled record is as wide as the first, as in
the sniffers of DuckDB and Python 3.16. If the suffix's own dialect fits, it wins.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aigc_cli.data.compression import chunks, open_bytes, without_end
from aigc_cli.data.tables.delimited import OWN, Dialect
from aigc_cli.data.tables.samples import SAMPLED_ROWS
from aigc_cli.data.tables.words import is_number
from aigc_cli.errors import RequestError

_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"}
_UNREAD = {
    "::": "sed 's/::/\\t/g'",
    "^": "tr '^' '\\t'",
    "~": "tr '~' '\\t'",
    "\x01": "tr '\\001' '\\t'",
    "\x1f": "tr '\\037' '\\t'",
}
_SAMPLE_CHARS = 1 << 18
_LONGEST_SAMPLE = 1 << 24
_QUOTES_WITHIN = 1 << 26  # bytes searched for the first quotation mark
_FEW_BAD = 0.9  # the share of records that must fit: the others are errors, reported on reading
_FEW_ROWS = 3  # with fewer, what they have in common proves nothing
_SHORT = 3  # words of a name
_WHOLLY_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_ENDS_SENTENCE = re.compile(r"[.!。！…;；,，”\"]$")
_ENDS_CLAIM = re.compile(r"[.!。！…]$")
_YEAR = re.compile(r"(1[5-9]|20)\d\d")
_KNOWN = {
    "text", "title", "label", "labels", "id", "content", "name", "author", "body", "class", "category", "date", "lang",
    "language", "sentence", "paragraphs", "lines", "lyrics",
    "标题", "题目", "作者", "内容", "正文", "诗", "标签", "类别", "编号",
}  # fmt: skip


class SniffedTable(NamedTuple):
    """The dialect of a file, its columns, and sampled rows without the header."""

    dialect: Dialect
    columns: tuple[str, ...]
    rows: list[list[str]]
    notes: list[str]  # where the file differs from its suffix


def sniff(path: Path, suffix: str, wanted: Sequence[str] = (), header: bool | None = None) -> SniffedTable:
    """Find the dialect in the beginning of a file. `header` is the user's choice, `wanted` the requested columns."""
    text, whole = _sample(path)
    own = OWN[suffix]
    dialect = find_dialect(text, own, whole)
    if dialect.delimiter == "\t" and not dialect.quoted and not whole and '"' not in text:
        first_line = text[: text.find("\n") + 1]
        later = _from_first_quote(path)
        dialect = dialect._replace(quoted=bool(later) and find_dialect(first_line + later, "\t", False).quoted)
    if dialect.delimiter != own or own not in text.partition("\n")[0]:
        _refuse_other_delimiter(path, text, whole)
    rows = _parse(text, dialect, whole)[: SAMPLED_ROWS + 1]
    if len(rows) >= _FEW_ROWS and all(len(cell) > 1 and cell[0] == cell[-1] == "'" for row in rows for cell in row):
        raise RequestError(f"{path}: all cells are in apostrophes; quote them with quotation marks, or not at all")
    dialect = dialect._replace(header=has_header(rows, wanted) if header is None else header)
    first = rows[0] if rows else [""]
    notes = []
    if dialect.skip:
        notes.append(f"skipped the first line, sep={dialect.delimiter}")
    if dialect.delimiter != own or dialect.quoted != (own != "\t"):
        notes.append(f"cells between {_NAMES[dialect.delimiter]}" + (", quoted" if dialect.quoted else ""))
    if not dialect.quoted and (marked := sum(cell.startswith('"') for row in rows for cell in row)):
        begin = "begins" if marked == 1 else "begin"
        notes.append(f"{marked:,} of the first cells {begin} with a quotation mark, which is kept")
    if dialect.header:
        if header is None and _is_doubtful(rows, wanted):
            notes.append(f"read as the header: {_shown(first)} (--no-header if it is data)")
        return SniffedTable(dialect, tuple(first), rows[1:], notes)
    if header is None:
        notes.append(f"no header: {_shown([max(first, key=len)])} is read as data (--header if it is one)")
    return SniffedTable(dialect, tuple(str(number) for number in range(1, len(first) + 1)), rows, notes)


def _shown(cells: Sequence[str]) -> str:
    """Cells in a message, quoted unless they have quotation marks of their own."""
    shown = " ".join(", ".join(cells).split())
    shown = shown if len(shown) <= 30 else shown[:29] + "…"
    return shown if '"' in shown else f'"{shown}"'


def _refuse_other_delimiter(path: Path, text: str, whole: bool) -> None:
    """Raise RequestError if a delimiter that isn't read is in every line of the sample as often as in the first."""
    lines = [line for line in (text.split("\n") if whole else text.split("\n")[:-1]) if line.strip()]
    for delimiter, command in _UNREAD.items():
        count = lines[0].count(delimiter) if len(lines) >= _FEW_ROWS else 0
        if count and all(line.count(delimiter) == count for line in lines):
            to = f"{command} < {shlex.quote(str(path))} > {shlex.quote(path.stem + '.tsv')}"
            raise RequestError(f"{path}: the cells are between {delimiter!r}, which isn't read: {to} puts tabs there")


def table_suffix(text: str) -> str | None:
    """The suffix that fits text of unknown format whose lines are the rows of a table with a header: all as wide as the first,
    which has names, one of them a usual one. None otherwise."""
    dialect = find_dialect(text, "\t", True)
    records = _parse(text, dialect, True)
    if len(records) < 2 or len(records[0]) < 2 or any(len(record) != len(records[0]) for record in records):
        return None
    names = records[0]  # in prose, a space follows each comma
    short = all(name and name == name.strip() and len(name) <= 30 and len(name.split()) <= 3 for name in names)
    if not short or len(set(names)) < len(names) or not any(name.casefold() in _KNOWN for name in names):
        return None
    return ".tsv" if dialect.delimiter == "\t" else ".csv"


def rows_between(delimiter: str, text: str) -> list[list[str]]:
    """The cells of lines that have as many each between delimiters, and at least two; [] for other text."""
    rows = [without_end(line).split(delimiter) for line in text.split("\n") if line.strip()]
    indented = not any(row[0] for row in rows)
    least = 2 if delimiter == "\t" else _FEW_ROWS  # prose has semicolons too
    return [] if len(rows) < least or len(rows[0]) < 2 or indented or any(len(row) != len(rows[0]) for row in rows) else rows


def find_dialect(text: str, own: str, whole: bool) -> Dialect:
    """The dialect of a sample; `own` is the suffix's delimiter, and without `whole` the last record may be cut."""
    first_line = without_end(text.partition("\n")[0])
    if (named := re.fullmatch(r"sep=([,;|\t])", first_line, re.IGNORECASE)) is not None:
        return Dialect(named[1], True, skip=1)
    found: list[tuple[float, int, Dialect]] = []
    for delimiter in dict.fromkeys((own, *_NAMES)):
        dialect = Dialect(delimiter, delimiter != "\t" or _tab_is_quoted(text, own, whole))
        records = _parse(text, dialect, whole, broken=False)
        width = len(records[0]) if records else 0
        if width >= 2:
            found.append((sum(len(record) == width for record in records) / len(records), width, dialect))
    fits = [candidate for candidate in found if candidate[0] == 1.0]
    nearly = [candidate for candidate in found if candidate[0] >= _FEW_BAD]
    for candidates in (fits, nearly):
        for _, _, dialect in candidates:
            if dialect.delimiter == own:
                return dialect
        if candidates:
            return max(candidates, key=lambda candidate: candidate[1])[2]
    return Dialect(own, own != "\t" or _tab_is_quoted(text, own, whole))


def _parse(text: str, dialect: Dialect, whole: bool, *, broken: bool = True) -> list[list[str]]:
    """The records of a sample that are not blank, without the last if the sample is cut. If a quotation mark is wrong, those
    before it, or none unless `broken`."""
    for _ in range(dialect.skip):
        text = text[text.find("\n") + 1 :]
    if not dialect.quoted:
        ended = text.split("\n") if whole else text.split("\n")[:-1]
        return [without_end(line).split(dialect.delimiter) for line in ended if line not in ("", "\r")]
    records: list[list[str]] = []
    try:
        records += (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter, strict=True) if row)
    except csv.Error as error:  # a quote open at the end proves nothing; a wrong one is reported on reading
        return records if broken or "unexpected end" in str(error) else []
    return records if whole or len(records) < 2 else records[:-1]


def _tab_is_quoted(text: str, own: str, whole: bool) -> bool:
    """Whether cells between tabs are quoted as pandas and spreadsheets write them; otherwise marks are literal.

    If both readings give rows of equal width, cells are quoted only if every cell with a mark is wholly quoted, and a doubled
    mark, a quoted header or a suffix for quoted text shows that quoting was meant.
    """
    if '"' not in text:
        return False
    literal = _parse(text, Dialect("\t", False), whole)
    quoted: list[list[str]] | None = []
    try:
        quoted = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True) if row]
        quoted = quoted if whole or len(quoted) < 2 else quoted[:-1]
    except csv.Error as error:
        cut = not whole and "unexpected end" in str(error)
        quoted = _parse(text, Dialect("\t", True), whole) if cut else None
    fits = [bool(rows) and all(len(row) == len(rows[0]) for row in rows) for rows in (quoted or [], literal)]
    if not fits[1]:
        return fits[0]
    cells = [cell for row in literal for cell in row if '"' in cell]
    meant = own != "\t" or any('""' in cell[1:-1] for cell in cells) or any('"' in cell for cell in literal[0])
    share = sum(map(bool, map(_WHOLLY_QUOTED.fullmatch, cells))) / max(1, len(cells))
    return meant and share >= (
        _FEW_BAD if own == "\t" and not fits[0] else 1.0
    )  # a few wrong marks among many are errors, reported on reading


def has_header(records: Sequence[Sequence[str]], wanted: Sequence[str] = ()) -> bool:
    """Whether the first record names the columns. If in doubt it does, since most tables have a header."""
    if not records:
        return True
    first, rest = records[0], records[1:]
    if any(cell.strip().casefold() in _KNOWN or cell in wanted for cell in first):
        return True
    columns = [[row[at].strip() for row in rest if len(row) > at and row[at].strip()] for at in range(len(first))]
    if all(map(is_number, first)) and any(below and not any(map(is_number, below)) for below in columns):
        return True  # numbers above texts
    number_over_numbers = False
    for cell, below in zip(first, columns, strict=True):
        if below and all(map(is_number, below)):
            if not is_number(cell):
                return True
            named_for_year = _YEAR.fullmatch(cell.strip()) and not any(map(_YEAR.fullmatch, below))
            number_over_numbers = number_over_numbers or not named_for_year
        elif _ENDS_CLAIM.search(cell.strip()) and sum(map(_ends_sentence, below)) * 2 > len(below):
            return False  # sentences above sentences
    return not number_over_numbers and not any(map(_is_sentence, first))


def _is_doubtful(records: Sequence[Sequence[str]], wanted: Sequence[str]) -> bool:
    """Whether a header could as well be data: it has no usual name, and recurs below or is above short names alone."""
    if len(records) < 2 or any(cell.strip().casefold() in _KNOWN or cell in wanted for cell in records[0]):
        return False
    first, rest = records[0], records[1:]
    below = [{row[at].strip() for row in rest if len(row) > at} - {""} for at in range(len(first))]
    if any(column and all(map(is_number, column)) for column in below):
        return False
    recurs = any(cell.strip() in column for cell, column in zip(first, below, strict=True))
    return recurs or all(len(cell.split()) <= _SHORT for column in below for cell in column)


def _ends_sentence(cell: str) -> bool:
    return cell.endswith(("?", "？")) or bool(_ENDS_CLAIM.search(cell))


def _is_sentence(cell: str) -> bool:
    cell = cell.strip()
    if cell.endswith(("?", "？", ":", "：")):  # a form's question is a header
        return False
    cjk = sum("\u3040" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3" for char in cell)
    words = len(cell.split())
    return (words >= 4 and (len(cell) >= 30 or bool(_ENDS_SENTENCE.search(cell)))) or cjk >= 8 or (
        cjk >= 4 and any(char in "，。！；" for char in cell)
    )  # fmt: skip


def _sample(path: Path) -> tuple[str, bool]:
    """The beginning of a file up to the end of a line, at least three lines, and whether that is the whole file."""
    text = ""
    parts = chunks(path)
    for part in parts:
        text += part
        if len(text) >= _LONGEST_SAMPLE or (len(text) >= _SAMPLE_CHARS and text.count("\n") >= 3):
            break
    else:
        return _with_newlines(text), True
    parts.close()
    text = _with_newlines(text)
    return text[: text.rfind("\n") + 1] or text, False


def _with_newlines(text: str) -> str:
    return text.replace("\r", "\n") if "\n" not in text else text


def _from_first_quote(path: Path) -> str:
    """A sample from the first line with a quotation mark; empty if there is none nearby."""
    with open_bytes(path) as file:
        read = 0
        while read < _QUOTES_WITHIN and (line_block := file.readlines(1 << 18)):
            read += sum(map(len, line_block))
            for at, line in enumerate(line_block):
                if b'"' in line:
                    text = b"".join(line_block[at:] + file.readlines(_SAMPLE_CHARS)).decode("utf-8", "replace")
                    return text[: text.rfind("\n") + 1]
    return ""
