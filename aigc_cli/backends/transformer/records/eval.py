"""`aigc eval transformer` for records with pictures: what each field costs given the others, how good drawn pictures are, and
how often answers are right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.codecs import reading_of
from aigc_cli.backends.pictures.words import said_of
from aigc_cli.backends.transformer.config import Eval, Train
from aigc_cli.backends.transformer.decoder_only.eval import field_costs
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.model import load_pretrained
from aigc_cli.backends.transformer.decoder_only.packing import Corpus
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.loaded import CODEC, Loaded, load
from aigc_cli.backends.transformer.records.drawn import draw
from aigc_cli.backends.transformer.records.held import SHOWN, Held
from aigc_cli.backends.transformer.records.prepare import prepare, records_unchanged
from aigc_cli.backends.transformer.records.tokens import RecordTokens, codes_of, prompt_of, tokens_of
from aigc_cli.data.records.dataset import RecordField, fields_in, kind_in, read_records
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, mean, ratio_of_sums
from aigc_cli.metrics.statistics.proportion import proportion
from aigc_cli.options import rebuild

#: Records among which the right one is to be found, records that it is searched for, and records that are answered.
AMONG, SEARCHED, ANSWERED = 16, 100, 500


def evaluation(run: Run, options: Eval, bus: Bus) -> Evaluation:
    """Every measure of the run's model."""
    if options.tokenize != "auto":
        raise RequestError("--tokenize is for answers (--arch encoder-decoder), but this run has none")
    loaded = load(run, load_pretrained, CausalLM, options.device, bus)
    data, notes = _own(run, options, bus)
    held, name = _held(run, loaded, data, options, bus)
    bus.stage("evaluating", 0, None)
    measures = _likelihood(held, options)
    examples: Sequence[Mapping[str, str | bytes]] = ()
    if len(held.fields) > 1 and len(held.records) >= AMONG:
        measures["retrieval"] = _retrieval(held, options, bus)
    if options.n != 0 and held.loaded.start.codes[-1]:
        drawn = draw(held, options, bus)
        examples = drawn.examples()
        if data is None:
            notes.append(f"{kind_in(run.record['data'])} are not compared: that needs the training data")
        else:
            of_samples, of_quality = drawn.quality(data, options, bus)
            measures |= drawn.agreement(data, options, bus) | of_samples
            notes += said_of(data.records.pictures.one, of_quality)
    elif options.n != 0:
        of_answers, examples = _answers(held, data, options, bus)
        measures |= of_answers
    return Evaluation(name, {key: measure.to_json() for key, measure in measures.items()}, notes, examples)


def _own(run: Run, options: Eval, bus: Bus) -> tuple[RecordTokens | None, list[str]]:
    """The data the run was trained on, and notes; None if they have changed and there is --data."""
    if changed := records_unchanged(run.record["data"]):
        if options.data is None:
            raise RequestError(f"{changed[0]}; give data to evaluate on with --data")
        return None, [f"nothing is compared with the training data: {changed[0]}"]
    plan = replace(rebuild(Train, run.record["plan"]), codec=str(run.model.resolve() / CODEC))
    data: RecordTokens = prepare(plan, kind_in(run.record["data"]), bus).arrays
    chosen = data.explicit_val and options.data is None
    return data, ["evaluated on the --val data, which also chose the checkpoint"] if chosen else []


def _held(run: Run, loaded: Loaded[CausalLM], data: RecordTokens | None, options: Eval, bus: Bus) -> tuple[Held, str]:
    """The records to evaluate on, and their name: --data, or the half of the held-out ones that chose no checkpoint."""
    assert loaded.codec is not None
    fields = fields_in(run.record["data"])
    if options.data is None:
        assert data is not None
        records, name = data.records.report, "held-out"
    else:
        records = read_records(
            options.data, fields, reading_of(loaded.codec),
            split=options.split, input_format=options.input_format, progress=bus.stage,
        )  # fmt: skip
        name = options.data
        for note in records.notes:
            bus.note(note)
    codes = codes_of(records.pictures, loaded.codec, run.model.resolve() / CODEC, bus.stage)
    tokens, _ = tokens_of(records, fields, loaded.tokenizer, codes)
    return Held(records, tokens, codes, fields, loaded), name


