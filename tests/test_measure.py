"""The cost of held-out text, against a loop over single documents and characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from networks import random_transformer, small_config

from aigc_cli.backends.transformer.decoder_only.eval import (
    FEW_DOCUMENTS,
    Units,
    above_the_law,
    baselines,
    draw,
    likelihood_measures,
    likelihood_units,
    readable,
)
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.likelihood import prediction_nats, scored_places, scored_range, token_nats
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, evaluation_pieces
from aigc_cli.backends.transformer.eval import in_training
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.text.dataset import TokenArrays
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, byte, fit_bpe, fit_char, normalise

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CONTEXT = 16
LETTERS = "abcdefg éü 山水月 😀\n"


def texts_of(lengths: Sequence[int], seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(LETTERS), length)) for length in lengths]


def arrays_of(texts: Sequence[str], tokenizer: Tokenizer) -> TokenArrays:
    ids = [tokenizer.encode(text) for text in texts]
    offsets = np.cumsum([0, *map(len, ids)])
    return TokenArrays(
        np.array([token for one in ids for token in one], np.uint16),
        offsets,
        np.array([len(normalise(text)) for text in texts]),
        np.array([len(normalise(text).encode()) for text in texts]),
    )


def loaded(tokenizer: Tokenizer, context: int = CONTEXT) -> Loaded[CausalLM]:
    config = small_config(vocab_size=tokenizer.vocab_size, context=context, eot_id=tokenizer.eot_id)
    return Loaded(CausalLM(random_transformer(config)), tokenizer, Start(with_eot=True), CPU)


def reference_nats(model: Transformer, document: Sequence[int]) -> float:
    """The cost of one document and its end: whole where it fits, else in windows that move on by half a context, each of
    which pays for what the ones before it did not."""
    context, eot = model.config.context, model.config.eot_id
    whole = [eot, *document, eot]
    total, paid, begin = 0.0, 0, 0
    while paid < len(whole) - 1:
        window = torch.tensor([whole[begin : begin + context + 1]])
        nats = token_nats(model, window[:, :-1], window[:, 1:])[0].double()
        total += float(nats[paid - begin :].sum())
        paid = begin + window.shape[1] - 1
        begin = paid - (context - context // 2)
    return total


TOKENIZERS = {"byte": byte(), "char": fit_char(texts_of([2000])), "bpe": fit_bpe(texts_of([5000]), 300)}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("context", [16, 7])
def test_documents_cost_what_they_cost_one_by_one(kind: str, context: int) -> None:
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.kind == kind
    texts = texts_of([1, 2, 3, 14, 15, 16, 17, 18, 23, 24, 25, 90, *range(1, 40)])
    arrays, one = arrays_of(texts, tokenizer), loaded(tokenizer, context)
    seen: list[tuple[int, int]] = []
    units = likelihood_units(one, arrays, 5, lambda done, total: seen.append((done, total)))
    expected = [reference_nats(one.model.network, tokenizer.encode(text)) for text in texts]
    np.testing.assert_allclose(units.nats, expected, rtol=1e-5)
    assert units.over == "documents"
    assert units.chars.tolist() == [len(normalise(text)) for text in texts]
    assert units.bytes.tolist() == [len(normalise(text).encode()) for text in texts]
    assert units.tokens.tolist() == [len(tokenizer.encode(text)) + 1 for text in texts]
    assert [done for done, _ in seen] == [*range(5, seen[-1][1], 5), seen[-1][1]]


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_the_cost_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    tokenizer = TOKENIZERS["char"]
    arrays, one = arrays_of(texts_of(range(1, 50)), tokenizer), loaded(tokenizer)
    reference = likelihood_units(one, arrays, 8, lambda done, total: None)
    units = likelihood_units(one, arrays, batch_size, lambda done, total: None)
    np.testing.assert_allclose(units.nats, reference.nats, rtol=1e-5)


def test_pieces_cost_the_same_in_any_order() -> None:
    """What an evaluation in training shuffles, and stops early, is what the whole one measures."""
    tokenizer = TOKENIZERS["char"]
    arrays, one = arrays_of(texts_of([5, 80, 12, 33, 1, 60]), tokenizer), loaded(tokenizer)
    corpus = Corpus(arrays.tokens, arrays.offsets, tokenizer.eot_id)
    pieces = evaluation_pieces(corpus, CONTEXT)
    nats = prediction_nats(one.model.network, corpus, pieces, batch_size=4, device=CPU)
    order = np.random.default_rng(0).permutation(len(pieces))[: len(pieces) // 2]
    some = prediction_nats(one.model.network, corpus, pieces[order], batch_size=4, device=CPU)
    looked_at = np.zeros(len(nats), bool)
    for begin, end in zip(*scored_range(corpus, pieces[order]), strict=True):
        looked_at[begin:end] = True
    np.testing.assert_allclose(some, np.where(looked_at, nats, 0), rtol=1e-5)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_windows_of_few_documents_sum_to_the_documents(kind: str) -> None:
    """Exactly so in characters, bytes and tokens, though a window may end within a character."""
    tokenizer = TOKENIZERS[kind]
    one = loaded(tokenizer)
    for text in texts_of([1, 4, 15, 16, 17, 200, 301], seed=1):
        arrays = arrays_of([text], tokenizer)
        units = likelihood_units(one, arrays, 4, lambda done, total: None)
        assert units.over == "windows"
        assert len(units.nats) == len(units.chars) == len(units.bytes) == len(units.tokens)
        assert units.chars.sum() == len(normalise(text))
        assert units.bytes.sum() == len(normalise(text).encode())
        assert units.tokens.sum() == len(tokenizer.encode(text)) + 1
        assert units.nats.sum() == pytest.approx(reference_nats(one.model.network, tokenizer.encode(text)), rel=1e-5)


def test_few_documents_are_measured_in_windows_and_give_the_same_figures() -> None:
    """One document more, and the interval is over documents; the figure itself is the same either way."""
    tokenizer = TOKENIZERS["char"]
    texts = texts_of([*range(20, 20 + FEW_DOCUMENTS)])
    one = loaded(tokenizer)
    many, few = (likelihood_units(one, arrays_of(some, tokenizer), 8, lambda done, total: None) for some in (texts, texts[:-1]))
    assert (many.over, few.over) == ("documents", "windows")
    assert len(many.nats) == FEW_DOCUMENTS < len(few.nats)
    assert few.nats.sum() == pytest.approx(many.nats[:-1].sum())
    assert few.chars.sum() == many.chars[:-1].sum()


def test_scored_tokens_put_together_are_the_documents() -> None:
    tokenizer = TOKENIZERS["bpe"]
    texts = texts_of([1, 300, 7, 14, 15, 16, 40])
    arrays = arrays_of(texts, tokenizer)
    corpus = Corpus(arrays.tokens, arrays.offsets, tokenizer.eot_id)
    pieces = evaluation_pieces(corpus, CONTEXT)
    parts = [corpus.tokens[slice(*scored_places(corpus, pieces, piece))] for piece in range(len(pieces))]
    assert np.concatenate(parts).tolist() == arrays.tokens.tolist()


UNITS = Units(np.array([3.0, 8.0, 1.0]), np.array([2, 5, 1]), np.array([3, 6, 1]), np.array([3, 4, 2]), "documents")


def test_the_measures_are_totals_over_totals() -> None:
    measures = likelihood_measures(UNITS, 0)
    assert measures["bits_per_char"].value == pytest.approx(12 / 8 / math.log(2))
    assert measures["bits_per_byte"].value == pytest.approx(12 / 10 / math.log(2))
    assert measures["perplexity"].value == pytest.approx(math.exp(12 / 9))
    assert all(measure.extra["over"] == "documents" and measure.n == 3 for measure in measures.values())


def test_a_uniform_model_costs_the_logarithm_of_its_vocabulary() -> None:
    tokenizer = TOKENIZERS["byte"]
    one = loaded(tokenizer)
    with torch.no_grad():
        one.model.network.head.zero_()
    measures = likelihood_measures(
        likelihood_units(one, arrays_of(texts_of([30] * 40), tokenizer), 8, lambda done, total: None), 0
    )
    assert measures["perplexity"].value == pytest.approx(257, rel=1e-5)
    assert measures["perplexity"].low == pytest.approx(measures["perplexity"].high, rel=1e-5)


def test_the_law_itself_is_nothing_above_the_law() -> None:
    floor, above = above_the_law(UNITS, UNITS.nats.tolist(), 0)
    assert (above.value, above.low, above.high) == (0, 0, 0)
    assert floor.value == likelihood_measures(UNITS, 0)["bits_per_char"].value


def test_the_law_and_what_is_above_it_are_the_whole_cost() -> None:
    true = [2.5, 6.0, 1.5]
    floor, above = above_the_law(UNITS, true, 0)
    assert floor.value == pytest.approx(sum(true) / 8 / math.log(2))
    assert floor.value + above.value == pytest.approx(likelihood_measures(UNITS, 0)["bits_per_char"].value)
    assert above.unit == "bits/char"


def test_readable_text_is_the_text() -> None:
    tokenizer = TOKENIZERS["char"]
    texts = texts_of([3, 40, 1, 17])
    assert readable(arrays_of(texts, tokenizer), tokenizer) == texts


def test_of_more_text_than_is_wanted_evenly_spread_documents_are_read() -> None:
    tokenizer = TOKENIZERS["char"]
    texts = texts_of([10] * 100)
    assert readable(arrays_of(texts, tokenizer), tokenizer, 250) == texts[::4]
    assert readable(arrays_of(texts[:1], tokenizer), tokenizer, 4) == [texts[0][:4]]


def test_baselines_cannot_beat_the_law_and_have_the_units_of_the_likelihood() -> None:
    """Characters drawn evenly out of eight cost three bits, whatever is done."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdefgh"), 250)) for _ in range(120)]
    train, select, report = texts[:60], texts[60:80], texts[80:]
    many, few = baselines(train, select, report, None, 0), baselines(train, select, report[:4], CONTEXT, 0)
    assert many.keys() == few.keys() == {"baseline", "xz"}
    assert all(2.97 < many[name].value < 3.6 for name in many)
    assert (many["baseline"].n, few["baseline"].n) == (40, 4 * math.ceil(250 / CONTEXT))


def test_texts_that_were_trained_on_are_counted() -> None:
    tokenizer = byte()
    few, many = ["one and two", "three"], [f"text {i}" for i in range(30)]
    assert (
        in_training(arrays_of(["one and two and the rest", "three", "two"], tokenizer), arrays_of(few, tokenizer), tokenizer)
        == 2
    )
    assert in_training(arrays_of(["text 3", "text 30", "text 3 "], tokenizer), arrays_of(many, tokenizer), tokenizer) == 1


def test_samples_are_drawn_as_asked() -> None:
    one = loaded(TOKENIZERS["byte"])
    samples = draw(one, 5, 3, 2)
    assert len(samples) == 5 and len(set(samples)) > 1
    assert draw(one, 5, 3, 5) == samples
    assert draw(one, 5, 4, 5) != samples
