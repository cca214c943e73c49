"""From a source of text to token arrays, through the cache."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aigc_cli.data.cache import cache_dir
from aigc_cli.data.sources.fingerprints import FileRecord
from aigc_cli.data.text import build as text_build
from aigc_cli.data.text import pieces
from aigc_cli.data.text.dataset import (
    TextDataset,
    TextRequest,
    check_unchanged,
    documents,
    encode_documents,
    prepare_text,
    true_nats,
)
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.tokenizers.tokenizer import normalise
from aigc_cli.errors import AigcError, RequestError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def _silent(stage: str, done: int, total: int | None) -> None:
    pass


def _prepare(data: Path | str, **options: Any) -> TextDataset:
    return prepare_text(TextRequest(str(data), **options), progress=_silent)


def _texts(dataset: TextDataset, split: str) -> list[str]:
    return list(documents(getattr(dataset, split), dataset.tokenizer))


def _everything(dataset: TextDataset) -> list[str]:
    return [text for name in ("train", "select", "report") for text in _texts(dataset, name)]


def _lines(path: Path, texts: list[str], header: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *texts]) + "\n", encoding="utf-8")
    return path


POEMS = [f"poem {i} of the river, e\u0301tude {i * i}" for i in range(300)]


def _cached_files() -> list[Path]:
    return [path for path in cache_dir().rglob("*") if path.is_file()]


def _prepared() -> dict[Path, int]:
    """When each file of the cache's entries was written; the hashes of sources beside them may be kept at any start."""
    return {file: file.stat().st_mtime_ns for file in _cached_files() if "prepared" in file.relative_to(cache_dir()).parts}


@pytest.mark.parametrize("kind", ["auto", "char", "bpe", "byte"])
def test_every_document_is_in_one_split_exactly(kind: Any, tmp_path: Path) -> None:
    dataset = _prepare(_lines(tmp_path / "a.tsv", POEMS), tokenizer=kind)
    splits = {name: _texts(dataset, name) for name in ("train", "select", "report")}
    assert sorted(_everything(dataset)) == sorted(map(normalise, POEMS))
    assert all(splits.values())
    assert splits["train"] == [normalise(poem) for poem in POEMS if normalise(poem) in set(splits["train"])]
    for name, texts in splits.items():
        arrays = getattr(dataset, name)
        assert arrays.chars.tolist() == [len(text) for text in texts]
        assert arrays.bytes.tolist() == [len(text.encode()) for text in texts]
        assert arrays.offsets[0] == 0
        assert arrays.offsets[-1] == len(arrays.tokens)
        assert np.diff(arrays.offsets).tolist() == [len(dataset.tokenizer.encode(text)) for text in texts]
        assert dataset.tokenizer.eot_id not in arrays.tokens
        assert not arrays.tokens.flags.writeable
        assert dataset.info["splits"][name] == {  # type: ignore[index, call-overload]
            "documents": len(texts),
            "characters": sum(map(len, texts)),
            "bytes": sum(len(text.encode()) for text in texts),
            "tokens": len(arrays.tokens),
        }
    assert not dataset.explicit_val
    json.dumps(dataset.info)


def test_a_second_start_finds_it_in_the_cache(tmp_path: Path) -> None:
    path = _lines(tmp_path / "a.tsv", POEMS)
    first = _prepare(path)
    before = _prepared()
    second = _prepare(path)
    assert (first.cached, second.cached) == (False, True)
    assert _prepared() == before
    assert (second.info, second.notes) == (first.info, first.notes)
    assert _texts(second, "report") == _texts(first, "report")
    moved = tmp_path / "b.tsv"
    path.rename(moved)
    third = _prepare(moved)
    assert third.cached
    assert third.info["location"] == str(moved)


def test_what_was_asked_for_enters_the_key(tmp_path: Path) -> None:
    path = _lines(tmp_path / "a.tsv", [f"{a}\t{b}" for a, b in zip(POEMS, POEMS[::-1], strict=True)], "text\tb")
    requests = [
        TextRequest(str(path)),
        TextRequest(str(path), reading=Reading(("b",))),
        TextRequest(str(path), tokenizer="bpe"),
        TextRequest(str(path), tokenizer="bpe", vocab_limit=512),
        TextRequest(str(path), tokenizer="bpe", vocab_size=300),
        TextRequest(str(path), tokenizer="char"),
        TextRequest(str(path), tokenizer="byte"),
    ]
    assert [prepare_text(request, progress=_silent).cached for request in requests] == [False] * len(requests)
    assert [prepare_text(request, progress=_silent).cached for request in requests] == [True] * len(requests)
    near = replace(requests[0], vocab_limit=4097)  # the same power of two
    assert prepare_text(near, progress=_silent).cached


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    path = _lines(tmp_path / "a.tsv", POEMS)
    _prepare(path)
    (tokens,) = [file for file in _cached_files() if file.name == "tokens.bin" and file.parent.name == "train"]
    tokens.write_bytes(tokens.read_bytes()[:-2])
    again = _prepare(path)
    assert not again.cached
    assert len(_texts(again, "train")) > 200
    assert _prepare(path).cached


