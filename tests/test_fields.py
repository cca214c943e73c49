"""Documents of several fields: read, learned, written and measured, each given those before it."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Shell, make_shell
from networks import random_transformer, small_config
from torch import Tensor

from aigc_cli.backends.transformer.config import Train
from aigc_cli.backends.transformer.decoder_only.eval import likelihood_measures, likelihood_units
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM, window_length
from aigc_cli.backends.transformer.decoder_only.likelihood import token_nats
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoding.generate import Generated, Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.sampling import next_tokens
from aigc_cli.backends.transformer.decoding.token_rules import FieldEnds, TokenRules
from aigc_cli.backends.transformer.inputs import read_inputs
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.prepare import reading_of
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.sources.source import Part
from aigc_cli.data.text.dataset import TextDataset, TextRequest, documents, encode_documents, prepare_text
from aigc_cli.data.text.documents import Reading, stream
from aigc_cli.data.text.pieces import End
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, byte, fit_bpe, fit_char
from aigc_cli.engine.runs.run import open_run
from aigc_cli.errors import RequestError
from aigc_cli.ui.text import one_line

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
NAMES = ("title", "author", "text")
ROWS = [
    ("Spring", "Meng", "asleep in spring, unaware of dawn"),
    ("", "Li", 'a "cup" of wine, under the e\u0301lms'),
    ("<|field|>", "", "<|endoftext|> is text"),
    ("Autumn", "Wang", ""),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


def table(kind: str, rows: Sequence[Sequence[str]], header: Sequence[str] = NAMES) -> bytes:
    records = [dict(zip(header, row, strict=True)) for row in rows]
    out, text = io.BytesIO(), io.StringIO()
    match kind:
        case "tsv":
            return "".join("\t".join(row) + "\n" for row in [header, *rows]).encode()
        case "csv":
            csv.writer(text).writerows([header, *rows])
            return text.getvalue().encode()
        case "jsonl":
            return "".join(json.dumps(record) + "\n" for record in records).encode()
        case "json":
            return json.dumps(records).encode()
        case "parquet":
            pq.write_table(pa.Table.from_pylist(records), out)
        case "arrow":
            whole = pa.Table.from_pylist(records)
            with pa.ipc.new_file(out, whole.schema) as writer:
                writer.write_table(whole)
    return out.getvalue()


def prepare(path: Path, columns: tuple[str, ...] = NAMES, **options: object) -> TextDataset:
    return prepare_text(TextRequest(str(path), reading=Reading(columns), **options), progress=lambda *_: None)  # type: ignore[arg-type]


def rows_of(data: TextDataset) -> list[str]:
    splits = (data.train, data.select, data.report)
    return sorted(text for arrays in splits for text in documents(arrays, data.tokenizer))


# Data


@pytest.mark.parametrize("kind", ["tsv", "csv", "jsonl", "json", "parquet", "arrow"])
def test_the_columns_of_a_table_are_read_in_the_order_asked_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(table(kind, ROWS))
    found = list(stream(Part(str(path), "files", (path,)), Reading(("text", "title"))))
    expected = [piece for title, _, text in ROWS for piece in ((text, End.FIELD), (title, End.DOCUMENT))]
    assert found == [(text.replace("e\u0301", "é"), end) for text, end in expected]


@pytest.mark.parametrize("tokenizer", ["char", "bpe", "byte"])
def test_fields_are_kept_apart_by_a_token_of_their_own(tokenizer: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(table("jsonl", ROWS))
    data = prepare(tmp_path / "a.jsonl", tokenizer=tokenizer)
    assert rows_of(data) == sorted("\n".join(row).replace("e\u0301", "é") for row in ROWS)
    everything = np.concatenate([arrays.tokens for arrays in (data.train, data.select, data.report)])
    assert (everything == data.tokenizer.field_id).sum() == 2 * len(ROWS)
    assert not (everything == data.tokenizer.eot_id).any()
    chars = sum(int(arrays.chars.sum()) for arrays in (data.train, data.select, data.report))
    assert chars == sum(len(cell.replace("e\u0301", "é")) for row in ROWS for cell in row)


def test_rows_that_differ_in_where_a_field_ends_are_no_copies(tmp_path: Path) -> None:
    rows = [("ab", "c", "d"), ("a", "bc", "d"), ("a", "b", "cd"), ("a", "b", "cd"), ("", "", " ")]
    (tmp_path / "a.tsv").write_bytes(table("tsv", rows))
    data = prepare(tmp_path / "a.tsv")
    assert rows_of(data) == sorted("\n".join(row) for row in rows[:3])
    assert data.info["dropped"] == {"empty": 1, "copies": 1, "in_validation": 0}


def test_rows_whose_last_field_is_empty_are_told(tmp_path: Path) -> None:
    rows = [(f"title {i}", "", "" if i % 3 == 0 else f"text {i}") for i in range(12)]
    (tmp_path / "a.tsv").write_bytes(table("tsv", [*rows, ("", "", "")]))
    told = "4 rows have nothing in 'text', and are learned so; remove them if they shouldn't be"
    assert told in prepare(tmp_path / "a.tsv").notes
    (tmp_path / "b.tsv").write_bytes(table("tsv", [row for row in rows if row[2]]))
    assert not any("have nothing in" in note for note in prepare(tmp_path / "b.tsv").notes)


def test_a_row_is_never_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    for n in range(3, 12):
        rows = [(f"title {i}", f"author {i}", f"a text of some length, {i}") for i in range(n)]
        path.write_bytes(table("tsv", rows))
        data = prepare(path)
        assert rows_of(data) == sorted("\n".join(row) for row in rows)
        assert min(data.train.n_docs, data.select.n_docs, data.report.n_docs) > 0
    path.write_bytes(table("tsv", rows[:2]))
    with pytest.raises(RequestError) as caught:
        prepare(path)
    assert str(caught.value) == f"{path} has 2 different rows; training, selection and reporting need one each"


def test_other_data_are_read_by_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(table("jsonl", ROWS))
    tokenizer = prepare(tmp_path / "a.jsonl").tokenizer
    (tmp_path / "b.csv").write_bytes(table("csv", [("new", "body", "none")], ("title", "text", "author")))
    arrays = encode_documents(str(tmp_path / "b.csv"), tokenizer, reading=Reading(NAMES), progress=lambda *_: None)
    assert list(documents(arrays, tokenizer)) == ["new\nnone\nbody"]


WRONG = [
    (
        "a.tsv",
        table("tsv", ROWS),
        ("title", "poem"),
        "{path}: there is no column 'poem'; the columns are 'title', 'author', 'text'",
    ),
    ("a.jsonl", b'{"title": "x"}\n', ("title", "text"), "{path}: there is no column 'text'; the columns are 'title'"),
    ("a.jsonl", b'"x"\n', ("title", "text"), "{path}, line 1: expected an object with 'title', 'text', found str"),
    ("a.json", b'[{"title": "x", "text": 3}]', ("title", "text"), "{path}, item 1: expected text, found int"),
    ("a.txt", b"x\n", ("title", "text"), "{path} has no columns; --column, --fields and --source are for tables"),
]


@pytest.mark.parametrize(("name", "content", "columns", "message"), WRONG)
def test_wrong_tables_are_one_line(name: str, content: bytes, columns: tuple[str, ...], message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        prepare(path, columns)
    assert str(caught.value) == message.format(path=path)


@pytest.mark.parametrize("tokenizer", [byte(), fit_char(["<|field|>"] * 2), fit_bpe(["<|field|> " * 50], 300)])
def test_a_tokenizer_with_fields_is_the_same_with_a_token_more(tokenizer: Tokenizer, tmp_path: Path) -> None:
    fielded = tokenizer.with_fields()
    assert (fielded.vocab_size, fielded.field_id) == (tokenizer.vocab_size + 1, tokenizer.vocab_size)
    for text in ("Spring 春", "<|field|> and <|endoftext|>"):
        assert fielded.encode(text) == tokenizer.encode(text)
        assert fielded.decode(fielded.encode(text)) == text
    fielded.save(tmp_path)
    read = Tokenizer.load(tmp_path)
    assert (read.field_id, read.fingerprint()) == (fielded.field_id, fielded.fingerprint())
    assert (tokenizer.field_id, read.fingerprint() == tokenizer.fingerprint()) == (None, False)


# Writing

EOT, FIELD = 26, 25
ENDS = FieldEnds(FIELD, 3)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_transformer(small_config(vocab_size=27, context=12, eot_id=EOT), spread=0.3)


def letters(ids: list[int]) -> bytes:
    return bytes(b"\n"[0] if i == FIELD else b"a"[0] + i for i in ids)


def sample(
    model: Transformer, jobs: list[Job], options: SamplingOptions, batch_size: int = 4, **more: object
) -> list[Generated]:
    options_of_all = {"rules": TokenRules(EOT, ENDS), "seed": 0, "decode_bytes": letters, "device": CPU}
    return list(generate(CausalLM(model), jobs, options=options, batch_size=batch_size, **options_of_all, **more))  # type: ignore[arg-type]


JOBS = [Job(0, [EOT], 5), Job(5, [EOT, 1, 2, FIELD], 5), Job(10, [EOT, FIELD, 3, FIELD, 4], 5)]


def reference(model: Transformer, prompt: list[int], options: SamplingOptions, index: int) -> list[list[int]]:
    """The definition: no cache, no batch; what may not come next is impossible."""
    random = np.random.Generator(np.random.Philox(key=(0, index)))
    tokens, to_come = list(prompt), 2 - prompt.count(FIELD)
    fields: list[list[int]] = [[]]
    for _ in range(options.max_tokens or 4 * model.config.context):
        window = tokens[-window_length(len(tokens), model.config.context) :]
        with torch.no_grad():
            logits: Tensor = model.logits(model(torch.tensor([window])))[:, -1].clone()
        logits[0, EOT if to_come else FIELD] = -torch.inf
        uniform = torch.tensor([random.random(dtype=np.float32)])
        token = int(next_tokens(logits, options, None, uniform if options.temperature else None))
        if token == EOT:
            break
        tokens.append(token)
        if token == FIELD:
            to_come -= 1
            fields.append([])
        else:
            fields[-1].append(token)
    return fields


@pytest.mark.parametrize(
    "options", [SamplingOptions(), SamplingOptions(temperature=0, max_tokens=20), SamplingOptions(top_k=5)]
)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_text_has_the_fields_that_its_prompt_leaves(
    model: Transformer, options: SamplingOptions, batch_size: int
) -> None:
    prompts = [job.prompt_ids for job in JOBS for _ in range(job.draws)]
    for made in sample(model, JOBS, options, batch_size):
        expected = reference(model, prompts[made.index], options, made.index)
        assert made.fields == [letters(ids) for ids in expected]
        assert made.content == b"\n".join(made.fields) == letters(made.ids)
        if made.finish == "end":
            assert len(made.fields) == 3 - prompts[made.index].count(FIELD)


def test_a_text_is_stopped_in_its_last_field_only(model: Transformer) -> None:
    free = SamplingOptions(max_tokens=400)
    for whole, stopped in zip(
        sample(model, JOBS, free), sample(model, JOBS, SamplingOptions(max_tokens=400, stop=("b", "\n"))), strict=True
    ):
        *leading, last = whole.fields
        assert stopped.fields == [*leading, last.partition(b"b")[0]]
        assert stopped.finish == ("stop" if b"b" in last else whole.finish)


def test_only_the_last_field_is_streamed(model: Transformer) -> None:
    told = dict.fromkeys(range(15), b"")

    def take(index: int, piece: bytes) -> None:
        told[index] += piece

    for made in sample(model, JOBS, SamplingOptions(max_tokens=400, stop=("bc",)), batch_size=1, on_bytes=take):
        assert made.finish != "length"
        assert told[made.index] == made.fields[-1]


# Measuring


@pytest.mark.parametrize("context", [64, 7])
@pytest.mark.parametrize("n_docs", [5, 50])
def test_a_field_costs_its_tokens_and_its_end(context: int, n_docs: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [tuple("".join(rng.choice(list("abé山"), size)) for size in rng.integers(0, 9, 3)) for _ in range(n_docs)]
    path = tmp_path / "a.jsonl"
    path.write_bytes(table("jsonl", rows))
    tokenizer = byte().with_fields()
    arrays = encode_documents(str(path), tokenizer, reading=Reading(NAMES), progress=lambda *_: None)
    config = small_config(vocab_size=tokenizer.vocab_size, context=context, eot_id=tokenizer.eot_id)
    loaded = Loaded(CausalLM(random_transformer(config)), tokenizer, Start(with_eot=True, fields=NAMES), CPU)
    units = likelihood_units(loaded, arrays, 4, lambda done, total: None)
    assert units.over == "documents"
    np.testing.assert_allclose(sum(nats for nats, _ in units.fields.values()), units.nats)
    assert (sum(chars for _, chars in units.fields.values()) == units.chars).all()
    for row, text in enumerate(documents(arrays, tokenizer)):
        for part, name in zip(text.split("\n"), NAMES, strict=True):
            assert units.fields[name][1][row] == len(part)
        if context < 64:
            continue
        fields = [tokenizer.encode(part) for part in text.split("\n")]
        ends = [tokenizer.field_id, tokenizer.field_id, tokenizer.eot_id]
        whole = [tokenizer.eot_id, *(token for ids, end in zip(fields, ends, strict=True) for token in (*ids, end))]
        costs = token_nats(loaded.model.network, torch.tensor([whole[:-1]]), torch.tensor([whole[1:]]))[0].double()
        at = np.cumsum([0, *(len(ids) + 1 for ids in fields)])
        for i, name in enumerate(NAMES):
            assert units.fields[name][0][row] == pytest.approx(float(costs[at[i] : at[i + 1]].sum()), rel=1e-5)
    measures = likelihood_measures(units, seed=0)
    nats, chars = units.fields["author"]
    assert measures["bits_per_char_author"].value == pytest.approx(nats.sum() / chars.sum() / np.log(2))


# The command line


@pytest.fixture(scope="module")
def poet(tmp_path_factory: pytest.TempPathFactory, toy_path: Path, shared_cache: Path) -> Shell:
    shell = make_shell(tmp_path_factory.mktemp("fields"), toy_path, shared_cache)
    rows = [(f"{a}{i}", a.upper(), f"{a} {b} {i}") for i in range(40) for a in ("red", "old") for b in ("fox", "hen")]
    (shell.cwd / "poems.tsv").write_bytes(table("tsv", rows))
    shell.ok("train", "transformer", "--data", "poems.tsv", "--fields", "title, author,text", "--steps", "5", "--run", "poet")
    return shell


def lines_of(out: str) -> list[str]:
    return out.removesuffix("\n").split("\n")


def test_given_fields_are_kept_and_the_rest_is_written(poet: Shell) -> None:
    draw = ("sample", "transformer", "--seed", "1", "-q", "--max-tokens", "30")
    (record,) = map(json.loads, lines_of(poet.ok(*draw, "--given", "author=A=B", "--given", "title=", "--json")))
    assert list(record) == ["text", "prompt", "seed", "index", "finish", "title", "author"]
    assert (record["title"], record["author"]) == ("", "A=B")
    lines = lines_of(poet.ok(*draw, "--given", "author=A=B", "--given", "title="))
    assert lines == [one_line(record["text"])]
    streamed = lines_of(poet.ok(*draw, "--given", "author=A=B", "--given", "title=", "--stream"))
    assert streamed == lines
    given = '\ufeff{"title": "red1", "author": "RED"}\n\n{"title": "old"}\n{}\n'
    records = list(map(json.loads, lines_of(poet.ok(*draw, "--given", "-", "-n", "2", "--json", input=given))))
    assert [record["index"] for record in records] == list(range(6))
    assert [record["title"] for record in records[:4]] == ["red1", "red1", "old", "old"]
    assert {record["author"] for record in records[:2]} == {"RED"}
    prompted = poet.ok(*draw, "--given", "title=old1", "--given", "author=OLD", "--prompt", "old ", "--echo")
    assert prompted.startswith("old ")
    begun = (*draw, "--given", "title=old1", "--prompt", "O", "--echo")
    (record,) = map(json.loads, lines_of(poet.ok(*begun, "--json")))
    assert (record["title"], record["author"][0]) == ("old1", "O")
    assert poet.ok(*begun) == one_line(record["text"]) + "\n"
    told = poet(*(part for part in begun if part != "-q")).stderr
    assert "the prompt begins 'author'; to begin 'text': --given title=… --given author=… --prompt …" in told
    cut = poet("sample", "transformer", "--max-tokens", "1", "-n", "3")
    assert "3 samples reached the token limit before their last field started" in cut.stderr


@pytest.mark.parametrize(
    ("given", "prompt", "lines", "message"),
    [
        (["titel=x"], None, "", "--given: there is no field 'titel'; {fields}; did you mean 'title'?"),
        (["author=x"], None, "", "--given: 'author' can only be given with 'title'; {fields}"),
        (["title"], None, "", "--given 'title': write FIELD=TEXT"),
        (["title=x", "title=y"], None, "", "--given names 'title' twice"),
        (["title=x", "author=y", "text=z"], None, "", "--given: all fields are given, so none is left to generate"),
        (["-", "title=y"], None, "{}\n", "use --given - alone: it reads the fields of each text from a line"),
        (["-"], "-", "{}\n", "--given - and --prompt - cannot both read standard input"),
        (["-"], None, "{}\n[]\n", '--given -: line 2 is not a JSON object of texts, such as {{"title": "…"}}'),
        (["-"], None, '{"title": "\\ud800"}\n', '--given -: line 1 is not a JSON object of texts, such as {{"title": "…"}}'),
        (["-"], None, '{"title": 1}\n', '--given -: line 1 is not a JSON object of texts, such as {{"title": "…"}}'),
        (["-"], None, '{"text": "x"}\n', "--given -: line 1: 'text' can only be given with 'title'; {fields}"),
    ],
)
def test_what_cannot_be_given_is_one_line(
    given: list[str], prompt: str | None, lines: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    with pytest.raises(RequestError) as caught:
        list(read_inputs(Start(True, NAMES), given, prompt))
    assert str(caught.value) == message.format(fields="the fields are title, author, text, in this order")


def test_a_run_without_fields_says_so(poet: Shell) -> None:
    plain = ("train", "transformer", "--data", "poems.tsv", "--steps", "2", "--run", "plain")
    poet.ok(*plain)
    done = poet("sample", "transformer", "--run", "plain", "--given", "title=x", "-q")
    says = "aigc: --given: this run's texts have no fields; choose another --run, or train one with --fields NAME,NAME,…"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, says)
    done = poet(*plain[:-1], "more", "--fields", "title,text", "--init-from", "plain")
    says = "aigc: the run of --init-from was trained without fields or answers, and has no token that ends a field"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, says)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fields": "title,text", "column": "text"}, "--fields and --column can't be used together"),
        ({"fields": "title,,text"}, "--fields 'title,,text': a name is empty; write for example --fields title,author,text"),
        ({"fields": "title,title"}, "--fields names 'title' twice"),
    ],
)
def test_wrong_fields_are_one_line(options: dict[str, str], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        reading_of(Train(data="poems.tsv", **options))  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_eval_has_a_figure_for_each_field(poet: Shell) -> None:
    found = json.loads(poet.ok("eval", "transformer", "--run", "poet", "--json", "-q", "-n", "5"))
    parts = [found[f"bits_per_char_{name}"] for name in NAMES]
    assert all(part["low"] <= part["value"] <= part["high"] and part["n"] == found["bits_per_char"]["n"] for part in parts)
    assert found["bits_per_char"]["baseline"]["value"] > 0
    other = poet("eval", "transformer", "--run", "poet", "--data", "poems.tsv", "--column", "text", "-q")
    says = "aigc: --column: this run's documents have the fields title, author, text"
    assert (other.returncode, other.stderr.splitlines()[-1]) == (2, says)
    assert json.loads(poet.ok("eval", "transformer", "--run", "poet", "--data", "poems.tsv", "--json", "-q", "-n", "0"))[
        "version"
    ]


def test_the_suggested_command_gives_the_first_field(poet: Shell) -> None:
    arguments = shlex.split(open_run(poet.cwd / "runs/transformer/poet").first_sample)
    assert arguments[0] == "--given" and arguments[1].startswith("title=") and arguments[2:] == ["-n", "4"]
    titles = {line.split("\t")[0] for line in (poet.cwd / "poems.tsv").read_text().splitlines()}
    assert arguments[1].removeprefix("title=") in titles
    assert poet.ok("sample", "transformer", "--run", "poet", *arguments, "--max-tokens", "5", "-q")
