"""From a source of text to a cache entry, in three streaming passes.

The first pass hashes each document, to find copies and choose held-out documents; the second samples training text and fits the
tokenizer; the third writes the tokens.
"""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aigc_cli.data.cache import Progress
from aigc_cli.data.near import Near
from aigc_cli.data.sources import opening
from aigc_cli.data.sources.opening import Opened
from aigc_cli.data.sources.source import Part
from aigc_cli.data.splits import (
    DROPPED,
    FEW_CHARACTERS,
    REPORT,
    SELECT,
    TRAIN,
    SplitPlan,
    plan_with_slice,
    plan_with_val,
    rough,
)
from aigc_cli.data.text.documents import Reading, Scan, chosen_columns, recognise, routed, scan, stream, with_variants
from aigc_cli.data.text.fitting import fit_tokenizer
from aigc_cli.data.text.near import without_near
from aigc_cli.data.text.pieces import End
from aigc_cli.data.text.request import TextRequest
from aigc_cli.data.text.tokenizers.spacy_words import SpacyWords, is_spacy
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.data.text.tokens import TokenArrays, encode_to, load_arrays
from aigc_cli.data.understood import listed
from aigc_cli.errors import RequestError

SPLITS = {TRAIN: "train", SELECT: "select", REPORT: "report"}
"""The folders of an entry. There is no `report` if validation data is given."""

_LEAST_TEXTS = 2  # to train on one and hold out another
_ENOUGH_TEXTS, _MOST_COPIES = 20, 0.9  # from which on so many copies are a mistake
_MUCH_LONGER = 20
_SAMPLE_BYTES = 32_000_000  # of training text for fitting a tokenizer


def build_entry(key: str, request: TextRequest, opened: Opened, progress: Progress) -> None:
    """Prepare the source and add it to the cache."""
    if is_spacy(request.tokenizer):
        SpacyWords.named(request.tokenizer).check()  # fail before reading everything
    reading, train = request.reading, opened.train.part
    planned = _planned(request, opened, progress)
    plan, sizes = planned.plan, planned.sizes
    with opening.new_entry(key, opened.snapshots) as folder:
        tokenizer, reason = _fit(request, train, plan, planned.train_bytes, progress)
        tokenizer.save(folder / "tokenizer")
        transcribed = reading.transcriber is not None
        counts: list[int] = []  # of the variants of each training document
        pieces = _pieces(planned.reads, reading, counts)
        total_bytes = None if transcribed else planned.n_bytes
        encode_to({split: folder / SPLITS[split] for split in sizes}, pieces, tokenizer, total_bytes, progress)
        splits = {SPLITS[split]: _counts(folder / SPLITS[split], tokenizer.vocab_size, transcribed) for split in sizes}
        facts = {
            "arrays": list(splits),
            "rows": _rows(load_arrays(folder / SPLITS[TRAIN], tokenizer.vocab_size), plan, counts),
            "normalised": planned.replaced.total() or None,
            "notes": [
                *_of_replaced(planned.replaced),
                *_of_unanswered(planned.unanswered, reading),
                *([] if reading.transcriber is None else [reading.transcriber.told(len(counts), sum(counts))]),
                *_notes(tokenizer, reason, splits["train"], reading.n_fields),
                *plan.notes,
            ],
            "near_duplicates": {} if planned.near is None else planned.near.describe(),
            "info": {
                "dropped": plan.dropped,
                "tokenizer": {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "reason": reason},
                "splits": splits,
            },
        }
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


@dataclass(frozen=True)
class _Planned:
    """What goes where. The hashes and lengths of documents, which that follows from, are no longer in memory."""

    plan: SplitPlan  # of the training source
    reads: tuple[tuple[Part, SplitPlan], ...]  # in order
    sizes: dict[int, int]  # by split, in characters
    n_bytes: int  # of all that is read
    train_bytes: int  # of what is trained on, about
    replaced: Counter[str]  # characters that are written otherwise than in the source
    unanswered: int  # documents of the training source
    near: Near | None


