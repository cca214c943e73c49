"""`aigc eval transformer`: what held-out text costs, beside baselines, and how the samples compare with human text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.transformer.config import Eval, Train
from aigc_cli.backends.transformer.decoder_only.model import Transformer
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, evaluation_pieces
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.likelihood import (
    characters,
    of_predictions,
    prediction_nats,
    scored_places,
    scored_range,
)
from aigc_cli.backends.transformer.loaded import Opened, open_run
from aigc_cli.backends.transformer.prepare import layout_of, prepare
from aigc_cli.data.text.dataset import TextDataset, TokenArrays, check_unchanged, encode_documents, true_nats
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, ratio_of_sums
from aigc_cli.metrics.text.compression import xz_baseline
from aigc_cli.metrics.text.copies import TrainingText
from aigc_cli.metrics.text.likelihood import bits_per_byte, bits_per_char, perplexity
from aigc_cli.metrics.text.ngram import ngram_baseline
from aigc_cli.metrics.text.samples import sample_measures
from aigc_cli.options import rebuild

#: Under this many documents an interval over documents says little, and the units are windows of one context instead.
FEW_DOCUMENTS = 30
#: Characters of training text that the baselines and the copies look at, at most.
MAX_TEXT = 64_000_000


def evaluation(run: Run, options: Eval, bus: Bus) -> Evaluation:
    """Every measure of the run's model."""
    if options.tokenize != "auto":
        raise RequestError("--tokenize is for answers, which this run doesn't give")
    opened = open_run(run, options.device, bus)
    assert isinstance(opened.model, Transformer)
    tokenizer, seed = opened.tokenizer, options.seed
    data, notes = training_data(run, options, bus)
    arrays, name = data_to_measure(opened, options, data, bus)
    units = likelihood_units(opened, arrays, options.batch_size, lambda done, total: bus.stage("evaluating", done, total))
    measures = likelihood_measures(units, seed)
    report = readable(arrays, tokenizer)
    known = len(report) == arrays.n_docs and not tokenizer.lower  # whose law is that of the text as it was
    law = [true_nats(_source(run, options), text) for text in report] if known else [None]
    if None not in law and units.over == "documents":
        floor, measures["bits_per_char_above_floor"] = above_the_law(units, [nats or 0.0 for nats in law], seed)
        measures["bits_per_char"] = measures["bits_per_char"].beside(floor=floor)
    if data is not None:
        train, select = readable(data.train, tokenizer), readable(data.select, tokenizer)
        if len(train) < data.train.n_docs:
            notes.append(f"baselines and copies look at {len(train):,} of {data.train.n_docs:,} training documents")
        bus.stage("fitting the baselines", 0, None)
        unit_chars = opened.model.config.context if units.over == "windows" else None
        beside = baselines(train, select, report, unit_chars, seed)
        if units.fields:  # whose ends are a character of the baselines' text, and none of the model's
            per_char = 1 + arrays.n_docs * (len(units.fields) - 1) / int(arrays.chars.sum())
            beside = {name: measure.map(lambda bits: bits * per_char, measure.unit) for name, measure in beside.items()}
        measures["bits_per_char"] = measures["bits_per_char"].beside(**beside)
        if measures["bits_per_char"].value > beside["baseline"].value:
            notes.append(
                "an n-gram model of the same text foresees it better than this one, which has hardly begun to learn: "
                "train a new run with more --minutes"
            )
    if data is not None and options.n:
        bus.stage("sampling", 0, None)
        samples = draw(opened, options.n, seed, options.batch_size)
        if not any(samples):
            raise AigcError("every sample is empty: the model ends its texts at once; train it longer")
        measures |= sample_measures(samples, report, TrainingText(train), seed=seed)
    return Evaluation(name, {key: measure.to_json() for key, measure in measures.items()}, notes)


def training_data(run: Run, options: Eval, bus: Bus) -> tuple[TextDataset | None, list[str]]:
    """The data that the run was trained on, which must be as they were; None when they aren't and others are measured."""
    if changed := check_unchanged(run.record["data"]):
        if options.data is None:
            raise RequestError(f"{changed[0]}; name the data to measure on with --data")
        return None, [f"{changed[0]}: no baselines, and no comparison of samples with the training text"]
    data: TextDataset = prepare(rebuild(Train, run.record["plan"]), bus).arrays
    if data.explicit_val and options.data is None:
        return data, ["measured on the --val data, which also chose the checkpoint"]
    return data, []


