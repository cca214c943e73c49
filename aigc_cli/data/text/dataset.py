"""From a source of text to token arrays: streamed, split, tokenised once, memory-mapped from the cache."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from aigc_cli.data import cache, sources
from aigc_cli.data.cache import Progress
from aigc_cli.data.sources import JSON, FileRecord, Part
from aigc_cli.data.splits import DROPPED, REPORT, SplitPlan
from aigc_cli.data.text.build import SPLITS, build_entry
from aigc_cli.data.text.documents import PLAIN, Reading, routed, scan, stream
from aigc_cli.data.text.source import (
    TextRequest,
    check_options_apply,
    check_request,
    check_unchanged,
    described,
    identity,
    open_text,
    settled,
    spool_stdin,
    take_stdin,
    true_nats,
)
from aigc_cli.data.text.tokenizers.choice import affordable_vocab
from aigc_cli.data.text.tokenizers.spacy_words import SpacyWords, is_spacy
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.data.text.tokens import TokenArrays, documents, encode_to, load_arrays
from aigc_cli.errors import AigcError, RequestError

__all__ = [
    "TextDataset",
    "TextRequest",
    "TokenArrays",
    "check_unchanged",
    "documents",
    "encode_documents",
    "prepare_text",
    "take_stdin",
    "true_nats",
]

_VERSION = 2  # of what the cache holds; raised when the same source would be prepared differently


@dataclass(frozen=True)
class TextDataset:
    """Training and held-out tokens, and what to tell about them."""

    train: TokenArrays
    select: TokenArrays  # chooses checkpoints and stops
    report: TokenArrays  # for the figures that are reported
    tokenizer: Tokenizer
    notes: list[str]  # for the person
    info: dict[str, JSON]  # for run.json
    cached: bool  # nothing had to be prepared
    explicit_val: bool  # `select` and `report` are both the whole of a --val or of a folder's val split

    @cached_property
    def unseen(self) -> tuple[int, ...]:
        """The tokens of the vocabulary, special ones apart, that no training text has."""
        tokens, tokenizer = self.train.tokens, self.tokenizer
        seen = np.zeros(tokenizer.vocab_size, np.bool_)
        for begin in range(0, len(tokens), 1 << 20):
            seen[tokens[begin : begin + (1 << 20)]] = True
        special = {tokenizer.eot_id, tokenizer.sos_id, tokenizer.field_id, *tokenizer.unwritten}
        return tuple(token for token in np.flatnonzero(~seen).tolist() if token not in special)


def prepare_text(request: TextRequest, *, progress: Progress) -> TextDataset:
    """Open, split, tokenise and cache what the request names; a second call finds it in the cache.

    Raises RequestError, with nothing left in the cache, when the source cannot be used, and AigcError when
    the cache cannot be written or the source changes while it is read.
    """
    check_request(request)
    spooled = take_stdin(request)
    with sources.speaking_of_stdin(None if spooled is request else Path(spooled.data)):
        return _prepare(spooled, progress)


def _prepare(request: TextRequest, progress: Progress) -> TextDataset:
    source = open_text(request.data)
    train = source.training()
    val = sources.validation_part(request.val, source, open_text)
    check_options_apply([train, val] if val else [train], request.reading)
    records = sources.record_files(train)
    val_records = sources.record_files(val) if val else []
    request = settled(request)
    key = _key(request, train, records, val, val_records)
    notes = list(source.notes)
    folder = cache.lookup(key)
    prepared = _load(folder) if folder else None
    if folder and prepared is None:
        cache.discard(key)
    cached = prepared is not None
    if prepared is None:
        build_entry(key, request, train, val, [*records, *val_records], progress)
        prepared = _load(cache.lookup(key))
        if prepared is None:
            raise AigcError(f"the cache {cache.cache_dir()} lost what was just written to it; try again")
        sources.remember_files(train, records)
        if val:
            sources.remember_files(val, val_records)
    facts, arrays, tokenizer = prepared
    info: dict[str, JSON] = {
        **described(train, records),
        "val": cast(JSON, described(val, val_records)) if val else None,
        "columns": list(request.reading.columns),
        "layout": request.reading.layout,
        **facts["info"],
    }
    return TextDataset(
        **arrays,
        tokenizer=tokenizer,
        notes=notes + facts["notes"],
        info=info,
        cached=cached,
        explicit_val=val is not None,
    )


def _key(
    request: TextRequest,
    train: Part,
    records: list[FileRecord],
    val: Part | None,
    val_records: list[FileRecord],
) -> str:
    limited = request.tokenizer in ("auto", "bpe") and request.vocab_size is None
    limit = affordable_vocab(request.vocab_limit) if limited else None
    return cache.key_of(
        "text", _VERSION, identity(train, records), identity(val, val_records) if val else None,
        *_key_of(request.reading), request.tokenizer, request.vocab_size, limit,
        request.min_freq, request.unk, SpacyWords.named(request.tokenizer).record() if is_spacy(request.tokenizer) else None,
        request.chars_affordable if request.tokenizer == "auto" else None,
        Tokenizer.load(request.tokenizer_from).fingerprint() if request.tokenizer_from else None,
    )  # fmt: skip


def _key_of(reading: Reading) -> list[Any]:
    share = [] if reading.source_share is None else [reading.source_share]
    return [reading.columns, reading.layout, reading.lower, *share]


def _load(folder: Path | None) -> tuple[dict[str, Any], dict[str, TokenArrays], Tokenizer] | None:
    """What an entry of the cache holds; None when it is damaged or gone."""
    if folder is None:
        return None
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        tokenizer = Tokenizer.load(folder / "tokenizer")
        of = {name: load_arrays(folder / name, tokenizer.vocab_size) for name in facts["arrays"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts, {split: of.get(split, of["select"]) for split in SPLITS.values()}, tokenizer


def encode_documents(
    src: str,
    tokenizer: Tokenizer,
    *,
    reading: Reading = PLAIN,
    input_format: str | None = None,
    split: str | None = None,
    progress: Progress,
) -> TokenArrays:
    """The documents of another source as tokens of a tokenizer that exists; cached like training data.

    Of a folder with splits, `split` is read: by default test, else val, else train. Every document counts,
    copies too; empty ones are left out. Raises RequestError as `prepare_text` does.
    """
    if input_format is not None and src != "-":
        raise RequestError("--input-format is for standard input (--data -); a file's name tells its format")
    spooled = None
    if src == "-":
        spooled, reading = spool_stdin(input_format, reading)
        src = str(spooled)
    with sources.speaking_of_stdin(spooled):
        part = open_text(src).evaluation(split)
        check_options_apply([part], reading)
        reading = replace(reading, lower=tokenizer.lower)
        records = sources.record_files(part)
        key = cache.key_of("documents", _VERSION, identity(part, records), *_key_of(reading), tokenizer.fingerprint())
        if (arrays := _load_documents(key, tokenizer)) is not None:
            return arrays
        cache.discard(key)
        scanned = scan(stream(part, reading), progress)
        plan = SplitPlan(np.where(scanned.chars > 0, REPORT, DROPPED).astype(np.uint8))
        if plan.size(REPORT, scanned.chars) < 2:
            raise RequestError(f"{part.location} holds no text")
        with cache.new_entry(key) as folder:
            pieces = routed(stream(part, reading), plan)
            encode_to({REPORT: folder / "report"}, pieces, tokenizer, scanned.n_bytes, progress)
            sources.refuse_changed(records)
        sources.remember_files(part, records)
    arrays = _load_documents(key, tokenizer)
    if arrays is None:
        raise AigcError(f"the cache {cache.cache_dir()} lost what was just written to it; try again")
    return arrays


def _load_documents(key: str, tokenizer: Tokenizer) -> TokenArrays | None:
    folder = cache.lookup(key)
    try:
        return load_arrays(folder / "report", tokenizer.vocab_size) if folder else None
    except (OSError, ValueError):
        return None
