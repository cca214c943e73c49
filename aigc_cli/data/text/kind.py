"""Text as a kind of data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, ClassVar

from aigc_cli.data.kinds import Kind, WrongKind, kind_of
from aigc_cli.data.sources.folder_splits import Naming
from aigc_cli.data.sources.source import OtherFiles, Source, open_source, single_file, suffix_of
from aigc_cli.data.sources.walk import walk
from aigc_cli.data.text import archived, formats
from aigc_cli.data.text.verse import DEMOS
from aigc_cli.errors import RequestError
from aigc_cli.files import user_path


class Text(Kind):
    """A source is read as documents; a sample is a string, written as a line."""

    name, one = "text", "text"
    suffixes = formats.SUFFIXES
    naming: ClassVar[Mapping[str, Naming]] = {".txt": "together"}
    beside = re.compile(
        r"(dataset_infos?|dataset_dict|state|config|croissant)\.json|.*schema\.json"
        r"|(readme|licen[cs]e|notice|changelog|contributing|requirements)([._-].*)?"
        r"|(train|val|test)_labels\.csv"
    )
    remedies: ClassVar[Mapping[str, str]] = {
        ".pdf": "pdftotext FILE.pdf converts one to .txt",
        **dict.fromkeys((".docx", ".odt", ".rtf", ".epub"), "pandoc -t plain -o FILE.txt FILE converts one"),
        ".doc": "soffice --headless --convert-to txt:Text FILE converts one",
        **dict.fromkeys((".xlsx", ".xls", ".ods"), "soffice --headless --convert-to csv FILE converts one"),
    }
    demos = tuple(DEMOS)
    unnamed = ".txt"

    def open(self, src: str) -> Source:
        """Markup and source code are text too where there is nothing else; so are archives that hold texts, and a file of any
        name that is text."""
        try:
            return super().open(src)
        except WrongKind:
            if (source := self._open_archives(src)) is not None:
                return source
            raise
        except OtherFiles as error:
            also = (*self.suffixes, *formats.MARKUP_AND_CODE)
            if any(suffix_of(path, also) for path in error.paths):
                naming: Mapping[str, Naming] = dict.fromkeys(formats.MARKUP_AND_CODE, "together")
                return open_source(src, suffixes=also, demos=(), naming=naming, remedies=self.remedies)
            path = user_path(src).absolute()
            if not path.is_file() or suffix_of(path, self.remedies) or not formats.is_plain_text(path):
                raise
            return single_file(path, f"read {path.name} as plain text")

    def _open_archives(self, src: str) -> Source | None:
        """Archives with texts; None if there are none, or other files too. Raises RequestError if they hold nothing known."""
        try:
            source = open_source(src, suffixes=archived.SUFFIXES, demos=())
        except OtherFiles:
            return None
        first = next(iter(source.parts.values())).files[0]
        folder = Path(source.location)
        beside = [PurePath(parts[-1]) for parts in walk(folder).files] if folder.is_dir() else []
        if kind_of([path for path in beside if not archived.is_archive(path)], self) is not None:
            return None
        counts = archived.counted(first)
        if archived.holds_texts(counts):
            return source
        others = [PurePath(f"a{suffix}") for suffix in counts if suffix not in archived.SUFFIXES]
        if kind_of(others, self) is None:
            found = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in counts.most_common(4))
            raise RequestError(f"{first} holds no texts: {found or 'it is empty'}")
        return None

    def recognise(self, head: bytes) -> str | None:
        return formats.recognise(head)

    def demo_fingerprint(self, location: str) -> str:
        return DEMOS[location.removeprefix("demo:")].fingerprint()

    def show(self, content: Any) -> str:
        return str(content)


TEXT = Text()


def true_nats(src: str, document: str) -> float | None:
    """-log p of a document under the law of its source, in nats; None for a source whose law is not known."""
    known = DEMOS.get(src.removeprefix("demo:")) if src.startswith("demo:") else None
    return known.nats(document) if known else None
