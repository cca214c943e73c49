"""Rows of JSON: one value per line, concatenated values, an array, or an object in a common table layout.

Files with one value per line are streamed; all others are read whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from aigc_cli.data.compression import chunks, lines
from aigc_cli.data.sources.split_names import split_of
from aigc_cli.data.tables.columns import a_chat, listed
from aigc_cli.data.tables.nested import key_path, longest_inside, longest_list, taken_out, texts_inside
from aigc_cli.data.tables.samples import SAMPLED_ROWS, ColumnNames, Columns, is_chat, is_missing, sampled, text_of
from aigc_cli.errors import RequestError

_BETWEEN = re.compile(r"[\s,\x1e]*")  # values in a row: white space, a comma, or a record separator (RFC 7464)
_SPACE = " \t\r\n\x1e"
_SAMPLE_CHARS = 1 << 20
_MANY = 20  # with more texts by name, they aren't the fields of one row
_DECODER = json.JSONDecoder()


class Value(NamedTuple):
    where: str  # such as "line 3" or "item 3"
    value: Any


class Rows(NamedTuple):
    """The rows of a file."""

    values: Iterator[Value]
    note: str = ""  # about its layout
    path: str = ""  # of a row, for jq; "" if jq doesn't give these rows


class SniffedJSON(NamedTuple):
    """What is known from the beginning of a file."""

    columns: Columns  # empty if its rows are bare texts
    first: ColumnNames  # those of the first row that are strings
    notes: list[str]


def sniff(path: Path) -> SniffedJSON:
    """Sample the rows of a file. Raises RequestError if it isn't JSON, or has no rows."""
    values, note, row_path = _sampled(path)
    rows = [value for _, value in islice(values, SAMPLED_ROWS)]
    columns = sampled(row for row in rows if isinstance(row, dict))
    for column in columns.values():
        column.rows = row_path
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    return SniffedJSON(columns, tuple(name for name, cell in first.items() if isinstance(cell, str)), [note] if note else [])


def rows(path: Path, columns: ColumnNames) -> Iterator[tuple[str, ...]]:
    """The texts of the columns of every row, empty where it lacks one; a single one for bare texts. Raises RequestError with
    the line or item."""
    found = _rows(path)
    for where, value in found.values:
        if not isinstance(value, dict | str) and not is_missing(value) and text_of(value) is None:
            raise RequestError(f"{path}, {where}: {_not_a_row(value, found.path)}")
        yield _row(value, columns, f"{path}, {where}")


