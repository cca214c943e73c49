"""What a source of text is: opened, told apart by its content, looked at again later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from aigc_cli.data import cache, sources
from aigc_cli.data.sources import JSON, FileRecord, Part, Source
from aigc_cli.data.text import verse as demo
from aigc_cli.data.text.documents import PLAIN, Reading
from aigc_cli.data.text.formats import SUFFIXES, sniff
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
    if request.input_format is not None and request.data != "-":
        raise RequestError("--input-format is for standard input (--data -); a file's name tells its format")
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


def take_stdin(request: TextRequest) -> TextRequest:
    """The request with "-" replaced by a file of the cache with what standard input gave; else unchanged."""
    if request.val == "-":
        raise RequestError("--val cannot be standard input; name a file")
    if request.data != "-":
        return request
    path, reading = spool_stdin(request.input_format, request.reading)
    return replace(request, data=str(path), reading=reading, input_format=None)


def open_text(src: str) -> Source:
    """Find what `src` names among the formats of text. Raises RequestError when nothing is there."""
    return sources.open_source(src, suffixes=SUFFIXES, demos=demo.DEMOS)


def spool_stdin(input_format: str | None, reading: Reading) -> tuple[Path, Reading]:
    """Copy standard input to a file of the cache; the file, and how to read it.

    Without `input_format` the first bytes tell the format; what they do not tell is a document a line.
    """
    known = [suffix.removeprefix(".") for suffix in SUFFIXES]
    if input_format is not None and input_format not in known:
        raise RequestError(f"--input-format {input_format!r} is not one of {', '.join(known)}")
    plain = True

    def suffix_for(head: bytes) -> str:
        nonlocal plain
        sniffed = Path("x" + (sniff(head) or ".txt")).suffixes
        plain = input_format is None and sniffed[0] == ".txt"
        return (f".{input_format}" if input_format else sniffed[0]) + "".join(sniffed[1:])

    path = sources.spool_stdin(suffix_for)
    return path, replace(reading, layout="lines") if plain and reading.layout == "document" else reading


def check_options_apply(parts: Sequence[Part], reading: Reading) -> None:
    """Raise RequestError for an option that would do nothing."""
    suffixes = {sources.suffix_of(path, SUFFIXES) for part in parts for path in part.files}
    where = parts[0].location
    if reading.layout != "document" and ".txt" not in suffixes:
        raise RequestError(f"--{reading.layout} is for .txt; {where} has no such file")
    if reading.columns and suffixes <= {".txt"} and all(part.kind != "hub" for part in parts):
        raise RequestError(f"{where} has no columns; --column, --fields and --source are for tables")


def identity(part: Part, records: list[FileRecord]) -> list[Any]:
    """What the content of a part depends on; equal for equal content at another place."""
    if part.kind == "files":
        return [
            sources.content_fingerprint(records),
            [sources.suffix_of(path, SUFFIXES) for path in part.files],
        ]
    if part.kind == "demo":
        return [demo.DEMOS[part.location.removeprefix("demo:")].fingerprint()]
    return [part.location, part.split]


def described(part: Part, records: list[FileRecord]) -> dict[str, JSON]:
    """What run.json keeps of a part."""
    fingerprint = cache.key_of(identity(part, records))
    return {
        "location": part.location,
        "fingerprint": fingerprint,
        "files": [asdict(record) for record in records],
    }


def check_unchanged(info: Mapping[str, Any]) -> list[str]:
    """What differs now from the source that `info`, of a `TextDataset` or run.json, describes, a line each.

    Sources of the hub are not looked up: their location names the revision.
    """
    found = []
    for described in (info, info["val"]):
        if described is None:
            continue
        if described["location"].startswith("demo:"):
            part = Part(described["location"], "demo")
            if cache.key_of(identity(part, [])) != described["fingerprint"]:
                found.append(f"{part.location} is made otherwise by this version of aigc")
            continue
        records = [FileRecord(**record) for record in described["files"]]
        found += [
            line.replace("has changed", "has changed since this run was trained") for line in sources.differences(records)
        ]
    return found


def true_nats(src: str, document: str) -> float | None:
    """-log p of a document under the law of its source, in nats; None for a source whose law is not known."""
    known = demo.DEMOS.get(src.removeprefix("demo:")) if src.startswith("demo:") else None
    return known.nats(document) if known else None
