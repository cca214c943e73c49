"""What was understood of a source: the files that were read, their splits, columns and classes, and what was left out.

A source of any kind comes with an `Understood` (`Source.understood`), and its kind adds what it finds on reading. The lines for
a person are made from it, and run.json, `train --dry-run --json` and the report page show it (`data.understood`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

EXAMPLES = 3


def listed(names: Iterable[str], most: int = EXAMPLES) -> str:
    """The first names, each once, and how many more there are."""
    different = list(dict.fromkeys(names))
    return _and_more(different[:most], len(different))


def _and_more(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + (f" and {count - len(names):,} more" if count > len(names) else "")


def by_suffix(suffixes: Iterable[str], remedies: Mapping[str, str]) -> str:
    """Files counted by suffix, most frequent first, and how to convert them: "5 .heic (pip install …), 2 .txt"."""
    counts = Counter(suffixes)
    first = counts.most_common(4)
    how = {suffix: f" ({remedy})" for suffix, remedy in remedies.items()}
    told = (f"{count:,} {suffix or 'without a suffix'}{how.get(suffix, '')}" for suffix, count in first)
    rest = counts.total() - sum(count for _, count in first)
    return ", ".join(told) + (f" and {rest:,} more" if rest else "")


@dataclass(frozen=True)
class Files:
    """The files that are read."""

    count: int
    by_suffix: Mapping[str, int]  # without that of a compression; most frequent first
    examples: tuple[str, ...]

    @classmethod
    def of(cls, suffixes: Sequence[str], names: Iterable[str]) -> Files:
        """Files by suffix, and by their paths in the source."""
        return cls(len(suffixes), dict(Counter(suffixes).most_common()), tuple(islice(names, EXAMPLES)))


@dataclass(frozen=True)
class Group:
    """Things of one sort in a source."""

    what: str  # "files of other types"
    count: int
    examples: tuple[str, ...]
    suffixes: str = ""  # files counted by suffix, if some can be converted

    @classmethod
    def of(cls, one: str, many: str, names: Iterable[str], suffixes: str = "") -> Group | None:
        """Things by their names; `one` is what to call a single thing. None if there are no names."""
        different = list(dict.fromkeys(names))
        what = one if len(different) == 1 else many
        return cls(what, len(different), tuple(different[:EXAMPLES]), suffixes) if different else None

    def __str__(self) -> str:
        return self.suffixes or _and_more(self.examples, self.count)


@dataclass(frozen=True)
class ReadColumns:
    """The columns that examples are read from."""

    read: tuple[str, ...]
    why: str = ""  # "" if they were asked for, or need no reason
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadTables:
    """Files of delimited text that are written alike."""

    delimiter: str
    quoted: bool
    header: bool
    files: int


@dataclass(frozen=True)
class Understood:
    """What was understood of a source. A kind leaves the fields empty that don't apply to it."""

    files: Files | None = None  # None: it isn't made of files
    splits: Mapping[str, str] = field(default_factory=dict)  # split -> the folders, files or names it is from
    origins: Mapping[str, str] = field(default_factory=dict)  # what (pictures, labels) -> "the column 'image'"
    columns: ReadColumns | None = None
    fields: Mapping[str, str] = field(default_factory=dict)  # of a record, in order: name -> its kind
    tables: tuple[ReadTables, ...] = ()
    layouts: tuple[str, ...] = ()  # of JSON that is not a list of objects: "rows of 'data'"
    encodings: Mapping[str, str] = field(default_factory=dict)  # not UTF-8, by the byte-order mark -> a file
    classes: Mapping[str, int | Mapping[str, int]] = field(default_factory=dict)
    """class -> its examples, without copies; with several labels, label -> those"""
    skipped: tuple[Group, ...] = ()  # found, but not read
    followed: Group | None = None  # links to folders: "train/cat → /data/cat"
    removed: Mapping[str, int] = field(default_factory=dict)  # examples, by reason: empty, copies, in_validation, …
    normalised: int | None = None  # characters of texts that are not their own normal form C
    near_duplicates: Mapping[str, Any] = field(default_factory=dict)  # as `Near.describe`
    val: Understood | None = None  # of --val

    def lines(self, where: object) -> list[str]:
        """Lines for the user on files and splits; `where` is the source."""
        lines = []
        if self.splits:
            told = (split if of in ("", split) else f"{split} ({of})" for split, of in self.splits.items())
            lines.append(f"splits: {', '.join(told)}")
        lines += [f"ignored {group.count:,} {group.what} in {where}: {group}" for group in self.skipped]
        return lines + ([f"followed links: {self.followed}"] if self.followed else [])

    def without_others(self, used: int) -> Understood:
        """The same where as many of the files of other types were read after all."""

        def left(group: Group) -> Group | None:
            if not used or group.what not in ("file of another type", "files of other types"):
                return group
            left = group.count - used
            what = "file of another type" if left == 1 else "files of other types"
            return Group(what, left, (), "beside those read as texts") if left > 0 else None

        return replace(self, skipped=tuple(group for group in map(left, self.skipped) if group is not None))

    def of_standard_input(self) -> Understood:
        """The same without the name of the file that standard input was copied to."""
        files = self.files and replace(self.files, examples=("standard input",))
        return replace(self, files=files, encodings=dict.fromkeys(self.encodings, "standard input"))

    def to_json(self) -> dict[str, Any]:
        """For run.json, without what is empty."""
        removed = {why: count for why, count in self.removed.items() if count}
        found: dict[str, Any] = _filled(asdict(replace(self, removed=removed)))
        return found


def _filled(value: Any) -> Any:
    """A JSON value without empty fields."""
    if isinstance(value, dict):
        fields = {name: _filled(part) for name, part in value.items()}
        return {name: part for name, part in fields.items() if part not in (None, "", [], {})}
    return [_filled(part) for part in value] if isinstance(value, tuple) else value
