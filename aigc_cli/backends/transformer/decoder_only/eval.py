"""`aigc eval transformer` for decoder-only models: the likelihood of held-out text next to baselines, and a comparison of
samples with human text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.transformer.config import Eval
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.likelihood import (
    characters,
    field_numbers,
    of_predictions,
    prediction_nats,
    scored_places,
    scored_range,
)
from aigc_cli.backends.transformer.decoder_only.model import load_pretrained
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, evaluation_pieces
from aigc_cli.backends.transformer.decoder_only.transcribed import likelihood_of, samples_of_kind
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.eval import (
    MAX_TEXT,
    Units,
    baselines,
    data_to_measure,
    likelihood_measures,
    samples_of,
    training_data,
)
from aigc_cli.backends.transformer.loaded import Loaded, load
from aigc_cli.data.kinds import ReadAsTexts
from aigc_cli.data.text.dataset import TokenArrays, true_nats
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums
from aigc_cli.metrics.text.copies import TrainingText
from aigc_cli.metrics.text.likelihood import bits_per_char
from aigc_cli.metrics.text.samples import sample_measures

#: With fewer documents, intervals over documents mean little, and units are windows of one context instead.
FEW_DOCUMENTS = 30


def evaluation(run: Run, options: Eval, bus: Bus) -> Evaluation:
    """Every measure of the run's model."""
    options = replace(options, n=samples_of(options))
    if options.tokenize != "auto":
        raise RequestError("--tokenize is for answers (--arch encoder-decoder), but this run has none")
    loaded = load(run, load_pretrained, CausalLM, options.device, bus)
    tokenizer, seed, kind = loaded.tokenizer, options.seed, loaded.start.kind
    data, notes = training_data(run, options, bus)
    arrays, name = data_to_measure(loaded, options, data, kind, bus)
    units = likelihood_units(
        loaded,
        arrays,
        options.batch_size,
        lambda done, total: bus.stage("evaluating", done, total),
        least=1 if isinstance(kind, ReadAsTexts) else FEW_DOCUMENTS,
    )
    measures = likelihood_measures(units, seed)
    report = readable(arrays, tokenizer)
    known = len(report) == arrays.n_docs and not tokenizer.lower  # the true distribution is that of the original text
    law = [true_nats(_source(run, options), text) for text in report] if known else [None]
    if None not in law and units.over == "documents":
        floor, measures["bits_per_char_above_floor"] = above_the_law(units, [nats or 0.0 for nats in law], seed)
        measures["bits_per_char"] = measures["bits_per_char"].beside(floor=floor)
    if data is not None:
        train, select = readable(data.train, tokenizer), readable(data.select, tokenizer)
        if len(train) < data.train.n_docs:
            notes.append(f"baselines and copies use {len(train):,} of {data.train.n_docs:,} training documents")
        bus.stage("fitting the baselines", 0, None)
        unit_chars = loaded.model.network.config.context if units.over == "windows" else None
        beside = baselines(train, select, report, unit_chars, seed)
        if units.fields:  # the end of a field is a character for the baselines, but not for the model
            per_char = 1 + arrays.n_docs * (len(units.fields) - 1) / int(arrays.chars.sum())
            beside = {name: measure.map(lambda bits: bits * per_char, measure.unit) for name, measure in beside.items()}
        measures["bits_per_char"] = measures["bits_per_char"].beside(**beside)
        if measures["bits_per_char"].value > beside["baseline"].value:
            notes.append(
                "an n-gram model of the same text predicts it better than this model, which has hardly learned anything; "
                "train a new run with more --minutes"
            )
    if isinstance(kind, ReadAsTexts):
        measures = likelihood_of(measures, kind, units, report, seed)
    if data is not None and options.n:
        bus.stage("sampling", 0, None)
        samples = draw(loaded, options.n, seed, options.batch_size, kind.longest)
        if not any(samples):
            raise AigcError("all samples are empty: the model ends its texts immediately; train it longer")
        sampled = sample_measures(samples, report, TrainingText(train), seed=seed)
        measures |= samples_of_kind(sampled, kind, samples, report) if isinstance(kind, ReadAsTexts) else sampled
    return Evaluation(name, {key: measure.to_json() for key, measure in measures.items()}, notes)


def _source(run: Run, options: Eval) -> str:
    return str(options.data or run.record["data"]["location"])


