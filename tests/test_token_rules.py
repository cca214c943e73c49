"""Which tokens may come next: no character is broken, whatever the model prefers."""

from __future__ import annotations

import sys

import pytest
import torch
from networks import random_transformer, small_config

from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoding.beam import BeamOptions, beam_search
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.token_rules import BETWEEN, WRONG, Characters, TokenRules, after

EOT = 256
#: Every byte, the end of a document, a character, the second half of one with the first of another, and a letter with a beginning.
PIECES = [*(bytes([byte]) for byte in range(256)), b"", "月".encode(), "月".encode()[1:] + "é".encode()[:1], b"a\xe6"]
SAMPLES = 40


def test_the_automaton_takes_the_bytes_of_every_character_and_no_others() -> None:
    """Against Python's own decoder: all scalars, and every way to begin four bytes that differ in the first two."""
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code <= 0xDFFF:
            assert after(BETWEEN, chr(code).encode()) == BETWEEN
    for first in range(256):
        for second in range(256):
            content = bytes([first, second])
            try:
                content.decode()
                expected = "whole"
            except UnicodeDecodeError as error:
                expected = "begun" if error.reason == "unexpected end of data" else "wrong"
            state = after(BETWEEN, content)
            assert ("whole" if state == BETWEEN else "wrong" if state == WRONG else "begun") == expected, content


def test_what_may_go_on_with_a_character_is_what_its_bytes_allow() -> None:
    characters = Characters(PIECES)
    moon = "月".encode()
    begun = characters.after(BETWEEN, moon[0])
    rules = TokenRules(EOT, None, (), characters)
    scores = torch.zeros(2, len(PIECES))
    rules.exclude(scores, [0, 0], [BETWEEN, begun])
    for token, piece in enumerate(PIECES):
        assert bool(scores[0, token].isfinite()) == (after(BETWEEN, piece) != WRONG), piece
        assert bool(scores[1, token].isfinite()) == (after(after(BETWEEN, moon[:1]), piece) not in (WRONG,) and piece != b"")
    assert characters.after(begun, 258) == after(BETWEEN, "é".encode()[:1])


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_a_model_that_knows_nothing_writes_whole_characters(temperature: float) -> None:
    model = random_transformer(small_config(vocab_size=len(PIECES), context=16, eot_id=EOT), spread=0.3)
    made = list(
        generate(
            CausalLM(model),
            [Job(0, [], SAMPLES)],
            options=SamplingOptions(temperature=temperature, max_tokens=30),
            rules=TokenRules(EOT, characters=Characters(PIECES)),
            seed=0,
            decode_bytes=lambda ids: b"".join(PIECES[token] for token in ids),
            batch_size=16,
            device=torch.device("cpu"),
        )
    )
    for sample in made:
        if sample.finish == "end":
            sample.content.decode()
        else:  # cut in a character, at most
            assert "\ufffd" not in sample.content.decode("utf-8", "ignore")
            assert after(BETWEEN, sample.content) != WRONG
    if temperature:
        assert any(byte > 0x7F for sample in made for byte in sample.content)


def test_a_beam_finds_whole_characters() -> None:
    model = random_transformer(small_config(vocab_size=len(PIECES), context=16, eot_id=EOT), spread=0.3)
    (texts,) = beam_search(
        CausalLM(model),
        [Job(0, [], 8)],
        options=BeamOptions(8, 1.0, 12),
        rules=TokenRules(EOT, characters=Characters(PIECES)),
        batch_size=8,
        device=torch.device("cpu"),
    )
    assert texts
    for text in texts:
        state = after(BETWEEN, b"".join(PIECES[token] for token in text.ids))
        assert state != WRONG and (state == BETWEEN or not text.ended)
