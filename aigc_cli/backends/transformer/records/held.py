"""Held-out records to measure on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aigc_cli.backends.base import Codec
from aigc_cli.backends.codecs import reading_of
from aigc_cli.backends.transformer.decoder_only.eval import field_costs
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.likelihood import prediction_nats
from aigc_cli.backends.transformer.decoder_only.packing import Corpus, evaluation_pieces
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.records.tokens import parts_of, prompt_of
from aigc_cli.data.pictures.output import encode_picture
from aigc_cli.data.records.dataset import RecordArrays, RecordField
from aigc_cli.data.text.tokens import TokenArrays

#: Records that are shown beside what the model makes of them.
SHOWN = 12


@dataclass(frozen=True)
class Held:
    """Records to measure on, as they are and as tokens."""

    records: RecordArrays
    tokens: TokenArrays
    codes: NDArray[np.int64]  # of their pictures (n, places)
    fields: tuple[RecordField, ...]
    loaded: Loaded[CausalLM]

    @cached_property
    def parts(self) -> list[list[list[int]]]:
        """The tokens of each record's fields."""
        return [parts_of(self.tokens, number, self.loaded.tokenizer) for number in range(self.tokens.n_docs)]

    def prompt(self, number: int) -> list[int]:
        """The tokens of a record up to its last field."""
        return prompt_of(self.parts[number][:-1], self.loaded.tokenizer)

    def costs(self, leading: Sequence[int], last: Sequence[int], batch_size: int) -> NDArray[np.float64]:
        """The cost in nats of the last field of the records `last` given the leading fields of the records `leading`, (n,)."""
        tokens: list[int] = []
        offsets = [0]
        for first, final in zip(leading, last, strict=True):
            tokens += [*self.prompt(first)[1:], *self.parts[final][-1]]
            offsets.append(len(tokens))
        n = np.ones(len(last), np.int64)
        arrays = TokenArrays(np.array(tokens, np.uint32), np.array(offsets), n, n)
        found = field_costs(self.predicted(arrays, batch_size), arrays, Corpus.of(arrays, self.loaded.tokenizer), self.loaded)
        return found[self.fields[-1].name][0]

    def predicted(self, arrays: TokenArrays, batch_size: int) -> NDArray[np.float64]:
        """The cost in nats of each prediction."""
        network = self.loaded.model.network
        corpus = Corpus.of(arrays, self.loaded.tokenizer)
        pieces = evaluation_pieces(corpus, network.config.context)
        return prediction_nats(network, corpus, pieces, batch_size=batch_size, device=self.loaded.device)

    @property
    def codec(self) -> Codec:
        assert self.loaded.codec is not None
        return self.loaded.codec

    @property
    def one(self) -> str:
        """What is encoded is called: "picture"."""
        return reading_of(self.codec).medium.one

    def leading(self, number: int) -> dict[str, str | bytes]:
        """The fields of a record before its last, to look at."""
        return {field.name: self.shown(field, number) for field in self.fields[:-1]}

    def leading_texts(self, numbers: Sequence[int], records: RecordArrays | None = None) -> list[str]:
        """The texts before the last field of these records, or of others with the same fields, a line for each field."""
        texts = (self.records if records is None else records).texts
        names = [field.name for field in self.fields[:-1] if field.is_text]
        return ["\n".join(texts[name][number] for name in names) for number in numbers]

    def shown(self, field: RecordField, number: int) -> str | bytes:
        """A field of a record, to look at: its text, or its picture as a PNG file."""
        if field.is_text:
            return self.records.texts[field.name][number]
        return encode_picture(self.records.pictures.take(np.array([number]))[0], ".png")
