"""The fields of a record: which there are, which are learned, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aigc_cli.data.records.texts import Beside
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.understood import listed
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean

TEXT = "text"
MOST = 16
"""Fields of a record, at most: each takes a place of its own in the model's context."""


@dataclass(frozen=True)
class RecordField:
    """A field of every record."""

    name: str
    kind: str  # "text", or that of what is read as pictures

    @property
    def is_text(self) -> bool:
        return self.kind == TEXT


def choose_fields(beside: Beside, asked: Sequence[str] | None) -> tuple[RecordField, ...]:
    """The fields that were asked for; otherwise all with words in them, and the picture or sound last, so that it is made from
    them. It may be called `picture` or `sound` unless a column of texts is.

    Raises RequestError for fields that there are not, that are named twice, for too many, and without the picture or sound.
    """
    picture, medium = beside.picture, beside.medium
    if asked is None:
        if len(beside.usual) >= MOST:
            examples = ",".join([*beside.usual[:2], picture])
            raise RequestError(
                f"{beside.where} has {len(beside.usual):,} columns of texts: name the fields to learn, at most {MOST}, "
                f"such as --fields {examples}"
            )
        return (*(RecordField(name, TEXT) for name in beside.usual), RecordField(picture, medium.many))
    if len(asked) > MOST:
        raise RequestError(f"--fields names {len(asked):,} fields; a record may have {MOST}")
    kinds = {nfc(name): (name, TEXT) for name in beside.columns}
    chosen: list[RecordField] = []
    for name in asked:
        if nfc(name) in kinds:
            chosen.append(RecordField(*kinds[nfc(name)]))
        elif nfc(name) in (nfc(picture), medium.one):
            chosen.append(RecordField(picture, medium.many))
        else:
            hint = did_you_mean(name, [*beside.columns, picture])
            fields = listed(map(repr, (picture, *beside.columns)), 10)
            raise RequestError(f"{beside.where} has no field {name!r}; its fields are {fields}{hint}")
    names = [field.name for field in chosen]
    if twice := [name for name in names if names.count(name) > 1]:
        raise RequestError(f"--fields names {twice[0]!r} twice")
    if all(field.is_text for field in chosen):
        raise RequestError(f"--fields lacks the {medium.one}, {picture!r}")
    return tuple(chosen)
