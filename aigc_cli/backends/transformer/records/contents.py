"""The fields of a record: from what is given to tokens, and from generated tokens to texts and pictures, or what is read as
such."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.base import Codec, Sample
from aigc_cli.backends.codecs import reading_of
from aigc_cli.backends.transformer.config import Sample as SampleOptions
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoding.generate import Generated
from aigc_cli.backends.transformer.decoding.guidance import Guided
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.inputs import TextInput
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.backends.transformer.records.tokens import LONGEST_TEXT
from aigc_cli.data.pictures.prepared.preparing import read_as_pictures
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.data.understood import listed
from aigc_cli.engine.events import Bus
from aigc_cli.errors import AigcError, RequestError
from aigc_cli.options import did_you_mean, fields_of

#: The default of --guidance for pictures.
GUIDANCE = 1.5


def codes_in(ids: Sequence[int], tokenizer: Tokenizer, n: int) -> NDArray[np.int64]:
    """The last n codes among tokens (n,); code 0 in place of those that are missing because of a token limit."""
    codes = [token - tokenizer.codes.start for token in ids if token in tokenizer.codes][-n:]
    return np.array([*codes, *[0] * (n - len(codes))], np.int64)


@dataclass(frozen=True)
class Contents:
    """Reads and writes the picture fields of a run's records."""

    start: Start
    tokenizer: Tokenizer
    codec: Codec
    bus: Bus
    room: int  # tokens of all texts of a record, at most
    values: Mapping[str, Sequence[str]]  # the texts of fields that had only a few different ones to learn from
    cut: set[str] = field(default_factory=set)  # the fields whose cut texts were told of
    unknown: set[tuple[str, str]] = field(default_factory=set)  # the fields and texts that were told not to be learned

    @cached_property
    def _learned(self) -> Mapping[str, Collection[tuple[int, ...]]]:
        """The tokens of all `values`."""
        return {name: {tuple(self.tokenizer.encode(of)) for of in values} for name, values in self.values.items() if values}

    @property
    def one(self) -> str:
        """What is encoded is called: "picture"."""
        return reading_of(self.codec).medium.one

    @property
    def last_is_picture(self) -> bool:
        return bool(self.start.codes[-1])

    def leading(self, text: TextInput) -> list[str | list[int]]:
        """What is given for the leading fields: texts as they are, and the codes of the pictures that are named. Raises
        `RequestError` for a prompt that would begin a picture."""
        if text.prompt and self.start.codes[len(text.leading)]:
            raise RequestError(f"--prompt: the next field, {self.start.fields[len(text.leading)]!r}, is a {self.one}")
        found: list[str | list[int]] = []
        room = self.room
        for value, name, n in zip(text.leading, self.start.fields, self.start.codes, strict=False):
            if n:
                found.append(self._codes(value, name))
                continue
            ids = self.tokenizer.encode(value)
            self._tell_unknown(name, value, ids)
            longest = min(room, LONGEST_TEXT)
            if len(ids) > longest:
                if name not in self.cut:
                    self.cut.add(name)
                    self.bus.note(f"--given {name}: cut to its first {longest} tokens, the most that this run has room for")
                ids, value = ids[:longest], self.tokenizer.decode(ids[:longest])
            room -= len(ids)
            found.append(value)
        return found

    def _tell_unknown(self, name: str, value: str, ids: Sequence[int]) -> None:
        """Tell once of a text that no training record has, if all have one of a few."""
        learned = self._learned.get(name)
        if learned is None or tuple(ids) in learned or (name, value) in self.unknown:
            return
        self.unknown.add((name, value))
        known = self.values[name]
        hint = did_you_mean(value, known)
        self.bus.note(f"--given {name}={value}: the run learned no such {name}, only {listed(known, 10)}{hint}", "warning")

    def _codes(self, path: str, name: str) -> list[int]:
        """The codes of a picture file."""
        if Path(path).is_dir():
            raise RequestError(f"--given {name}={path}: name a {self.one}, not a folder")
        arrays = read_as_pictures(path, reading_of(self.codec), progress=self.bus.stage)
        if len(arrays) != 1:
            raise RequestError(f"--given {name}={path}: name one {self.one}, not {len(arrays):,}")
        codes: list[int] = self.codec.encode(arrays.take([0]))[0].tolist()
        return codes

    def drawn(self, made: Generated, given: Sequence[str], seed: int) -> Sample:
        """A sample whose last field is a picture, with the texts of its other fields."""
        if len(given) + len(made.fields) < len(self.start.fields):
            raise AigcError(
                f"sample {made.index} has no {self.one} yet after {len(made.ids):,} tokens; give the fields before it with "
                "--given"
            )
        texts = [*given, *(part.decode("utf-8", "ignore") for part in made.fields)]  # "" for a picture
        of_names = self.without_generated_pictures(dict(zip(self.start.fields, texts, strict=True)), len(given))
        codes = codes_in(made.ids, self.tokenizer, self.start.codes[-1])
        return Sample({"seed": seed, "index": made.index, **of_names}, self.codec.decode(codes[None])[0])

    def without_generated_pictures(self, of_names: dict[str, str], n_given: int) -> dict[str, str]:
        """The fields that are text, or the names of given pictures."""
        made = {name for name, n in list(zip(self.start.fields, self.start.codes, strict=True))[n_given:] if n}
        return {name: text for name, text in of_names.items() if name not in made}


def contents_of(
    loaded: Loaded[LanguageModel], codec: Codec, options: SampleOptions, values: Mapping[str, Sequence[str]], bus: Bus
) -> Contents:
    """What reads and writes the pictures of records, whose few texts were `values`. Raises `RequestError` for options that
    pictures have no use for."""
    if loaded.start.codes[-1]:
        fields = fields_of(SampleOptions)
        of_texts = ("max_tokens", "beam", "stop", "match", "echo", "stream")
        if named := [fields[name].flag for name in of_texts if getattr(options, name) != fields[name].default]:
            one = reading_of(codec).medium.one
            raise RequestError(f"{', '.join(named)}: only for texts, but this run's last field is a {one}")
    assert isinstance(loaded.model, CausalLM)
    room = loaded.model.network.config.context - sum(loaded.start.codes) - len(loaded.start.fields)
    return Contents(loaded.start, loaded.tokenizer, codec, bus, room, values)


def guided(loaded: Loaded[LanguageModel], options: SampleOptions) -> Loaded[LanguageModel]:
    """The model of records with --guidance."""
    of_pictures = GUIDANCE if loaded.start.codes[-1] else 1.0
    scale = of_pictures if options.guidance is None else options.guidance
    if scale == 1 or options.beam is not None or len(loaded.start.fields) < 2:
        return loaded
    sos, end, n_leading = loaded.tokenizer.sos_id, loaded.tokenizer.field_id, len(loaded.start.fields) - 1

    def nothing(prompt: Sequence[int]) -> list[int]:
        """As in training; unchanged if not all leading fields are given."""
        ends = [place for place, token in enumerate(prompt) if token == end]
        if len(ends) < n_leading:
            return list(prompt)
        last = ends[n_leading - 1]
        return [token if token == end or place > last else sos for place, token in enumerate(prompt)]

    return replace(loaded, model=Guided(loaded.model, nothing, scale))
