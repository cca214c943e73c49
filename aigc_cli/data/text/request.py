"""What may be asked of a source of text, and what contradicts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aigc_cli.data.kinds import Kind
from aigc_cli.data.near import Dedup
from aigc_cli.data.sources import source as sources
from aigc_cli.data.sources.source import Part
from aigc_cli.data.tables.delimited import OWN
from aigc_cli.data.text.archived import is_archive
from aigc_cli.data.text.documents import PLAIN, Reading
from aigc_cli.data.text.formats import is_table
from aigc_cli.data.text.kind import TEXT
from aigc_cli.data.text.tokenizers.spacy_words import is_spacy
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer, is_of_words
from aigc_cli.data.text.tokenizers.words import LEAST
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean

KINDS = ("auto", "char", "bpe", "byte", "word")
"""The tokenizers by name, beside those of spaCy."""


@dataclass(frozen=True)
class TextRequest:
    """What the user asked for."""

    data: str
    val: str | None = None
    reading: Reading = PLAIN
    dedup: Dedup = "exact"
    kind: Kind = TEXT  # of the source: text, or one whose files are read as texts
    input_format: str | None = None  # of standard input: tsv csv json jsonl txt parquet arrow
    tokenizer: str = "auto"  # of KINDS, or spacy:PIPELINE, or spacy:blank:LANG
    vocab_size: int | None = None  # for bpe and words
    min_freq: int | None = None  # how often the training text has a word that is a token
    unk: bool = False  # other words are unknown, not spelled
    vocab_limit: int = 4096  # what `auto` may spend on a BPE vocabulary
    chars_affordable: float | None = None  # characters that there is time to train on, where the caller knows
    tokenizer_from: Path | None = None  # a folder with a tokenizer that exists, to be used as it is


def check_request(request: TextRequest) -> None:
    """Raise RequestError for options that contradict one another."""
    check_tokenizer(request)
    begun_with = request.tokenizer_from
    if request.reading.fielded and begun_with is not None and Tokenizer.load(begun_with).field_id is None:
        raise RequestError("the run of --init-from was trained without fields or answers, and has no token that ends a field")


def check_tokenizer(request: TextRequest) -> None:
    """Raise RequestError for a tokenizer that there is not, and for options that do nothing to the one asked for."""
    name, vocab_size = request.tokenizer, request.vocab_size
    if name not in KINDS and not is_spacy(name):
        hint = did_you_mean(name, KINDS) or did_you_mean(name, ["spacy:blank:zh", "spacy:zh_core_web_sm"])
        raise RequestError(f"--tokenizer must be one of {', '.join(KINDS)} or spacy:PIPELINE, not {name!r}{hint}")
    for flag, given in (("--min-freq", request.min_freq is not None), ("--unk", request.unk)):
        if given and not is_of_words(name):
            raise RequestError(f"{flag} is for --tokenizer word and spacy:PIPELINE")
    if request.tokenizer_from is not None:
        if name != "auto" or vocab_size is not None:
            raise RequestError("--tokenizer and --vocab-size contradict --init-from, whose run's tokenizer is used")
        if request.reading.lower and not Tokenizer.load(request.tokenizer_from).lower:
            raise RequestError("--lower contradicts --init-from, whose run's tokenizer tells capitals from small letters")
    if vocab_size is None:
        return
    if name in ("char", "byte"):
        raise RequestError(f"--vocab-size is for --tokenizer bpe and for words; {name} has the size that it has")
    if is_of_words(name) and vocab_size < LEAST[request.unk]:
        what = "4 special tokens and one word" if request.unk else "4 special tokens, 256 bytes and one word"
        raise RequestError(f"--vocab-size must be at least {LEAST[request.unk]}: {what}")
    if not is_of_words(name) and vocab_size < 258:
        raise RequestError("--vocab-size must be at least 258: 256 bytes, the end of a document and one merge")


def settled(request: TextRequest) -> TextRequest:
    """The request with the case of text that the tokenizer which it is to use has."""
    if request.tokenizer_from is None:
        return request
    return replace(request, reading=replace(request.reading, lower=Tokenizer.load(request.tokenizer_from).lower))


def check_options_apply(parts: Sequence[Part], reading: Reading, *, piped: bool = False) -> None:
    """Raise RequestError for an option that would do nothing. `piped`: the first part is of standard input."""
    paths = [path for part in parts for path in part.files]
    where = parts[0].location
    if reading.layout != "document" and all(map(is_table, paths)):
        raise RequestError(f"--{reading.layout} is for .txt and the like; a row of the table {where} is a text already")
    if reading.header is not None and not any(sources.suffix_of(path, OWN) for path in paths):
        raise RequestError(f"--header and --no-header are for .tsv and .csv; {where} has no such file")
    if (
        reading.columns
        and not any(is_table(path) or is_archive(path) for path in paths)
        and all(part.kind != "hub" for part in parts)
    ):
        hint = "; if it is a table, name its format with --input-format" if piped else ""
        raise RequestError(f"{where} has no columns; --column, --fields and --source are for tables{hint}")
