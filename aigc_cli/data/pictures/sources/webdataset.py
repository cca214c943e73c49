"""WebDataset: an archive in which the files of one example have one name and several suffixes, 7.jpg, 7.seg.png and 7.cls."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from aigc_cli.data.pictures.decoding.raw import Medium
from aigc_cli.data.pictures.labels import joined, label_columns
from aigc_cli.data.sources.archives import Archive
from aigc_cli.errors import RequestError

BESIDE = (".cls", ".json", ".txt")
"""Suffixes of members that describe a picture."""

_KEYS = ("label", "class", "cls")  # of the objects in .json members


def choose_members(path: Path, names: Sequence[str], medium: Medium) -> tuple[list[str], str | None]:
    """Those of an archive's pictures to learn from, and a note if examples have several: 7.jpg rather than 7.seg.png, otherwise
    7.img.png. Raises RequestError if none is likelier than the others."""
    suffixes: dict[str, dict[str, None]] = {}  # by key, in order
    for name in names:
        key, suffix = _cut(name)
        suffixes.setdefault(key, {})[suffix] = None
    counts = Counter(suffix for of in suffixes.values() for suffix in of)
    several = [suffix for suffix, count in counts.items() if 2 * count >= len(suffixes)]
    words = [suffix.rpartition(".")[0] for suffix in several]
    if len(several) < 2 or len(suffixes) < 2 or any(word and not any(map(str.isalpha, word)) for word in words):
        return list(names), None
    likely = [suffix for word in ("", *medium.columns) for suffix, of in zip(several, words, strict=True) if of.lower() == word]
    best = likely[0] if likely else ""
    if not likely or sum(word == best.rpartition(".")[0] for word in words) > 1:
        found = ", ".join(f".{suffix}" for suffix in several)
        raise RequestError(
            f"{path} has several {medium.many} an example ({found}); leave one of them: {_removal(path, several[-1])}"
        )
    rest = ", ".join(f".{suffix}" for suffix in counts if suffix != best)
    return [name for name in names if _cut(name)[1] == best], f"{medium.many} are the .{best} members, not {rest}"


def _removal(path: Path, suffix: str) -> str:
    """How to remove the members with a suffix."""
    if path.suffix.lower() == ".zip":
        return f"zip -d {path.name} '*.{suffix}'"
    if path.suffix.lower() == ".tar":
        return f"tar --wildcards --delete -f {path.name} '*.{suffix}'"
    return f"unpack it, remove *.{suffix}, and pack it again"


def _cut(name: str) -> tuple[str, str]:
    """The path up to the first dot of a name, and the rest, which is the suffix by the rules of the `webdataset` library."""
    path = PurePosixPath(name)
    key, _, suffix = path.name.partition(".")
    return str(path.with_name(key)), suffix


def labels_beside(
    archive: Archive, names: Sequence[str], label: str | None, medium: Medium
) -> tuple[list[str | None], str] | None:
    """As `_label_beside`, of several members or keys if `label` has commas between them."""
    asked = label_columns(label)
    if len(asked) < 2:
        return _label_beside(archive, names, label, medium)
    found = [of for name in asked if (of := _label_beside(archive, names, name, medium)) is not None]
    of_pictures = zip(*(labels for labels, _ in found), strict=True)
    notes = " and ".join(note.removeprefix("labels of ") for _, note in found)
    return [joined(values) for values in of_pictures], f"labels of {notes}"


def _label_beside(
    archive: Archive, names: Sequence[str], label: str | None, medium: Medium
) -> tuple[list[str | None], str] | None:
    """The label of each picture from the member beside it, and a note; None if there are none.

    `label`: "cls", "txt", "json.KEY" or KEY; None: the .cls members, otherwise a label in the .json members. The members of an
    example may be anywhere in the archive. Raises RequestError for a `label` that no member gives.
    """
    counts = archive.suffixes()
    for suffix, keys in _choices(label):
        members = archive.names([suffix])
        example_of = next((of for of in ways_to_examples(names) if {*map(of, names)} & {*map(of, members)}), None)
        if example_of is None:
            continue
        examples, found = {*map(example_of, names)}, dict[str, str]()
        for name, content in archive.contents([suffix]):
            example = example_of(name)
            if example in examples:
                value = _value(content, keys)
                if value is not None:
                    found[example] = value
        if found:
            key = f" ({keys[0]!r})" if keys and label else ""
            return [found.get(example_of(name)) for name in names], f"labels of the {suffix} members{key}"
    if label is not None:
        has = ", ".join(sorted(suffix for suffix in BESIDE if counts[suffix])) or "no .cls, .json or .txt"
        raise RequestError(f"{archive.path}: no member beside a {medium.one} gives --label {label}; it has {has} members")
    return None


def _choices(label: str | None) -> list[tuple[str, tuple[str, ...]]]:
    """The suffixes to look for labels in, best first, and the keys of an object to take; none for the whole member."""
    if label is None:
        return [(".cls", ()), (".json", _KEYS)]
    if label in ("cls", "txt"):
        return [(f".{label}", ())]
    return [(".json", (label.removeprefix("json."),))]


def ways_to_examples(names: Sequence[str]) -> list[Callable[[str], str]]:
    """How to find what the members of one example share: the path without the last suffix, as in 22.05.png and 22.05.cls;
    without all, as in 7.img.png and 7.cls, if that distinguishes the pictures."""

    def without_last(name: str) -> str:
        return str(PurePosixPath(name).with_suffix(""))

    def without_all(name: str) -> str:
        return _cut(name)[0]

    return [without_last, without_all] if len({*map(without_all, names)}) == len(names) else [without_last]


def _value(data: bytes, keys: Sequence[str]) -> str | None:
    """A label; None if there is none."""
    text = data.decode("utf-8-sig", "replace")
    if not keys:
        return text.strip() or None
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = [fields[key] for key in keys if key in fields] if isinstance(fields, dict) else []
    return next((str(value) for value in values if isinstance(value, str | int) and str(value)), None)
