"""Records as tokens: codes in the vocabulary, in the rules of decoding, in guidance and in training without what is given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_transformer, small_config

from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, TrainingBatches
from aigc_cli.backends.transformer.decoding.beam import BeamOptions, beam_search
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions, generate
from aigc_cli.backends.transformer.decoding.guidance import Guided
from aigc_cli.backends.transformer.decoding.token_rules import CodedFields, FieldEnds, TokenRules
from aigc_cli.backends.transformer.loss import IGNORED
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.backends.transformer.records import learner
from aigc_cli.backends.transformer.records.learner import (
    count_in_last_field,
    field_weights,
    in_last_field,
    weighted,
    without_leading,
)
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, fit_char

CPU = torch.device("cpu")
#: Texts of the tokens 0 to 5, the end of a document, the end of a field, and four codes.
EOT, FIELD, CODES = 6, 7, range(8, 12)
RULES = TokenRules(EOT, FieldEnds(FIELD, 3), coded=CodedFields(CODES, (0, 3, 2)))


def letters(ids: list[int]) -> bytes:
    return b"".join(b"abcdef"[token : token + 1] for token in ids if token < EOT)


def test_codes_are_tokens_of_no_text(tmp_path: Path) -> None:
    tokenizer = fit_char(["abc", "abc"]).with_fields().with_codes(5)
    assert tokenizer.codes == range(tokenizer.vocab_size - 5, tokenizer.vocab_size)
    assert tokenizer.decode([*tokenizer.encode("ab"), *tokenizer.codes]) == "ab"
    text = "<|code-3|>"
    assert not set(tokenizer.encode(text)) & set(tokenizer.codes)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.codes == tokenizer.codes
    assert loaded.fingerprint() == tokenizer.fingerprint()


def test_codes_out_of_order_are_refused(tmp_path: Path) -> None:
    fit_char(["ab"]).with_fields().with_codes(3).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    names = [token["content"] for token in content["added_tokens"]]
    first, second = names.index("<|code-0|>"), names.index("<|code-1|>")
    for place, name in ((first, "<|code-1|>"), (second, "<|code-0|>")):
        content["added_tokens"][place]["content"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="codes"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_a_model_that_knows_nothing_writes_whole_records(temperature: float) -> None:
    model = random_transformer(small_config(vocab_size=12, context=24, eot_id=EOT), spread=0.3)
    made = generate(
        CausalLM(model), [Job(0, [EOT], 30)], options=SamplingOptions(temperature=temperature, max_tokens=60),
        rules=RULES, seed=0, decode_bytes=letters, batch_size=8, device=CPU,
    )  # fmt: skip
    ended = [sample for sample in made if sample.finish == "end"]
    assert ended or not temperature  # the likeliest text may go on for ever
    for sample in ended:
        ends = [place for place, token in enumerate(sample.ids) if token == FIELD]
        assert len(ends) == 2
        text, first, last = sample.ids[: ends[0]], sample.ids[ends[0] + 1 : ends[1]], sample.ids[ends[1] + 1 :]
        assert not set(text) & set(CODES)
        assert len(first) == 3 and set(first) <= set(CODES)
        assert len(last) == 2 and set(last) <= set(CODES)


def test_beams_are_whole_records_too() -> None:
    model = random_transformer(small_config(vocab_size=12, context=24, eot_id=EOT), spread=0.3)
    job = Job(0, [EOT, 1, FIELD], 3)
    (found,) = beam_search(CausalLM(model), [job], options=BeamOptions(4, max_tokens=20), rules=RULES, batch_size=4, device=CPU)
    for text in found:
        assert text.ended
        assert len(text.ids) == 3 + 1 + 2 and text.ids[3] == FIELD


def test_guidance_moves_away_from_what_is_likely_without_the_prompt() -> None:
    model = CausalLM(random_transformer(small_config(vocab_size=12, context=24, eot_id=EOT), spread=0.3))
    prompts = [[EOT, 1, 2, FIELD], [EOT, 3, FIELD]]
    nothing = [[EOT, EOT, EOT, FIELD], [EOT, EOT, FIELD]]
    of = dict(zip(map(tuple, prompts), nothing, strict=True))
    with torch.inference_mode():
        guided = Guided(model, lambda prompt: of[tuple(prompt)], 3.0).prefill(prompts, room=4)
        given, without = model.prefill(prompts, room=4), model.prefill(nothing, room=4)
        for ids in ([9, 10], [8, 11]):
            assert torch.allclose(guided.logits, without.logits + 3 * (given.logits - without.logits), atol=1e-5)
            for state in (guided, given, without):
                state.step(torch.tensor(ids))
        for state in (guided, given, without):
            state.select([1])
        assert torch.allclose(guided.logits, without.logits + 3 * (given.logits - without.logits), atol=1e-5)


def test_a_start_gives_texts_and_codes(tmp_path: Path) -> None:
    tokenizer = fit_char(["ab", "ab"]).with_fields().with_codes(4)
    start = Start(True, ("word", "picture", "answer"), codes=(0, 2, 0))
    start.save(tmp_path)
    assert Start.load(tmp_path) == start
    ids = start.prompt_ids(tokenizer, None, ["ab", [3, 0]])
    first = tokenizer.codes.start
    assert ids == [tokenizer.sos_id, *tokenizer.encode("ab"), tokenizer.field_id, first + 3, first, tokenizer.field_id]
    assert start.coded(tokenizer) == CodedFields(tokenizer.codes, (0, 2, 0))
    assert Start(True, ("a", "b")).coded(tokenizer) is None


def packed(records: list[list[int]], context: int) -> dict[str, torch.Tensor]:
    tokens = np.array([token for record in records for token in record])
    offsets = np.cumsum([0, *map(len, records)])
    return TrainingBatches(Corpus(tokens, offsets, EOT), context, 4, seed=0)(0)


@pytest.mark.parametrize("context", [16, 40])
def test_what_is_given_is_left_out_of_some_records_whole(context: int) -> None:
    records = [[0, 1, 2, FIELD, 3, FIELD, 8, 9], [4, FIELD, 5, 5, FIELD, 10, 11]] * 20
    batch = packed(records, context)
    rng = np.random.default_rng(0)
    every = without_leading(batch, EOT, FIELD, 2, 1.0, rng)
    ids = every["ids"].numpy()
    assert set(np.unique(ids)) == {EOT, FIELD, *CODES}
    kept = every["targets"] != IGNORED
    assert set(every["targets"][kept].tolist()) == {FIELD, EOT, *CODES}
    of_codes = batch["targets"] >= CODES.start
    assert torch.equal(every["targets"][of_codes], batch["targets"][of_codes])
    assert torch.equal(every["ids"] == FIELD, batch["ids"] == FIELD)
    none = without_leading(batch, EOT, FIELD, 2, 0.0, rng)
    assert all(torch.equal(none[name], batch[name]) for name in batch)
    some = without_leading(batch, EOT, FIELD, 2, 0.5, np.random.default_rng(1))["ids"]
    assert (some == every["ids"]).any() and (some == batch["ids"]).any()
    texts = [(row == one).all() for one in (batch["ids"], every["ids"]) for row in some]
    assert not all(texts)


def test_the_last_field_has_at_least_its_share_of_the_loss() -> None:
    leading, last = field_weights(0.05, 0.5) or (0, 0)
    assert 0.05 * last == pytest.approx(0.5)
    assert 0.05 * last + 0.95 * leading == pytest.approx(1)
    assert field_weights(0.6, 0.5) is None
    assert field_weights(0.05, 0) is None


#: Records of three fields, of which the last one is empty in the second.
THREE = [[8, 9, FIELD, 1, FIELD, 2, 3], [10, FIELD, FIELD], [FIELD, 4, 5, FIELD, 0]]


def test_which_predictions_are_of_the_last_field(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, offsets = np.array([token for record in THREE for token in record]), np.cumsum([0, *map(len, THREE)])
    tokenizer = fit_char(["abcdef", "abcdef"]).with_fields()
    corpus = Corpus(np.where(tokens == FIELD, tokenizer.field_id, tokens + 100), offsets, EOT)
    last = in_last_field(corpus, 2, tokenizer)
    assert last.tolist() == [*[False] * 5, *[True] * 3, *[False] * 3, True, *[False] * 4, *[True] * 2]
    assert in_last_field(corpus, 0, tokenizer).all()
    for at_once in (1, 2, 3):
        monkeypatch.setattr(learner, "AT_ONCE", at_once)
        assert count_in_last_field(corpus, 2, tokenizer) == last.sum()


@pytest.mark.parametrize("context", [8, 20])
def test_targets_of_the_last_field_are_weighted(context: int) -> None:
    """Whether a row is one record or several."""
    batch = packed(THREE * 4, context)
    weights = weighted(batch, FIELD, 2, 0.5, 4.0)["weights"]
    assert weights.shape == batch["targets"].shape
    answers = {2, 3, 0, EOT}  # the last fields' tokens and the end, which are in no leading field
    for target, weight in zip(batch["targets"].flatten().tolist(), weights.flatten().tolist(), strict=True):
        assert target == IGNORED or weight == (4.0 if target in answers else 0.5)
