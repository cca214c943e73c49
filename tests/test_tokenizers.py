"""Tokenizers: nothing is lost, nothing is unknown, and transformers reads the same ids."""

from __future__ import annotations

import random
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigc_cli.data.text import pieces
from aigc_cli.data.text.tokenizers.choice import (
    affordable_vocab,
    choose_tokenizer,
    cjk_share,
    estimate_bits_per_char,
)
from aigc_cli.data.text.tokenizers.tokenizer import END_OF_TEXT, Tokenizer, byte, fit_bpe, fit_char, normalise

CORPUS = [
    "The river runs, the river's wide; we'll cross it twice.\n\n  Über 1234 Brücken",
    "春眠不覺曉，處處聞啼鳥。" * 2,
]
TOKENIZERS = {"char": fit_char(CORPUS), "bpe": fit_bpe(CORPUS, 320), "byte": byte()}

# Decomposed letters, Hangul jamo, singletons, marks out of order, the special token, spaces, joined emoji.
NASTY = [
    "e\u0301",
    "\u1112\u1161\u11ab",
    "\u212b\u2126",
    "a\u0323\u0307",
    END_OF_TEXT,
    " \u3000\t\r\n\n",
    "👩‍👩‍👧",
    "\x00",
]
SCALARS = st.text(st.characters(exclude_categories=["Cs"]))
TEXTS = st.lists(st.one_of(SCALARS, st.sampled_from(NASTY))).map("".join)

each_kind = pytest.mark.parametrize("kind", TOKENIZERS)


@each_kind
@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_decoding_gives_the_normalised_text_back(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == normalise(text)
    assert tokenizer.encode(normalise(text)) == ids
    assert tokenizer.eot_id not in ids
    assert tokenizer.encode_batch([text, "", text]) == [ids, [], ids]


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_normalise_is_nfc(text: str) -> None:
    # Python's tables may be older than the normaliser's, which may know characters unassigned here.
    if all(unicodedata.category(char) != "Cn" for char in text):
        assert normalise(text) == unicodedata.normalize("NFC", text)
    assert normalise(normalise(text)) == normalise(text)


def test_characters_passed_over_by_normalise_are_in_nfc_and_join_nothing() -> None:
    from aigc_cli.data.text.tokenizers.tokenizer import _MAY_CHANGE, _NFC

    inert = [chr(code) for code in range(sys.maxunicode) if not 0xD800 <= code < 0xE000]
    inert = [char for char in inert if not _MAY_CHANGE.search(char)]
    assert len(inert) > 25_000
    joined = "".join(inert)
    assert _NFC.normalize_str(joined) == joined
    assert _NFC.normalize_str(joined[::-1]) == joined[::-1]
    assert not any(unicodedata.combining(char) for char in inert)


def test_byte_has_a_token_a_byte_and_one_for_the_end() -> None:
    tokenizer = byte()
    assert tokenizer.vocab_size == 257
    assert len(tokenizer.encode("é春")) == 5


def test_char_has_a_token_for_each_character_seen_twice_and_bytes_for_the_others() -> None:
    tokenizer = fit_char(["春眠春眠", "曉"])
    assert len(tokenizer.encode("春")) == len(tokenizer.encode("眠")) == 1
    assert len(tokenizer.encode("曉")) > 1
    assert len(tokenizer.encode("眠春眠")) == 3  # no merge crosses into the next character


def test_char_counts_normalised_characters() -> None:
    assert len(fit_char(["e\u0301", "\u00e9"]).encode("é")) == 1


def test_kinds_and_the_single_special_token(tmp_path: Path) -> None:
    for kind, tokenizer in TOKENIZERS.items():
        assert tokenizer.kind == kind
        assert tokenizer.decode([tokenizer.eot_id]) == ""
        tokenizer.save(tmp_path / kind)
        loaded = Tokenizer.load(tmp_path / kind)
        assert loaded.kind == kind
        assert loaded.vocab_size == tokenizer.vocab_size
        assert loaded.fingerprint() == tokenizer.fingerprint()


def test_bpe_respects_the_size_and_is_the_same_every_time() -> None:
    assert TOKENIZERS["bpe"].vocab_size == 320
    assert fit_bpe(CORPUS, 320).fingerprint() == TOKENIZERS["bpe"].fingerprint()


def test_bpe_splits_as_qwen2_does() -> None:
    """Merges of a repeated text stay inside the pre-tokens of Qwen2: digits alone, contractions apart."""
    tokenizer = fit_bpe(["we'll pay 1234  dollars!?\n"] * 50, 600)
    tokens = [tokenizer.decode([index]) for index in tokenizer.encode("we'll pay 1234  dollars!?\n")]
    assert tokens == ["we", "'ll", " pay", " ", "1", "2", "3", "4", " ", " dollars", "!?\n"]


def test_half_a_character_decodes_to_the_replacement_character() -> None:
    tokenizer = byte()
    half = tokenizer.encode("春")[:2]
    assert tokenizer.decode_bytes(half) == "春".encode()[:2]
    assert tokenizer.decode(half) == "\ufffd"


@each_kind
def test_transformers_reads_the_same_tokenizer(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    tokenizer = TOKENIZERS[kind]
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*CORPUS, *NASTY, "  leading, and never seen: ж𠀀" + "".join(NASTY)]:
        ids = tokenizer.encode(text)
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids) == normalise(text)
    assert theirs.eos_token_id == theirs.bos_token_id == tokenizer.eot_id
    assert len(theirs) == tokenizer.vocab_size


