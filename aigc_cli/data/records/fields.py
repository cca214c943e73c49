"""The fields of a record: which there are, which are learned, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from aigc_cli.data.records.texts import PICTURE, Beside
from aigc_cli.data.sources.split_names import nfc
from aigc_cli.data.understood import listed
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean

MOST = 16
"""Fields of a record, at most: each takes a place of its own in the model's context."""


@dataclass(frozen=True)
class RecordField:
    """A field of every record."""

    name: str
    kind: Literal["text", "pictures"]


def choose_fields(beside: Beside, asked: Sequence[str] | None) -> tuple[RecordField, ...]:
    """The fields that were asked for; otherwise all with words in them, and the picture last, so that it is drawn from
    them. The picture may be called `picture` unless a column of texts is.

    Raises RequestError for fields that there are not, that are named twice, for too many, and without the picture.
    """
    picture = beside.picture
    if asked is None:
        if len(beside.usual) >= MOST:
            examples = ",".join([*beside.usual[:2], picture])
            raise RequestError(
                f"{beside.where} has {len(beside.usual):,} columns of texts: name the fields to learn, at most {MOST}, "
                f"such as --fields {examples}"
            )
        return (*(RecordField(name, "text") for name in beside.usual), RecordField(picture, "pictures"))
    if len(asked) > MOST:
        raise RequestError(f"--fields names {len(asked):,} fields; a record may have {MOST}")
    kinds = {nfc(name): (name, "text") for name in beside.columns}
    chosen: list[RecordField] = []
    for name in asked:
        if nfc(name) in kinds:
            chosen.append(RecordField(kinds[nfc(name)][0], "text"))
        elif nfc(name) in (nfc(picture), PICTURE):
            chosen.append(RecordField(picture, "pictures"))
        else:
            hint = did_you_mean(name, [*beside.columns, picture])
            fields = listed(map(repr, (picture, *beside.columns)), 10)
            raise RequestError(f"{beside.where} has no field {name!r}; its fields are {fields}{hint}")
    names = [field.name for field in chosen]
    if twice := [name for name in names if names.count(name) > 1]:
        raise RequestError(f"--fields names {twice[0]!r} twice")
    if not any(field.kind == "pictures" for field in chosen):
        raise RequestError(f"--fields lacks the picture, {picture!r}")
    return tuple(chosen)
