"""Texts as people have them, each of a kind that tools were reported to misread. See `test_faults.py`."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from faulty import Input, Make, files, together

WORDS = "old quiet bright hollow golden river lantern kettle ladder waits sings leans glows".split()  # noqa: SIM905


def sentence(number: int) -> str:
    first, second, third = random.Random(number).sample(WORDS, 3)
    return f"The {first} {second} {third} by door {number}."


SENTENCES = [sentence(number) for number in range(60)]


def rows(
    delimiter: str = ",", *, header: Sequence[str] | None = ("id", "text"), texts: Sequence[str] = SENTENCES, **options: Any
) -> str:
    """A table of numbered texts, as Python's csv module writes it."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n", **options)
    writer.writerows([*([header] if header else []), *enumerate(texts)])
    return file.getvalue()


def json_lines(values: Iterable[Any], **options: Any) -> str:
    return "".join(json.dumps(value, ensure_ascii=False, **options) + "\n" for value in values)


def parquet(name: str, columns: Mapping[str, Any]) -> Make:
    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(dict(columns)), path)

    return make


def saved_to_disk(folder: Path) -> None:
    """As `datasets.Dataset.save_to_disk` writes it, with a cache file beside that was left by `map`."""
    (folder / "set").mkdir()
    for name, texts in (("data-00000-of-00001.arrow", SENTENCES), ("cache-ab.arrow", ["a wrong text"] * 20)):
        table = pa.table({"text": texts})
        with pa.ipc.new_stream(folder / "set" / name, table.schema) as stream:
            stream.write_table(table)
    (folder / "set/state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None})
    )
    (folder / "set/dataset_info.json").write_text("{}")


def text(name: str, content: Any, n: int = 60, **more: Any) -> Input:
    return Input(files({name: content}), name, n, **more)


def read(*columns: str, **more: Any) -> dict[str, Any]:
    return {"columns": {"read": list(columns), **more}}


def table(delimiter: str, *, header: bool = True) -> dict[str, Any]:
    return {"tables": [{"delimiter": delimiter, "header": header}]}