def likelihood_units(
    loaded: Loaded[CausalLM],
    arrays: TokenArrays,
    batch_size: int,
    progress: Callable[[int, int], None],
    *,
    least: int = FEW_DOCUMENTS,
) -> Units:
    """The cost of every document of the split, its end included; long ones in strides with at least half a context. With fewer
    than the `least` documents, units are windows."""
    corpus = Corpus.of(arrays, loaded.tokenizer, measured=True)
    pieces = evaluation_pieces(corpus, loaded.model.network.config.context)
    costs = prediction_nats(
        loaded.model.network, corpus, pieces, batch_size=batch_size, device=loaded.device, progress=progress
    )
    fields = field_costs(costs, arrays, corpus, loaded)
    if fields or arrays.n_docs >= least:
        begins = corpus.first_predictions
        nats = np.add.reduceat(costs, begins)
        units = Units(nats, arrays.chars, arrays.bytes, np.diff(corpus.offsets) + 1, "documents", fields)
        return with_unknown(units, begins, arrays, corpus, loaded.tokenizer)
    begins = scored_range(corpus, pieces)[0]
    nats = np.add.reduceat(costs, begins)
    scored = pieces.length - pieces.context_only
    places = [scored_places(corpus, pieces, piece) for piece in range(len(pieces))]
    texts = [loaded.tokenizer.decode_bytes(arrays.ids(start, end)) for start, end in places]
    # A character on the border of two windows belongs to the one with its first byte.
    chars = np.array([characters(text) for text in texts])
    units = Units(nats, chars, np.array([len(text) for text in texts]), scored, "windows")
    return with_unknown(units, begins, arrays, corpus, loaded.tokenizer)


def with_unknown(units: Units, begins: NDArray[np.int64], arrays: TokenArrays, corpus: Corpus, tokenizer: Tokenizer) -> Units:
    """The units, whose first predictions are `begins`, with their unknown words if the tokenizer has any."""
    if arrays.unknown is None:
        return units
    which = (corpus.tokens == tokenizer.unk_id, corpus.tokens != (-1 if tokenizer.field_id is None else tokenizer.field_id))
    sums = [np.add.reduceat(of_predictions(tokens.astype(np.float64), corpus), begins) for tokens in which]
    return replace(units, unknown=sums[0], words=sums[1].astype(np.int64))


def field_costs(
    costs: NDArray[np.float64], arrays: TokenArrays, corpus: Corpus, loaded: Loaded[CausalLM]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """For documents with several fields: by field, the cost given the earlier fields, its end included, in nats, and its length
    in characters, both (n_docs,)."""
    ends = loaded.start.ends(loaded.tokenizer)
    if ends is None:
        return {}
    n_docs = len(corpus.offsets) - 1
    document = np.repeat(np.arange(n_docs), np.diff(corpus.offsets))  # of each token
    number = field_numbers(corpus, ends.id, ends.count)
    chars_of = np.array([characters(loaded.tokenizer.decode_bytes([token])) for token in range(loaded.tokenizer.vocab_size)])
    chars = np.where(corpus.tokens == ends.id, 0, chars_of[corpus.tokens])
    if arrays.unknown is not None:
        chars[arrays.unknown.at] = [characters(word) for word in arrays.unknown.words()]
    # A document's predictions are its tokens and its end, which belongs to the last field.
    number_predicted = np.insert(number, corpus.offsets[1:], ends.count - 1)
    document_predicted = np.repeat(np.arange(n_docs), np.diff(corpus.offsets) + 1)

    def sums(values: NDArray[np.number], of: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.float64]:
        index = documents * ends.count + of
        total = np.bincount(index, values, minlength=n_docs * ends.count).astype(np.float64)
        return total.reshape(n_docs, ends.count)

    nats, lengths = sums(costs, number_predicted, document_predicted), sums(chars, number, document).astype(np.int64)
    return {name: (nats[:, i], lengths[:, i]) for i, name in enumerate(loaded.start.fields)}


def above_the_law(units: Units, true_nats: Sequence[float], seed: int) -> tuple[Measure, Measure]:
    """For data with a known distribution: its entropy in bits per character, and how much more the model costs, paired by
    document (an estimate of KL(data ‖ model), which is below 0 only by chance)."""
    true = np.asarray(true_nats)
    floor = bits_per_char(true, units.chars, seed=seed)
    return floor, ratio_of_sums((units.nats - true) / math.log(2), units.chars, unit="bits/char", seed=seed)


def readable(arrays: TokenArrays, tokenizer: Tokenizer, max_chars: int = MAX_TEXT) -> list[str]:
    """The texts of a split, or evenly spread ones with about `max_chars` characters in total."""
    every = -(-int(arrays.chars.sum()) // max_chars)
    chosen = np.arange(0, arrays.n_docs, max(every, 1))
    starts, ends = arrays.offsets[chosen], arrays.offsets[chosen + 1]
    ends = np.minimum(ends, starts + max_chars)  # a token is at least one character, except for single bytes
    parts = (arrays.ids(a, b) for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    return [tokenizer.decode(part)[:max_chars] for part in parts]


def draw(loaded: Loaded[CausalLM], n: int, seed: int, batch_size: int, longest: int | None = None) -> list[str]:
    """`n` samples like those of `aigc sample` without a prompt."""
    jobs = [Job(0, loaded.start.prompt_ids(loaded.tokenizer, None), n)]
    samples = loaded.generate(jobs, options=SamplingOptions(max_tokens=longest), seed=seed, batch_size=batch_size)
    return [sample.text for sample in samples]
