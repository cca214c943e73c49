"""Batched sampling with a key-value cache, for prompts of different lengths."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from aigc_cli.backends.transformer.decoding.language_model import IncrementalState, LanguageModel
from aigc_cli.backends.transformer.decoding.sampling import SamplingOptions, next_allowed_tokens, next_tokens
from aigc_cli.backends.transformer.decoding.token_rules import BETWEEN, FieldEnds, TokenRules
from aigc_cli.engine.processes.sharing import shared
from aigc_cli.errors import AigcError

if TYPE_CHECKING:
    from aigc_cli.backends.transformer.decoding.regex_constraint import Match, RegexConstraint

__all__ = ["FieldEnds", "Generated", "Job", "SamplingOptions", "generate"]

LOOKAHEAD = 8  # batches of jobs read ahead, so that prompts of similar length can share a batch
MOST_TOKENS = 1 << 16  # of prompts, prefilled at once
BLOCK = 64  # random numbers per sample drawn at once
CROWDING = 0.75  # the share of unfinished rows below which finished ones are dropped, which copies the cache

Finish = Literal["end", "length", "stop"]


@dataclass(frozen=True)
class Job:
    """A prompt, and the samples `index` … `index + draws - 1` that continue it.

    An empty prompt stands for the start of a document. For a model that answers, the prompt is the source.
    """

    index: int
    prompt_ids: list[int]
    draws: int = 1


@dataclass(frozen=True)
class Generated:
    """One sample, without its prompt.

    `content` is its bytes, cut before the first stop string; `ids` the shortest prefix of its tokens with all of these bytes,
    without the end-of-document token. `finish` says why it ended: at the end of the document, at the token limit, or at a stop
    string. `fields` are the parts of `content` between end-of-field tokens. `removed` is the mean probability mass removed by a
    constraint, and `matches` whether the text matches it. For beam search, `log_p` is the log-probability in nats and `score`
    the score for ranking.
    """

    index: int
    ids: list[int]
    content: bytes
    finish: Finish
    fields: list[bytes]
    removed: float | None = None
    matches: bool | None = None
    log_p: float | None = None
    score: float | None = None

    @property
    def text(self) -> str:
        """`content` as text, without a character cut at the token limit."""
        return self.content.decode("utf-8", "ignore")


@torch.inference_mode()
def generate(
    model: LanguageModel,
    jobs: Iterable[Job],
    *,
    options: SamplingOptions,
    rules: TokenRules,
    seed: int,
    decode_bytes: Callable[[list[int]], bytes],
    batch_size: int,
    device: torch.device,
    constraint: RegexConstraint | None = None,
    on_bytes: Callable[[int, bytes], None] | None = None,
) -> Iterator[Generated]:
    """Generate the samples of all jobs, in order.

    Sample i depends only on its prompt, the options and (seed, i); the batch only affects rounding. Jobs are consumed lazily:
    `LOOKAHEAD` batches at a time, or one by one if `batch_size` is 1. `decode_bytes` returns the bytes of tokens. Only tokens
    allowed by the `rules` are drawn; `max_tokens` may cut a character. In texts with fields, stop strings and the `constraint`
    apply to the last field. What is generated of it matches the constraint, unless it is cut at `max_tokens`.
    `on_bytes(index, piece)` is called with the bytes of each sample's last field as soon as they are final.

    The model must be in evaluation mode. Raises `AigcError` if its logits are not finite.
    """
    ahead = batch_size * LOOKAHEAD if batch_size > 1 else 1
    limit = model.longest if options.max_tokens is None else options.max_tokens
    stops = tuple(stop.encode() for stop in options.stop)
    samples = (
        _Sample(
            index,
            tuple(job.prompt_ids) or (model.begins_id,),
            stops,
            rules.to_come(job.prompt_ids),
        )
        for job in jobs
        for index in range(job.index, job.index + job.draws)
    )
    piece_of = cache(lambda token: decode_bytes([token]))

    def of_batch(batch: list[_Sample]) -> list[tuple[Any, ...]]:
        for sample, token in _draw(model, batch, options, seed, limit, device, rules, constraint) if limit else ():
            if token == rules.eot_id:
                sample.finish = "end"
            else:
                sample.take(token, piece_of(token), ends_field=rules.ends_field(token))
                sample.state = rules.after(sample.state, token)
                if sample.finish is None and len(sample.ids) == limit:
                    sample.finish = "length"
            if on_bytes is not None and (piece := sample.certain()):
                on_bytes(sample.index, piece)
        for sample in batch:
            sample.end_match()
        return [tuple(vars(sample.generated()).values()) for sample in batch]

    while window := list(islice(samples, ahead)):
        by_length = sorted(window, key=lambda sample: len(sample.prompt))
        parts = (by_length[part] for part in batches([len(sample.prompt) for sample in by_length], batch_size))
        found = {
            id(sample): Generated(*one)
            for batch, done in shared(parts, of_batch)
            for sample, one in zip(batch, done, strict=True)
        }
        for sample in window:
            yield found[id(sample)]


def batches(lengths: Sequence[int], batch_size: int) -> Iterator[slice]:
    """Split rows of ascending lengths into batches of at most `batch_size` rows and `MOST_TOKENS` tokens, including padding."""
    start = 0
    for end in range(1, len(lengths) + 1):
        full = end - start == batch_size
        if full or end == len(lengths) or (end - start + 1) * lengths[end] > MOST_TOKENS:
            yield slice(start, end)
            start = end


def prefilled(model: LanguageModel, prompts: Sequence[Sequence[int]], room: int) -> IncrementalState:
    """Read the prompts. Raises `AigcError` if the model's logits are not finite."""
    state = model.prefill(prompts, room=room)
    if not state.logits.isfinite().all():
        raise AigcError("the model's logits are not finite; train it again, or choose another --run")
    return state


