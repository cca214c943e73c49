"""From a source of text to token arrays: streamed, split, tokenised once, memory-mapped from the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from aigc_cli.data import cache
from aigc_cli.data.cache import Progress
from aigc_cli.data.kinds import Kind, Transcriber, find_kind, transcriber_of
from aigc_cli.data.sources.opening import Opened, cached, changes, new_entry, open_evaluation, open_training
from aigc_cli.data.sources.source import Part
from aigc_cli.data.sources.standard_input import named_as_given
from aigc_cli.data.splits import DROPPED, REPORT, SplitPlan
from aigc_cli.data.text.build import SPLITS, build_entry
from aigc_cli.data.text.documents import PLAIN, Reading, Recognised, holds_tables, recognise, routed, scan, stream
from aigc_cli.data.text.formats import is_table
from aigc_cli.data.text.kind import TEXT, true_nats
from aigc_cli.data.text.near import look_for_near
from aigc_cli.data.text.piped import as_piped
from aigc_cli.data.text.request import TextRequest, check_options_apply, check_request, settled
from aigc_cli.data.text.tokenizers.choice import affordable_vocab
from aigc_cli.data.text.tokenizers.spacy_words import SpacyWords, is_spacy
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.data.text.tokens import TokenArrays, documents, encode_to, load_arrays
from aigc_cli.errors import RequestError

__all__ = [
    "TextDataset",
    "TextRequest",
    "TokenArrays",
    "check_unchanged",
    "documents",
    "encode_documents",
    "prepare_text",
    "true_nats",
]

_VERSION = 2  # of cache entries; raised when the same source would be prepared differently


def check_unchanged(info: Mapping[str, Any]) -> list[str]:
    """What differs now from the source that a `TextDataset.info`, or run.json, describes, a line each."""
    kind = find_kind(info.get("kind", TEXT.name))
    if (changed := changes(kind, info)) or "read_as" in info or info["location"].startswith(("hf:", "demo:")):
        return changed
    # A run of an earlier version, which took a file for what its suffix says and chose columns by the first row.
    reading = Reading(tuple(info.get("columns", ())), info.get("layout", "document"))
    try:
        found = recognise(TEXT.open(info["location"]).training(), reading)
    except RequestError as error:
        return [str(error)]
    if not found.unexpected:
        return []
    return [f"{info['location']} was read otherwise when this run was trained; now: {'; '.join(found.notes)}"]


@dataclass(frozen=True)
class TextDataset:
    """Training and held-out tokens, with notes and records."""

    train: TokenArrays
    select: TokenArrays  # for choosing checkpoints and early stopping
    report: TokenArrays  # for evaluation
    tokenizer: Tokenizer
    notes: list[str]  # for the user
    info: dict[str, Any]  # for run.json
    cached: bool  # whether nothing had to be prepared
    explicit_val: bool  # whether `select` and `report` are both the whole of --val or of a folder's val split
    spooled: Path | None = None  # the copy of standard input
    kind: Kind = TEXT  # of the source, with what it takes to write samples
    transcriber: Transcriber | None = None  # how its files are read as texts, if they are none
    places: Mapping[str, str] = field(default_factory=dict)  # of `TokenArrays.extremes` in the source, if known: "row 17"

    @cached_property
    def unseen(self) -> tuple[int, ...]:
        """The tokens, other than special ones, that don't occur in the training text."""
        tokens, tokenizer = self.train.tokens, self.tokenizer
        seen = np.zeros(tokenizer.vocab_size, np.bool_)
        for begin in range(0, len(tokens), 1 << 20):
            seen[tokens[begin : begin + (1 << 20)]] = True
        special = {tokenizer.eot_id, tokenizer.sos_id, tokenizer.field_id, *tokenizer.unwritten}
        return tuple(token for token in np.flatnonzero(~seen).tolist() if token not in special)


def prepare_text(request: TextRequest, *, progress: Progress) -> TextDataset:
    """Open, split and tokenise a source, or load it from the cache.

    Raises `RequestError` if the source can't be used (nothing is added to the cache), and `AigcError` if the cache can't be
    written or the source changes while it is read.
    """
    check_request(request)
    with open_training(request.kind, request.data, request.val, request.input_format) as opened:
        reading, told = as_piped(request.reading, opened.spooled, request.input_format)
        transcriber = transcriber_of(request.kind, opened.train.part)
        reading = replace(reading, transcriber=transcriber)
        check_options_apply(opened.parts, reading, piped=opened.spooled is not None)
        request = settled(replace(request, reading=reading))
        tables = any(holds_tables(part) for part in opened.parts)
        recognised = [recognise(part, reading, beside_tables=tables) for part in opened.parts]
        understood = replace(opened.understood, **_read(recognised[0]))
        if understood.val is not None:
            understood = replace(understood, val=replace(understood.val, **_read(recognised[1])))
        understood = replace(understood, skipped=understood.skipped + recognised[0].skipped)
        if opened.spooled is not None:
            understood = understood.of_standard_input()
        told += dict.fromkeys(named_as_given(note, opened.spooled) for part in recognised for note in part.notes)
        key = _key(request, opened, [part.unexpected for part in recognised])
        build = partial(build_entry, key, request, opened, progress)
        (facts, arrays, tokenizer), was_cached = cached(key, opened.snapshots, _load, build)
        notes, near = list(facts["notes"]), facts.get("near_duplicates", {})
        generated = opened.train.part.kind == "demo"  # at random, and some alike
        folder = None if generated or transcriber is not None else cache.lookup(key)
        if request.dedup == "exact" and folder is not None:
            near, told_of_near = look_for_near(folder, arrays, tokenizer, sliced=opened.val is None, progress=progress)
            notes += told_of_near
        understood = replace(understood, removed=facts["info"]["dropped"], near_duplicates=near)
        understood = replace(understood, normalised=facts.get("normalised"))
        return TextDataset(
            **arrays,
            tokenizer=tokenizer,
            notes=[*opened.notes, *told, *notes],
            info={
                **opened.describe(),
                "columns": list(reading.columns),
                "layout": reading.layout,
                "read_as": [part.unexpected for part in recognised],
                **({} if transcriber is None else transcriber.record()),
                **facts["info"],
                "understood": understood.to_json(),
            },
            cached=was_cached,
            explicit_val=opened.val is not None,
            spooled=opened.spooled,
            places=_places(facts.get("rows", {}), opened.train.part, request.reading),
            kind=opened.train.kind if transcriber is None else opened.train.kind.of_run(transcriber.record()),
            transcriber=transcriber,
        )


