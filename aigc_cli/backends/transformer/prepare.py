"""From options to training text in tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from aigc_cli.backends.prepare import prepared
from aigc_cli.backends.transformer.config import TextOptions, Train
from aigc_cli.backends.transformer.presets import chars_affordable, tokenizer_budget, vocab_limit
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.kinds import ReadAsTexts, WrongKind, find_kind
from aigc_cli.data.text.dataset import TextDataset, TextRequest, prepare_text
from aigc_cli.data.text.documents import Reading
from aigc_cli.data.text.formats import TextLayout
from aigc_cli.data.text.tokens import TokenArrays, document
from aigc_cli.engine.events import Bus
from aigc_cli.engine.trainable import Example, Prepared
from aigc_cli.errors import RequestError
from aigc_cli.options import fields_of as fields_of_options

#: Options that say nothing of files of another kind, which are read as texts.
ONLY_FOR_TEXTS = ("column", "lines", "paragraphs", "header", "fields", "source", "target", "source_ratio", "tokenizer",
    "vocab_size", "lower", "min_freq", "unk", "dedup")  # fmt: skip
#: The most tokens of a text that is shown as an example.
LONGEST_EXAMPLE = 10_000


def prepare(options: Train, bus: Bus) -> Prepared:
    """The texts of --data and --val as tokens, with the run's record of them."""
    options.check()
    request = text_request(options, reading_of(options))
    try:
        data = prepare_text(request, progress=bus.stage)
    except WrongKind as error:
        data = prepare_text(_of_kind(request, options, error), progress=bus.stage)
    decided = {
        "tokenizer_budget": tokenizer_budget(options),
        "source_ratio": source_share(options),
        "lines": data.info["layout"] == "lines",
        "paragraphs": data.info["layout"] == "paragraphs",
    }
    return prepared(options, data, partial(examples, data), decided)


def _of_kind(request: TextRequest, options: Train, error: WrongKind) -> TextRequest:
    """The request for a source of another kind of data, whose files can be read as texts. Raises RequestError if they can't, or
    for options that are only for texts."""
    kind = find_kind(error.kind)
    if not isinstance(kind, ReadAsTexts):
        raise error
    for_texts = fields_of_options(Train)
    given = [for_texts[name].flag for name in ONLY_FOR_TEXTS if getattr(options, name) != for_texts[name].default]
    if given:
        raise RequestError(f"{', '.join(given)}: only for texts, and {options.data_source} holds {kind.name}")
    if options.init_from is None:
        return replace(request, kind=kind)
    begun_with = Start.load(Path(options.init_from) / "model").kind
    if begun_with.name != kind.name:
        raise RequestError(
            f"the run of --init-from learned from {begun_with.name}, and {options.data_source} holds {kind.name}"
        )
    return replace(request, kind=begun_with)


def text_request(options: Train, reading: Reading) -> TextRequest:
    """What is asked for of texts and their tokenizer."""
    return TextRequest(
        data=options.data_source,
        val=options.val,
        reading=reading,
        dedup=options.dedup,
        input_format=options.input_format,
        tokenizer=options.tokenizer,
        vocab_size=options.vocab_size,
        min_freq=options.min_freq,
        unk=options.unk,
        vocab_limit=vocab_limit(options),
        chars_affordable=chars_affordable(options),
        tokenizer_from=None if options.init_from is None else Path(options.init_from) / "model",
    )


def examples(data: TextDataset) -> list[Example]:
    """Training texts that would show a mistake."""
    return [_example(data, number, which) for number, which in telling(data.train).items()]


def telling(train: TokenArrays) -> dict[int, list[str]]:
    """The training texts that would show a mistake by number, and which each is: the first, the longest or the shortest."""
    chosen: dict[int, list[str]] = {}
    for which, number in train.extremes().items():
        chosen.setdefault(number, []).append(which)
    return chosen


def _example(data: TextDataset, number: int, which: list[str]) -> Example:
    place = data.places.get(which[0])
    if data.transcriber is not None:
        whole = document(data.train, data.tokenizer, number, int(data.train.chars[number]))
        return Example(enumerated(which), place or "", data.transcriber.about(whole))
    chars = int(data.train.chars[number])
    text = document(data.train, data.tokenizer, number, LONGEST_EXAMPLE)
    length = f"{chars:,} character{'s' * (chars != 1)}"
    return Example(enumerated(which), text, ", ".join([length, *filter(None, [place])]))


def enumerated(names: Sequence[str]) -> str:
    """As in "first, longest and shortest"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def reading_of(options: Train) -> Reading:
    """How to read the source, from the options."""
    if options.fields is not None and options.column is not None:
        raise RequestError("--fields and --column can't be used together")
    columns = fields_of(options) or (() if options.column is None else (options.column,))
    return Reading(columns, layout_of(options), source_share(options), options.lower, options.header)


def source_share(options: Train) -> float | None:
    """The share of each text that is the source; None if texts are not split into source and target."""
    if options.arch == "decoder-only" or options.source is not None:
        return None
    return options.source_ratio if options.source_ratio is not None else 0.5


def fields_of(options: Train) -> tuple[str, ...]:
    """The names of a document's fields, in order; empty if it is a single text."""
    if options.source is not None and options.target is not None:
        return options.source, options.target
    if options.fields is None:
        return ()
    names = tuple(name.strip() for name in options.fields.split(","))
    if "" in names:
        raise RequestError(f"--fields {options.fields!r}: a name is empty; write for example --fields title,author,text")
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise RequestError(f"--fields names {twice[0]!r} twice")
    return names


def layout_of(options: TextOptions) -> TextLayout:
    if options.lines and options.paragraphs:
        raise RequestError("--lines and --paragraphs can't be used together")
    return "lines" if options.lines else "paragraphs" if options.paragraphs else "document"
