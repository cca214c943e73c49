"""Normalised documents of any source as a stream of pieces, and what one reading of the stream tells."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.compression import ends_at_returns, explained, open_bytes
from aigc_cli.data.kinds import Transcriber
from aigc_cli.data.not_text import refuse_other_bytes
from aigc_cli.data.sources import hub
from aigc_cli.data.sources.source import Part
from aigc_cli.data.splits import DROPPED, TRAIN, SplitPlan
from aigc_cli.data.tables.choice import Tables, find_columns
from aigc_cli.data.tables.columns import choose
from aigc_cli.data.tables.table import Asked, Row, rows_of, sniff_dataset
from aigc_cli.data.text import formats
from aigc_cli.data.text import verse as demo
from aigc_cli.data.text.archived import is_archive, read_archive, recognise_archive
from aigc_cli.data.text.formats import TextLayout, is_table, read_documents
from aigc_cli.data.text.pieces import End, Piece, documents_in_pieces, halves
from aigc_cli.data.text.tokenizers.tokenizer import normalise
from aigc_cli.data.transcoding import marked_encoding
from aigc_cli.data.understood import Group, ReadColumns, ReadTables, listed
from aigc_cli.errors import RequestError

_REPORT_BYTES = 1 << 20
_FIELD_END = b"\xff"  # which is in no UTF-8
_BATCHES_OF_HUB = 20  # of rows, at most, to find the column
_NAMED_OTHERWISE = {".csv": "a table", ".tsv": "a table", ".jsonl": "JSON Lines", ".json": "JSON"}
_LOOKED_AT = 50  # texts, for their marks


@dataclass(frozen=True)
class Reading:
    """How documents are made of a source."""

    columns: tuple[str, ...] = ()  # of a table: one that holds the documents, or their fields; none: to be chosen
    layout: TextLayout = "document"  # of .txt files
    source_share: float | None = None  # a document's first so much of its characters and the rest are two fields
    lower: bool = False  # in lower case
    header: bool | None = None  # of TSV and CSV: whether the first row names the columns; None: to be found out
    transcriber: Transcriber | None = None  # of files of another kind

    @property
    def n_fields(self) -> int:
        """The fields of a document."""
        return max(1, len(self.columns)) if self.source_share is None else 2

    @property
    def fielded(self) -> bool:
        """Whether a document has several fields, so that a part of it would be none."""
        return self.n_fields > 1


PLAIN = Reading()
"""As a source suggests itself: the column of text of a table, a whole file of text."""


def stream(part: Part, reading: Reading, replaced: Counter[str] | None = None) -> Iterator[Piece]:
    """The documents of a part, normalised, in pieces (text, what ends with it). `replaced` counts the characters that have
    another normal form by themselves, such as U+2126 (ohm), which is U+03A9 (omega)."""
    pieces = _normalised(_raw(part, reading), reading.lower, replaced)
    return pieces if reading.source_share is None else halves(pieces, reading.source_share)


def _normalised(pieces: Iterable[Piece], lower: bool, replaced: Counter[str] | None) -> Iterator[Piece]:
    for text, end in pieces:
        normal = normalise(text, lower=lower)
        if replaced is not None and normal is not text and normal != text:
            replaced.update(_replaced().findall(text))
        yield normal, end


@cache
def _replaced() -> re.Pattern[str]:
    """A character that is not its own normal form C."""
    scalars = (chr(code) for code in range(0x300, 0x30000) if not 0xD800 <= code < 0xE000)
    return re.compile(f"[{''.join(char for char in scalars if not unicodedata.is_normalized('NFC', char))}]")


def _raw(part: Part, reading: Reading) -> Iterator[Piece]:
    if reading.transcriber is not None:
        yield from documents_in_pieces((text,) for text in reading.transcriber.documents(part))
    elif part.kind == "files":
        asked = Asked(reading.columns, reading.header)
        found = _tables(part, asked)
        for path in part.files:
            if is_archive(path):
                yield from read_archive(path, reading.layout, reading.columns)
            else:
                yield from read_documents(path, reading.layout, found.columns.get(path, ()), asked)
    elif part.kind == "demo":
        documents = demo.DEMOS[part.location.removeprefix("demo:")].documents()
        yield from documents_in_pieces((document,) for document in documents)
    else:
        yield from documents_in_pieces(_of_hub(part, reading.columns))


def _of_hub(part: Part, columns: tuple[str, ...]) -> Iterator[Row]:
    with hub.explained(part.location):
        dataset = hub.stream(part.location, part.split)
        chosen = choose(sniff_dataset(dataset, _BATCHES_OF_HUB).columns, columns, part.location)
        yield from rows_of(dataset, chosen.columns, part.location)


def _tables(part: Part, asked: Asked) -> Tables:
    paths = [path for path in part.files if is_table(path)]
    if not paths:
        return Tables({}, (), ())
    with explained(paths[0]):
        return find_columns(paths, asked, paths[0] if len(part.files) == 1 else part.location)


def holds_tables(part: Part) -> bool:
    """Whether some of the part's files are tables."""
    return any(is_table(path) for path in part.files)


