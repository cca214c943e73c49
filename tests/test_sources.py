"""What SRC names, and every way in which it can be wrong: one exact line, and nothing in the cache."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from aigc_cli.data import splits as held_out
from aigc_cli.data.kinds import WrongKind
from aigc_cli.data.sources import fingerprints, hub
from aigc_cli.data.sources import source as sources
from aigc_cli.data.sources.standard_input import sniff
from aigc_cli.data.text import formats, pieces
from aigc_cli.data.text.documents import PLAIN, Reading, stream
from aigc_cli.data.text.kind import TEXT
from aigc_cli.errors import RequestError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _read(path: Path, column: str | None = None, layout: formats.TextLayout = "document") -> list[str]:
    texts, held = [], ""
    part = sources.Part(str(path), "files", (path,))
    for text, end in stream(part, Reading(() if column is None else (column,), layout)):
        held += text
        if end is pieces.End.DOCUMENT:
            texts.append(held)
            held = ""
    assert held == ""
    return texts


def _open(src: Path | str) -> sources.Source:
    return TEXT.open(str(src))


# Cells that readers which guess would change: numbers, missing values, dates, quotation marks, white space.
CELLS = ["0012", "NA", "null", "1e5", "2020-01-01", 'say "so"', " spaced ", "True", "-", "春眠", "𠀀"]


def _table(kind: str, cells: list[str]) -> bytes:
    rows = [{"id": i, "text": cell} for i, cell in enumerate(cells)]
    table = pa.Table.from_pylist(rows)
    out = io.BytesIO()
    match kind:
        case "tsv":
            return ("id\ttext\n" + "".join(f"{row['id']}\t{row['text']}\n" for row in rows)).encode()
        case "csv":
            text = io.StringIO()
            csv.writer(text).writerows([["id", "text"], *([row["id"], row["text"]] for row in rows)])
            return text.getvalue().encode()
        case "jsonl":
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        case "json":
            return json.dumps(rows, indent=1, ensure_ascii=False).encode()
        case "parquet":
            pq.write_table(table, out)
        case "arrow":
            with pa.ipc.new_file(out, table.schema) as writer:
                writer.write_table(table)
        case "arrow stream":
            with pa.ipc.new_stream(out, table.schema) as writer:
                writer.write_table(table)
    return out.getvalue()


KINDS = ["tsv", "csv", "jsonl", "json", "parquet", "arrow", "arrow stream"]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_table_gives_its_cells_unchanged(kind: str, packing: str, tmp_path: Path) -> None:
    data = _table(kind, CELLS)
    data = {"": data, ".gz": gzip.compress(data), ".zst": zstandard.compress(data)}[packing]
    path = tmp_path / f"data.{kind.split()[0].upper()}{packing}"
    path.write_bytes(data)
    assert _read(path) == CELLS
    assert _read(path, "text") == CELLS


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_bytes_tell_the_format(kind: str) -> None:
    data = _table(kind, CELLS)
    expected = f".{kind.split()[0]}"
    assert sniff(TEXT, data) == expected
    assert sniff(TEXT, gzip.compress(data)) == expected + ".gz"
    assert sniff(TEXT, zstandard.compress(data)) == expected + ".zst"


def test_cells_that_only_some_formats_can_hold(tmp_path: Path) -> None:
    cells = ["two\nlines", "a\ttab", 'quoted "\n" break', "\r\n", ""]
    for kind in set(KINDS) - {"tsv"}:
        path = tmp_path / f"data.{kind.split()[0]}"
        path.write_bytes(_table(kind, cells))
        assert _read(path) == cells


def test_a_null_is_an_empty_document(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": null}\n')
    assert _read(tmp_path / "a.jsonl") == ["one", ""]
    pq.write_table(pa.table({"text": ["one", None]}), tmp_path / "a.parquet")
    assert _read(tmp_path / "a.parquet") == ["one", ""]


def test_json_of_strings_and_json_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["one", "two"]')
    (tmp_path / "b.json").write_text('\n{"text": "one"}\n{"text": "two"}')
    (tmp_path / "c.jsonl").write_text('"one"\n"two"')
    assert [_read(tmp_path / name) for name in ("a.json", "b.json", "c.jsonl")] == [["one", "two"]] * 3


def test_layouts_of_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\ntwo\r\n \n\n three\nfour".encode())
    assert _read(path) == ["one\ntwo\r\n \n\n three\nfour"]
    assert _read(path, layout="lines") == ["one", "two", " ", "", " three", "four"]
    assert _read(path, layout="paragraphs") == ["one\ntwo", " three\nfour"]


def test_the_only_column_is_taken_and_text_before_others(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("poem\none\n\ntwo\n")
    assert _read(tmp_path / "a.tsv") == ["one", "", "two"]
    pq.write_table(pa.table({"id": [1], "poem": ["one"]}), tmp_path / "a.parquet")
    assert _read(tmp_path / "a.parquet") == ["one"]
    (tmp_path / "b.csv").write_text("title,text\na,b\n")
    assert _read(tmp_path / "b.csv") == ["b"]
    assert _read(tmp_path / "b.csv", "title") == ["a"]


def test_a_long_cell_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_CHARS", 10)
    (tmp_path / "a.tsv").write_text("text\n" + "word " * 20 + "\nshort\n")
    assert len(list(formats.read_documents(tmp_path / "a.tsv", "document", ("text",)))) > 5
    assert _read(tmp_path / "a.tsv") == ["word " * 20, "short"]


def test_characters_cut_by_the_reading_buffer_are_whole(tmp_path: Path) -> None:
    text = "x" + "春" * 200_000  # three bytes each: every buffer ends inside a character
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert _read(tmp_path / "a.txt") == [text]


def test_several_zstandard_frames_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt.zst").write_bytes(zstandard.compress(b"one ") + zstandard.compress(b"two"))
    assert _read(tmp_path / "a.txt.zst") == ["one two"]


PARQUET = _table("parquet", CELLS)

CONVERT = "is not UTF-8, nor in any recognised encoding; convert the file to UTF-8"
STRAY = "is not UTF-8, though the rest is; correct that line"
BROKEN = " is broken and cannot be decompressed: "
SHORT_GZIP = f"{BROKEN}Compressed file ended before the end-of-stream marker was reached"
CHOOSE = ": choose one with --column, several with --fields, or what to answer and the answer with --source and --target; the columns of text are"

PARTIAL = " is not a valid parquet file: "

# name, content, column, and the message after the file's path
WRONG: list[tuple[str, bytes, str | None, str]] = [
    ("a.txt", b"one\n\xe6\x98\xa5\xff", None, f", line 2: byte 0xFF at offset 7 {CONVERT}"),
    ("a.txt", b"one\n\xe6\x98", None, f", line 2: byte 0xE6 at offset 4 {CONVERT}"),
    ("a.txt", b"\xef\xbb\xbf\xff", None, f", line 1: byte 0xFF at offset 3 {STRAY}"),
    ("a.tsv", b"\xef\xbb\xbftext\nok\n\xff\n", None, f", line 3: byte 0xFF at offset 11 {STRAY}"),
    ("a.tsv", b"a\ttext\nx\n", None, ", line 2: 1 cells where the header has 2 columns"),
    ("a.tsv", b"a\ttext\nx\ty\tz\n", None, ", line 2: 3 cells where the header has 2 columns"),
    ("a.tsv", b"a\tb\nx\ty\n", None, f"{CHOOSE} 'a' (\"x\"), 'b' (\"y\")"),
    ("a.tsv", b"a\tb\nx\ty\n", "text", ": there is no column 'text'; the columns are 'a', 'b'"),
    ("a.csv", b'a,text\n1,"b\nc,2\n', None, ", line 2: a quotation mark opens here and is never closed"),
    ("a.csv", b"a,text\n1,2\n1\n", None, ", line 3: 1 cells where the header has 2 columns"),
    ("a.jsonl", b'{"text": "a"}\n{"text"\n', None, ", line 2: not valid JSON: Expecting ':' delimiter"),
    ("a.jsonl", b'{"text": 12}\n', "text", ", line 1: expected text, found int"),
    ("a.jsonl", b'{"x": 12}\n', None, ": no column holds text; the columns are 'x'"),
    ("a.jsonl", b'{"a": "x", "b": "y", "c": 1}\n', None, f"{CHOOSE} 'a' (\"x\"), 'b' (\"y\")"),
    ("a.jsonl", b'{"text": "\\ud800"}\n', None, ", line 1: half a surrogate pair, '\\ud800', is not text"),
    ("a.jsonl", b"[" * 100_000, None, ", line 1: not valid JSON: it is nested too deeply"),
    ("a.json", b'[{"text": "a"}, 5]', None, ", item 2: expected text, found int"),
    ("a.json", b'[\n{"text": "a"}', None, ", line 2: not valid JSON: Expecting ',' delimiter"),
    ("a.parquet", PARQUET[:200], None, f"{PARTIAL}Parquet magic bytes not found in footer. Either the file is corrupted or this is not a "
     "parquet file."),
    ("a.parquet", b"", None, " is not a valid parquet file: Parquet file size is 0 bytes"),
    ("a.tsv", "诗歌\tb\nx\ty\n".encode(), "诗", ": there is no column '诗'; the columns are '诗歌', 'b'; did you mean '诗歌'?"),
    ("a.parquet", PARQUET, "poem", ": there is no column 'poem'; the columns are 'id', 'text'"),
    ("a.parquet", PARQUET, "id", ": the column 'id' does not hold text; 'text' does"),
    ("a.txt.gz", gzip.compress(b"x" * 100)[:-9], None, SHORT_GZIP),
    ("a.txt.gz", b"not gzip", None, f"{BROKEN}Not a gzipped file (b'no')"),
    ("a.txt.zst", zstandard.compress(b"x" * 100)[:-3], None, f"{BROKEN}the file ends before its last frame does"),
    ("a.txt.zst", b"not zstandard", None, f"{BROKEN}zstd decompressor error: Unknown frame descriptor"),
    ("a.parquet.gz", gzip.compress(PARQUET)[:-9], None, SHORT_GZIP),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "column", "message"), WRONG)
def test_what_cannot_be_read_is_one_exact_line(
    name: str, content: bytes, column: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        _read(path, column)
    assert str(caught.value) == f"{path}{message}"
    assert "\n" not in str(caught.value)


def test_a_truncated_arrow_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    path.write_bytes(_table("arrow stream", CELLS * 100)[:-400])
    with pytest.raises(RequestError, match=r"a\.arrow is not a valid arrow file: "):
        _read(path)


def test_parquet_cells_that_are_not_utf8(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array([b"ok", b"\xff"]).cast(pa.binary()).view(pa.string())})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RequestError) as caught:
        _read(tmp_path / "a.parquet")
    expected = f"{tmp_path / 'a.parquet'}, after row 0: a cell is not UTF-8: invalid start byte"
    assert str(caught.value) == expected


def test_reading_tables_writes_nothing_and_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hub"))
    path = tmp_path / "a.parquet"
    path.write_bytes(PARQUET)
    assert _read(path) == CELLS
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("src", "message"),
    [
        ("nothing.txt", "no such file or folder: 'nothing.txt'"),
        ("demo:prose", "there is no built-in data set 'demo:prose'; there is demo:verse"),
        ("hf:", "'hf:' does not name a data set; write hf:owner/name"),
    ],
)
def test_a_source_that_is_not_there(src: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        _open(src)
    assert str(caught.value) == message


def test_a_file_or_folder_without_data(tmp_path: Path) -> None:
    types = ".arrow .csv .json .jsonl .ndjson .parquet .tsv .txt"
    (tmp_path / "a.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00\x00")  # text of any other name would be read
    with pytest.raises(RequestError) as caught:
        _open(tmp_path / "a.doc")
    others = "; types of music: .kar .mid .midi .rmi"
    remedy = "soffice --headless --convert-to txt:Text FILE converts one"
    expected = f"{tmp_path / 'a.doc'} is not of a supported type; the types are {types}, also .gz or .zst; {remedy}{others}"
    assert str(caught.value) == expected
    with pytest.raises(RequestError) as caught:
        _open(tmp_path)
    found = f"found 1 .doc ({remedy}){others}"
    assert str(caught.value) == f"there is no data in the folder {tmp_path}: no file of the types {types}; {found}"
    for name in ("a.jpg", "b.JPG", "c.txt.bak"):
        (tmp_path / name).write_text("x")
    for wrong in (tmp_path, tmp_path / "b.JPG"):
        with pytest.raises(WrongKind, match=r"; it holds pictures$") as wrong_kind:
            _open(wrong)
        assert wrong_kind.value.kind == "pictures"


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text\nx\n")


def _names(source: sources.Source) -> dict[str, list[str]]:
    return {name: [str(path.relative_to(source.location)) for path in part.files] for name, part in source.parts.items()}


def test_a_folder_of_splits_by_name(tmp_path: Path) -> None:
    _touch(tmp_path, "test.tsv", "train.tsv.gz", "dev/b.txt", "dev/a.txt", "README.md", ".hidden.tsv")
    source = _open(tmp_path)
    assert _names(source) == {
        "train": ["train.tsv.gz"],
        "val": ["dev/a.txt", "dev/b.txt"],
        "test": ["test.tsv"],
    }
    assert source.notes == (
        "splits: train (train.tsv.gz), val (dev/, 2 files), test (test.tsv)",
        f"ignored 1 file of another type in {tmp_path}: README.md",
        f"ignored 1 hidden or system file in {tmp_path}: .hidden.tsv",
    )
    assert source.training() == source.parts["train"]
    assert source.evaluation(None) == source.parts["test"]
    assert source.evaluation("val") == source.parts["val"]
    with pytest.raises(RequestError) as caught:
        source.evaluation("last")
    assert str(caught.value) == f"{tmp_path} has the splits train, val, test, not 'last'"


def test_shards_of_splits_and_splits_without_train(tmp_path: Path) -> None:
    _touch(tmp_path, "train-00001-of-00002.csv", "train-00000-of-00002.csv", "validation.csv")
    assert _names(_open(tmp_path)) == {
        "train": ["train-00000-of-00002.csv", "train-00001-of-00002.csv"],
        "val": ["validation.csv"],
    }
    _touch(tmp_path / "b", "test.csv", "val.csv")
    with pytest.raises(RequestError) as caught:
        _open(tmp_path / "b").training()
    expected = f"{tmp_path / 'b'} has the splits val, test but no train; name a file of it to train on"
    assert str(caught.value) == expected


def test_any_other_folder_is_one_source_in_name_order(tmp_path: Path) -> None:
    _touch(tmp_path, "poems.tsv", "b/2.txt", "b/1.txt", "b/.git/x.txt", "a.jsonl")
    source = _open(tmp_path)
    assert _names(source) == {"all": ["a.jsonl", "b/1.txt", "b/2.txt", "poems.tsv"]}
    with pytest.raises(RequestError) as caught:
        source.evaluation("test")
    assert str(caught.value) == f"{tmp_path} has no splits, not 'test'"


def test_hashes_are_remembered_by_path_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    long_ago = time.time_ns() - 10**11
    os.utime(path, ns=(long_ago, long_ago))
    part = _open(path).training()
    records = fingerprints.record_files(part)
    fingerprints.remember_files(part, records)
    path.write_text("two")
    os.utime(path, ns=(long_ago, long_ago))
    assert fingerprints.record_files(part) == records  # neither size nor time tells, so the file is not read
    os.utime(path, ns=(long_ago, long_ago + 1))
    assert fingerprints.record_files(part)[0].digest != records[0].digest


def test_the_hash_of_a_file_just_written_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    part = _open(path).training()
    fingerprints.remember_files(part, fingerprints.record_files(part))
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (record,) = fingerprints.record_files(part)
    assert fingerprints.content_fingerprint([record]) != ""
    path.write_text("one")
    assert record.digest != fingerprints.record_files(part)[0].digest


def test_the_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    _touch(tmp_path, "a/1.txt", "b/2.txt")
    of = [fingerprints.content_fingerprint(fingerprints.record_files(_open(tmp_path / name).training())) for name in "ab"]
    assert of[0] == of[1]


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    part = _open(path).training()
    path.unlink()
    with pytest.raises(RequestError) as caught:
        fingerprints.record_files(part)
    assert str(caught.value) == f"cannot read {path}: No such file or directory"


def test_names_of_the_hub() -> None:
    assert hub.parse("hf:owner/name") == ("owner/name", None, None)
    assert hub.parse("hf:owner/name:config@abc") == ("owner/name", "config", "abc")


def test_a_hub_data_set_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder stands for the hub: `datasets` reads both in the same way."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hub"))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"text": "one"}\n{"text": null}\n{"text": "two"}\n')
    location = f"hf:{tmp_path / 'set'}"
    streamed = stream(sources.Part(location, "hub", split="train"), PLAIN)
    assert list(streamed) == [(text, pieces.End.DOCUMENT) for text in ("one", "", "two")]
    with pytest.raises(RequestError) as caught:
        list(stream(sources.Part(location, "hub", split="train"), Reading(("poem",))))
    assert str(caught.value) == f"{location}: there is no column 'poem'; the columns are 'text'"
    with pytest.raises(RequestError, match=f"^cannot read {location}: .*") as caught:
        list(stream(sources.Part(location, "hub", split="dev"), PLAIN))
    assert "\n" not in str(caught.value)


def test_held_out_documents_stay_held_out_when_others_come() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 30_000, np.uint64)
    some = held_out.assign(hashes[:20_000])
    more = held_out.assign(hashes)
    assert (some == more[:20_000]).all()
    assert (held_out.assign(hashes[::-1])[::-1] == more).all()
    share = np.bincount(more, minlength=4) / len(more)
    assert share[held_out.SELECT] == pytest.approx(0.05, abs=0.005)
    assert share[held_out.REPORT] == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(("n", "share"), [(100, 0.1), (50_000, 0.1), (100_000, 0.05), (10_000_000, 0.005)])
def test_the_share_that_is_held_out(n: int, share: float) -> None:
    assert held_out.held_out_share(n) == pytest.approx(share)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 30])
def test_few_documents_still_give_every_split(n: int) -> None:
    for seed in range(50):
        hashes = np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)
        plan = held_out.plan_with_slice(hashes, np.full(n, 10), "characters")
        sizes = [plan.size(split, np.full(n, 10)) for split in (held_out.TRAIN, held_out.SELECT, held_out.REPORT)]
        assert sum(sizes) == 10 * n
        assert min(sizes) >= 5


def test_next_to_nothing_is_never_held_out() -> None:
    for hashes in itertools.permutations([1, 2**62, 2**63]):
        lengths = np.array([200_000, 5, 6])
        plan = held_out.plan_with_slice(np.array(hashes, np.uint64), lengths, "characters")
        sizes = [plan.size(split, lengths) for split in (held_out.TRAIN, held_out.SELECT, held_out.REPORT)]
        assert sum(sizes) == lengths.sum()
        assert min(sizes) >= 10_000
        assert plan.cut_example == 0
        assert plan.notes == ("held out the last 20,000 characters of the longest of 3",)
    ones = np.ones(3, np.int64)
    assert held_out.plan_with_slice(np.array(hashes, np.uint64), ones, "pictures").notes[0].startswith("held out 1 of 3")


def test_one_document_is_cut_at_nine_tenths() -> None:
    plan = held_out.plan_with_slice(np.array([7], np.uint64), np.array([1003]), "characters")
    assert plan.cut == ((902, held_out.TRAIN), (953, held_out.SELECT), (1003, held_out.REPORT))
    assert plan.notes == (
        "held out the last 101 characters",
        "figures on only 101 characters are rough; give more with --val",
    )
    assert held_out.plan_with_slice(np.array([7], np.uint64), np.array([50_000]), "characters").notes == (
        "held out the last 5,000 characters",
    )


def test_copies_and_empty_ones_are_left_out() -> None:
    hashes = np.array([5, 9, 5, 1, 5], np.uint64)
    plan = held_out.plan_with_val(hashes, np.array([2, 2, 2, 0, 2]), np.array([9], np.uint64))
    assert plan.splits.tolist() == [held_out.TRAIN, *[held_out.DROPPED] * 4]
    assert plan.notes == (
        "left out 1 empty text",
        "removed 2 exact copies",
        "removed 1 that is in the validation data too",
    )
