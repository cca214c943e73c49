"""`aigc eval transformer` for encoder–decoders: the likelihood of held-out answers, and how close generated answers come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.transformer.config import Eval
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.encoder_decoder.incremental import Seq2SeqLM
from aigc_cli.backends.transformer.encoder_decoder.likelihood import answer_lengths, answer_nats
from aigc_cli.backends.transformer.encoder_decoder.model import load_pretrained
from aigc_cli.backends.transformer.encoder_decoder.pairs import Pairs
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
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.data.text.kind import TEXT
from aigc_cli.data.text.tokenizers.choice import cjk_share
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure
from aigc_cli.metrics.text.answers import answer_measures, beside_baselines
from aigc_cli.metrics.text.nearest import NearestText

#: The most training sources to search for the nearest one.
MOST_SOURCES = 100_000


def evaluation(run: Run, options: Eval, bus: Bus) -> Evaluation:
    """Every measure of the run's model."""
    options = replace(options, n=samples_of(options))
    if options.tokenize != "auto" and not options.n:
        raise RequestError("--tokenize is for answers, but -n 0 asks for none")
    loaded = load(run, load_pretrained, Seq2SeqLM, options.device, bus)
    tokenizer = loaded.tokenizer
    data, notes = training_data(run, options, bus)
    arrays, name = data_to_measure(loaded, options, data, TEXT, bus)
    pairs = Pairs.of(arrays, tokenizer, measured=True)
    nats = answer_nats(
        loaded.model.network,
        pairs,
        np.arange(len(pairs)),
        batch_size=options.batch_size,
        device=loaded.device,
        progress=lambda done, total: bus.stage("evaluating", done, total),
    )
    chars, sizes = answer_lengths(pairs, tokenizer)
    if not chars.any():
        raise RequestError(f"{name}: every target is empty")
    units = Units(nats, chars, sizes, pairs.target_lengths + 1, "documents")
    if arrays.unknown is not None:
        unknown = (arrays.tokens == tokenizer.unk_id).astype(np.float64)
        units = replace(units, unknown=pairs.over_targets(unknown), words=pairs.target_lengths)
    measures = likelihood_measures(units, options.seed)
    if data is not None and options.n and data.train.n_docs > MOST_SOURCES:
        notes.append(
            f"the nearest source is searched for among at most {MOST_SOURCES:,} of {data.train.n_docs:,} training sources"
        )
    if data is not None:
        bus.stage("fitting the baselines", 0, None)
        train, select = (targets(Pairs.of(part, tokenizer), tokenizer) for part in (data.train, data.select))
        beside = baselines(train, select, targets(pairs, tokenizer), None, options.seed)
        measures["bits_per_char"] = measures["bits_per_char"].beside(**beside)
    if options.n:
        measures |= agreement(loaded, pairs, data, options, bus)
    return Evaluation(name, {key: measure.to_json() for key, measure in measures.items()}, notes)


def targets(pairs: Pairs, tokenizer: Tokenizer) -> list[str]:
    """The texts of the targets, or of evenly spread ones with about `MAX_TEXT` characters in total."""
    every = -(-int(pairs.target_lengths.sum()) // MAX_TEXT)
    return [pairs.target_text(i, tokenizer) for i in range(0, len(pairs), max(1, every))]


def agreement(loaded: Loaded[Seq2SeqLM], pairs: Pairs, data: TextDataset | None, options: Eval, bus: Bus) -> dict[str, Measure]:
    """How close greedy answers to `options.n` random sources come to the references. For comparison: the source itself as the
    answer (`copy`), and the answer to the nearest training source (`nearest`)."""
    tokenizer = loaded.tokenizer
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(pairs))[: options.n]).tolist()
    sources = [pairs.source_text(i, tokenizer) for i in chosen]
    references = [pairs.target_text(i, tokenizer) for i in chosen]
    jobs = [Job(number, [*pairs.source(i), tokenizer.eot_id]) for number, i in enumerate(chosen)]
    bus.stage("answering", 0, len(jobs))
    greedy = SamplingOptions(temperature=0)
    written = loaded.generate(jobs, options=greedy, seed=options.seed, batch_size=options.batch_size)
    answers = [sample.text for sample in written]
    others = {"copy": sources}
    if data is not None:
        bus.stage("searching for the nearest sources", 0, None)
        others["nearest"] = _of_nearest(sources, Pairs.of(data.train, tokenizer), tokenizer)
    tokenize = options.tokenize if options.tokenize != "auto" else "zh" if cjk_share(references) > 0.5 else "13a"
    measure = partial(answer_measures, references=references, tokenize=tokenize)
    return {name: value.beside(decoding="greedy") for name, value in beside_baselines(measure, answers, **others).items()}


def _of_nearest(sources: Sequence[str], train: Pairs, tokenizer: Tokenizer) -> list[str]:
    """The answer to the training source most similar to each of these, among at most `MOST_SOURCES` evenly spread ones."""
    places = range(0, len(train), -(-len(train) // MOST_SOURCES))
    index = NearestText([train.source_text(i, tokenizer) for i in places])
    return [train.target_text(places[index.nearest(source)], tokenizer) for source in sources]
