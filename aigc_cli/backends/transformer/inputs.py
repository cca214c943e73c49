"""The inputs of `aigc sample transformer`: --prompt and --given, one text at a time."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.compression import chunks, explained
from aigc_cli.errors import RequestError

_PROMPT_KEYS = ("prompt", "source", "text")
_ESCAPED = {"n": "\n", "r": "\r", "\\": "\\"}
_ESCAPE = re.compile(r"\\([nr\\])")


class TextInput(NamedTuple):
    """The start of one text."""

    leading: list[str]  # its first fields, or the source to answer
    prompt: str | None = None  # the start of the next field, or of the whole text


def read_inputs(start: Start, given: Sequence[str], prompt: str | None) -> Iterator[TextInput]:
    """The inputs in order, read as needed. Raises RequestError if --given or --prompt don't fit the run."""
    if start.answers:
        if given:
            raise RequestError("--given: this run answers a source; give it with --prompt")
        if prompt is None:
            raise RequestError("this run answers a source: give it with --prompt TEXT, or one per line with --prompt -")
        yield from (TextInput([text or ""]) for text in _prompts(prompt))
        return
    if "-" not in given:
        leading = start.leading(_named(given), "--given") if given else []
        yield from (TextInput(leading, text) for text in _prompts(prompt))
        return
    if len(given) > 1:
        raise RequestError("use --given - alone: it reads the fields of each text from a line")
    if prompt == "-":
        raise RequestError("--given - and --prompt - cannot both read standard input")
    (begins_with,) = _prompts(prompt)
    for number, line in _lines():
        if not line.strip():
            continue
        where = f"--given -: line {number}"
        try:
            fields = json.loads(line)
            texts = [text.encode() for text in fields.values()]  # half a surrogate pair is not text
        except (ValueError, RecursionError, AttributeError):
            texts = None
        if texts is None:
            raise RequestError(f'{where} is not a JSON object of texts, such as {{"title": "…"}}')
        yield TextInput(start.leading(fields, where), begins_with)


def _named(given: Sequence[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals:
            raise RequestError(f"--given {item!r}: write FIELD=TEXT")
        if name in fields:
            raise RequestError(f"--given names {name!r} twice")
        fields[name] = text
    return fields


def _lines() -> Iterator[tuple[int, str]]:
    """The lines of standard input as they arrive, numbered from 1."""
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise RequestError(f"standard input: line {number} is not UTF-8 (byte {error.start} of the line)") from None


def _prompt_of(line: str) -> str:
    """The prompt in a line: a JSON object's, as `sample --json` writes them, or the line with its breaks."""
    if line.startswith("{"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = {}
        found = next((value[key] for key in _PROMPT_KEYS if isinstance(value.get(key), str)), None)
        if found is not None and not any("\ud800" <= char <= "\udfff" for char in found):
            return str(found)
    return with_breaks(line)


def with_breaks(line: str) -> str:
    r"""The text that `sample` writes as this line: `\n`, `\r` and `\\` stand for a line feed, a carriage return and a
    backslash; any other backslash stands for itself."""
    return _ESCAPE.sub(lambda match: _ESCAPED[match[1]], line)


def _prompts(given: str | None) -> Iterator[str | None]:
    """The prompts: none, one text, a file's whole text, or one per line of standard input as they arrive.

    A file is read like training texts: without its byte-order mark, and with its line breaks unchanged.
    """
    if given == "-":
        yield from (_prompt_of(line) for _, line in _lines())
    elif given is not None and given.startswith("@"):
        path = Path(given[1:])
        with explained(path):
            yield "".join(chunks(path))
    else:
        yield given
