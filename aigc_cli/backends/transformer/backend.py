"""The Transformer as a backend: prepare, plan, learn, sample, evaluate."""

from __future__ import annotations

import codecs
import dataclasses
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
from aigc_cli.backends.transformer.sizes import decide, vocab_limit
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
from aigc_cli.engine.device import derive_seed, open_device
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
        )
        request = take_stdin(asked)
        data = prepare_text(request, progress=bus.stage)
        settled = dataclasses.replace(options, vocab_limit=request.vocab_limit)
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
            seed = derive_seed(np.random.SeedSequence().entropy) % 2**32
            bus.note(f"seed {seed}")
        prompts: list[str | None] = []

        def jobs() -> Iterator[Job]:
            for number, prompt in enumerate(_prompts(options.prompt)):
                prompts.append(prompt)
                yield Job(number * options.n, opened.start.prompt_ids(tokenizer, prompt), options.n)

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
            batch_size=options.batch_size if piece is None else 1,
            device=opened.device,
            on_bytes=None if piece is None else _whole_characters(piece),
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
            yield Drawn(record, text=prompt + text if options.echo else text)

    # Measuring

    def evaluate(self, run: Run, options: Eval, bus: Bus) -> Evaluation:
        opened = _open(run, options.device)
        tokenizer, seed = opened.tokenizer, options.seed
        data = self._data_of(run, bus)
        arrays, name, notes = self._report(run, options, data, tokenizer, bus)
        units = likelihood_units(opened, arrays, options.batch_size, lambda done, total: bus.stage("evaluating", done, total))
        measures = likelihood_measures(units, seed)
        train, select, report = (readable(split, tokenizer) for split in (data.train, data.select, arrays))
        if len(train) < data.train.n_docs:
            notes.append(f"baselines and copies look at {len(train):,} of {data.train.n_docs:,} training documents")
        bus.stage("fitting the baselines", 0, None)
        beside = baselines(train, select, report, opened.model.config.context, seed)
        true = [true_nats(_source(run, options), text) for text in report] if units.over == "documents" else [None]
        if None not in true:
            beside["floor"], measures["bits_per_char_above_floor"] = above_the_law(units, [t or 0.0 for t in true], seed)
        measures["bits_per_char"] = measures["bits_per_char"].beside(**beside)
        if options.n:
            bus.stage("sampling", 0, None)
            samples = draw(opened, options.n, seed, options.batch_size)
            measures |= sample_measures(samples, report, TrainingText(train), seed=seed)
        return Evaluation(name, {key: measure.to_json() for key, measure in measures.items()}, notes)

    def _data_of(self, run: Run, bus: Bus) -> TextDataset:
        """The data that the run was trained on, which must be as they were."""
        if changed := check_unchanged(run.record["data"]):
            raise RequestError(f"{changed[0]}; its held-out half and its baselines can't be had any more")
        data: TextDataset = self.prepare(rebuild(Train, run.record["plan"]), bus).arrays
        return data

    def _report(
        self, run: Run, options: Eval, data: TextDataset, tokenizer: Tokenizer, bus: Bus
    ) -> tuple[TokenArrays, str, list[str]]:
        """What to measure on: --data, or the half of the held-out slice that chose nothing."""
        if options.data is None:
            notes = ["measured on the --val data, which also chose the checkpoint"] if data.explicit_val else []
            return data.report, "held-out", notes
        arrays = encode_documents(
            options.data,
            tokenizer,
            column=options.column or (None if ".txt" in Path(options.data).suffixes else run.record["plan"]["column"]),
            layout=_layout(options),
            input_format=options.input_format,
            split=options.split,
            progress=bus.stage,
        )
        return arrays, options.data, []


def _source(run: Run, options: Eval) -> str:
    return str(options.data or run.record["data"]["location"])


def _whole_characters(piece: Callable[[str], None]) -> Callable[[int, bytes], None]:
    """Hands on the bytes of one sample after the other as text, never half a character."""
    decoders: dict[int, codecs.IncrementalDecoder] = {}

    def take(index: int, content: bytes) -> None:
        if index not in decoders:
            decoders.clear()
            decoders[index] = codecs.getincrementaldecoder("utf-8")("replace")
        piece(decoders[index].decode(content))

    return take


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