MARKED = [f'He said "{line}" twice\nand left' for line in SENTENCES]
POEMS = [line if number % 10 else f'"{line}' for number, line in enumerate(SENTENCES)]
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
TEXTS = {
    "column-first-row-null": text(
        "a.jsonl",
        json_lines({"id": f"rec-{i:04}", "text": x if i else None} for i, x in enumerate(SENTENCES)),
        59,
        understood=read("text"),
    ),
    "semicolons-in-csv": text("a.csv", rows(";"), understood={**read("text"), **table(";")}, told=("semicolon",)),
    "tabs-in-csv": text("a.csv", rows("\t"), understood=table("\t"), told=("tab",)),
    "commas-in-tsv": text("a.tsv", rows(","), understood=table(","), told=("comma",)),
    "quoted-tsv": text(
        "a.tsv", rows("\t", texts=MARKED), understood={"tables": [{"delimiter": "\t", "quoted": True}]}, told=("quoted",)
    ),
    "poem-with-lone-mark": text("a.tsv", rows("\t", texts=POEMS, quoting=3, quotechar=None), told=("quotation mark",)),
    "no-header": text(
        "a.csv", "".join(f"{line}\n" for line in SENTENCES), understood=table(",", header=False), told=("header",)
    ),
    "hub-clone": Input(
        together(
            parquet("set/data/train-00000-of-00001.parquet", {"text": SENTENCES[:50]}),
            parquet("set/data/test-00000-of-00001.parquet", {"text": SENTENCES[50:]}),
        ),
        "set",
        50,
        told=("splits: train (data/train-00000-of-00001.parquet",),
    ),
    "prefixed-names": Input(
        files(
            {"set/poems_train.tsv": rows("\t", texts=SENTENCES[:50]), "set/poems_test.tsv": rows("\t", texts=SENTENCES[50:])}
        ),
        "set",
        50,
        told=("splits: train (poems_train.tsv)",),
    ),
    "pretty-json": text("a.json", json.dumps({"data": [{"text": line} for line in SENTENCES]}, indent=2), told=("data",)),
    "objects-over-lines": text("a.json", json_lines(({"id": i, "text": line} for i, line in enumerate(SENTENCES)), indent=2)),
    "json-beside-dataset-info": Input(
        files({"set/a.json": json.dumps([{"text": line} for line in SENTENCES]), "set/dataset_info.json": "{}"}),
        "set",
        60,
        told=("dataset_info.json",),
    ),
    "pandas-split": text(
        "a.json", json.dumps({"columns": ["id", "text"], "index": list(range(60)), "data": [*enumerate(SENTENCES)]})
    ),
    "lists-of-lines": text(
        "a.json",
        json.dumps(
            [
                {"author": f"A{i % 5}", "title": f"T{i}", "paragraphs": [line, sentence(i + 100)]}
                for i, line in enumerate(SENTENCES)
            ]
        ),
        understood=read("paragraphs"),
    ),
    "titles-and-lines": Input(
        parquet("a.parquet", {"title": [f"No. {i}" for i in range(60)], "lines": [[line, line] for line in SENTENCES]}),
        "a.parquet",
        60,
        understood=read("lines"),
    ),
    "markdown": text("notes.md", "\n".join(SENTENCES), 3, told=("held out the last",)),
    "one-long-two-short": text(
        "a.csv", 'id,text\n1,"' + "长" * 20_000 + '"\n2,短文\n3,又一\n', 5, told=("of the longest of 3",)
    ),
    "utf-16": text("a.tsv", rows("\t").encode("utf-16"), told=("UTF-16",)),
    "gb18030": text(
        "a.txt",
        ("床前明月光，疑是地上霜。举头望明月，低头思故乡。\n" * 9).encode("gb18030"),
        options="--lines",
        refused=("GB18030", "iconv -f GB18030 -t UTF-8"),
    ),
    "unclosed-quote": text("a.csv", rows().replace("\n50,", '\n50,"'), refused=("line 52", "quotation mark")),
    "normal-forms": text(
        "a.txt",
        "".join(f"\uf914\ufa19\u2126 {line}\n" for line in SENTENCES),
        options="--lines",
        told=("180 characters are read in their normal form (NFC)",),
    ),
    "carriage-returns": text(
        "a.txt", "".join(f"{line}\r" for line in SENTENCES), options="--lines", told=("carriage returns",)
    ),
    "address": Input(files({}), "https://example.org/poems.csv", refused=("curl -L -o poems.csv",)),
    # Public reports: what other tools made of it is in the issue that is named
    "cpython#119123-two-of-each": text(
        "a.csv",
        "".join(f"{';'.join(['112'] * 11)};{line}\n" for line in SENTENCES),
        understood=table(";", header=False),
        told=("semicolon",),
    ),
    "cpython#104380-codes": text(
        "a.csv",
        "sample,is_nc,fastq_1\n" + "".join(f"s{i},yes,s{i}_R1.fq\n" for i in range(30)),
        refused=("choose one with --column", "'sample' (\"s0\")"),
    ),
    "duckdb#19578-quotes-and-semicolons": text(
        "a.csv",
        "country;place;gdp;text\n" + "".join(f'China;"35.86;104.{i}";97100,{i};{line}\n' for i, line in enumerate(SENTENCES)),
        understood={**read("text"), **table(";")},
    ),
    "duckdb#14883-mark-inside": text("a.csv", rows().replace("door 46", 'do"or 46')),
    "tatoeba2#2973-mark-opens-a-cell": text(
        "a.tsv",
        '1\teng\t"Hello,” he said to all of us.\n' + "".join(f"{i + 2}\teng\t{line}\n" for i, line in enumerate(SENTENCES)),
        61,
        understood=table("\t", header=False),
    ),
    "csv#435-mark-over-two-rows": text(
        "a.tsv", rows("\t").replace("\t" + SENTENCES[7], '\t"' + SENTENCES[7]).replace(SENTENCES[8], SENTENCES[8] + '"')
    ),
    "powershell#7776-sep": text("a.csv", "sep=;\n" + rows(";"), understood=read("text")),
    "datasets#3788-farodevigo": text("www_farodevigo_es.jsonl", json_lines({"text": line} for line in SENTENCES)),
    "datasets#5721-words-in-names": Input(
        files(
            {
                f"set/{name}_{i}.txt": line
                for i, (name, line) in enumerate(zip(("a test of time", "my train", "valley") * 20, SENTENCES, strict=True))
            }
        ),
        "set",
        60,
    ),
    "datasets#7222-null-throughout-one-file": Input(
        together(
            parquet("set/a.parquet", {"id": [f"a{i}" for i in range(20)], "text": pa.nulls(20, pa.string())}),
            parquet("set/b.parquet", {"id": [f"b{i}" for i in range(60)], "text": SENTENCES}),
        ),
        "set",
        60,
        understood=read("text"),
    ),
    "axolotl#1430-save-to-disk": Input(saved_to_disk, "set", 60),
    "axolotl#618-TEXT": text(
        "a.jsonl",
        json_lines({"name": f"The name of it is {i}", "TEXT": line} for i, line in enumerate(SENTENCES)),
        understood=read("TEXT"),
    ),
    "peft#2204-messages": text(
        "a.jsonl",
        json_lines(
            {"messages": [{"role": "user", "content": line}, {"role": "assistant", "content": line}]} for line in SENTENCES
        ),
        refused=("'messages' is a chat", "--source and --target"),
    ),
    "AngelSlim#7-sharegpt": text(
        "a.json",
        json.dumps(
            [{"conversations": [{"from": "human", "value": line}, {"from": "gpt", "value": line}]} for line in SENTENCES]
        ),
        refused=("'conversations' is a chat", "--source and --target"),
    ),
    "GRPO-Zero#1-lfs": text("train.parquet", LFS, refused=("Git LFS pointer", "git lfs pull")),
    # Others
    "kaggle": Input(
        files(
            {
                "set/train.csv": rows(texts=[line * 3 for line in SENTENCES[:50]]),
                "set/test.csv": rows(texts=SENTENCES[50:]),
                "set/sample_submission.csv": "id,label\n1,0\n",
            }
        ),
        "set",
        50,
        told=("sample_submission.csv",),
        understood={"splits": {"train": "train.csv", "test": "test.csv"}},
    ),
    "google-forms": text(
        "a.csv",
        'Timestamp,What is your name?,"What did you like, and why?"\n'
        + "".join(f'2024/01/{i % 28 + 1:02} 10:00:00 AM,Bob,"{line} Yes, I did."\n' for i, line in enumerate(SENTENCES)),
        understood=read("What did you like, and why?"),
    ),
    "splits-in-one-json": text(
        "a.json",
        json.dumps({"train": [{"text": line} for line in SENTENCES[:50]], "test": [{"text": line} for line in SENTENCES[50:]]}),
        refused=("train, test", "jq -c"),
    ),
    "web-page": text("data.csv", "<!DOCTYPE html><html><body>Log in</body></html>\n", refused=("web page",)),
    "not-numbers-but-texts": text(
        "a.csv",
        "text\n"
        + "".join(f"{each}{i or ''}\n" for i in range(8) for each in ("NA", "null", "007", "None", "nan", "1e5", "TRUE", "-")),
        64,
    ),
}