def data_to_measure(opened: Opened, options: Eval, data: TextDataset | None, bus: Bus) -> tuple[TokenArrays, str]:
    """What to measure on: --data, or the half of the held-out slice that chose nothing."""
    if options.data is None:
        assert data is not None
        return data.report, "held-out"
    arrays = encode_documents(
        options.data,
        opened.tokenizer,
        reading=Reading(_columns(opened, options), layout_of(options), opened.start.source_share),
        input_format=options.input_format,
        split=options.split,
        progress=bus.stage,
    )
    return arrays, options.data


def _columns(opened: Opened, options: Eval) -> tuple[str, ...]:
    fields = opened.start.fields if len(opened.start.fields) > 1 else ()
    if options.column is None:
        return fields
    if fields:
        raise RequestError(f"--column: this run's documents have the fields {', '.join(fields)}")
    return (options.column,)


def _source(run: Run, options: Eval) -> str:
    return str(options.data or run.record["data"]["location"])


@dataclass(frozen=True)
class Units:
    """What an interval is taken over, an entry each: the cost in nats, and the length in characters, bytes and tokens."""

    nats: NDArray[np.float64]
    chars: NDArray[np.int64]
    bytes: NDArray[np.int64]
    tokens: NDArray[np.int64]
    over: str
    fields: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = field(default_factory=dict)
    """Of several in a document, what each costs in nats given those before it, its end included, and its characters."""
    unknown: NDArray[np.float64] | None = None
    """Unknown words, where the tokenizer has such."""
    words: NDArray[np.int64] | None = None
    """And how many words there are."""


def likelihood_units(opened: Opened, arrays: TokenArrays, batch_size: int, progress: Callable[[int, int], None]) -> Units:
    """The cost of every document of the whole split, its end included; long ones in strides with at least half a context."""
    assert isinstance(opened.model, Transformer)
    corpus = Corpus.of(arrays, opened.tokenizer, measured=True)
    pieces = evaluation_pieces(corpus, opened.model.config.context)
    costs = prediction_nats(opened.model, corpus, pieces, batch_size=batch_size, device=opened.device, progress=progress)
    fields = fields_of(costs, arrays, corpus, opened)
    if fields or arrays.n_docs >= FEW_DOCUMENTS:
        begins = corpus.first_predictions
        nats = np.add.reduceat(costs, begins)
        units = Units(nats, arrays.chars, arrays.bytes, np.diff(corpus.offsets) + 1, "documents", fields)
        return with_unknown(units, begins, arrays, corpus, opened.tokenizer)
    begins = scored_range(corpus, pieces)[0]
    nats = np.add.reduceat(costs, begins)
    scored = pieces.length - pieces.context_only
    places = [scored_places(corpus, pieces, piece) for piece in range(len(pieces))]
    texts = [opened.tokenizer.decode_bytes(arrays.ids(start, end)) for start, end in places]
    # A character that two windows share counts where its first byte is.
    chars = np.array([characters(text) for text in texts])
    units = Units(nats, chars, np.array([len(text) for text in texts]), scored, "windows")
    return with_unknown(units, begins, arrays, corpus, opened.tokenizer)


def with_unknown(units: Units, begins: NDArray[np.int64], arrays: TokenArrays, corpus: Corpus, tokenizer: Tokenizer) -> Units:
    """Units, of which prediction `begins` is the first, with their unknown words where the tokenizer has such."""
    if arrays.unknown is None:
        return units
    which = (corpus.tokens == tokenizer.unk_id, corpus.tokens != (-1 if tokenizer.field_id is None else tokenizer.field_id))
    sums = [np.add.reduceat(of_predictions(tokens.astype(np.float64), corpus), begins) for tokens in which]
    return replace(units, unknown=sums[0], words=sums[1].astype(np.int64))


