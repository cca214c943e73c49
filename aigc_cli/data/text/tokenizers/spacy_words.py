"""Text cut into words by spaCy, nothing of it lost.

spaCy is imported where it first cuts something: a run that it once cut the text of is opened without, and says in one line
what is missing.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Mapping
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

from aigc_cli.data.cache import cache_dir
from aigc_cli.data.text.tokenizers.special_tokens import SPECIAL
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean

PREFIX, BLANK = "spacy:", "blank:"


class SpacyWords:
    """The words of a spaCy pipeline, `zh_core_web_sm`, or of a language without one, `blank:zh`.

    `segmenter` is what cuts Chinese of `blank:zh`, `jieba` or `char`. Raises RequestError where spaCy, or what it needs for
    this, is not installed.
    """

    def __init__(self, pipeline: str, segmenter: str | None = None) -> None:
        self.pipeline, self.segmenter = pipeline, segmenter
        if find_spec("spacy") is None:
            raise self._error("needs spaCy; install it with: pip install 'aigc-cli[spacy]'")
        if segmenter == "jieba" and find_spec("jieba") is None:
            raise self._error("needs jieba; install it with: pip install 'aigc-cli[spacy]'")
        if not pipeline.startswith(BLANK) and pipeline not in (installed := _installed()):
            hint = did_you_mean(pipeline, installed)
            raise self._error(f"is not installed; install it with: python -m spacy download {pipeline}{hint}")

    @classmethod
    def named(cls, name: str) -> SpacyWords:
        """What `spacy:PIPELINE` or `spacy:blank:LANG` names; Chinese is cut by jieba where that is installed."""
        pipeline = name.removeprefix(PREFIX)
        chinese = ("jieba" if find_spec("jieba") is not None else "char") if pipeline == "blank:zh" else None
        return cls(pipeline, chinese)

    def record(self) -> dict[str, str]:
        """What a run keeps of it: everything that the pieces depend on."""
        versions = {"spacy": metadata.version("spacy")}
        if not self.pipeline.startswith(BLANK):
            versions["pipeline_version"] = metadata.version(self.pipeline)
        if self.segmenter == "jieba":
            versions["jieba"] = metadata.version("jieba")
        return {"pipeline": self.pipeline, **({"segmenter": self.segmenter} if self.segmenter else {}), **versions}

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> SpacyWords:
        """The same again, from its record, as what is installed now cuts. Raises KeyError or ValueError for what `record` did
        not give."""
        pipeline, segmenter = record["pipeline"], record.get("segmenter")
        if not is_spacy(f"{PREFIX}{pipeline}") or segmenter not in (None, "jieba", "char"):
            raise ValueError(f"no pipeline is called {pipeline!r}")
        return cls(pipeline, segmenter)

    def changes(self, record: Mapping[str, Any]) -> list[str]:
        """What is installed in another version than when it was recorded, and may cut otherwise: "spacy 3.8.2, now 3.9.0"."""
        now = self.record()
        return [f"{name} {record[name]}, now {now[name]}" for name in now if record.get(name, now[name]) != now[name]]

    def describe(self) -> str:
        """In words, with what cuts Chinese."""
        how = {"jieba": ", words by jieba", "char": ", by characters, for jieba is not installed"}.get(self.segmenter or "", "")
        return f"spaCy {metadata.version('spacy')} ({self.pipeline}{how})"

    def check(self) -> None:
        """Loads it, for a RequestError early where that cannot be done."""
        self._nlp  # noqa: B018

    def pieces(self, text: str) -> list[str]:
        """The words of a text, what stands between them too: put together they are the text. A space before a word belongs to
        it."""
        if not text:
            return []
        doc = self._nlp.make_doc(text)
        lengths, spaces = (doc.to_array(name).astype(np.int64) for name in ("LENGTH", "SPACY"))
        ends = np.cumsum(lengths + spaces) - spaces  # of the words, without the space after each
        pieces, start = [], 0
        for end in [*ends.tolist(), len(text)]:
            if end < len(text) and text[end - 1 : end] == " " and not text[end].isspace():
                end -= 1  # of white space that spaCy keeps apart
            if end > start:
                piece, start = text[start:end], end
                # The text of a special token is never one piece, for as such it would become that token.
                pieces += [piece[:1], piece[1:]] if piece in SPECIAL else [piece]
        return pieces

    @cached_property
    def _nlp(self) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                nlp = self._load()
        except (ImportError, OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            reason = re.sub(r"^\[[EW]\d+\] ", "", " ".join(str(error).split("\n")[0].split()))
            raise self._error(f"cannot be loaded: {reason}") from error
        nlp.max_length = sys.maxsize  # the limit is for what comes after the tokenizer
        return nlp

    def _load(self) -> Any:
        import spacy

        if not self.pipeline.startswith(BLANK):
            meta = spacy.util.get_model_meta(spacy.util.get_package_path(self.pipeline))
            return spacy.load(self.pipeline, exclude=[*meta.get("pipeline", ()), *meta.get("disabled", ())])
        config = {"nlp": {"tokenizer": {"segmenter": self.segmenter}}} if self.segmenter else {}
        if self.segmenter == "jieba":
            import jieba

            jieba.setLogLevel(logging.CRITICAL)  # it tells of its dictionary on standard error
            folder = cache_dir()  # the dictionary as it keeps it is read without a check: not out of a folder of everybody's
            folder.mkdir(parents=True, exist_ok=True)
            jieba.dt.tmp_dir = str(folder)
        language = self.pipeline.removeprefix(BLANK)
        if find_spec(f"spacy.lang.{language}") is None:
            raise ValueError(f"spaCy has no language {language!r}")
        return spacy.blank(language, config=config)

    def _error(self, what: str) -> RequestError:
        return RequestError(f"tokenizer {PREFIX}{self.pipeline} {what}")


def is_spacy(name: str) -> bool:
    """Whether a tokenizer's name is that of a spaCy pipeline or language. Never a path: opening a stranger's run loads nothing
    but what is installed."""
    return re.fullmatch(r"spacy:(blank:)?\w+", name, re.ASCII) is not None


def _installed() -> list[str]:
    return sorted({point.name for point in metadata.entry_points(group="spacy_models")})
