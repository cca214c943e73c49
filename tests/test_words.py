"""Words as tokens: lossless, rare words are spelled or charged for, and every tokenizer's cost is that of a valid code."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Shell, make_shell
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_transformer, small_config

from aigc_cli.backends.transformer.decoder_only.eval import likelihood_measures, likelihood_units
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, TrainingBatches, block_diagonal
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.token_rules import TokenRules
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.loss import cross_entropy
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text import pieces
from aigc_cli.data.text.dataset import TextDataset, TextRequest, TokenArrays, documents, encode_documents, prepare_text
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.tokenizers.special_tokens import SPECIAL
from aigc_cli.data.text.tokenizers.spelling import Spelling
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, byte, fit_bpe, fit_char, normalise, unicode_pieces
from aigc_cli.data.text.tokenizers.words import fit_word
from aigc_cli.errors import RequestError

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CORPUS = ["The river runs, the river's wide; we'll cross the river twice. " * 5, "Über 3.14 Brücken <pad> 春眠不覺曉，春 xx"]
TOKENIZERS = {
    "word": fit_word(CORPUS),
    "word lower": fit_word(CORPUS, 1).with_lower(),
    "word small": fit_word(CORPUS, 1, vocab_size=270).with_fields(),
    "word unk": fit_word(CORPUS, unk=True),
    "word unk lower": fit_word(CORPUS, 1, unk=True).with_fields().with_lower(),
    "char lower": fit_char(CORPUS).with_lower(),
    "bpe lower": fit_bpe(CORPUS, 300).with_lower(),
}
NASTY = [
    "e\u0301",
    "\u1112\u1161\u11ab",
    "\u212b\u2126",
    "a\u0323\u0307",
    *SPECIAL,
    " ",
    "  ",
    "\r\n",
    "\u0130I",
    "ΑΣ",
    "👩‍👩‍👧",
    "\x00",
]
TEXTS = st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from([*NASTY, "river", " the"])))

each = pytest.mark.parametrize("name", TOKENIZERS)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path / "cache"))


# Words


@pytest.mark.parametrize(
    "cut",
    [
        "The| quick| (|“|brown|”|)| fox| can’t| jump| 32.3| feet|,| right|?",  # the example of UAX #29
        "can't|;| we'll| x_1| 1,234.5| a.b|.|.| c|:| ab:c",
        '\'|tis| a| "|word|"',
        "  | two| spaces|  |\n|x|\r\n|  | y|  ",
        "春|眠|不|覺|，| 曉| カタカナ|で|す| 안녕",
        'שלום"ה| e\u0301te\u0301| \u0301',
        "👩‍👩‍👧|🇩🇪|🇫🇷| 👍🏽",
    ],
)
def test_words_are_those_of_uax_29_with_the_space_before_them(cut: str) -> None:
    expected = cut.split("|")
    assert unicode_pieces("".join(expected)) == expected


@each
@settings(max_examples=150, deadline=None)
@given(text=TEXTS.map("".join))
def test_nothing_is_lost(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.normalise(text)
    assert tokenizer.encode(tokenizer.normalise(text)) == ids
    assert tokenizer.encode_batch([text, ""]) == [ids, []]
    never = {tokenizer.eot_id, tokenizer.field_id, *tokenizer.unwritten} - {tokenizer.unk_id}
    assert not never & set(ids)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS.map("".join))
def test_lower_case_is_settled_once(text: str) -> None:
    once = normalise(text, lower=True)
    assert normalise(once, lower=True) == normalise(once) == once
    if text.isascii():
        assert once == text.lower()


def test_a_word_seen_often_enough_is_a_token_and_any_other_is_spelled() -> None:
    tokenizer = fit_word(["the cat, the cat 春眠 dog dog"], 2)
    tokens = [tokenizer.decode([index]) for index in range(260, tokenizer.vocab_size)]
    assert sorted(tokens) == [" cat", " dog"]
    assert [tokenizer.decode([index]) for index in tokenizer.encode(" cat dogs")] == [" cat", *" dogs"]
    tokenizer = fit_word(["the cat"] * 3 + ["über fée, éü"], 3)
    assert [tokenizer.decode([index]) for index in tokenizer.encode(" cat üé")] == [" cat", *" üé"]
    assert len(tokenizer.encode("ß")) == 2  # its bytes
    assert {len(fit_word([" a b a b a"], n).encode(" a")) for n in (2, 3)} == {1}
    assert len(fit_word([" a b a b a"], 4).encode(" a")) == 2


def test_of_more_words_than_there_is_room_for_the_most_frequent_are_kept() -> None:
    texts = [" a" * 9 + " b" * 8 + " c" * 7 + " d" * 6]
    small = fit_word(texts, vocab_size=262)
    assert [small.decode([index]) for index in (260, 261)] == [" a", " b"]
    assert small.vocab_size == 262
    assert len(small.encode(" c")) == 2
    unk = fit_word(texts, vocab_size=6, unk=True)
    assert (unk.vocab_size, unk.encode(" a c")) == (6, [4, 1, 6 + ord(" "), 6 + ord("c")])
    assert fit_word(texts, vocab_size=262).fingerprint() == small.fingerprint()


def test_special_tokens_begin_the_vocabulary_and_their_text_is_text() -> None:
    for name in ("word", "word unk"):
        tokenizer = TOKENIZERS[name]
        assert (tokenizer.pad_id, tokenizer.sos_id, tokenizer.eot_id) == (0, 2, 3)
        assert tokenizer.unwritten == [0, 1, 2]
        assert tokenizer.decode([0, 1, 2, 3]) == ""
    assert TOKENIZERS["word"].unk_id is None
    assert TOKENIZERS["word unk"].unk_id == 1
    char = TOKENIZERS["char lower"]
    assert char.eot_id == char.sos_id == char.pad_id and not char.unwritten


@each
def test_transformers_reads_the_same_words(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    tokenizer = TOKENIZERS[name]
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.kind, loaded.fingerprint(), loaded.lower) == (tokenizer.kind, tokenizer.fingerprint(), tokenizer.lower)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*CORPUS, *NASTY, "  the River, and never seen: ж𠀀" + "".join(NASTY)]:
        ids = tokenizer.encode(text)
        assert loaded.encode(text) == ids
        assert theirs(text)["input_ids"] == tokenizer.seen(ids)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (
        tokenizer.sos_id,
        tokenizer.eot_id,
        tokenizer.pad_id,
    )
    assert len(theirs) == tokenizer.vocab_size


@each
@pytest.mark.parametrize(
    "text",
    [
        "A line of text, we'll say;\n  and an indented one.\n\n" * 100,
        "one long line of words, 12 at a time and  three spaces   too " * 100,
        "no,spaces:here;only(words)and.marks/" * 100,
        "春眠不覺曉，處處聞啼鳥words中文3.14" * 100,
        "春眠不覺曉words處處" * 200,
    ],
    ids=["lines", "spaces", "marks", "clauses", "han"],
)
def test_no_piece_of_a_long_document_cuts_a_word(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_CHARS", 500)
    cut = [piece for piece, _ in pieces.in_pieces(text[i : i + 100] for i in range(0, len(text), 100))]
    assert len(cut) > 3
    assert [word for piece in cut for word in unicode_pieces(piece)] == unicode_pieces(text)
    tokenizer = TOKENIZERS[name]
    if tokenizer.kind == "word":
        assert [index for ids in tokenizer.encode_batch(cut) for index in ids] == tokenizer.encode(text)


# Data

POEMS = [f"The {a} {b} of the river {i}, É" for i in range(60) for a in ("Red", "old") for b in ("fox", "hen")]


def prepare(folder: Path, texts: Sequence[str] = POEMS, *, lower: bool = False, **options: object) -> TextDataset:
    path = folder / "poems.jsonl"
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))
    request = TextRequest(str(path), reading=Reading(lower=lower), **options)  # type: ignore[arg-type]
    return prepare_text(request, progress=lambda *_: None)


@pytest.mark.parametrize("options", [{}, {"lower": True}, {"unk": True}, {"unk": True, "lower": True, "min_freq": 100}])
def test_documents_come_back_whole(options: dict[str, object], tmp_path: Path) -> None:
    data = prepare(tmp_path, tokenizer="word", **options)
    assert data.cached is False and prepare(tmp_path, tokenizer="word", **options).cached
    read = [text for arrays in (data.train, data.select, data.report) for text in documents(arrays, data.tokenizer)]
    expected = [text.lower() if "lower" in options else text for text in POEMS]
    assert sorted(read) == sorted(expected)
    arrays, tokenizer = data.train, data.tokenizer
    assert arrays.tokens.max() < tokenizer.vocab_size
    assert (arrays.unknown is None) == ("unk" not in options)
    whole = tokenizer.decode_bytes(arrays.ids(0, len(arrays.tokens)))
    assert whole == b"".join(text.encode() for text in documents(arrays, tokenizer))
    for at in range(0, len(arrays.tokens), 17):
        parts = (arrays.ids(0, at), arrays.ids(at, at + 1), arrays.ids(at + 1, len(arrays.tokens)))
        assert b"".join(map(tokenizer.decode_bytes, parts)) == whole


def test_what_is_asked_of_words_enters_the_key_and_is_told(tmp_path: Path) -> None:
    asked: list[dict[str, object]] = [
        {},
        {"lower": True},
        {"tokenizer": "word"},
        {"tokenizer": "word", "min_freq": 2},
        {"tokenizer": "word", "unk": True},
        {"tokenizer": "word", "vocab_size": 264},
        {"tokenizer": "word", "lower": True},
    ]
    found = [prepare(tmp_path, **options) for options in asked]
    assert not any(data.cached for data in found)
    assert len({data.tokenizer.fingerprint() for data in found}) == len(asked)
    assert found[3].notes[0].endswith("(words seen at least 2 times)")
    unknown = found[4].train.unknown
    assert unknown is not None
    n, of = len(unknown.at), len(found[4].train.tokens)
    assert found[4].notes[1] == f"{n} of {of:,} words in the training text ({n / of:.1%}) are unknown"


def test_texts_that_differ_in_case_alone_are_copies_in_lower_case(tmp_path: Path) -> None:
    data = prepare(tmp_path, [*POEMS, POEMS[0].upper()], lower=True)
    assert data.info["dropped"] == {"empty": 0, "copies": 1, "in_validation": 0}
    (tmp_path / "b.txt").write_text("THE RED FOX")
    arrays = encode_documents(str(tmp_path / "b.txt"), data.tokenizer, progress=lambda *_: None)
    assert list(documents(arrays, data.tokenizer)) == ["the red fox"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": "wrd"}, "--tokenizer must be one of auto, char, bpe, byte, word or spacy:PIPELINE, not 'wrd'; did you mean 'word'?"),
        ({"tokenizer": "spacy:../x"}, "--tokenizer must be one of auto, char, bpe, byte, word or spacy:PIPELINE, not 'spacy:../x'"),
        ({"min_freq": 2}, "--min-freq is for --tokenizer word and spacy:PIPELINE"),
        ({"tokenizer": "bpe", "unk": True}, "--unk is for --tokenizer word and spacy:PIPELINE"),
        ({"tokenizer": "word", "vocab_size": 260}, "--vocab-size must be at least 261: 4 special tokens, 256 bytes and one word"),
        ({"tokenizer": "word", "vocab_size": 4, "unk": True}, "--vocab-size must be at least 5: 4 special tokens and one word"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_of_words_is_one_line(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        prepare(tmp_path, **options)
    assert str(caught.value) == message


# What an unknown word costs


def test_a_spelling_is_a_distribution_over_words() -> None:
    """Of all words of a's and b's up to a length, and of one character that is new: the sums are the closed forms."""
    spelling = Spelling.fit({"ab": 3, "bb": 1})
    total = 8 + 4 + 2 + 2  # characters, words, kinds, two more
    assert spelling.nats(b"ab") == pytest.approx(-math.log(3 / total * 5 / total * 5 / total))
    words = ["".join(letters) for n in range(8) for letters in product("ab", repeat=n)]
    known, end, new = 8 / total, 5 / total, 3 / total
    assert known + end + new == 1
    mass = sum(math.exp(-spelling.nats(word.encode())) for word in words)
    assert mass == pytest.approx(end * (1 - known**8) / (1 - known))
    every = sum(math.exp(-spelling.nats(chr(code).encode())) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert known * end < every <= (known + new) * end
    assert spelling.nats("é".encode()) == pytest.approx(-math.log(new * end) + 2 * math.log(256))
    assert math.isfinite(Spelling.fit({}).nats(b"word"))
    assert Spelling.from_json(json.loads(json.dumps(spelling.to_json()))) == spelling


def arrays_of(texts: Sequence[str], tokenizer: Tokenizer, folder: Path) -> TokenArrays:
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))
    return encode_documents(str(path), tokenizer, progress=lambda *_: None)


def loaded(tokenizer: Tokenizer, model: Transformer | None = None, context: int = 32) -> Loaded[CausalLM]:
    sos_id = tokenizer.sos_id
    shape = {"vocab_size": tokenizer.vocab_size, "context": context, "eot_id": tokenizer.eot_id, "sos_id": sos_id}
    return Loaded(CausalLM(model or random_transformer(small_config(**shape))), tokenizer, Start(with_eot=True), CPU)


@pytest.mark.parametrize("n_docs", [3, 40])
def test_a_uniform_model_costs_its_tokens_and_the_spelling_of_unknown_words(n_docs: int, tmp_path: Path) -> None:
    tokenizer = TOKENIZERS["word unk"]
    assert tokenizer.spelling is not None
    texts = [f"The river {'é' * i} crosses the river. " * 9 for i in range(n_docs)]
    one = loaded(tokenizer)
    with torch.no_grad():
        one.model.network.head.zero_()
    units = likelihood_units(one, arrays_of(texts, tokenizer, tmp_path), 4, lambda *_: None)
    words = [unicode_pieces(text) for text in texts]
    known = [tokenizer.decode([index]) for index in range(4, tokenizer.vocab_size)]
    unknown = [[word for word in text if word not in known] for text in words]
    costs = [
        (len(text) + 1) * math.log(tokenizer.vocab_size) + sum(tokenizer.spelling.nats(word.encode()) for word in others)
        for text, others in zip(words, unknown, strict=True)
    ]
    assert units.over == ("windows" if n_docs == 3 else "documents")
    assert units.nats.sum() == pytest.approx(sum(costs), rel=1e-5)
    assert units.chars.sum() == sum(map(len, texts))
    if n_docs == 40:
        np.testing.assert_allclose(units.nats, costs, rtol=1e-5)
    measures = likelihood_measures(units, seed=0)
    n, of = sum(map(len, unknown)), sum(map(len, words))
    assert measures["unknown_words"].value == pytest.approx(n / of)
    assert measures["unknown_words"].extra["count"] == n and measures["unknown_words"].extra["of"] == of


def test_an_unknown_word_of_a_field_is_paid_for_there(tmp_path: Path) -> None:
    tokenizer = fit_word(["the fox the hen " * 5], unk=True).with_fields()
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"a": "the éé" * (i % 3), "b": f" the fox{i}"}) + "\n" for i in range(9)))
    arrays = encode_documents(str(path), tokenizer, reading=Reading(("a", "b")), progress=lambda *_: None)
    one = loaded(tokenizer)
    one = Loaded(one.model, tokenizer, Start(True, ("a", "b")), CPU)
    units = likelihood_units(one, arrays, 4, lambda *_: None)
    np.testing.assert_allclose(sum(nats for nats, _ in units.fields.values()), units.nats)
    assert units.fields["a"][1].tolist() == [len("the éé" * (i % 3)) for i in range(9)]
    assert (units.fields["a"][1] + units.fields["b"][1] == units.chars).all()
    measured = likelihood_measures(units, seed=0)["unknown_words"].extra
    words = [word for i in range(9) for text in ("the éé" * (i % 3), f" the fox{i}") for word in unicode_pieces(text)]
    known = {tokenizer.decode([index]) for index in range(4, tokenizer.vocab_size)}
    assert (measured["count"], measured["of"]) == (sum(word not in known for word in words), len(words))


DOCUMENTS = [
    f"{a} {b}" for a in ("red", "old", "tiny", "grim") for b in ("fox", "hen", "cat", "cow", "king", "duck", "Pig", "ox")
]
COMMON = [text for text in DOCUMENTS if text.startswith(("red", "old"))]
CODES = {
    "byte": byte(),
    "char": fit_char(DOCUMENTS),
    "bpe": fit_bpe(DOCUMENTS * 5, 300),
    "word": fit_word(DOCUMENTS),
    "word, some spelled": fit_word(COMMON, 2),
    "word, unk": fit_word(COMMON, 2, unk=True),
    "word, all unknown but one": fit_word(["fox"], 1, unk=True),
}


@pytest.mark.parametrize("name", CODES)
def test_the_cost_of_texts_is_that_of_a_code(name: str, tmp_path: Path) -> None:
    """Documents drawn evenly out of 32 cost five bits at least, whatever the tokens (Kraft's inequality); and bits per
    character can be compared for that reason. Without the spelling of unknown words the sum would be above one."""
    tokenizer = CODES[name]
    arrays = arrays_of(DOCUMENTS, tokenizer, tmp_path)
    config = small_config(vocab_size=tokenizer.vocab_size, eot_id=tokenizer.eot_id, sos_id=tokenizer.sos_id)
    torch.manual_seed(0)
    model = Transformer(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    batches = TrainingBatches(Corpus.of(arrays, tokenizer), config.context, 8, seed=0)
    for step in range(80):
        batch = batches(step)
        hidden = model(batch["ids"], positions=batch["positions"], mask=block_diagonal(batch["segments"]))
        loss, _ = cross_entropy(hidden, model.head, batch["targets"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    one = loaded(tokenizer, model.eval())
    nats = likelihood_units(one, arrays, 8, lambda *_: None).nats
    assert np.exp(-nats).sum() <= 1 + 1e-6
    assert nats.mean() / math.log(2) >= 5
    if tokenizer.unk_id is None:
        assert np.exp(-nats).sum() > 0.5  # the model has learned the law: the bound is near
    else:
        spelling = Corpus.of(arrays, tokenizer, measured=True).spelling
        assert spelling is not None
        assert np.exp(-nats + np.add.reduceat(spelling, arrays.offsets[:-1])).sum() > 1.2


# Writing


def test_no_special_token_is_ever_written() -> None:
    tokenizer = fit_word([" a b a b "], 2, unk=True)
    one = loaded(tokenizer)
    prompt = one.start.prompt_ids(tokenizer, " a nowhere b")
    assert prompt == [tokenizer.sos_id, 4, tokenizer.unk_id, 5]
    assert one.start.prompt_ids(tokenizer, None) == [tokenizer.sos_id]

    def drawn(never: Sequence[int]) -> set[int]:
        options = SamplingOptions(max_tokens=40)
        made = generate(
            one.model, [Job(0, prompt, 20)], options=options, rules=TokenRules(tokenizer.eot_id, never=never), seed=0,
            decode_bytes=tokenizer.decode_bytes, batch_size=20, device=CPU,
        )  # fmt: skip
        return {token for sample in made for token in sample.ids}

    assert drawn(()) & {0, 1, 2}
    assert drawn(tokenizer.unwritten) <= {*range(4, tokenizer.vocab_size)}


# The command line


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, toy_path: Path, shared_cache: Path) -> Shell:
    shell = make_shell(tmp_path_factory.mktemp("words"), toy_path, shared_cache)
    rows = [
        f"The {a} moon went over the {b} hill, number {i}" for i in range(60) for a in ("old", "red") for b in ("far", "low")
    ]
    (shell.cwd / "poems.txt").write_text("\n".join(rows) + "\n")
    return shell


TRAIN = ("train", "transformer", "--data", "poems.txt", "--lines", "--tokenizer", "word", "--steps", "5")


def test_words_from_the_command_line(reader: Shell) -> None:
    done = reader(*TRAIN, "--lower", "--min-freq", "2", "--run", "w")
    assert done.returncode == 0, done.stderr
    assert "tokenizer: word, " in done.stderr and "(words seen at least 2 times)" in done.stderr
    sample = ("sample", "transformer", "--run", "w", "--json", "-q", "--seed", "1", "--prompt")
    loud, soft = (json.loads(reader.ok(*sample, prompt)) for prompt in ("THE Old", "the old"))
    assert (loud["prompt"], loud["text"]) == ("THE Old", soft["text"])
    assert "unknown_words" not in json.loads(reader.ok("eval", "transformer", "--run", "w", "--json", "-q", "-n", "4"))
    matched = reader.ok("sample", "transformer", "--run", "w", "--match", "a (red|old) [a-z]{3}", "-q")
    assert matched.rstrip("\n")[:2] == "a "
    config = json.loads((reader.cwd / "runs/transformer/w/model/config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (2, 3)
    refused = reader(*TRAIN, "--min-freq", "3", "--run", "w", "--resume")
    assert refused.returncode == 2 and "--min-freq 3 contradicts run" in refused.stderr
    more = ("train", "transformer", "--data", "poems.txt", "--lines", "--steps", "2", "--init-from", "w", "--run", "more", "-q")
    reader.ok(*more)
    assert json.loads((reader.cwd / "runs/transformer/more/run.json").read_text())["data"]["tokenizer"]["kind"] == "word"


def test_unknown_words_from_the_command_line(reader: Shell) -> None:
    done = reader(*TRAIN, "--unk", "--run", "u")
    assert done.returncode == 0, done.stderr
    assert "words in the training text" in done.stderr
    found = json.loads(reader.ok("eval", "transformer", "--run", "u", "--json", "-q", "-n", "4"))
    assert 0 < found["unknown_words"]["value"] < 0.2
    assert found["unknown_words"]["count"] == round(found["unknown_words"]["value"] * found["unknown_words"]["of"])
    moved = reader.ok("eval", "transformer", "--run", "u", "--data", "poems.txt", "--lines", "--json", "-q", "-n", "0")
    assert json.loads(moved)["unknown_words"]["of"] > found["unknown_words"]["of"]
    line = reader.ok("sample", "transformer", "--run", "u", "--prompt", "The zebra", "-q", "--max-tokens", "9", "--echo")
    assert line.startswith("The zebra") and "<" not in line
    refused = reader("sample", "transformer", "--run", "u", "--match", "a+", "-q")
    assert (refused.returncode, refused.stderr) == (
        2,
        "aigc: --match: a run trained with --unk can't generate arbitrary text; train one without --unk\n",
    )