def chosen_columns(part: Part, reading: Reading) -> list[str]:
    """The columns that texts are read from; none where there is no table with named columns."""
    if part.kind != "files":
        return []
    chosen = _tables(part, Asked(reading.columns, reading.header)).columns.values()
    return list(dict.fromkeys(name for columns in chosen for name in columns))


@dataclass(frozen=True)
class Recognised:
    """What is found out about how to read a part."""

    notes: tuple[str, ...]  # for the person
    unexpected: tuple[Any, ...]  # what is not as the suffixes say: a part of the cache's key
    columns: ReadColumns | None = None
    tables: tuple[ReadTables, ...] = ()
    layouts: tuple[str, ...] = ()
    encodings: Mapping[str, str] = field(default_factory=dict)  # by byte-order mark -> a file
    skipped: tuple[Group, ...] = ()  # what could not be read


def recognise(part: Part, reading: Reading, *, beside_tables: bool = False) -> Recognised:
    """How a part is read: which columns, which delimiters, which encoding. Raises RequestError as `stream` does, and for a
    table that is named like a text where the part has tables too, or is used `beside_tables`."""
    if part.kind == "demo":
        return Recognised((), ())
    if reading.transcriber is not None:
        return Recognised(tuple(reading.transcriber.notes(part)), (), skipped=reading.transcriber.skipped(part))
    if part.kind == "hub":
        with hub.explained(part.location):
            table = sniff_dataset(hub.stream(part.location, part.split), _BATCHES_OF_HUB)
            chosen = choose(table.columns, reading.columns, part.location)
        unexpected_columns = () if chosen.columns == table.expected else chosen.columns
        read = ReadColumns(chosen.columns, chosen.why, chosen.others)
        return Recognised(tuple(filter(None, [chosen.note])), unexpected_columns, read)
    found = _tables(part, Asked(reading.columns, reading.header))
    notes, unexpected = list(found.notes), list(found.unexpected)
    texts = [path for path in part.files if not is_table(path) and not is_archive(path)]
    beside_tables = beside_tables or holds_tables(part)
    read_columns = found.read
    for path in filter(is_archive, part.files):
        told, choice = recognise_archive(path, reading.columns)
        notes += told
        if choice is not None:
            read_columns = ReadColumns(choice.columns, choice.why, choice.others)
    marked: dict[str, str] = {}
    returns: list[int] = []
    looks: dict[str, list[str]] = {}
    for number, path in enumerate(texts[:_LOOKED_AT]):
        with explained(path), open_bytes(path) as file:
            head = file.read(1 << 16)
        if reading.layout == "document" and b"\r" in head and ends_at_returns(path):
            returns.append(number)
        if (encoding := marked_encoding(head)) is not None:
            marked.setdefault(encoding, path.name)
        refuse_other_bytes(path, head)
        suffix = formats.recognise(head)
        if suffix in (".csv", ".tsv") and beside_tables:
            raise RequestError(
                f"{path} looks like a table among tables, but would be read as one text: name it *{suffix}, or move it away"
            )
        if suffix in _NAMED_OTHERWISE:
            looks.setdefault(suffix, []).append(path.name)
    for suffix, names in looks.items():
        verb, looks_like, it = ("is", "looks", "it") if len(names) == 1 else ("are", "look", "them")
        notes.append(
            f"{listed(names)} {verb} read as plain text, but {looks_like} like {_NAMED_OTHERWISE[suffix]}; "
            f"to use the columns, name {it} *{suffix}"
        )
    notes += [f"read as {encoding.upper()} by its byte-order mark: {name}" for encoding, name in marked.items()]
    if reading.layout != "document":
        for number, path in enumerate(texts):
            with explained(path):
                returns += [number] if ends_at_returns(path) else []
    if returns:
        unexpected += [(number, "returns") for number in returns]
        notes.append(f"lines end at carriage returns in {listed(texts[number].name for number in returns)}")
    return Recognised(tuple(notes), tuple(unexpected), read_columns, found.alike, found.layouts, {**found.marked, **marked})


