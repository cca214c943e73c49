"""The Transformer as a backend: prepare, plan, learn, sample, evaluate."""

from __future__ import annotations

import codecs
import dataclasses
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aigc_cli.backends.base import Evaluation
from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.transformer.config import Eval, Sample, TextOptions, Train
from aigc_cli.backends.transformer.generate import Job, SamplingOptions, generate
from aigc_cli.backends.transformer.learner import TransformerLearner
from aigc_cli.backends.transformer.measure import (
    Opened,
    above_the_law,
    baselines,
    draw,
    likelihood_measures,
    likelihood_units,
    readable,
)
from aigc_cli.backends.transformer.model import load_pretrained
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.backends.transformer.sizes import chars_affordable, decide, tokenizer_budget, vocab_limit
from aigc_cli.data.formats import Layout
from aigc_cli.data.text import (
    TextDataset,
    TextRequest,
    TokenArrays,
    check_unchanged,
    encode_documents,
    prepare_text,
    take_stdin,
    true_nats,
)
from aigc_cli.data.tokenizers import Tokenizer
from aigc_cli.engine.device import open_device
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.run import Run
from aigc_cli.engine.trainable import Machine, Prepared
from aigc_cli.errors import RequestError
from aigc_cli.metrics.copies import TrainingText
from aigc_cli.metrics.text import sample_measures
from aigc_cli.options import rebuild


