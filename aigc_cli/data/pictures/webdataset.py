"""Labels in a WebDataset: an archive in which the files of one example have one name and several suffixes, 7.jpg and 7.cls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from aigc_cli.data.sources.archives import Archive
from aigc_cli.errors import RequestError

_KEYS = ("label", "class", "cls")  # of the objects in .json members


def labels_beside(archive: Archive, names: Sequence[str], label: str | None) -> tuple[list[str | None], str] | None:
    """The label of each picture from the member beside it, and a note; None if there are none.

    `label`: "cls", "txt", "json.KEY" or KEY; None: the .cls members, otherwise a label in the .json members. The members of an
    example may be anywhere in the archive. Raises RequestError for a `label` that no member gives.
    """
    examples = {_example(name) for name in names}
    counts = archive.suffixes()
    for suffix, keys in _choices(label):
        if not counts[suffix] or not any(_example(name) in examples for name in archive.names([suffix])):
            continue
        found: dict[str, str] = {}
        for name, content in archive.read([suffix]):
            example = _example(name)
            if example in examples:
                value = _value(content().read(), keys)
                if value is not None:
                    found[example] = value
        if found:
            key = f" ({keys[0]!r})" if keys and label else ""
            return [found.get(_example(name)) for name in names], f"labels of the {suffix} members{key}"
    if label is not None:
        has = ", ".join(sorted(suffix for suffix in (".cls", ".json", ".txt") if counts[suffix])) or "no .cls, .json or .txt"
        raise RequestError(f"{archive.path}: no member beside a picture gives --label {label}; it has {has} members")
    return None


def _choices(label: str | None) -> list[tuple[str, tuple[str, ...]]]:
    """The suffixes to look for labels in, best first, and the keys of an object to take; none for the whole member."""
    if label is None:
        return [(".cls", ()), (".json", _KEYS)]
    if label in ("cls", "txt"):
        return [(f".{label}", ())]
    return [(".json", (label.removeprefix("json."),))]


def _example(name: str) -> str:
    """What the members of one example share: the path without the last suffix, as in 22.05.png and 22.05.cls."""
    return str(PurePosixPath(name).with_suffix(""))


def _value(data: bytes, keys: Sequence[str]) -> str | None:
    """A label; None if there is none."""
    text = data.decode("utf-8-sig", "replace")
    if not keys:
        return text.strip() or None
    try:
        fields: Any = json.loads(text)
    except ValueError:
        return None
    values = [fields[key] for key in keys if key in fields] if isinstance(fields, dict) else []
    return next((str(value) for value in values if isinstance(value, str | int) and str(value)), None)
