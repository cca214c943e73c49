"""`aigc eval transformer` for records with pictures: what each field costs given the others, how good drawn pictures are, and
how often answers are right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.pictures.quality import AT_ONCE, QualityOptions, quality
from aigc_cli.backends.transformer.config import Eval, Train
from aigc_cli.backends.transformer.config import Sample as SampleOptions
from aigc_cli.backends.transformer.decoder_only.eval import field_costs
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.likelihood import prediction_nats
from aigc_cli.backends.transformer.decoder_only.model import load_pretrained
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, evaluation_pieces
from aigc_cli.backends.transformer.decoding.generate import Job, SamplingOptions
from aigc_cli.backends.transformer.loaded import CODEC, Loaded, load
from aigc_cli.backends.transformer.records.contents import codes_in, guided
from aigc_cli.backends.transformer.records.prepare import prepare
from aigc_cli.backends.transformer.records.tokens import RecordTokens, codes_of, parts_of, prompt_of, tokens_of
from aigc_cli.data.pictures.output import Pixels
from aigc_cli.data.records.dataset import RecordArrays, RecordField, check_unchanged, read_records
from aigc_cli.data.text.tokens import TokenArrays
from aigc_cli.engine.events import Bus
from aigc_cli.engine.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.metrics.statistics.bootstrap import Measure, mean, ratio_of_sums
from aigc_cli.metrics.statistics.proportion import proportion
from aigc_cli.options import rebuild

#: Records among which the right one is to be found, records that it is searched for, and records that are answered or drawn.
AMONG, SEARCHED, ANSWERED, DRAWN = 16, 100, 500, 1000


@dataclass(frozen=True)
class Held:
    """Records to measure on, as they are and as tokens."""

    records: RecordArrays
    tokens: TokenArrays
    codes: NDArray[np.int64]  # of their pictures (n, places)
    fields: tuple[RecordField, ...]
    loaded: Loaded[CausalLM]

    @cached_property
    def parts(self) -> list[list[list[int]]]:
        """The tokens of each record's fields."""
        return [parts_of(self.tokens, number, self.loaded.tokenizer) for number in range(self.tokens.n_docs)]

    def prompt(self, number: int) -> list[int]:
        """The tokens of a record up to its last field."""
        return prompt_of(self.parts[number][:-1], self.loaded.tokenizer)

    def costs(self, leading: Sequence[int], last: Sequence[int], batch_size: int) -> NDArray[np.float64]:
        """The cost in nats of the last field of the records `last` given the leading fields of the records `leading`, (n,)."""
        tokens: list[int] = []
        offsets = [0]
        for first, final in zip(leading, last, strict=True):
            tokens += [*self.prompt(first)[1:], *self.parts[final][-1]]
            offsets.append(len(tokens))
        n = np.ones(len(last), np.int64)
        arrays = TokenArrays(np.array(tokens, np.uint32), np.array(offsets), n, n)
        found = field_costs(self.predicted(arrays, batch_size), arrays, Corpus.of(arrays, self.loaded.tokenizer), self.loaded)
        return found[self.fields[-1].name][0]

    def predicted(self, arrays: TokenArrays, batch_size: int) -> NDArray[np.float64]:
        """The cost in nats of each prediction."""
        network = self.loaded.model.network
        corpus = Corpus.of(arrays, self.loaded.tokenizer)
        pieces = evaluation_pieces(corpus, network.config.context)
        return prediction_nats(network, corpus, pieces, batch_size=batch_size, device=self.loaded.device)


def evaluation(run: Run, options: Eval, bus: Bus) -> Evaluation:
    """Every measure of the run's model."""
    if options.tokenize != "auto":
        raise RequestError("--tokenize is for answers (--arch encoder-decoder), but this run has none")
    loaded = load(run, load_pretrained, CausalLM, options.device, bus)
    data, notes = _own(run, options, bus)
    held, name = _held(run, loaded, data, options, bus)
    bus.stage("evaluating", 0, None)
    measures = _likelihood(held, options)
    n_fields = len(held.fields)
    if n_fields > 1 and len(held.records) >= AMONG:
        measures["retrieval"] = _retrieval(held, options, bus)
    if options.n != 0 and held.loaded.start.codes[-1]:
        if data is None:
            notes.append("pictures are not compared: that needs the training pictures")
        else:
            of_samples, told = _pictures(run, held, data, options, bus)
            measures |= of_samples
            notes += told
    elif options.n != 0:
        measures |= _answers(held, data, options, bus)
    return Evaluation(name, {key: measure.to_json() for key, measure in measures.items()}, notes)


