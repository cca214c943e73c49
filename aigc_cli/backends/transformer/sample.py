"""`aigc sample transformer`: texts for prompts, in order."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.transformer.config import Sample
from aigc_cli.backends.transformer.generate import Job, SamplingOptions, generate
from aigc_cli.backends.transformer.opened import open_run
from aigc_cli.engine.run import Run
from aigc_cli.errors import RequestError


def sample_texts(run: Run, options: Sample, piece: Callable[[str], None] | None) -> Iterator[Drawn]:
    """The samples of `aigc sample transformer`, in order; `piece` takes each as it grows."""
    opened = open_run(run, options.device)
    tokenizer = opened.tokenizer
    assert options.seed is not None
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
        seed=options.seed,
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
            "seed": options.seed,
            "index": made.index,
            "finish": made.finish,
        }
        if streamed is not None:
            streamed.end(made.index)
        yield Drawn(record, text=echoed(made.index) + text)


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