@each_kind
@pytest.mark.parametrize(
    "text",
    [
        "A line of text, we'll say;\n  and an indented one.\n\n" * 100,
        "one long line of words, 12 at a time " * 100,
        "e\u0301\n\u0301x\n" * 1000,
    ],
    ids=["lines", "words", "marks"],
)
def test_pieces_of_a_long_document_tokenise_as_the_whole(kind: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_CHARS", 500)
    cut = list(pieces.in_pieces(text[i : i + 100] for i in range(0, len(text), 100)))
    assert len(cut) > 5
    assert [end for _, end in cut] == [pieces.End.NOTHING] * (len(cut) - 1) + [pieces.End.DOCUMENT]
    assert "".join(normalise(piece) for piece, _ in cut) == normalise(text)
    tokenizer = TOKENIZERS[kind]
    parts = tokenizer.encode_batch([piece for piece, _ in cut])
    assert [index for ids in parts for index in ids] == tokenizer.encode(text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_pieces_never_change_the_normal_form(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_CHARS", 20)
    long = (text + "a春") * 10
    assert "".join(normalise(piece) for piece, _ in pieces.in_pieces([long])) == normalise(long)


def test_han_text_is_read_by_characters() -> None:
    tokenizer, reason = choose_tokenizer(["春眠不覺曉，處處聞啼鳥。"] * 5, 200, 4096)
    assert tokenizer.kind == "char"
    assert reason == "100% of letters are Han or Kana"
    assert cjk_share(["春a", "1!"]) == 0.5
    assert cjk_share(["123"]) == 0.0


def test_a_long_latin_text_gets_the_largest_vocabulary_that_the_model_affords() -> None:
    tokenizer, _ = choose_tokenizer(["the quick brown fox"] * 9, 3_000_000, 700)
    assert tokenizer.kind == "bpe"
    assert [affordable_vocab(limit) for limit in (1, 511, 512, 4095, 4096, 4097)] == [
        512,
        512,
        512,
        2048,
        4096,
        4096,
    ]


def test_a_short_text_of_few_words_is_better_read_by_bpe_and_noise_by_characters() -> None:
    rng = random.Random(0)
    names = ["".join(rng.choices("abcdefghij", k=8)) for _ in range(60)]
    words = [" ".join(rng.choices(names, k=3000))]
    noise = ["".join(rng.choices("abcdefghij", k=20_000))]
    assert choose_tokenizer(words, 27_000, 4096)[0].kind == "bpe"
    assert choose_tokenizer(noise, 20_000, 4096)[0].kind == "char"


def test_a_short_text_that_is_seen_often_prefers_characters_and_one_hardly_seen_a_bpe() -> None:
    rng = np.random.default_rng(0)
    noise = ["".join(rng.choice(list("abcdefgh"), 2000)) for _ in range(10)]
    often, seldom = (choose_tokenizer(noise, 20_000, 512, 20_000 * passes) for passes in (5.0, 0.1))
    assert (often[0].kind, seldom[0].kind) == ("char", "bpe")
    assert often[1].endswith("; char is preferred if there is time for all of it")


def test_the_estimate_of_noise_is_its_entropy() -> None:
    noise = ["".join(random.Random(0).choices("abcdefgh", k=50_000))]
    assert estimate_bits_per_char(fit_char(noise), noise) == pytest.approx(3.0, abs=0.02)