class TransformerBackend:
    name = "transformer"

    # Training

    def prepare(self, options: Train, bus: Bus) -> Prepared:
        assert options.data is not None
        asked = TextRequest(
            data=options.data,
            val=options.val,
            column=options.column,
            layout=_layout(options),
            input_format=options.input_format,
            tokenizer=options.tokenizer,
            vocab_size=options.vocab_size,
            vocab_limit=vocab_limit(options),
            chars_affordable=chars_affordable(options),
            tokenizer_from=None if options.init_from is None else Path(options.init_from) / "model",
        )
        request = take_stdin(asked)
        try:
            data = prepare_text(request, progress=bus.stage)
        except RequestError as error:
            if request is asked:
                raise
            Path(request.data).unlink(missing_ok=True)
            raise RequestError(str(error).replace(request.data, "standard input")) from error
        settled = dataclasses.replace(options, tokenizer_budget=tokenizer_budget(options))
        if options.data.startswith("hf:"):  # with the revision that was read
            settled = dataclasses.replace(settled, data=str(data.info["location"]))
        if request is not asked:
            settled = dataclasses.replace(
                settled, lines=request.layout == "lines", paragraphs=request.layout == "paragraphs", input_format=None
            )
        return Prepared(
            arrays=data,
            options=settled,
            info=data.info,
            notes=data.notes,
            stem="stdin" if request is not asked else _stem(options.data),
            cached=data.cached,
            keep=Path(request.data) if request is not asked else None,
        )

    def changed(self, info: dict[str, Any]) -> list[str]:
        return check_unchanged(info)

    def plan(self, options: Train, data: Prepared, machine: Machine) -> tuple[Train, list[str]]:
        text: TextDataset = data.arrays
        lengths = np.diff(text.train.offsets) + 1
        plan, reasons = decide(
            options,
            flops=machine.flops * machine.seconds,
            vocab_size=text.tokenizer.vocab_size,
            predictions=int(lengths.sum()),
            longest=int(np.quantile(lengths, 0.95)),
        )
        assert plan.context
        for purpose, arrays in (("training", text.train), ("held-out", text.select)):
            if len(arrays.tokens) < 2:
                raise RequestError(f"{options.data} is too short: its {purpose} part has {len(arrays.tokens)} tokens")
        return plan, reasons

    def learner(self, plan: Train, data: Prepared, device: torch.device) -> Learner:
        return TransformerLearner(plan, data.arrays, device)

    # Sampling

    def sample(self, run: Run, options: Sample, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Drawn]:
        opened = _open(run, options.device)
        tokenizer = opened.tokenizer
        seed = options.seed
        if seed is None:
            seed = secrets.randbits(32)
            bus.note(f"seed {seed}")
        prompts: list[str | None] = []

        def jobs() -> Iterator[Job]:
            for number, prompt in enumerate(_prompts(options.prompt)):
                prompts.append(prompt)
                yield Job(number * options.n, opened.start.prompt_ids(tokenizer, prompt), options.n)

        def echoed(index: int) -> str:
            return (prompts[index // options.n] or "") if options.echo else ""

        streamed = None if piece is None else _Streamed(piece, echoed)
        samples = generate(
            opened.model,
            jobs(),
            options=SamplingOptions(
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                min_p=options.min_p,
                repetition_penalty=options.repetition_penalty,
                max_tokens=options.max_tokens,
                stop=options.stop,
            ),
            eot_id=tokenizer.eot_id,
            seed=seed,
            decode_bytes=tokenizer.decode_bytes,
            batch_size=options.batch_size if streamed is None else 1,
            device=opened.device,
            on_bytes=None if streamed is None else streamed.take,
        )
        for made in samples:
            prompt = prompts[made.index // options.n] or ""
            text = made.content.decode("utf-8", "replace")
            record: dict[str, Any] = {
                "text": text,
                "prompt": prompt,
                "seed": seed,
                "index": made.index,
                "finish": made.finish,
            }
            if streamed is not None:
                streamed.end(made.index)
            yield Drawn(record, text=echoed(made.index) + text)

    # Measuring

    def evaluate(self, run: Run, options: Eval, bus: Bus) -> Evaluation:
        opened = _open(run, options.device)
        tokenizer, seed = opened.tokenizer, options.seed
        data, notes = self._data_of(run, options, bus)
        arrays, name = self._report(run, options, data, tokenizer, bus)
        units = likelihood_units(opened, arrays, options.batch_size, lambda done, total: bus.stage("evaluating", done, total))
        measures = likelihood_measures(units, seed)
        report = readable(arrays, tokenizer)
        law = [true_nats(_source(run, options), text) for text in report] if len(report) == arrays.n_docs else [None]
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
            measures["bits_per_char"] = measures["bits_per_char"].beside(**beside)
        if data is not None and options.n:
            bus.stage("sampling", 0, None)
            samples = draw(opened, options.n, seed, options.batch_size)
            measures |= sample_measures(samples, report, TrainingText(train), seed=seed)
        return Evaluation(name, {key: measure.to_json() for key, measure in measures.items()}, notes)

    def _data_of(self, run: Run, options: Eval, bus: Bus) -> tuple[TextDataset | None, list[str]]:
        """The data that the run was trained on, which must be as they were; None when they aren't and others are measured."""
        if changed := check_unchanged(run.record["data"]):
            if options.data is None:
                raise RequestError(f"{changed[0]}; name the data to measure on with --data")
            return None, [f"{changed[0]}: no baselines, and no comparison of samples with the training text"]
        data: TextDataset = self.prepare(rebuild(Train, run.record["plan"]), bus).arrays
        if data.explicit_val and options.data is None:
            return data, ["measured on the --val data, which also chose the checkpoint"]
        return data, []

    def _report(
        self, run: Run, options: Eval, data: TextDataset | None, tokenizer: Tokenizer, bus: Bus
    ) -> tuple[TokenArrays, str]:
        """What to measure on: --data, or the half of the held-out slice that chose nothing."""
        if options.data is None:
            assert data is not None
            return data.report, "held-out"
        arrays = encode_documents(
            options.data,
            tokenizer,
            column=options.column,
            layout=_layout(options),
            input_format=options.input_format,
            split=options.split,
            progress=bus.stage,
        )
        return arrays, options.data


def _source(run: Run, options: Eval) -> str:
    return str(options.data or run.record["data"]["location"])


class _Streamed:
    """Hands on one sample after the other as text, as its bytes come, never half a character."""

    def __init__(self, piece: Callable[[str], None], before: Callable[[int], str]) -> None:
        self.piece, self.before = piece, before
        self.decoders: dict[int, codecs.IncrementalDecoder] = {}

    def take(self, index: int, content: bytes) -> None:
        if index not in self.decoders:
            self.decoders[index] = codecs.getincrementaldecoder("utf-8")("replace")
            self.piece(self.before(index))
        self.piece(self.decoders[index].decode(content))

    def end(self, index: int) -> None:
        self.take(index, b"")
        self.piece(self.decoders.pop(index).decode(b"", True))


def _open(run: Run, wanted: str) -> Opened:
    """The run's model on a device."""
    device = open_device(wanted)
    try:
        tokenizer = Tokenizer.load(run.model)
    except (OSError, ValueError) as error:
        raise RequestError(f"run {run.path}: its tokenizer cannot be read: {error}") from error
    return Opened(load_pretrained(run.model).to(device), tokenizer, Start.load(run.model), device)


def _layout(options: TextOptions) -> Layout:
    if options.lines and options.paragraphs:
        raise RequestError("--lines and --paragraphs exclude one another")
    return "lines" if options.lines else "paragraphs" if options.paragraphs else "document"


def _prompts(given: str | None) -> Iterator[str | None]:
    """The prompts: none, one text, a file's whole text, or a line each of standard input as they come."""
    if given == "-":
        for number, line in enumerate(sys.stdin.buffer, 1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise RequestError(f"--prompt -: line {number} is not UTF-8 (byte {error.start} of the line)") from None
    elif given is not None and given.startswith("@"):
        try:
            yield Path(given[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"--prompt {given} cannot be read: {getattr(error, 'strerror', error)}") from None
    else:
        yield given


def _stem(source: str) -> str:
    """What to name a run after: the file's or folder's name without its endings."""
    name = source.rpartition(":")[2].rstrip("/").rpartition("/")[2]
    return name.split(".")[0] or "text"
