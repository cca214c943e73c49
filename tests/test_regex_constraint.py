"""Constrained sampling, against a loop that knows every matching text."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Shell, make_shell
from networks import random_transformer, small_config

from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM, window_length
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoding import regex_constraint
from aigc_cli.backends.transformer.decoding.generate import Generated, Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.regex_constraint import RegexConstraint
from aigc_cli.backends.transformer.decoding.sampling import next_tokens
from aigc_cli.backends.transformer.decoding.token_rules import FieldEnds, TokenRules
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, byte, fit_bpe, fit_char
from aigc_cli.errors import RequestError

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CORPUS = ["春眠不覺曉，處處聞啼鳥。", "夜來風雨聲，花落知多少。", "abc-2020 abc-1999 abcabc"] * 9
TOKENIZERS = {"byte": byte(), "char": fit_char(CORPUS), "bpe": fit_bpe(CORPUS, 320)}
PATTERNS = [
    r"[\u4e00-\u9fff]{5}，[\u4e00-\u9fff]{5}。",
    r"春.{4}，夏.{4}。秋.{4}，冬.{4}。",
    r"[A-Z]{3}-\d{4}",
    r"(abc|ab-|a1)*c?",
    r"([a-z]+ ){2,4}[a-z]+\.",
]


def model_of(tokenizer: Tokenizer, context: int = 24) -> Transformer:
    return random_transformer(
        small_config(vocab_size=tokenizer.vocab_size, context=context, eot_id=tokenizer.eot_id), spread=0.3
    )


def sample(
    model: Transformer,
    tokenizer: Tokenizer,
    constraint: RegexConstraint | None,
    jobs: list[Job],
    options: SamplingOptions | None = None,
    *,
    batch_size: int = 4,
    fields: FieldEnds | None = None,
) -> list[Generated]:
    return list(
        generate(
            CausalLM(model),
            jobs,
            options=options or SamplingOptions(max_tokens=400),
            rules=TokenRules(tokenizer.eot_id, fields),
            seed=0,
            decode_bytes=tokenizer.decode_bytes,
            batch_size=batch_size,
            device=CPU,
            constraint=constraint,
        )
    )


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_sample_matches(kind: str, pattern: str) -> None:
    tokenizer = TOKENIZERS[kind]
    model, constraint = model_of(tokenizer), RegexConstraint(pattern, tokenizer)
    jobs = [Job(0, [tokenizer.eot_id], 6), Job(6, [tokenizer.eot_id, *tokenizer.encode("夜來")], 6)]
    for options in (
        SamplingOptions(max_tokens=400),
        SamplingOptions(max_tokens=400, top_k=3, top_p=0.9, min_p=0.01, temperature=1.5, repetition_penalty=1.3),
    ):
        made = sample(model, tokenizer, constraint, jobs, options)
        ended = [one for one in made if one.finish == "end"]
        assert len(ended) > len(made) / 2
        for one in ended:
            assert re.fullmatch(pattern, one.content.decode())
            assert one.matches
            assert one.removed is not None and 0 <= one.removed < 1


LANGUAGE = [b"abc", b"abcabc", b"ab-1999", "春眠".encode(), "夜".encode(), b""]


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(top_k=2), SamplingOptions(temperature=0)])
def test_a_sample_is_drawn_from_what_can_still_match(kind: str, options: SamplingOptions) -> None:
    tokenizer = TOKENIZERS[kind]
    model, constraint = model_of(tokenizer), RegexConstraint("|".join(text.decode() for text in LANGUAGE), tokenizer)
    pieces = [tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size)]
    prompt = [tokenizer.eot_id, *tokenizer.encode("x")]
    for one in sample(model, tokenizer, constraint, [Job(0, prompt, 12)], options):
        random = np.random.Generator(np.random.Philox(key=(0, one.index)))
        match = constraint.begin()
        ids: list[int] = []
        removed: list[float] = []
        text = b""
        while any(word != text and word.startswith(text) for word in LANGUAGE):
            window = [*prompt, *ids][-window_length(len(prompt) + len(ids), model.config.context) :]
            with torch.no_grad():
                logits = model.logits(model(torch.tensor([window])))[:, -1].clone()
            allowed = [
                text in LANGUAGE if token == tokenizer.eot_id else any(word.startswith(text + piece) for word in LANGUAGE)
                for token, piece in enumerate(pieces)
            ]
            left = constraint.allowed([match])
            following = {word[len(text) : len(text) + 1] for word in LANGUAGE if word.startswith(text)}
            if len(following) > 1:
                assert left[0].tolist() == allowed
            else:  # a byte that is forced may come in the tokens that its text is encoded as
                assert all(may for may, is_left in zip(allowed, left[0].tolist(), strict=True) if is_left)
            removed.append(float(logits.softmax(-1)[left == 0].sum()))
            logits[left == 0] = -math.inf
            uniform = torch.tensor([random.random(dtype=np.float32)])
            token = int(next_tokens(logits, options, None, uniform if options.temperature else None))
            if token == tokenizer.eot_id:
                break
            ids.append(token)
            match.take(token)
            text += pieces[token]
        assert (one.ids, one.content, one.finish) == (ids, text, "end")
        assert one.removed == pytest.approx(np.mean(removed), abs=1e-4)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"[\u4e00-\u9fff]{5}，.{0,3}", "春眠不覺曉，處處"),
        (r"[a-z&&[^aeiou]]{2,9}-\d*", "bcbcbc-2020"),
        (r"(?i)[a-c]+(?-i)[A-C-]?", "abcabcABC"),
        (r"[]\]a-]{2,}\p{Han}+\w?", "]a-a春眠a"),
    ],
)
def test_classes_of_characters_that_are_allowed_at_once_are_those_that_would_be_one_by_one(
    kind: str, pattern: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = TOKENIZERS[kind]
    constraint = RegexConstraint(pattern, tokenizer)
    monkeypatch.setattr(regex_constraint, "CLASS", re.compile("(?!)"))
    matches = [constraint.begin(), RegexConstraint(pattern, tokenizer).begin()]
    for token in tokenizer.encode(text):
        allowed = []
        for match in matches:
            allowed.append(match.constraint.allowed([match])[0])
            match.take(token)
        assert allowed[0].equal(allowed[1])
        assert allowed[0][token]


def test_the_form_is_that_of_the_last_field() -> None:
    tokenizer = TOKENIZERS["char"].with_fields()
    assert tokenizer.field_id is not None
    model, constraint = model_of(tokenizer), RegexConstraint("[a-c]{2}", tokenizer)
    ends = FieldEnds(tokenizer.field_id, 2)
    jobs = [Job(0, [tokenizer.eot_id], 8), Job(8, [tokenizer.eot_id, tokenizer.field_id], 8)]
    made = sample(model, tokenizer, constraint, jobs, SamplingOptions(max_tokens=2000), fields=ends)
    assert all(re.fullmatch("[a-c]{2}", one.fields[-1].decode()) for one in made)
    assert [len(one.fields) for one in made] == [2] * 8 + [1] * 8
    assert any(not re.fullmatch(b"[a-c]*", one.fields[0]) for one in made[:8])


def test_a_sample_that_is_cut_says_so() -> None:
    tokenizer = TOKENIZERS["byte"]
    model, options = model_of(tokenizer), SamplingOptions(max_tokens=9)
    (one,) = sample(model, tokenizer, RegexConstraint("a{50}", tokenizer), [Job(0, [])], options)
    assert (one.content, one.finish, one.matches) == (b"a" * 9, "length", False)
    (one,) = sample(model, tokenizer, RegexConstraint("a{9,50}", tokenizer), [Job(0, [])], options)
    assert (one.content, one.finish, one.matches) == (b"a" * 9, "length", True)


def test_a_constraint_is_met_exactly_even_if_normalisation_would_change_it() -> None:
    tokenizer = TOKENIZERS["char"]
    for text in ("cafe\u0301", "\u212b", "\uf900x", "<|endoftext|>"):
        (one,) = sample(model_of(tokenizer), tokenizer, RegexConstraint(text.replace("|", r"\|"), tokenizer), [Job(0, [])])
        assert (one.content.decode(), one.finish, one.matches) == (text, "end", True)


def test_samples_are_the_same_in_any_batch() -> None:
    """Automata are reused for other samples."""
    tokenizer = TOKENIZERS["bpe"]
    model, constraint = model_of(tokenizer), RegexConstraint(r"[a-c]{2,5}(-\d+)?", tokenizer)
    draw = [sample(model, tokenizer, constraint, [Job(0, [], 30)], batch_size=size) for size in (1, 7, 30)]
    for one, two, three in zip(*draw, strict=True):
        assert one.ids == two.ids == three.ids
        assert one.removed == pytest.approx(two.removed, abs=1e-4) == pytest.approx(three.removed, abs=1e-4)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a|b", "unclosed group"),
        (r"(a)\1", "backreferences are not supported"),
        ("a(?=b)", "look-around, including look-ahead and look-behind, is not supported"),
        (r"a\bb", "word boundaries and other look-arounds are not supported"),
        (r"[^\s\S]", "no text matches it"),
        (r"a[^\s\S]", "no text matches it"),
        ("a\\", "nothing follows the backslash at its end"),
    ],
)
def test_a_wrong_pattern_is_one_line(pattern: str, reason: str) -> None:
    with pytest.raises(RequestError) as caught:
        RegexConstraint(pattern, TOKENIZERS["char"])
    assert str(caught.value) == f"--match {pattern!r}: {reason}"


@pytest.mark.parametrize(
    "pattern", ["((a{100}){100}){100}", "(.*a){3000}", "(a?){50000}", "(x+x+)+y", ".{100000}", "((.*,)*;)*"]
)
def test_a_catastrophic_pattern_is_followed_or_given_up(pattern: str) -> None:
    """Within 3 s here: each step has so much fuel."""
    tokenizer = TOKENIZERS["char"]
    try:
        made = sample(
            model_of(tokenizer), tokenizer, RegexConstraint(pattern, tokenizer), [Job(0, [], 2)], SamplingOptions(max_tokens=20)
        )
    except RequestError as error:
        assert str(error) == f"--match {pattern!r}: it is too complex"
    else:
        assert all(one.finish == "length" or re.fullmatch(pattern, one.content.decode()) for one in made)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, toy_path: Path, shared_cache: Path) -> Shell:
    shell = make_shell(tmp_path_factory.mktemp("forms"), toy_path, shared_cache)
    (shell.cwd / "codes.txt").write_text("".join(f"ABC-{i:04}\n" for i in range(300)))
    shell.ok("train", "transformer", "--data", "codes.txt", "--lines", "--steps", "5", "--context", "16")
    return shell


def test_match_on_the_command_line(trained: Shell) -> None:
    draw = ("sample", "transformer", "-n", "20", "--match", r"[A-Z]{3}-\d{4}")
    lines = trained.ok(*draw, "--seed", "1").removesuffix("\n").split("\n")
    assert len(lines) == 20
    assert all(re.fullmatch(r"[A-Z]{3}-\d{4}", line) for line in lines)
    records = [json.loads(line) for line in trained.ok(*draw, "--seed", "1", "--json").removesuffix("\n").split("\n")]
    assert [record["text"] for record in records] == lines
    assert all(record["match"] and 0 <= record["removed_mass"] < 1 for record in records)
    cut = trained(*draw, "--max-tokens", "2")
    assert cut.returncode == 0
    assert "20 samples reached the token limit before their text matched" in cut.stderr
    wrong = trained("sample", "transformer", "--match", "(a", "-q")
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (2, "", "aigc: --match '(a': unclosed group\n")
    both = trained("sample", "transformer", "--match", "a", "--stop", "b", "-q")
    assert both.stderr == "aigc: --match and --stop can't be used together: a text that was cut may no longer match\n"
