"""The rows of delimited text, TSV and CSV, in a known dialect, with errors that name the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from aigc_cli.data.compression import lines, without_end
from aigc_cli.data.tables.words import is_number
from aigc_cli.errors import RequestError

OWN = {".tsv": "\t", ".csv": ","}
"""The delimiter that each suffix stands for."""

_LOOKED_AT = 20  # lines, to say what is odd in a row of another width
_FEW = 3

csv.field_size_limit(2**31 - 1)


class Dialect(NamedTuple):
    """How the rows of a delimited file are written."""

    delimiter: str
    quoted: bool  # as in RFC 4180; otherwise quotation marks are literal
    skip: int = 0  # lines before the first row: Excel's "sep=;"
    header: bool = True


def rows(path: Path, dialect: Dialect, width: int) -> Iterator[list[str]]:
    """The rows of a file without its header. Raises RequestError, with the line, for a row of another width."""
    found = _quoted_rows(path, dialect, width) if dialect.quoted else _literal_rows(path, dialect, width)
    if dialect.header:
        next(found, None)
    return found


def _literal_rows(path: Path, dialect: Dialect, width: int) -> Iterator[list[str]]:
    for number, line in enumerate(lines(path), start=1):
        if number <= dialect.skip:
            continue
        cells = without_end(line).split(dialect.delimiter)
        if len(cells) != width:
            if cells == [""]:
                continue  # a blank line
            raise _wrong_width(path, number, len(cells), dialect, width)
        yield cells


def _quoted_rows(path: Path, dialect: Dialect, width: int) -> Iterator[list[str]]:
    record: list[str] = []  # the lines of the current record, to locate quotation marks

    def recorded() -> Iterator[str]:
        for number, line in enumerate(lines(path), start=1):
            if number > dialect.skip:
                record.append(line)
                yield line

    reader = csv.reader(recorded(), delimiter=dialect.delimiter, strict=True)
    while True:
        start = dialect.skip + reader.line_num + 1
        record.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise _bad_quotes(path, start, record, dialect, error) from error
        if len(row) == width:
            if len(record) > 1 and (opens := _swallowed(record, row, dialect.delimiter)) is not None:
                raise RequestError(
                    f"{path}, line {start + opens}: a quotation mark opens here and closes only on line "
                    f"{start + len(record) - 1}, and the lines between are rows themselves; remove it or double it"
                )
            yield row
        elif row:
            raise _wrong_width(path, start, len(row), dialect, width, over=len(record), record=record)


def _swallowed(record: Sequence[str], row: Sequence[str], delimiter: str) -> int | None:
    """The line (from 0) of a record where a mark opens that was likely not meant to: all lines after it are rows of the same
    width, with numbers in the same places, and no white space after delimiters as in prose. None if there is none."""
    opens = _line_of_open_quote("".join(record), delimiter, several_lines=True)
    numbers = [is_number(cell) for cell in row]
    swallowed = [without_end(line).split(delimiter) for line in record[opens + 1 :]]
    alike = all(
        len(cells) == len(row) > 1
        and all(cell and not cell[0].isspace() for cell in cells)
        and all(is_number(cell) for cell, number in zip(cells, numbers, strict=True) if number)
        for cells in swallowed
    )
    return opens if swallowed and alike else None


def _wrong_width(
    path: Path, line: int, cells: int, dialect: Dialect, width: int, *, over: int = 1, record: Sequence[str] = ()
) -> RequestError:
    than = f"the header has {width} column{'s' * (width > 1)}" if dialect.header else f"the first row has {width}"
    if over == 1:
        how = _what_is_odd(path, line, dialect, width, "".join(record))
        return RequestError(f"{path}, line {line}: {cells} cells where {than}{how}")
    opens = line + _line_of_open_quote("".join(record), dialect.delimiter, several_lines=True)
    return RequestError(
        f"{path}, line {opens}: a quotation mark opens here and closes only on line {line + over - 1}; that makes a row of "
        f"{cells} cells where {than}"
    )


def _what_is_odd(path: Path, line: int, dialect: Dialect, width: int, record: str) -> str:
    """What to do about a row of another width, for the end of a message; "" if nothing suggests itself."""
    first = _first_rows(path, dialect)
    wider = len(first) > _FEW and all(len(row) == width + 1 for row in first[1:])
    if f'{dialect.delimiter} "' in record:
        return "; a quotation mark after a space does not open a cell: remove such spaces"
    if f"{dialect.delimiter}'" in record:
        return "; apostrophes don't quote a cell: use quotation marks"
    if wider and not any(row[-1] for row in first[1:]):
        return f"; each row ends with a delimiter more: end the header with {dialect.delimiter!r} too"
    if wider and _are_numbered(first[1:]):
        return "; the rows are numbered: begin the header with a name for that column"
    if width == 1 and dialect.header and (first[0][0].startswith("#") or [""] in first[1:line]):
        above = next((n for n, row in enumerate(first) if len(row) == len(first[-1]) and not row[0].startswith("#")), line - 1)
        header = dialect.skip + above + 1
        return f"; if line {header} is the header, delete those above it: tail -n +{header} FILE"
    if width == 1:
        return f"; if each line is a text, name the file {path.stem}.txt and add --lines, otherwise quote the texts"
    return ""


def _are_numbered(rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows begin with 0, 1, 2, … or 1, 2, 3, …, as pandas and R write them, and no cell with a space, as in prose."""
    numbers = [row[0] for row in rows]
    counted = any(numbers == [str(n) for n in range(start, start + len(rows))] for start in (0, 1))
    return counted and not any(cell.startswith(" ") for row in rows for cell in row)


def _first_rows(path: Path, dialect: Dialect) -> list[list[str]]:
    """The cells of the first lines, as if nothing were quoted."""
    return [without_end(line).split(dialect.delimiter) for line in islice(lines(path), dialect.skip, _LOOKED_AT)]


def _bad_quotes(path: Path, start: int, record: Sequence[str], dialect: Dialect, error: csv.Error) -> RequestError:
    text, end = "".join(record), start + len(record) - 1
    opens = start + _line_of_open_quote(text, dialect.delimiter)
    if "unexpected end" in str(error):
        return RequestError(f"{path}, line {opens}: a quotation mark opens here and is never closed")
    if '\\"' in text:
        return RequestError(f'{path}, line {opens}: quotation marks in a cell are written \\" here; they must be doubled, ""')
    if opens < end:
        return RequestError(f"{path}, line {opens}: a quotation mark opens here and closes only on line {end}, within a cell")
    return RequestError(f"{path}, line {end}: not valid CSV: {error}")


def _line_of_open_quote(text: str, delimiter: str, *, several_lines: bool = False) -> int:
    """The line (from 0) of a record where the cell opens that is not closed as a cell is; or the first over several lines."""
    at = 0
    while at < len(text):
        start = at
        if text[at] == '"':
            at += 1
            while (at := text.find('"', at)) >= 0 and text[at : at + 2] == '""':
                at += 2
            closed = at >= 0 and (text[at + 1 : at + 2] in ("", delimiter, "\r", "\n"))
            if not closed or (several_lines and "\n" in text[start:at]):
                return text.count("\n", 0, start)
            at += 2
        else:
            ends = [end for end in (text.find(delimiter, at), text.find("\n", at)) if end >= 0]
            at = min(ends, default=len(text)) + 1
    return 0