def fields_of(
    costs: NDArray[np.float64], arrays: TokenArrays, corpus: Corpus, opened: Opened
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Of documents with several fields, what each costs given those before it, its end included, in nats; and its length in
    characters. Both (n_docs,)."""
    ends = opened.start.ends(opened.tokenizer)
    if ends is None:
        return {}
    n_docs = len(corpus.offsets) - 1
    document = np.repeat(np.arange(n_docs), np.diff(corpus.offsets))  # of each token
    ends_field = corpus.tokens == ends.id
    before = np.cumsum(ends_field) - ends_field  # ends of fields in the corpus before each token
    number = before - document * (ends.count - 1)  # of the field that each token is in
    chars_of = np.array([characters(opened.tokenizer.decode_bytes([token])) for token in range(opened.tokenizer.vocab_size)])
    chars = np.where(ends_field, 0, chars_of[corpus.tokens])
    if arrays.unknown is not None:
        chars[arrays.unknown.at] = [characters(word) for word in arrays.unknown.words()]
    # A document's predictions are its tokens and its own end, which is that of its last field.
    number_predicted = np.insert(number, corpus.offsets[1:], ends.count - 1)
    document_predicted = np.repeat(np.arange(n_docs), np.diff(corpus.offsets) + 1)

    def sums(values: NDArray[np.number], of: NDArray[np.int64], documents: NDArray[np.int64]) -> NDArray[np.float64]:
        index = documents * ends.count + of
        total = np.bincount(index, values, minlength=n_docs * ends.count).astype(np.float64)
        return total.reshape(n_docs, ends.count)

    nats, lengths = sums(costs, number_predicted, document_predicted), sums(chars, number, document).astype(np.int64)
    return {name: (nats[:, i], lengths[:, i]) for i, name in enumerate(opened.start.fields)}


def likelihood_measures(units: Units, seed: int) -> dict[str, Measure]:
    over = {"over": units.over}
    of_fields = {
        f"bits_per_char_{name}": bits_per_char(nats, chars, seed=seed).beside(**over)
        for name, (nats, chars) in units.fields.items()
        if chars.any()
    }
    unknown: dict[str, Measure] = {}
    if units.unknown is not None and units.words is not None and units.words.any():
        unknown["unknown_words"] = ratio_of_sums(units.unknown, units.words, seed=seed).beside(
            **over, count=int(units.unknown.sum()), of=int(units.words.sum())
        )
    return {
        "bits_per_char": bits_per_char(units.nats, units.chars, seed=seed).beside(**over),
        "bits_per_byte": bits_per_byte(units.nats, units.bytes, seed=seed).beside(**over),
        "perplexity": perplexity(units.nats, units.tokens, seed=seed).beside(**over),
        **of_fields,
        **unknown,
    }


def above_the_law(units: Units, true_nats: Sequence[float], seed: int) -> tuple[Measure, Measure]:
    """For data whose law is known: what the law itself costs in bits per character, and how much more the model does, document
    by document (the estimated divergence KL(law ‖ model); no model can be below 0 but by chance)."""
    true = np.asarray(true_nats)
    floor = bits_per_char(true, units.chars, seed=seed)
    return floor, ratio_of_sums((units.nats - true) / math.log(2), units.chars, unit="bits/char", seed=seed)


def baselines(
    train: Sequence[str], select: Sequence[str], report: Sequence[str], unit_chars: int | None, seed: int
) -> dict[str, Measure]:
    """What simple means make of the same text: the best order of an n-gram model, and xz. The interval is over documents, or
    over stretches of `unit_chars`."""
    ngram = ngram_baseline(train, select, report, unit_chars=unit_chars, seed=seed)
    return {"baseline": ngram, "xz": xz_baseline(train, report)}


def readable(arrays: TokenArrays, tokenizer: Tokenizer, max_chars: int = MAX_TEXT) -> list[str]:
    """The texts of a split, or evenly spread ones of about `max_chars` in all."""
    every = -(-int(arrays.chars.sum()) // max_chars)
    chosen = np.arange(0, arrays.n_docs, max(every, 1))
    starts, ends = arrays.offsets[chosen], arrays.offsets[chosen + 1]
    ends = np.minimum(ends, starts + max_chars)  # a token is a character at least, but for bytes of one
    parts = (arrays.ids(a, b) for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    return [tokenizer.decode(part)[:max_chars] for part in parts]


def draw(opened: Opened, n: int, seed: int, batch_size: int) -> list[str]:
    """`n` samples as `aigc sample` makes them without a prompt."""
    jobs = [Job(0, opened.start.prompt_ids(opened.tokenizer, None), n)]
    samples = opened.generate(jobs, options=SamplingOptions(), seed=seed, batch_size=batch_size)
    return [sample.text for sample in samples]
