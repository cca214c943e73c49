"""From options to training records in tokens."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from aigc_cli.backends.base import Codec
from aigc_cli.backends.codecs import reading_of
from aigc_cli.backends.pictures.options import KINDS, as_pictures, longest_side
from aigc_cli.backends.prepare import prepared
from aigc_cli.backends.transformer.config import Train
from aigc_cli.backends.transformer.prepare import enumerated, fields_of, telling, text_request
from aigc_cli.backends.transformer.presets import tokenizer_budget
from aigc_cli.backends.transformer.records.codec import given_codec, trained_codec
from aigc_cli.backends.transformer.records.tokens import LONGEST_TEXT, RecordTokens, codes_of, fit, tokens_of
from aigc_cli.data.pictures.format import parse_size
from aigc_cli.data.records.dataset import (
    RecordArrays,
    RecordDataset,
    RecordField,
    RecordRequest,
    check_unchanged,
    kind_in,
    prepare_records,
)
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.request import TextRequest, check_tokenizer
from aigc_cli.engine.events import Bus
from aigc_cli.engine.trainable import Example, Prepared
from aigc_cli.errors import RequestError
from aigc_cli.options import fields_of as fields_of_options

#: Steps of the codec that `--dry-run` trains only to know its shape.
DRY_STEPS = 1


def prepare(options: Train, kind: str, bus: Bus) -> Prepared:
    """The records of --data and --val, of texts and of pictures or another `kind` that is read as such, as tokens, with the
    run's record of them. Without --codec, a codec is trained first."""
    _check(options, kind)
    request = text_request(options, Reading(lower=options.lower))
    check_tokenizer(request)
    wanted = RecordRequest(
        data=options.data_source,
        val=options.val,
        fields=fields_of(options) or None,
        input_format=options.input_format,
        dedup=options.dedup,
    )
    settings = _settings(options, kind)
    given = given_codec(options, kind, settings, options.device, bus)
    reading = as_pictures(kind).wanted(settings, longest_side(options)) if given is None else reading_of(given[0])
    records = prepare_records(wanted, reading, progress=bus.stage)
    with tempfile.TemporaryDirectory() as scratch:
        if given is not None:
            codec, folder, trained = *given, False
        elif options.dry_run:
            short = replace(options, runs_dir=scratch, steps=DRY_STEPS, dry_run=False)
            codec, folder, trained = trained_codec(short, records, options.device, Bus())
        else:
            codec, folder, trained = trained_codec(options, records, options.device, bus)
        data = _in_tokens(records, request, codec, folder, bus)
    of_initial = given is not None and options.codec is None
    its = as_pictures(kind).settings_of(codec.data)
    decided = {
        "tokenizer_budget": tokenizer_budget(options),
        "codec": options.codec if of_initial else str(folder),  # a run keeps what it was initialised from
        **{name: its[name] for name in settings},
        "fields": ",".join(field.name for field in records.fields),
    }
    # The codec's training is part of the budget.
    data = replace(data, cached=True) if trained else data
    return prepared(options, data, partial(examples, data), decided)


def _settings(options: Train, kind: str) -> dict[str, Any]:
    """The options that say how pictures, or what else there is, are read."""
    names = {field.name for field in dataclasses.fields(options)}
    found = {name: getattr(options, name) for name in as_pictures(kind).OPTIONS if name in names}
    if found.get("size") is not None:
        height, width = parse_size(found["size"])
        found["size"] = f"{width}x{height}"
    return found


def _check(options: Train, kind: str) -> None:
    """Raises RequestError for options that pictures, or what else there is, have no use for."""
    if options.arch != "decoder-only":
        raise RequestError(f"--arch encoder-decoder answers texts; for records with {kind} leave it out")
    fields = fields_of_options(Train)
    for name in (name for other in KINDS if other != kind for name in as_pictures(other).OPTIONS if name in fields):
        if getattr(options, name) != fields[name].default:
            raise RequestError(f"{fields[name].flag} is not for {kind}, which {options.data_source} holds; remove it")
    for name in ("column", "lines", "paragraphs", "unk"):
        if getattr(options, name):
            raise RequestError(f"--{name} is for texts, and {options.data} has {kind}; choose its fields with --fields")


def _in_tokens(records: RecordDataset, request: TextRequest, codec: Codec, folder: Path, bus: Bus) -> RecordTokens:
    tokenizer, reason = fit(records, request, codec.n_codes, bus.stage)
    if len(tokenizer.codes) != codec.n_codes:
        raise RequestError(f"the run of --init-from has {len(tokenizer.codes)} codes, and the codec {codec.n_codes}")
    arrays, cut = {}, 0
    for split in ("train", "select", "report"):
        some = getattr(records, split)
        arrays[split], n = tokens_of(some, records.fields, tokenizer, codes_of(some.pictures, codec, folder, bus.stage))
        cut += n
    notes = [*records.notes, f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size - codec.n_codes:,} tokens ({reason})"]
    notes.append(f"a {records.pictures.one} is {codec.grid[0]}x{codec.grid[1]} codes of {codec.n_codes:,}")
    if cut:
        notes.append(f"{cut:,} texts are cut to their first {LONGEST_TEXT} tokens")
    return RecordTokens(
        train=arrays["train"],
        select=arrays["select"],
        report=arrays["report"],
        tokenizer=tokenizer,
        notes=notes,
        info={**records.info, "tokenizer": {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size, "reason": reason}},
        cached=records.cached,
        explicit_val=records.explicit_val,
        spooled=records.spooled,
        records=records,
        codec=codec,
    )


def records_unchanged(info: Mapping[str, Any]) -> list[str]:
    """How the source differs from what a run recorded of its records, one line per difference."""
    return check_unchanged(info, as_pictures(kind_in(info)).like(info))


def examples(data: RecordTokens) -> list[Example]:
    """The first training record, and the ones with the longest and the shortest texts."""
    chosen = telling(data.train).items()
    return [Example(enumerated(which), described(data.records.train, data.fields, number)) for number, which in chosen]


def described(arrays: RecordArrays, fields: Sequence[RecordField], number: int) -> str:
    """A record in words: its texts, and the names of its pictures."""
    parts = [arrays.texts[field.name][number] if field.is_text else arrays.pictures.names[number] for field in fields]
    return " | ".join(parts)