def _likelihood(held: Held, options: Eval) -> dict[str, Measure]:
    """The cost of a record, of each field given those before it, and of the last one given another record's."""
    costs = held.predicted(held.tokens, options.batch_size)
    corpus = Corpus.of(held.tokens, held.loaded.tokenizer)
    nats = np.add.reduceat(costs, corpus.first_predictions)
    measures = {"nats_per_record": mean(nats, unit="nats", seed=options.seed)}
    of_fields = field_costs(costs, held.tokens, corpus, held.loaded)
    n = len(nats)
    for field in held.fields:
        if field.name not in of_fields:
            continue
        spent, chars = of_fields[field.name]
        another: dict[str, Measure] = {}
        if field is held.fields[-1] and n > 1:
            # Not the next record's: in a folder, those of a class follow one another.
            wrong = held.costs(np.roll(np.arange(n), n // 2).tolist(), range(n), options.batch_size)
            another = {"another": _of_field(held, field, wrong, chars, options.seed)}
        key = f"bits_per_char_{field.name}" if field.is_text else f"nats_per_{held.one}_{field.name}"
        if not field.is_text or chars.any():
            measures[key] = _of_field(held, field, spent, chars, options.seed).beside(**another)
    return measures


def _of_field(held: Held, field: RecordField, nats: NDArray[np.float64], chars: NDArray[np.int64], seed: int) -> Measure:
    if not field.is_text:
        return mean(nats, unit=f"nats/{held.one}", seed=seed)
    return ratio_of_sums(nats / math.log(2), chars, unit="bits/char", seed=seed)


def _retrieval(held: Held, options: Eval, bus: Bus) -> Measure:
    """How often the record's own leading fields, among those of 16 records with different ones, make its last field the
    likeliest."""
    rng = np.random.default_rng(options.seed)
    asked = rng.permutation(len(held.records))[:SEARCHED].tolist()
    right = []
    for number, record in enumerate(asked):
        own = held.parts[record][:-1]
        others = [other for other in rng.permutation(len(held.records)).tolist() if held.parts[other][:-1] != own]
        among = [record, *others[: AMONG - 1]]
        costs = held.costs(among, [record] * len(among), options.batch_size)
        right.append(int(costs.argmin()) == 0)
        bus.stage("searching", number + 1, len(asked))
    return proportion(right).beside(chance=1 / AMONG)


def _answers(
    held: Held, data: RecordTokens | None, options: Eval, bus: Bus
) -> tuple[dict[str, Measure], list[dict[str, str | bytes]]]:
    """How often the likeliest last field, token by token, is the record's own; beside the training records' most frequent one,
    and the answers if each picture is another record's. Also some of the answers, to look at."""
    n = min(ANSWERED if options.n is None else options.n, len(held.records))
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(held.records))[:n]).tolist()
    name = held.fields[-1].name
    wanted = [held.records.texts[name][number] for number in chosen]
    written = _written(held, [held.prompt(number) for number in chosen], options, bus)
    right = _exact(written, wanted)
    beside: dict[str, Measure] = {}
    if data is not None:
        ((frequent, _),) = Counter(data.records.train.texts[name]).most_common(1)
        beside["frequent"] = proportion(_exact([frequent] * n, wanted))
    if n > 1 and any(held.loaded.start.codes):
        prompts = [_with_picture_of(held, number, other) for number, other in zip(chosen, np.roll(chosen, n // 2), strict=True)]
        beside[f"another_{held.one}"] = proportion(_exact(_written(held, prompts, options, bus), wanted))
    shown = [*zip(chosen, wanted, written, strict=True)][:: -(-n // SHOWN)]
    examples: list[dict[str, str | bytes]] = [
        {**held.leading(number), name: text, f"{name}, written": answer} for number, text, answer in shown
    ]
    return {"exact_match": proportion(right).beside(decoding="greedy", **beside)}, examples


def _with_picture_of(held: Held, number: int, other: int) -> list[int]:
    """The prompt of a record with the pictures of another."""
    parts = list(held.parts[number])
    for at, n_codes in enumerate(held.loaded.start.codes[:-1]):
        if n_codes:
            parts[at] = held.parts[other][at]
    return prompt_of(parts[:-1], held.loaded.tokenizer)


def _written(held: Held, prompts: Sequence[list[int]], options: Eval, bus: Bus) -> list[str]:
    bus.stage("answering", 0, len(prompts))
    jobs = [Job(number, prompt) for number, prompt in enumerate(prompts)]
    greedy = SamplingOptions(temperature=0)
    made = held.loaded.generate(jobs, options=greedy, seed=options.seed, batch_size=options.batch_size)
    return [sample.text for sample in made]


def _exact(answers: Sequence[str], wanted: Sequence[str]) -> list[bool]:
    return [answer == text for answer, text in zip(answers, wanted, strict=True)]