def _places(rows: Mapping[str, int], part: Part, reading: Reading) -> dict[str, str]:
    """Where the texts with these numbers, from 1, are in the source."""
    if reading.transcriber is not None:
        return {which: reading.transcriber.place(part, row - 1) for which, row in rows.items()}
    unit = _unit(part, reading)
    return {which: f"{unit} {row:,}" for which, row in rows.items()} if unit else {}


def _unit(part: Part, reading: Reading) -> str:
    """What a document is in its file; "" if there are several files, or it is the whole file."""
    if len(part.files) != 1:
        return ""
    return "row" if is_table(part.files[0]) else "line" if reading.layout == "lines" else ""


def _read(found: Recognised) -> dict[str, Any]:
    """Fields of `Understood`."""
    return {name: getattr(found, name) for name in ("columns", "tables", "layouts", "encodings")}


def _key(request: TextRequest, opened: Opened, unexpected: Sequence[tuple[Any, ...]]) -> str:
    limited = request.tokenizer in ("auto", "bpe") and request.vocab_size is None
    limit = affordable_vocab(request.vocab_limit) if limited else None
    return cache.key_of(
        "text", _VERSION, opened.train.identity, opened.val.identity if opened.val else None,
        *_key_of(request.reading), request.tokenizer, request.vocab_size, limit,
        request.min_freq, request.unk, SpacyWords.named(request.tokenizer).record() if is_spacy(request.tokenizer) else None,
        request.chars_affordable if request.tokenizer == "auto" else None,
        Tokenizer.load(request.tokenizer_from).fingerprint() if request.tokenizer_from else None,
        *([unexpected] if any(unexpected) else []),
        *(["dedup", request.dedup] if request.dedup != "exact" else []),
    )  # fmt: skip


def _key_of(reading: Reading) -> list[Any]:
    share = [] if reading.source_share is None else [reading.source_share]
    header = [] if reading.header is None else ["header", reading.header]
    transcribed = [] if reading.transcriber is None else reading.transcriber.key()
    return [reading.columns, reading.layout, reading.lower, *share, *header, *transcribed]


def _load(folder: Path) -> tuple[dict[str, Any], dict[str, TokenArrays], Tokenizer] | None:
    """The content of a cache entry; None if it is damaged."""
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
    tell: Callable[[str], None] | None = None,
    kind: Kind = TEXT,
) -> TokenArrays:
    """The documents of another source, encoded with an existing tokenizer, and cached like training data.

    From a folder with splits, `split` is read; by default test, otherwise val, otherwise train. Copies are kept, empty
    documents dropped. `tell` is called with notes on how they are read. Raises `RequestError` as `prepare_text` does.
    """
    with open_evaluation(kind, src, split, input_format) as opened:
        snapshot, spooled = opened.snapshot, opened.spooled
        part = snapshot.part
        reading, piped = as_piped(reading, spooled, input_format)
        check_options_apply([part], reading, piped=spooled is not None)
        reading = replace(reading, lower=tokenizer.lower, transcriber=transcriber_of(kind, part))
        recognised = recognise(part, reading)
        unexpected = recognised.unexpected
        if tell is not None:
            for note in (*opened.notes, *piped, *recognised.notes):
                tell(named_as_given(note, spooled))
        of_reading = [*_key_of(reading), *([unexpected] if unexpected else [])]
        key = cache.key_of("documents", _VERSION, snapshot.identity, *of_reading, tokenizer.fingerprint())

        def load(folder: Path) -> TokenArrays | None:
            try:
                return load_arrays(folder / "report", tokenizer.vocab_size)
            except (OSError, ValueError):
                return None

        def build() -> None:
            scanned = scan(stream(part, reading), progress)
            plan = SplitPlan(np.where(scanned.chars > 0, np.uint8(REPORT), np.uint8(DROPPED)))
            if plan.size(REPORT, scanned.chars) < 2:
                raise RequestError(f"{part.location} holds no text")
            with new_entry(key, [snapshot]) as folder:
                pieces = routed(stream(part, reading), plan)
                encode_to({REPORT: folder / "report"}, pieces, tokenizer, scanned.n_bytes, progress)

        return cached(key, [snapshot], load, build)[0]