def _own(run: Run, options: Eval, bus: Bus) -> tuple[RecordTokens | None, list[str]]:
    """The data the run was trained on, and notes; None if they have changed and there is --data."""
    if changed := check_unchanged(run.record["data"]):
        if options.data is None:
            raise RequestError(f"{changed[0]}; give data to evaluate on with --data")
        return None, [f"nothing is compared with the training data: {changed[0]}"]
    plan = replace(rebuild(Train, run.record["plan"]), codec=str(run.model.resolve() / CODEC))
    data: RecordTokens = prepare(plan, bus).arrays
    chosen = data.explicit_val and options.data is None
    return data, ["evaluated on the --val data, which also chose the checkpoint"] if chosen else []


def _held(run: Run, loaded: Loaded[CausalLM], data: RecordTokens | None, options: Eval, bus: Bus) -> tuple[Held, str]:
    """The records to evaluate on, and their name: --data, or the half of the held-out ones that chose no checkpoint."""
    assert loaded.codec is not None
    fields = tuple(RecordField(field["name"], field["kind"]) for field in run.record["data"]["fields"])
    if options.data is None:
        assert data is not None
        records, name = data.records.report, "held-out"
    else:
        records = read_records(
            options.data, fields, loaded.codec.format,
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
            wrong = held.costs(np.roll(np.arange(n), 1).tolist(), range(n), options.batch_size)
            another = {"another": _of_field(field, wrong, chars, options.seed)}
        key = f"nats_per_picture_{field.name}" if field.kind == "pictures" else f"bits_per_char_{field.name}"
        if field.kind == "pictures" or chars.any():
            measures[key] = _of_field(field, spent, chars, options.seed).beside(**another)
    return measures


def _of_field(field: RecordField, nats: NDArray[np.float64], chars: NDArray[np.int64], seed: int) -> Measure:
    if field.kind == "pictures":
        return mean(nats, unit="nats/picture", seed=seed)
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


def _pictures(run: Run, held: Held, data: RecordTokens, options: Eval, bus: Bus) -> tuple[dict[str, Measure], list[str]]:
    """Measures of the pictures that are drawn for the leading fields of held-out records, each beside those of
    reconstructions."""
    codec, tokenizer = data.codec, held.loaded.tokenizer
    asked = QualityOptions(n=DRAWN if options.n is None else options.n)
    places = held.loaded.start.codes[-1]
    drawing = guided(held.loaded, SampleOptions())

    def samples() -> Iterator[Pixels]:
        jobs = [Job(number, held.prompt(number)) for number in range(len(held.records))]
        made = drawing.generate(jobs, options=SamplingOptions(), seed=options.seed, batch_size=options.batch_size)
        chunk = []
        for one in made:
            chunk.append(codes_in(one.ids, tokenizer, places))
            if len(chunk) == min(AT_ONCE, len(held.records)):
                yield codec.decode(np.stack(chunk))
                chunk = []
        if chunk:
            yield codec.decode(np.stack(chunk))

    def reconstructions() -> Iterator[Pixels]:
        return (codec.decode(held.codes[at : at + AT_ONCE]) for at in range(0, len(held.codes), AT_ONCE))

    train, real = data.records.train.pictures, held.records.pictures
    others = {"reconstructed": reconstructions()}
    return quality(samples(), train, real, (), asked, seed=options.seed, device=held.loaded.device, bus=bus, beside=others)


def _answers(held: Held, data: RecordTokens | None, options: Eval, bus: Bus) -> dict[str, Measure]:
    """How often the likeliest last field, token by token, is the record's own; beside the training records' most frequent one,
    and the answers if each picture is another record's."""
    n = min(ANSWERED if options.n is None else options.n, len(held.records))
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(held.records))[:n]).tolist()
    name = held.fields[-1].name
    wanted = [held.records.texts[name][number] for number in chosen]
    right = _exact(_written(held, [held.prompt(number) for number in chosen], options, bus), wanted)
    beside: dict[str, Measure] = {}
    if data is not None:
        ((frequent, _),) = Counter(data.records.train.texts[name]).most_common(1)
        beside["frequent"] = proportion(_exact([frequent] * n, wanted))
    if n > 1 and any(held.loaded.start.codes):
        prompts = [_with_picture_of(held, number, other) for number, other in zip(chosen, np.roll(chosen, 1), strict=True)]
        beside["another_picture"] = proportion(_exact(_written(held, prompts, options, bus), wanted))
    return {"exact_match": proportion(right).beside(decoding="greedy", **beside)}


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