def test_copies_and_empty_documents_are_told(tmp_path: Path) -> None:
    texts = [*POEMS[:200], *POEMS[:5], POEMS[7].replace("e\u0301", "\u00e9"), "  ", "", "\u3000"]
    dataset = _prepare(_lines(tmp_path / "a.tsv", texts))
    assert sorted(_everything(dataset)) == sorted(map(normalise, POEMS[:200]))
    assert "removed 6 exact copies" in dataset.notes
    assert "left out 3 empty texts" in dataset.notes
    assert dataset.info["dropped"] == {"empty": 3, "copies": 6, "in_validation": 0}


def test_given_validation_data_stay_whole_and_their_copies_leave_the_training_data(tmp_path: Path) -> None:
    train = _lines(tmp_path / "train.tsv", POEMS)
    val = _lines(tmp_path / "other.csv", [f'"{text}"' for text in [*POEMS[:10], POEMS[0], "another poem"]])
    dataset = _prepare(train, val=str(val))
    assert dataset.explicit_val
    assert _texts(dataset, "train") == [normalise(poem) for poem in POEMS[10:]]
    expected = [*map(normalise, [*POEMS[:10], POEMS[0]]), "another poem"]
    assert _texts(dataset, "select") == _texts(dataset, "report") == expected
    assert "removed 10 that are in the validation data too" in dataset.notes
    assert dataset.info["val"]["location"] == str(val)  # type: ignore[index, call-overload]
    assert _prepare(train, val=str(val)).cached


def test_a_folder_of_splits_trains_on_train_alone(tmp_path: Path) -> None:
    _lines(tmp_path / "d" / "train.tsv", POEMS[:100])
    _lines(tmp_path / "d" / "test.tsv", POEMS[100:120])
    without = _prepare(tmp_path / "d")
    assert not without.explicit_val
    held = _texts(without, "select") + _texts(without, "report")
    assert sorted(_texts(without, "train") + held) == sorted(map(normalise, POEMS[:100]))
    _lines(tmp_path / "d" / "dev.tsv", POEMS[120:130])
    dataset = _prepare(tmp_path / "d")
    assert dataset.explicit_val
    assert _texts(dataset, "train") == [*map(normalise, POEMS[:100])]
    assert _texts(dataset, "select") == [*map(normalise, POEMS[120:130])]
    tested = encode_documents(str(tmp_path / "d"), dataset.tokenizer, progress=_silent)
    assert list(documents(tested, dataset.tokenizer)) == [*map(normalise, POEMS[100:120])]
    trained = encode_documents(str(tmp_path / "d"), dataset.tokenizer, split="train", progress=_silent)
    assert len(trained.chars) == 100


def test_of_one_document_the_last_tenth_is_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_CHARS", 100)
    text = "".join(f"Line {i} of the play, e\u0301tude.\n" for i in range(501))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    dataset = _prepare(tmp_path / "a.txt", tokenizer="char")
    whole = normalise(text)
    start = int(len(whole) * 0.9)
    assert _texts(dataset, "train") == [whole[:start]]
    (select,), (report,) = _texts(dataset, "select"), _texts(dataset, "report")
    assert select + report == whole[start:]
    assert abs(len(select) - len(report)) <= 1
    assert dataset.train.tokens.tolist() == dataset.tokenizer.encode(whole[:start])


def test_a_single_held_out_document_is_halved(tmp_path: Path) -> None:
    dataset = _prepare(_lines(tmp_path / "a.tsv", ["first poem", "other poem", "third poem"]))
    (select,), (report,) = _texts(dataset, "select"), _texts(dataset, "report")
    assert len(_texts(dataset, "train")) == 2
    assert select + report in ("first poem", "other poem", "third poem")
    assert len(select) == len(report) == 5
    assert "figures on only 1 held out are rough; give more with --val" in dataset.notes


