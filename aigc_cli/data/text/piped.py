"""How standard input of no given format is read: tables and JSON are recognised, anything else is a text per line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aigc_cli.data.compression import explained, open_bytes
from aigc_cli.data.sources.source import suffix_of
from aigc_cli.data.sources.stand_ins import is_page
from aigc_cli.data.tables import delimited, dialects
from aigc_cli.data.tables.columns import listed
from aigc_cli.data.tables.table import Asked, sniff
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.formats import SUFFIXES, head_of_text
from aigc_cli.errors import RequestError

_HEAD_BYTES = 1 << 18


def as_piped(reading: Reading, spooled: Path | None, input_format: str | None) -> tuple[Reading, list[str]]:
    """How to read `spooled`, the copy of standard input, if `reading` is what was asked for; and notes.

    Raises RequestError for an archive, a web page, and rows of cells.
    """
    if spooled is None or input_format is not None:
        return reading, []
    suffix = suffix_of(spooled, SUFFIXES)
    if suffix in delimited.OWN:
        names = sniff(spooled, Asked(reading.columns, reading.header)).names
        how = f"{suffix.removeprefix('.').upper()} with the columns {listed(names)}"
        return reading, [f"standard input is read as {how} (--input-format txt --lines reads a text per line)"]
    if suffix != ".txt":
        return reading, []
    with explained(spooled), open_bytes(spooled) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PK\x03\x04") or head[257:262] == b"ustar":
        raise RequestError("standard input is an archive: save it to a file, and name that with --data")
    if is_page(head):
        raise RequestError("standard input is a web page; --input-format txt reads it as text")
    if reading.layout != "document":
        return reading, []
    text = head_of_text(head)
    for delimiter, name in (("\t", "tabs"), (";", "semicolons"), ("|", "vertical bars")):
        if rows := dialects.rows_between(delimiter, text):
            raise RequestError(_rows_of_cells(rows, name))
    note = "standard input is read as a text per line"
    if _are_json_strings(text):
        note += ", with the quotation marks (--input-format jsonl reads JSON strings)"
    else:
        note += " (--input-format names its format)"
    return replace(reading, layout="lines"), [note]


def _rows_of_cells(rows: Sequence[Sequence[str]], between: str) -> str:
    if dialects.has_header(rows):
        how = f"reads the columns {listed(rows[0])} (add --no-header if those are data)"
    else:
        how = f"--no-header --column {len(rows[0])} reads the last cells"
    return (
        f"standard input has {len(rows[0])} cells between {between} in each line: "
        f"--input-format {'tsv' if between == 'tabs' else 'csv'} {how}, "
        "--input-format txt --lines whole lines"
    )


def _are_json_strings(text: str) -> bool:
    """Whether each line is a string of JSON, as `jq` writes them without -r."""
    found = [line.strip() for line in text.split("\n") if line.strip()]
    try:
        return bool(found) and all(line[0] == line[-1] == '"' and isinstance(json.loads(line), str) for line in found)
    except ValueError:
        return False
