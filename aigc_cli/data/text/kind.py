"""Text as a kind of data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from aigc_cli.data.folder_splits import Naming
from aigc_cli.data.kinds import Kind
from aigc_cli.data.text import formats
from aigc_cli.data.text.verse import DEMOS


class Text(Kind):
    """A source is read as documents; a sample is a string, written as a line."""

    name = "text"
    suffixes = formats.SUFFIXES
    naming: ClassVar[Mapping[str, Naming]] = {".txt": "together"}
    beside = re.compile(
        r"(dataset_infos?|dataset_dict|state|config|croissant)\.json|.*schema\.json"
        r"|(readme|licen[cs]e|notice|changelog|contributing|requirements)([._-].*)?"
    )
    demos = tuple(DEMOS)
    unnamed = ".txt"

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
