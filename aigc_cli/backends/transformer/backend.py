"""The Transformer as a backend: prepare, plan, learn, sample, evaluate."""

from __future__ import annotations

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
from aigc_cli.backends.transformer.evaluate import piece_nats
from aigc_cli.backends.transformer.generate import Job, SamplingOptions, generate
from aigc_cli.backends.transformer.learner import TransformerLearner, corpus_of
from aigc_cli.backends.transformer.model import load_pretrained
from aigc_cli.backends.transformer.packing import evaluation_pieces
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.backends.transformer.sizes import decide, vocab_limit
from aigc_cli.data.formats import Layout
from aigc_cli.data.text import TextDataset, TextRequest, TokenArrays, encode_documents, prepare_text
from aigc_cli.data.tokenizers import Tokenizer
from aigc_cli.engine.device import derive_seed, resolve_device, set_threads
from aigc_cli.engine.events import Bus
from aigc_cli.engine.learner import Learner
from aigc_cli.engine.run import Run
from aigc_cli.engine.trainable import Machine, Prepared
from aigc_cli.errors import RequestError
from aigc_cli.metrics.likelihood import bits_per_char
from aigc_cli.options import rebuild


class TransformerBackend:
    name = "transformer"

    # Training

    def prepare(self, options: Train, bus: Bus) -> Prepared:
        assert options.data is not None and options.threads is not None
        data = prepare_text(self._request(options), progress=bus.stage)
        return Prepared(
            arrays=data,
            info=data.info,
            notes=data.notes,
            stem=_stem(options.data),
            cached=data.cached,
        )

    def _request(self, options: Train) -> TextRequest:
        assert options.data is not None
        return TextRequest(
            data=options.data,
            val=options.val,
            column=options.column,
            layout=_layout(options),
            input_format=options.input_format,
            tokenizer=options.tokenizer,
            vocab_size=options.vocab_size,
            vocab_limit=vocab_limit(options),
        )

    def plan(self, options: Train, data: Prepared, machine: Machine) -> tuple[Train, list[str]]:
        text: TextDataset = data.arrays
        lengths = np.diff(text.train.offsets) + 1
        plan, reasons = decide(
            dataclasses.replace(options, vocab_limit=vocab_limit(options)),
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
        device = resolve_device(options.device)
        set_threads(None)
        model = load_pretrained(run.model).to(device)
        tokenizer, start = Tokenizer.load(run.model), Start.load(run.model)
        seed = options.seed
        if seed is None:
            seed = derive_seed(np.random.SeedSequence().entropy) % 2**32
            bus.note(f"seed {seed}")
        prompts: list[str | None] = []

        def jobs() -> Iterator[Job]:
            for number, prompt in enumerate(_prompts(options.prompt)):
                prompts.append(prompt)
                yield Job(number * options.n, start.prompt_ids(tokenizer, prompt), options.n)

        samples = generate(
            model,
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
            batch_size=options.batch_size,
            device=device,
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
        device = resolve_device(options.device)
        set_threads(None)
        model = load_pretrained(run.model).to(device)
        tokenizer = Tokenizer.load(run.model)
        arrays, data, notes = self._held_out(run, options, tokenizer, bus)
        corpus = corpus_of(arrays, tokenizer.eot_id)
        pieces = evaluation_pieces(corpus, model.config.context)
        costs = piece_nats(
            model,
            corpus,
            pieces,
            batch_size=options.batch_size,
            device=device,
            progress=lambda done, total: bus.stage("evaluating", done, total),
        )
        nats = np.bincount(pieces.document, costs, minlength=len(arrays.chars))
        measures = {"bits_per_char": bits_per_char(nats, arrays.chars, seed=options.seed).to_json()}
        return Evaluation(data, measures, notes)

    def _held_out(self, run: Run, options: Eval, tokenizer: Tokenizer, bus: Bus) -> tuple[TokenArrays, str, list[str]]:
        """What to measure on: --data, or the half of the held-out slice that chose nothing."""
        if options.data is not None:
            arrays = encode_documents(
                options.data,
                tokenizer,
                column=options.column or run.record["plan"].get("column"),
                layout=_layout(options),
                input_format=options.input_format,
                split=options.split,
                progress=bus.stage,
            )
            return arrays, options.data, []
        data = self.prepare(rebuild(Train, run.record["plan"]), bus).arrays
        notes = ["measured on the --val data that also chose the checkpoint"] if data.explicit_val else []
        return data.report, "held-out", notes


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