@dataclass
class _Sample:
    """The text of one sample as it grows."""

    index: int
    prompt: tuple[int, ...]
    stops: tuple[bytes, ...]
    to_come: int  # the number of fields after the current one
    state: int = BETWEEN  # the position within a character
    length: int = 0  # of the current field, in tokens that were generated
    ids: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # the number of bytes up to and including each token
    content: bytearray = field(default_factory=bytearray)
    borders: list[tuple[int, int]] = field(default_factory=list)  # byte ranges of end-of-field tokens
    told: int = 0
    finish: Finish | None = None
    match: Match | None = None  # of the last field, while it is drawn
    removed: float | None = None
    matches: bool | None = None

    def take(self, token: int, piece: bytes, *, ends_field: bool = False) -> None:
        """Append a token. The sample ends if that completes a stop string."""
        before = len(self.content)
        self.ids.append(token)
        self.content += piece
        self.ends.append(len(self.content))
        self.length = 0 if ends_field else self.length + 1
        if ends_field:
            self.to_come -= 1
            self.told = len(self.content)
            self.borders.append((before, self.told))
        if self.to_come or ends_field:
            return
        if self.match is not None and self.match.take(token):
            self.finish = "end"
        found = [self.content.find(stop, max(self.begin, before - len(stop) + 1)) for stop in self.stops]
        if cut := [place for place in found if place >= 0]:
            self.finish = "stop"
            del self.content[min(cut) :]
            del self.ids[bisect_left(self.ends, min(cut)) + 1 if min(cut) else 0 :]

    @property
    def begin(self) -> int:
        """The start of the current field in `content`."""
        return self.borders[-1][1] if self.borders else 0

    def matching(self) -> Match | None:
        """The match that constrains the next token, if any."""
        return self.match if self.finish is None and not self.to_come else None

    def end_match(self) -> None:
        if self.match is not None:
            self.removed, self.matches = self.match.end(reached=not self.to_come)
            self.match = None

    def generated(self) -> Generated:
        content, finish = bytes(self.content), self.finish or "length"
        begins = [0, *(after for _, after in self.borders)]
        ends = [*(before for before, _ in self.borders), len(self.content)]
        fields = [bytes(self.content[begin:end]) for begin, end in zip(begins, ends, strict=True)]
        return Generated(self.index, self.ids, content, finish, fields, self.removed, self.matches)

    def certain(self) -> bytes:
        """The new bytes of the last field that are final, because no stop string can start in them."""
        if self.to_come:
            return b""
        end = len(self.content)
        if self.finish is None:
            longest = min(end - self.begin, max(map(len, self.stops), default=1) - 1)
            tails = (bytes(self.content[end - n :]) for n in range(longest, 0, -1))
            end -= next((len(tail) for tail in tails if any(stop.startswith(tail) for stop in self.stops)), 0)
        piece = bytes(self.content[self.told : end])
        self.told = end
        return piece


def _draw(
    model: LanguageModel,
    rows: list[_Sample],
    options: SamplingOptions,
    seed: int,
    limit: int,
    device: torch.device,
    rules: TokenRules,
    constraint: RegexConstraint | None,
) -> Iterator[tuple[_Sample, int]]:
    """Yield the next token of each unfinished row, step by step. The caller sets `finish`."""
    prompts = {prompt: place for place, prompt in enumerate(dict.fromkeys(row.prompt for row in rows))}
    state = prefilled(model, list(prompts), limit)
    if len(prompts) < len(rows):
        state.select([prompts[row.prompt] for row in rows])
    # Philox (Salmon et al. 2011) is a function of a key and a counter, so no draw depends on other samples.
    keys = np.array([(seed % 2**64, row.index) for row in rows], dtype=np.uint64)
    randoms = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
    if constraint is not None:
        for row in rows:
            row.match = constraint.begin()
    seen: Tensor | None = None
    if options.repetition_penalty != 1:
        seen = torch.zeros(state.logits.shape, dtype=torch.bool, device=device)
        for place, row in enumerate(rows) if model.continues else ():
            seen[place, list(row.prompt)] = True
    uniforms: Tensor | None = None
    for step in count():
        if options.temperature > 0 and step % BLOCK == 0:
            drawn = np.stack([random.random(BLOCK, dtype=np.float32) for random in randoms])
            uniforms = torch.from_numpy(drawn).to(device)
        uniform = None if uniforms is None else uniforms[:, step % BLOCK]
        lengths = [row.length for row in rows]
        rules.exclude(state.logits, [row.to_come for row in rows], [row.state for row in rows], lengths)
        matches = [] if constraint is None else [row.matching() for row in rows]
        if constraint is not None and any(matches):
            allowed = constraint.allowed(matches).to(device)
            ids, kept = next_allowed_tokens(state.logits, allowed, options, seen, uniform)
            for match, share in zip(matches, kept, strict=True):
                if match is not None:
                    match.kept(share)
        else:
            ids = next_tokens(state.logits, options, seen, uniform)
        for row, token in zip(rows, ids.tolist(), strict=True):
            if row.finish is None:
                yield row, token
        going = [place for place, row in enumerate(rows) if row.finish is None]
        if not going:
            return
        if len(going) <= CROWDING * len(rows):
            state.select(going)
            rows, randoms = [rows[place] for place in going], [randoms[place] for place in going]
            ids = ids[going]
            uniforms = None if uniforms is None else uniforms[going]
            seen = None if seen is None else seen[going]
        if seen is not None:
            seen.scatter_(1, ids[:, None], True)
        state.step(ids)
