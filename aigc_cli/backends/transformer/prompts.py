"""How generated texts start: models of many documents, of a few long ones, and of documents with fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aigc_cli.backends.transformer.decoding.token_rules import CodedFields, FieldEnds
from aigc_cli.data.kinds import Kind, find_kind
from aigc_cli.data.text.dataset import TextDataset
from aigc_cli.data.text.kind import TEXT
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.errors import RequestError
from aigc_cli.files import read_json
from aigc_cli.options import did_you_mean


@dataclass(frozen=True)
class Start:
    """How generated texts start.

    With many documents, or with fields, a text starts with the start-of-document token, as in training. If documents are longer
    than the context, almost all training rows start in the middle of a document and that token is hardly ever seen; texts then
    start with the prompt, or with a line break if there is none (like nanoGPT's samples).
    """

    with_eot: bool
    fields: tuple[str, ...] = ()  # the names of a document's fields, in order; empty if it is a single text
    answers: bool = False  # texts are answers (targets) to sources
    source_share: float | None = None  # the share of a text that is the source, if texts are split
    codes: tuple[int, ...] = ()  # by field, the number of codes that it is made of, 0 for text; empty if all are text
    of_kind: Mapping[str, Any] | None = (
        None  # what run.json records of data that are no texts: `kind`, and what it takes to write one
    )
    unseen: tuple[int, ...] = ()  # tokens that don't occur in the training text, so that the model knows nothing about them

    @property
    def kind(self) -> Kind:
        """The kind of data that the texts stand for."""
        return TEXT if self.of_kind is None else find_kind(self.of_kind["kind"]).of_run(self.of_kind)

    @classmethod
    def of(cls, data: TextDataset, context: int, fields: tuple[str, ...] = ()) -> Start:
        documents = len(data.train.offsets) - 1
        rows = max(1.0, len(data.train.tokens) / context)
        of_kind = None if data.transcriber is None else {"kind": data.kind.name, **data.transcriber.record()}
        return cls(len(fields) > 1 or documents / rows > 0.02, fields, of_kind=of_kind)

    def leading(self, given: Mapping[str, str], where: str) -> list[str]:
        """The texts of the leading fields, in order. Raises `RequestError` for other fields, or if no field is left to
        generate."""
        if not self.fields:
            raise RequestError(
                f"{where}: this run's texts have no fields; choose another --run, or train one with --fields NAME,NAME,…"
            )
        made_of = f"the fields are {', '.join(self.fields)}, in this order"
        for name in given:
            if name not in self.fields:
                raise RequestError(f"{where}: there is no field {name!r}; {made_of}{did_you_mean(name, self.fields)}")
        missing = [name for name in self.fields if name not in given]
        if not missing:
            raise RequestError(f"{where}: all fields are given, so none is left to generate")
        first = self.fields.index(missing[0])
        if later := [name for name in self.fields[first:] if name in given]:
            raise RequestError(f"{where}: {later[0]!r} can only be given with {missing[0]!r}; {made_of}")
        return [given[name] for name in self.fields[:first]]

    def ends(self, tokenizer: Tokenizer) -> FieldEnds | None:
        """How fields are separated; None for a single field. An answer is a single field that never ends with the field
        token."""
        if self.answers:
            assert tokenizer.field_id is not None
            return FieldEnds(tokenizer.field_id, 1)
        if len(self.fields) < 2:
            return None
        assert tokenizer.field_id is not None
        return FieldEnds(tokenizer.field_id, len(self.fields))

    def coded(self, tokenizer: Tokenizer) -> CodedFields | None:
        """Which fields are codes; None if all are text."""
        return CodedFields(tokenizer.codes, self.codes) if any(self.codes) else None

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str | None, leading: Sequence[str | Sequence[int]] = ()) -> list[int]:
        """The tokens to sample from: the leading fields, each a text or codes, and the prompt, which starts the next field; or
        the source to answer. Never empty."""
        if self.answers:
            (source,) = leading
            assert isinstance(source, str)
            return [*tokenizer.seen(tokenizer.encode(source)), tokenizer.eot_id]
        if not self.with_eot:
            return tokenizer.seen(tokenizer.encode(prompt or "\n"))
        ids = [tokenizer.sos_id]
        for field in leading:
            assert tokenizer.field_id is not None
            ids += tokenizer.encode(field) if isinstance(field, str) else [tokenizer.codes[code] for code in field]
            ids.append(tokenizer.field_id)
        return tokenizer.seen(ids + tokenizer.encode(prompt or ""))

    def save(self, folder: Path) -> None:
        start = {name: value for name, value in asdict(self).items() if value is not None or name != "of_kind"}
        (folder / "aigc.json").write_text(json.dumps({"start": start}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Start:
        try:
            start = read_json(folder / "aigc.json")["start"]
            found = cls(**{**start, **{name: tuple(start.get(name, ())) for name in ("fields", "codes", "unseen")}})
            kinds = {"fields": str, "codes": int, "unseen": int}
            if wrong := [name for name, kind in kinds.items() if not all(isinstance(of, kind) for of in getattr(found, name))]:
                raise ValueError(f"{wrong[0]} are not as they should be")
            if found.of_kind is not None and not isinstance(found.of_kind["kind"], str):
                raise ValueError("it names no kind of data")
            return found
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestError(f"{folder / 'aigc.json'} cannot be read: {error}") from None