def objects(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file with named values; none for bare texts."""
    return (value for _, value in _rows(path).values if isinstance(value, dict))


def _not_a_row(value: object, path: str) -> str:
    """The message for a row that is neither an object nor a text."""
    if is_chat(value):
        return a_chat("each row")
    inside, _ = longest_inside(texts_inside(value))
    if not isinstance(value, list) or not inside or not path:
        return f"expected text, found {type(value).__name__}"
    place = next(at for at, item in enumerate(value) if texts_inside(item))
    how = taken_out(path, f"[{place}]{inside.removeprefix('[]')}")
    return f"expected text, found a list with a text in it: {how} takes it out"


def _row(value: object, columns: ColumnNames, where: str) -> tuple[str, ...]:
    if isinstance(value, dict):
        return tuple([_text(value.get(column), column, where) for column in columns])
    if len(columns) > 1:
        raise RequestError(f"{where}: expected an object with {listed(columns)}, found {type(value).__name__}")
    return (_text(value, "each row", where),)


def _text(value: object, column: str, where: str) -> str:
    text = "" if is_missing(value) else text_of(value)
    if text is None:
        raise RequestError(
            f"{where}: {a_chat(repr(column)) if is_chat(value) else f'expected text, found {type(value).__name__}'}"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"{where}: half a surrogate pair, {text[error.start]!r}, is not text") from error
    return text


def _sampled(path: Path) -> Rows:
    """The first values of an array that is longer than a sample; otherwise the rows, as they are read."""
    text, whole = _head(path)
    if not whole and text.startswith("["):
        items = list(_decoded(text, 1, path, strict=False))
        if items:
            return Rows((Value("", value) for _, value in items), path=".[]")
    return _rows(path)


def _head(path: Path) -> tuple[str, bool]:
    """The beginning of a file from its first value on, and whether that is the whole file."""
    text = ""
    parts = chunks(path)
    for part in parts:
        text = (text + part).lstrip(_SPACE)
        if len(text) >= _SAMPLE_CHARS:
            parts.close()
            return text, False
    return text, True


def _rows(path: Path) -> Rows:
    if _is_value_a_line(path):
        values = _values_of_lines(path)
        start = list(islice(values, 2))
        if len(start) == 1 and isinstance(start[0].value, dict):
            return _of_object(start[0], path)
        return Rows(_chained(start, values), path=".")
    text = "".join(chunks(path)).lstrip("\ufeff")
    try:
        whole = json.loads(text)
    except RecursionError as error:
        raise RequestError(f"{path}, line 1: not valid JSON: {reason(error)}") from error
    except ValueError as error:
        return Rows(_of_sequence(text, error, path), path=".")
    if isinstance(whole, list):
        return Rows((Value(f"item {number}", value) for number, value in enumerate(whole, 1)), path=".[]")
    if isinstance(whole, dict):
        return _of_object(Value("item 1", whole), path)
    return Rows(iter([Value("item 1", whole)]), path=".")


def _chained(start: list[Value], rest: Iterator[Value]) -> Iterator[Value]:
    yield from start
    yield from rest


def _is_value_a_line(path: Path) -> bool:
    """Whether the first line that isn't blank is a complete value; for an array, only if more lines follow."""
    found = (line for line in lines(path) if line.strip(_SPACE))
    first = next(found, "").strip(_SPACE)
    if first in ("{", "[") or first.endswith((",", "[", "{", ":")):
        return False
    try:
        value = json.loads(first)
    except ValueError as error:
        # A truncated line is the beginning of a value over several lines; anything else is an error in this line.
        return not first.startswith("[") and not (isinstance(error, json.JSONDecodeError) and error.pos >= len(first))
    except RecursionError:
        return True
    return not isinstance(value, list) or next(found, None) is not None


def _values_of_lines(path: Path) -> Iterator[Value]:
    for number, line in enumerate(lines(path), start=1):
        if not line.strip(_SPACE):
            continue
        try:
            yield Value(f"line {number}", json.loads(line.strip(_SPACE)))
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{path}, line {number}: not valid JSON: {reason(error)}") from error


def _of_sequence(text: str, error: ValueError, path: Path) -> Iterator[Value]:
    """Concatenated values, each over several lines, as `jq` writes them. `error` is why they are not a single value."""
    if not isinstance(error, json.JSONDecodeError) or not error.msg.startswith("Extra data"):
        line = getattr(error, "lineno", 1)
        raise RequestError(f"{path}, line {line}: not valid JSON: {reason(error)}") from error
    for number, (_, value) in enumerate(_decoded(text, 0, path, strict=True), 1):
        yield Value(f"item {number}", value)


def _decoded(text: str, start: int, path: Path, *, strict: bool) -> Iterator[tuple[int, Any]]:
    """Concatenated values and where each begins. Without `strict`, up to the first that is broken or truncated."""
    at = start
    while (at := _end(_BETWEEN, text, at)) < len(text):
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            if not strict:
                return
            line = text.count("\n", 0, getattr(error, "pos", at)) + 1
            began = text.count("\n", 0, at) + 1
            about = f" (in the value that begins on line {began})" if began != line else ""
            raise RequestError(f"{path}, line {line}: not valid JSON: {reason(error)}{about}") from error
        yield at, value
        at = end


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def reason(error: Exception) -> str:
    """Why a text isn't JSON."""
    if isinstance(error, json.JSONDecodeError):
        if error.msg == "Expecting value" and error.doc[: error.pos].rstrip().endswith(","):
            return "nothing follows a comma"
        cut = "; is the file whole?" if error.msg.startswith("Unterminated string") else ""
        return error.msg + cut
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


# One object that is a whole table


def _of_object(only: Value, path: Path) -> Rows:
    found, note = _table_in(only.value, path)
    if found is only.value:
        return Rows(iter([only]), path=".")
    name = next((name for name, cell in only.value.items() if cell is found), None)
    row_path = f"{key_path(name)}[]" if name is not None else ""
    return Rows((Value(f"item {number}", row) for number, row in enumerate(found, 1)), note, row_path)


def _table_in(value: dict[str, Any], path: Path) -> tuple[Iterable[Any], str]:
    """The rows of an object in a common table layout, and a note on the layout; otherwise the object itself, as a row."""
    cells = list(value.values())
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return [dict(zip(map(str, names), row, strict=False)) for row in data], "columns and rows as pandas writes 'split'"
    tables = [name for name, rows in value.items() if _all(rows, dict) and not is_chat(rows)]
    if len(tables) > 1 and all(split_of(name) for name in tables):
        raise RequestError(
            f"{path} holds the splits {', '.join(tables)}: write each to a file of its own "
            f"(jq -c '.{tables[0]}[]' {path.name} > {tables[0]}.jsonl) and give their folder with --data"
        )
    if len(tables) == 1:
        return value[tables[0]], f"rows of {tables[0]!r}"
    if cells and _all(cells, dict):
        numbered = bool(cells[0]) and all(key.isdecimal() for key in cells[0])
        if numbered and all(cell.keys() == cells[0].keys() for cell in cells):
            rows = [{name: cell[key] for name, cell in value.items()} for key in cells[0]]
            return rows, "columns of numbered rows as pandas writes 'columns'"
        if len(cells) >= 2 and set.intersection(*(set(cell) for cell in cells)):
            return cells, "one row per name; the names are not read"
    texts = any(isinstance(cell, str) for cell in cells)
    lists = [name for name, cell in value.items() if _all(cell, str) or _all(cell, list)]
    if len(cells) > 1 and lists and all(isinstance(cell, list) and len(cell) == len(value[lists[0]]) for cell in cells):
        rows = [dict(zip(value, row, strict=True)) for row in zip(*cells, strict=True)]
        return rows, f"a list for each of the columns {listed(value)}"
    if len(lists) == 1 and (not texts or len(value[lists[0]]) > _MANY):
        return value[lists[0]], f"rows of {lists[0]!r}"
    if len(cells) >= 2 and _all(cells, str) and (len(cells) > _MANY or all(name.isdecimal() for name in value)):
        return cells, "one text per name; the names are not read"
    if texts or any(is_chat(cell) for cell in cells):
        return value, ""
    if cells and all(cell is None or isinstance(cell, int | float) for cell in cells):
        return value, ""
    _, inside = longest_list(value)
    how = f"; {taken_out('.', inside)} takes out the rows of its longest list" if inside else ""
    raise RequestError(f'{path}: {_shape(value)}; expected a list of objects, one object per line, or {{"data": [...]}}{how}')


def _all(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


def _shape(value: Mapping[str, Any]) -> str:
    def kind(cell: object) -> str:
        match cell:
            case None:
                return "null"
            case str():
                return "a text"
            case bool() | int() | float():
                return "a number"
            case list():
                return f"a list of {len(cell):,}"
            case _:
                return "an object"

    shown = ", ".join(f"{name!r} ({kind(cell)})" for name, cell in list(value.items())[:4])
    return f"an object with the keys {shown}{', …' if len(value) > 4 else ''}" if value else "an empty object"