def _planned(request: TextRequest, opened: Opened, progress: Progress) -> _Planned:
    """Read all documents once and decide on their splits."""
    reading, train = request.reading, opened.train.part
    val = opened.val.part if opened.val else None
    replaced: Counter[str] = Counter()
    scanned = _scan(train, reading, progress, replaced)
    n_bytes = scanned.n_bytes
    scanned_val: Scan | None = None
    unread = 0 if reading.transcriber is None else sum(group.count for group in reading.transcriber.skipped(train))
    if val is None:
        whole = reading.fielded  # a truncated row would lack fields
        plan = plan_with_slice(
            scanned.hashes, scanned.chars, "events" if reading.transcriber else "characters", whole=whole, unread=unread
        )
        if whole and (rows := int(np.count_nonzero(plan.splits))) < 3:
            what = "rows" if request.reading.columns else "texts"
            hint = "" if what == "rows" else " (--lines or --paragraphs split a text file)"
            raise RequestError(
                f"{train.location} has {rows} different {what}{hint}; training, selection and reporting need one each"
            )
        sizes = {split: plan.size(split, scanned.chars) for split in SPLITS}
        reads = [(train, plan)]
    else:
        scanned_val = _scan(val, reading, progress)
        n_bytes += scanned_val.n_bytes
        filled = scanned_val.chars > 0
        plan = plan_with_val(scanned.hashes, scanned.chars, scanned_val.hashes[filled], unread=unread)
        val_plan = SplitPlan(np.where(filled, np.uint8(SELECT), np.uint8(DROPPED)))
        sizes = {TRAIN: plan.size(TRAIN, scanned.chars), SELECT: val_plan.size(SELECT, scanned_val.chars)}
        n, texts = sizes[SELECT], int(filled.sum())
        told = f"validating on {texts:,} text{'s' * (texts != 1)} with {n:,} characters"
        note = rough(f"{n:,} characters of validation data") if n < FEW_CHARACTERS else told
        plan = replace(plan, notes=(*plan.notes, note))
        reads = [(train, plan), (val, val_plan)]
        if sizes[TRAIN] == 0:
            raise RequestError(f"nothing left to train on: all of {train.location} is also in the validation data")
    _refuse_copies(train, reading, plan.dropped["copies"], int((scanned.chars > 0).sum()))
    near: Near | None = None
    if request.dedup == "near" and not plan.cut:
        kept = tuple(reads)
        plan, near = without_near(plan, lambda: _pieces(kept, reading), progress)
        held_chars = scanned_val.chars if scanned_val else scanned.chars[(plan.splits == SELECT) | (plan.splits == REPORT)]
        plan = replace(plan, notes=(*plan.notes, *_not_searched(scanned.chars[plan.splits == TRAIN], held_chars)))
        reads[0] = (train, plan)
        sizes[TRAIN] = plan.size(TRAIN, scanned.chars)
    for split, size in sizes.items():
        if size < 2:
            where = val.location if val and split == SELECT else train.location
            raise RequestError(f"{where} is too short: {_PURPOSE[split]} needs at least 2 characters")
    train_bytes = int(scanned.n_bytes * (sizes[TRAIN] / int(scanned.chars.sum())))
    return _Planned(plan, tuple(reads), sizes, n_bytes, train_bytes, replaced, scanned.unanswered, near)


def _rows(train: TokenArrays, plan: SplitPlan, counts: Sequence[int]) -> dict[str, int]:
    """The places, from 1, that the first, the longest and the shortest training document have in the source. `counts` are those
    of their variants, if they have any."""
    rows = np.flatnonzero(plan.splits == TRAIN)
    rows = np.repeat(rows, counts) if counts else rows
    return {which: int(rows[number]) + 1 for which, number in train.extremes().items()}


def _pieces(
    reads: Sequence[tuple[Part, SplitPlan]], reading: Reading, counts: list[int] | None = None
) -> Iterator[tuple[int, str, End]]:
    pieces = chain.from_iterable(routed(stream(part, reading), plan) for part, plan in reads)
    return with_variants(pieces, reading, counts)


def _refuse_copies(part: Part, reading: Reading, copies: int, n: int) -> None:
    """Raise RequestError if nearly all texts are alike and nobody named their column: it is likely to be another one."""
    if n < _ENOUGH_TEXTS or copies <= _MOST_COPIES * n or reading.columns or not (columns := chosen_columns(part, reading)):
        return
    name = columns[0]
    read = recognise(part, reading).columns
    others = [] if read is None else [other for other in read.others if other != name]
    ways = [f"choose another with --column ({listed(map(repr, others))})"] if others else []
    if n - copies >= _LEAST_TEXTS:
        ways.append(f"learn the {n - copies:,} that differ with --column {shlex.quote(name)}")
    how = ", or ".join(ways) or "there is no other column to learn from"
    raise RequestError(f"{part.location}: {copies:,} of {n:,} texts of the column {name!r} are copies of others; {how}")


