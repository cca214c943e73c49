"""Splitting text into words with spaCy, losslessly.

spaCy is only imported when it is first used.
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

from aigc_cli.data.cache import place
from aigc_cli.data.text.tokenizers.special_tokens import SPECIAL
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean

PREFIX, BLANK = "spacy:", "blank:"


class SpacyWords:
    """The words of a spaCy pipeline such as `zh_core_web_sm`, or of a language without a pipeline, such as `blank:zh`.

    `segmenter` is the word segmenter of `blank:zh`: `jieba` or `char`. Raises `RequestError` if spaCy, the pipeline or jieba is
    not installed.
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
        """The words for `spacy:PIPELINE` or `spacy:blank:LANG`. `spacy:blank:zh` uses jieba if installed."""
        pipeline = name.removeprefix(PREFIX)
        chinese = ("jieba" if find_spec("jieba") is not None else "char") if pipeline == "blank:zh" else None
        return cls(pipeline, chinese)

    def record(self) -> dict[str, str]:
        """A record for run.json of everything that the pieces depend on."""
        versions = {"spacy": metadata.version("spacy")}
        if not self.pipeline.startswith(BLANK):
            versions["pipeline_version"] = metadata.version(self.pipeline)
        if self.segmenter == "jieba":
            versions["jieba"] = metadata.version("jieba")
        return {"pipeline": self.pipeline, **({"segmenter": self.segmenter} if self.segmenter else {}), **versions}

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> SpacyWords:
        """The same words from a `record`, with the versions installed now. Raises KeyError or ValueError for an invalid
        record."""
        pipeline, segmenter = record["pipeline"], record.get("segmenter")
        if not is_spacy(f"{PREFIX}{pipeline}") or segmenter not in (None, "jieba", "char"):
            raise ValueError(f"{pipeline!r} is not the name of a pipeline")
        return cls(pipeline, segmenter)

    def changes(self, record: Mapping[str, Any]) -> list[str]:
        """Packages whose version differs from the record, so that words may differ: "spacy 3.8.2, now 3.9.0"."""
        now = self.record()
        return [f"{name} {record[name]}, now {now[name]}" for name in now if record.get(name, now[name]) != now[name]]

    def describe(self) -> str:
        """A description for the user, with the segmenter of Chinese."""
        how = {"jieba": ", with jieba", "char": ", by characters, as jieba is not installed"}.get(self.segmenter or "", "")
        return f"spaCy {metadata.version('spacy')} ({self.pipeline}{how})"

    def check(self) -> None:
        """Load the pipeline. Raises `RequestError` if that fails."""
        self._nlp  # noqa: B018

    def pieces(self, text: str) -> list[str]:
        """A text's words and everything between them; joined, they are the text. A space before a word belongs to the word."""
        if not text:
            return []
        doc = self._nlp.make_doc(text)
        lengths, spaces = (doc.to_array(name).astype(np.int64) for name in ("LENGTH", "SPACY"))
        ends = np.cumsum(lengths + spaces) - spaces  # of words, without the space after them
        pieces, start = [], 0
        for end in [*ends.tolist(), len(text)]:
            if end < len(text) and text[end - 1 : end] == " " and not text[end].isspace():
                end -= 1  # spaCy has white space as a token of its own
            if end > start:
                piece, start = text[start:end], end
                # The text of a special token must not be one piece, or it would become that token.
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
        nlp.max_length = sys.maxsize  # the limit is meant for components after the tokenizer
        return nlp

    def _load(self) -> Any:
        import spacy

        if not self.pipeline.startswith(BLANK):
            meta = spacy.util.get_model_meta(spacy.util.get_package_path(self.pipeline))
            return spacy.load(self.pipeline, exclude=[*meta.get("pipeline", ()), *meta.get("disabled", ())])
        config = {"nlp": {"tokenizer": {"segmenter": self.segmenter}}} if self.segmenter else {}
        if self.segmenter == "jieba":
            import jieba

            jieba.setLogLevel(logging.CRITICAL)  # otherwise it logs to standard error
            jieba.dt.tmp_dir = str(place())  # jieba trusts its cached dictionary, so not in a world-writable folder
        language = self.pipeline.removeprefix(BLANK)
        if find_spec(f"spacy.lang.{language}") is None:
            raise ValueError(f"spaCy has no language {language!r}")
        return spacy.blank(language, config=config)

    def _error(self, what: str) -> RequestError:
        return RequestError(f"tokenizer {PREFIX}{self.pipeline} {what}")


def is_spacy(name: str) -> bool:
    """Whether a tokenizer's name names a spaCy pipeline or language. Paths are not accepted, so that opening a stranger's run
    only loads installed packages."""
    return re.fullmatch(r"spacy:(blank:)?\w+", name, re.ASCII) is not None


def _installed() -> list[str]:
    return sorted({point.name for point in metadata.entry_points(group="spacy_models")})