def test_the_shortest_text_that_can_be_split(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("01234567890123456789012345678901")
    dataset = _prepare(tmp_path / "a.txt")
    assert [len(text) for text in _everything(dataset)] == [28, 2, 2]
    assert dataset.tokenizer.kind == "char"


def test_a_path_is_told_without_detours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _lines(tmp_path / "a.tsv", POEMS)
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "b")
    assert _prepare("../a.tsv").info["location"] == str(tmp_path / "a.tsv")


def test_layouts_and_packed_files(tmp_path: Path) -> None:
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress("\n".join(POEMS).encode()))
    assert len(_texts(_prepare(packed), "train")) == 1
    assert len(_texts(_prepare(packed, reading=Reading(layout="lines")), "train")) > 200


def test_the_tokenizer_is_fitted_on_training_text_only(tmp_path: Path) -> None:
    train = _lines(tmp_path / "train.tsv", ["aaaa bbbb"] * 3 + [f"cc {i}" for i in range(9)])
    val = _lines(tmp_path / "val.tsv", ["春眠不覺曉" * 20])
    dataset = _prepare(train, val=str(val), tokenizer="char")
    assert len(dataset.tokenizer.encode("春")) == 3


def test_a_sample_for_the_tokenizer_is_spread_over_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that are only at the very end of a text much larger than the sample are still learnt."""
    monkeypatch.setattr(text_build, "_SAMPLE_BYTES", 20_000)
    texts = [f"the beginning has {i}" for i in range(5_000)] + [f"zebras quaffing {i}" for i in range(5_000)]
    dataset = _prepare(_lines(tmp_path / "a.tsv", texts), tokenizer="bpe", vocab_size=300)
    tokens = {dataset.tokenizer.decode([index]) for index in range(dataset.tokenizer.vocab_size)}
    assert {" has", " quaffing"} <= tokens


def test_a_large_vocabulary_is_stored_in_32_bits(tmp_path: Path) -> None:
    chars = [chr(code) for code in range(0x3400, 0x9FFF)] + [chr(code) for code in range(0x20000, 0x2F000)]
    text = "".join(char * 2 for char in chars)
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    dataset = _prepare(tmp_path / "a.txt", tokenizer="char")
    assert dataset.tokenizer.vocab_size > 1 << 16
    assert dataset.train.tokens.dtype == np.uint32
    assert "".join(_everything(dataset)) == text


def test_notes_say_which_tokenizer_and_why(tmp_path: Path) -> None:
    han = [f"春眠不覺曉，處處聞啼鳥{chr(0x4E00 + i)}" for i in range(200)]
    dataset = _prepare(_lines(tmp_path / "a.tsv", han))
    assert dataset.tokenizer.kind == "char"
    size = dataset.tokenizer.vocab_size
    assert dataset.notes[1] == f"tokenizer: char, {size:,} tokens (100% of letters are Han or Kana)"
    asked = _prepare(_lines(tmp_path / "a.tsv", han), vocab_size=5000)
    assert asked.tokenizer.kind == "bpe"
    assert "for --vocab-size, but the text yields only" in asked.notes[1]


class _Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize(
    ("data", "options", "count"),
    [
        ("\n".join(POEMS).encode(), {}, 300),
        (gzip.compress("\n".join(POEMS).encode()), {}, 300),
        ("\n".join(["text", *POEMS]).encode(), {"input_format": "tsv"}, 300),
        (gzip.compress("\n".join(["text", *POEMS]).encode()), {"input_format": "tsv"}, 300),
        ("".join(json.dumps({"text": poem}) + "\n" for poem in POEMS).encode(), {}, 300),
        (json.dumps(POEMS).encode(), {}, 300),
        ("\n".join(POEMS).encode(), {"input_format": "txt"}, 3),
        ("\n\n".join(POEMS).encode(), {"reading": Reading(layout="paragraphs")}, 300),
    ],
    ids=["lines", "gzip", "tsv", "gzip tsv", "jsonl", "json", "txt", "paragraphs"],
)
def test_standard_input(data: bytes, options: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    dataset = prepare_text(TextRequest("-", **options), progress=_silent)
    assert dataset.spooled is not None and dataset.spooled.read_bytes() == data
    assert len(_everything(dataset)) == count
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    assert prepare_text(TextRequest("-", **options), progress=_silent).cached
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    arrays = encode_documents("-", dataset.tokenizer, progress=_silent, **options)
    assert len(arrays.chars) == (1 if count == 3 else count)


def test_encoding_other_documents_is_cached_and_keeps_copies(tmp_path: Path) -> None:
    dataset = _prepare("demo:verse", tokenizer="byte")
    path = _lines(tmp_path / "a.tsv", ["one", "one", "", "two"])
    first = encode_documents(str(path), dataset.tokenizer, progress=_silent)
    assert list(documents(first, dataset.tokenizer)) == ["one", "one", "two"]
    made = _prepared()
    encode_documents(str(path), dataset.tokenizer, progress=_silent)
    assert _prepared() == made


def test_the_built_in_verse_and_its_true_cost() -> None:
    dataset = _prepare("demo:verse")
    texts = _texts(dataset, "report")
    assert 800 < len(texts) < 1200
    nats = [true_nats("demo:verse", text) for text in texts]
    assert all(cost is not None and 0 < cost < math.inf for cost in nats)
    assert true_nats("demo:verse", "prose") == math.inf
    assert true_nats("a.txt", texts[0]) is None
    assert check_unchanged(dataset.info) == []
    assert check_unchanged({**dataset.info, "fingerprint": "other"}) == [
        "demo:verse is generated differently by this version of aigc"
    ]


def test_a_source_that_changed_or_is_gone_is_told(tmp_path: Path) -> None:
    train, val = _lines(tmp_path / "a.tsv", POEMS), _lines(tmp_path / "b.tsv", ["another"])
    info = json.loads(json.dumps(_prepare(train, val=str(val)).info))
    assert check_unchanged(info) == []
    os.utime(train, ns=(0, 0))
    assert check_unchanged(info) == []  # touched, but the same
    _lines(train, POEMS[1:])
    val.unlink()
    assert check_unchanged(info) == [f"{train} has changed since this run was trained", f"{val} is gone"]


@pytest.mark.parametrize("change", ["added", "removed", "exchanged", "added to the split"])
def test_a_folder_is_looked_at_as_it_is_now(change: str, tmp_path: Path) -> None:
    """Not only the files that were there: one that was added changes what a run trains on and is measured on."""
    folder = tmp_path / "texts"
    names = ["train/a.txt", "train/b.txt", "val/c.txt"] if change == "added to the split" else ["a.txt", "b.txt", "c.txt"]
    for name in names:
        _lines(folder / name, POEMS[:30], header=name)
    dataset = _prepare(folder)
    info = json.loads(json.dumps(dataset.info))
    assert isinstance(info["files"], int)
    then = [FileRecord(str(folder / name), 0, 0, "") for name in names]
    old = {key: value for key, value in info.items() if key not in ("kind", "split")}  # as version 0.1 recorded it
    old["files"] = [asdict(record) for record in then if "val" not in record.path]
    if old["val"]:
        old["val"] = {**{key: value for key, value in old["val"].items() if key != "split"}, "files": [asdict(then[-1])]}
    assert check_unchanged(info) == check_unchanged(old) == []
    if change == "added":
        (folder / "d.txt").write_text("another")
        told = ": 4 files now, 3 then"
    elif change == "removed":
        (folder / "c.txt").unlink()
        told = ": 2 files now, 3 then"
    elif change == "exchanged":
        (folder / "a.txt").rename(folder / "z.txt")
        told = ""
    else:
        (folder / "val" / "d.txt").write_text("another")
        told = ": 2 files now, 1 then"
    assert check_unchanged(info) == check_unchanged(old) == [f"{folder} has changed since this run was trained{told}"]
    assert not _prepare(folder).cached


def test_a_source_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = _lines(tmp_path / "a.tsv", POEMS)

    def change(stage: str, done: int, total: int | None) -> None:
        if stage == "fitting the tokenizer":
            _lines(path, [*POEMS[1:], "x" * len(POEMS[0])])

    with pytest.raises(AigcError) as caught:
        prepare_text(TextRequest(str(path)), progress=change)
    assert str(caught.value) == f"{path} has changed while it was read; try again when nothing writes to it"
    assert not _cached_files()


def test_two_processes_at_once_both_end_with_the_data(tmp_path: Path) -> None:
    path = _lines(tmp_path / "a.tsv", POEMS)
    script = (
        "import sys\n"
        "from aigc_cli.data.text.dataset import *\n"
        "d = prepare_text(TextRequest(sys.argv[1]), progress=lambda *_: None)\n"
        "print(len(d.train.tokens))\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    dataset = _prepare(path)
    assert dataset.cached
    assert printed == [f"{len(dataset.train.tokens)}\n"] * 2


def test_progress_is_told_in_bytes_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A line of text.\n" * 200_000)
    seen: list[tuple[str, int, int | None]] = []
    request = TextRequest(str(tmp_path / "a.txt"), tokenizer="byte")
    prepare_text(request, progress=lambda *args: seen.append(args))
    reading = [done for stage, done, _ in seen if stage == "bytes read"]
    tokenising = [done for stage, done, total in seen if stage == "tokenising" and total == 3_200_000]
    assert reading == sorted(reading)
    assert len(reading) >= 2
    assert tokenising == sorted(tokenising)
    assert tokenising[-1] <= 3_200_000


WRONG: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("a.txt", b"", {}, "{path} holds no text"),
    ("a.txt", b" \n ", {}, "{path} holds no text"),
    ("a.txt", b"0123456789", {}, "{path} is too short: choosing checkpoints needs at least 2 characters"),
    ("a.tsv", b"text\n", {}, "{path} holds no text"),
    ("a.tsv", b"", {}, "{path} holds no text"),
    ("a.tsv", b"x\ty\n1\t2\n", {"reading": Reading(("poem",))}, "{path}: there is no column 'poem'; the columns are 'x', 'y'"),
    ("a.tsv", b"text\nx\xff\n", {}, "{path}, line 2: byte 0xFF at offset 6 is not UTF-8, nor in any recognised encoding; convert the file to UTF-8"),
    ("a.txt.gz", b"?", {}, "{path} is broken and cannot be decompressed: Not a gzipped file (b'?')"),
    ("a.tsv", b"text\nx\n", {"reading": Reading(layout="lines")}, "--lines is for .txt and the like; a row of the table {path} is a text already"),
    ("a.txt", b"x\n", {"reading": Reading(("text",))}, "{path} has no columns; --column, --fields and --source are for tables"),
    ("a.txt", b"x\n", {"val": "-"}, "--val cannot be standard input; name a file"),
    ("a.txt", b"x\n", {"val": "no.txt"}, "no such file or folder: 'no.txt'"),
    ("a.txt", b"x\n", {"tokenizer": "char", "vocab_size": 300},
     "--vocab-size is for --tokenizer bpe and for words; char has the size that it has"),
    ("a.txt", b"x\n", {"vocab_size": 20},
     "--vocab-size must be at least 258: 256 bytes, the end of a document and one merge"),
    ("a.txt", b"x\n", {"input_format": "tsv"},
     "--input-format is for standard input (--data -); the format of a file follows from its name"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "options", "message"), WRONG)
def test_a_wrong_request_is_one_exact_line_and_leaves_nothing(
    name: str, content: bytes, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        _prepare(path, **options)
    assert str(caught.value) == message.format(path=path)
    assert not _cached_files()


def test_a_folder_of_which_one_file_is_wrong(tmp_path: Path) -> None:
    _lines(tmp_path / "d" / "a.tsv", POEMS)
    _lines(tmp_path / "d" / "b.tsv", ["x"], "poem\ttitle")
    with pytest.raises(RequestError) as caught:
        _prepare(tmp_path / "d")
    columns = "the columns of text are 'poem' (\"x\"), 'title'"
    assert str(caught.value) == (
        f"{tmp_path / 'd' / 'b.tsv'}: choose one with --column, several with --fields, or what to answer "
        f"and the answer with --source and --target; {columns}"
    )
    assert not _cached_files()


def test_all_training_data_are_held_out(tmp_path: Path) -> None:
    path = _lines(tmp_path / "a.tsv", POEMS)
    with pytest.raises(RequestError) as caught:
        _prepare(path, val=str(path))
    assert str(caught.value) == f"nothing left to train on: all of {path} is also in the validation data"


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"", {}, "standard input is empty; pipe the data in, or name a file with --data"),
        (
            b"x",
            {"input_format": "docx"},
            "--input-format 'docx' is not one of txt, tsv, csv, jsonl, json, ndjson, parquet, arrow",
        ),
        (
            b"text\n\xff",
            {"input_format": "tsv"},
            "standard input, line 2: byte 0xFF at offset 5 is not UTF-8, nor in any recognised encoding; convert the file to UTF-8",
        ),
        (b"", {"val": "-"}, "--val cannot be standard input; name a file"),
    ],
)
def test_wrong_standard_input_leaves_nothing(
    data: bytes, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    with pytest.raises(RequestError) as caught:
        _prepare("-", **options)
    assert str(caught.value) == message
    assert not _cached_files()