def _scan(part: Part, reading: Reading, progress: Progress, replaced: Counter[str] | None = None) -> Scan:
    scanned = scan(stream(part, reading, replaced), progress)
    if not scanned.chars.any():
        raise RequestError(f"{part.location} holds no text")
    return scanned


def _not_searched(train: npt.NDArray[np.integer[Any]], held: npt.NDArray[np.integer[Any]]) -> list[str]:
    """A note if training texts are so long that they could hold a held-out one without being near duplicates of it. `train` and
    `held` are lengths in characters."""
    longer = int((train > _MUCH_LONGER * int(held.max())).sum())
    if not longer:
        return []
    texts = "1 training text is" if longer == 1 else f"{longer:,} training texts are"
    return [f"{texts} over {_MUCH_LONGER} times as long as any held out, and not searched for copies of those inside"]


_PURPOSE = {TRAIN: "training", SELECT: "choosing checkpoints", REPORT: "evaluation"}


def _counts(folder: Path, vocab_size: int, transcribed: bool) -> dict[str, int]:
    arrays = load_arrays(folder, vocab_size)
    if transcribed:
        return {"pieces": arrays.n_docs, "events": int(arrays.chars.sum())}
    counts = {
        "documents": arrays.n_docs,
        "characters": int(arrays.chars.sum()),
        "bytes": int(arrays.bytes.sum()),
        "tokens": len(arrays.tokens),
    }
    return counts if arrays.unknown is None else {**counts, "unknown_words": len(arrays.unknown.at)}


def _of_replaced(replaced: Counter[str]) -> list[str]:
    """What to tell of characters that are written otherwise than in the source."""
    if not replaced:
        return []
    ((char, _),) = replaced.most_common(1)
    normal = unicodedata.normalize("NFC", char)
    codes = " ".join(f"U+{ord(part):04X}" for part in normal)
    return [
        f"{replaced.total():,} characters are read in their normal form (NFC), such as U+{ord(char):04X} as {codes} {normal}"
    ]


def _of_unanswered(unanswered: int, reading: Reading) -> list[str]:
    if not unanswered or len(reading.columns) < 2:
        return []
    name = repr(reading.columns[-1])
    return [f"{unanswered:,} rows have nothing in {name}, and are learned so; remove them if they shouldn't be"]


def _notes(tokenizer: Tokenizer, reason: str, train: dict[str, int], n_fields: int) -> list[str]:
    """Notes on the tokenizer for the user."""
    notes = [f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size:,} tokens ({reason})"]
    if tokenizer.segmenter is not None:
        notes.append(f"words are split by {tokenizer.segmenter.describe()}; other tools can't load this run's tokenizer")
    if tokenizer.unk_id is not None:
        n, of = train["unknown_words"], train["tokens"] - train["documents"] * (n_fields - 1)
        notes.append(f"{n:,} of {of:,} words in the training text ({n / max(of, 1):.1%}) are unknown")
    return notes


def _fit(request: TextRequest, train: Part, plan: SplitPlan, train_bytes: int, progress: Progress) -> tuple[Tokenizer, str]:
    """The tokenizer, fitted on training text, and the reason for its choice."""
    if request.tokenizer_from is not None:
        return Tokenizer.load(request.tokenizer_from), "from the run of --init-from"
    sample = _training_sample(request, train, plan, train_bytes)
    fitted, reason = fit_tokenizer(request, sample, train_bytes, progress)
    fitted = fitted.with_lower() if request.reading.lower else fitted
    return (fitted.with_fields() if request.reading.fielded else fitted), reason


def _training_sample(request: TextRequest, train: Part, plan: SplitPlan, train_bytes: int) -> Iterator[str]:
    """Evenly spread pieces of training text, about `_SAMPLE_BYTES` in total."""
    share = min(1.0, _SAMPLE_BYTES / max(train_bytes, 1))
    credit = 0.0
    for split, text, _ in with_variants(routed(stream(train, request.reading), plan), request.reading):
        if split == TRAIN:
            if credit >= 0:
                yield text
                credit -= len(text)
            credit += share * len(text)