@dataclass(frozen=True)
class Scan:
    """What is known of n documents after one reading. A document of white space alone has length 0."""

    hashes: npt.NDArray[np.uint64]  # (n,) of the normalised text and of where its fields end
    chars: npt.NDArray[np.integer[Any]]  # (n,) uint32, or int64 if one has more
    n_bytes: int  # of all, in UTF-8
    unanswered: int = 0  # documents with text whose last field is white space alone


def scan(pieces: Iterable[Piece], progress: Progress) -> Scan:
    """Read the stream once."""
    hashes, chars = array("Q"), array("I")
    state, n_chars, blank, last_blank = hashlib.blake2b(digest_size=8), 0, True, True
    done = reported = unanswered = 0
    for text, end in pieces:
        data = text.encode()
        state.update(data if end is not End.FIELD else data + _FIELD_END)
        n_chars += len(text)
        if text and not text.isspace():
            blank = last_blank = False
        if end is not End.NOTHING:
            unanswered += end is End.DOCUMENT and last_blank and not blank
            last_blank = True
        if end is End.DOCUMENT:
            hashes.append(int.from_bytes(state.digest(), "little"))
            if n_chars >> 32 and chars.typecode == "I":
                chars = array("q", chars)
            chars.append(0 if blank else n_chars)
            state, n_chars, blank = hashlib.blake2b(digest_size=8), 0, True
        done += len(data)
        if done - reported >= _REPORT_BYTES:
            progress("bytes read", reported := done, None)
    return Scan(np.frombuffer(hashes, np.uint64), np.frombuffer(chars, chars.typecode), done, unanswered)


def with_variants(
    pieces: Iterable[tuple[int, str, End]], reading: Reading, counts: list[int] | None = None
) -> Iterator[tuple[int, str, End]]:
    """The pieces that `routed` yields, with what a transcriber says is as good to train on as each training text; `counts` gets
    how many these are."""
    if reading.transcriber is None:
        yield from pieces
        return
    for split, text, end in pieces:
        variants = list(reading.transcriber.variants(text)) if split == TRAIN else [text]
        if split == TRAIN and counts is not None:
            counts.append(len(variants))
        yield from ((split, variant, end) for variant in variants)


def routed(pieces: Iterable[Piece], plan: SplitPlan) -> Iterator[tuple[int, str, End]]:
    """The pieces with the split that each goes to; those of dropped documents are left out.

    The end of a part of the document that is cut is marked as a document's end.
    """
    document = position = 0
    parts = list(plan.cut)
    splits = plan.splits.tobytes()  # quicker to index, one by one, than an array
    for text, end in pieces:
        split = splits[document]
        if document == plan.cut_example:
            while text:
                cut, part_split = parts[0]
                head, text = text[: cut - position], text[cut - position :]
                position += len(head)
                yield part_split, head, End.DOCUMENT if position == cut else End.NOTHING
                if position == cut:
                    parts.pop(0)
        elif split != DROPPED:
            yield split, text, end
        document += end is End.DOCUMENT
