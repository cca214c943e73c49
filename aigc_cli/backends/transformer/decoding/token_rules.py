"""Which tokens may come next: only whole characters, with fields and documents ending in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer

#: Well-formed UTF-8 (The Unicode Standard, table 3-7) as an automaton. State 0 is between characters; for every other state,
#: the range of bytes that may follow, and the state they lead to.
BETWEEN = 0
ONE, TWO, THREE, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4 = range(1, 8)
FOLLOWING = {
    ONE: (0x80, 0xBF, BETWEEN), TWO: (0x80, 0xBF, ONE), THREE: (0x80, 0xBF, TWO), AFTER_E0: (0xA0, 0xBF, ONE),
    AFTER_ED: (0x80, 0x9F, ONE), AFTER_F0: (0x90, 0xBF, TWO), AFTER_F4: (0x80, 0x8F, TWO),
}  # fmt: skip
#: The ranges of bytes that start a character, and the states they lead to.
LEADING = (
    (0x00, 0x7F, BETWEEN), (0xC2, 0xDF, ONE), (0xE0, 0xE0, AFTER_E0), (0xE1, 0xEC, TWO), (0xED, 0xED, AFTER_ED),
    (0xEE, 0xEF, TWO), (0xF0, 0xF0, AFTER_F0), (0xF1, 0xF3, THREE), (0xF4, 0xF4, AFTER_F4),
)  # fmt: skip
WRONG = -1


def after(state: int, content: bytes) -> int:
    """The state after some bytes; WRONG if they are not well-formed there."""
    for byte in content:
        ways = LEADING if state == BETWEEN else (FOLLOWING[state],)
        state = next((to for first, last, to in ways if first <= byte <= last), WRONG)
        if state == WRONG:
            return WRONG
    return state


class Characters:
    """Which tokens of a vocabulary may come within a character."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """`pieces` are the bytes of each token, empty for special tokens."""
        parts = {token: piece for token, piece in enumerate(pieces) if not _whole(piece)}
        self.broken = [token for token, piece in parts.items() if after(BETWEEN, piece) == WRONG]
        self.inside = torch.full((1 + len(FOLLOWING), len(pieces)), -math.inf)  # 0 for tokens that may follow a state
        self._next: dict[tuple[int, int], int] = {}
        for token, piece in parts.items():  # the only tokens that may be part of a character
            for state in (BETWEEN, *FOLLOWING):
                to = after(state, piece)
                if to != WRONG:
                    self.inside[state, token] = 0.0
                    self._next[state, token] = to

    def after(self, state: int, token: int) -> int:
        """The state after a token that is allowed there."""
        return self._next.get((state, token), BETWEEN)


def _whole(content: bytes) -> bool:
    """Whether the bytes are complete UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=4)
def characters_of(tokenizer: Tokenizer) -> Characters:
    """`Characters` of a tokenizer's vocabulary."""
    return Characters([tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size)])


@dataclass(frozen=True)
class FieldEnds:
    """Texts with `count` fields: token `id` ends each but the last, which ends with the document."""

    id: int
    count: int


@dataclass(frozen=True)
class CodedFields:
    """Which fields are runs of codes rather than text."""

    codes: range  # the tokens that are codes, the last ones of the vocabulary
    lengths: tuple[int, ...]  # by field, the number of its codes; 0 for text


@dataclass(frozen=True)
class TokenRules:
    """Which tokens may come next. The tokens `never` are excluded, with `characters` also those that would break a character.
    With `fields`, every text has exactly that many, including those of its prompt; with `coded`, some are codes, exactly as
    many as they have, and the others have none."""

    eot_id: int
    fields: FieldEnds | None = None
    never: Sequence[int] = ()
    characters: Characters | None = None
    coded: CodedFields | None = None

    def to_come(self, prompt: Sequence[int]) -> int:
        """The number of fields after the one that continues a prompt."""
        return self.fields.count - 1 - prompt.count(self.fields.id) if self.fields else 0

    @cached_property
    def excluded(self) -> Tensor:
        """The tokens that are never allowed between characters."""
        return torch.tensor([*self.never, *(self.characters.broken if self.characters else ())], dtype=torch.long)

    def exclude(
        self, scores: Tensor, to_come: Sequence[int], states: Sequence[int], lengths: Sequence[int] | None = None
    ) -> None:
        """Exclude tokens from scores (B, V) in place: those that are never allowed, and ends that come too early or too late (a
        document may only end after its last field). `to_come` is the number of fields after the current one, `states` the
        position within a character, and `lengths` the tokens of the current field, of each row."""
        inside = [row for row, state in enumerate(states) if state != BETWEEN]
        if self.characters is not None and inside:
            continued = scores[inside] + self.characters.inside[[states[row] for row in inside]].to(scores)
        if len(self.excluded):
            scores.index_fill_(1, self.excluded.to(scores.device), -math.inf)
        if self.fields is not None:
            wrong = torch.tensor([self.eot_id if left else self.fields.id for left in to_come], device=scores.device)
            scores.scatter_(1, wrong[:, None], -math.inf)
        if self.coded is not None:
            assert lengths is not None
            scores += self._of_coded.to(scores.device)[list(map(self._stage, to_come, lengths))]
        if self.characters is not None and inside:
            scores[inside] = continued

    def _stage(self, left: int, length: int) -> int:
        """The row of `_of_coded` for a row with `left` more fields and `length` tokens in the current one."""
        assert self.coded is not None
        whole = self.coded.lengths[len(self.coded.lengths) - 1 - left]
        return 0 if not whole else 1 if length < whole else 2 if left else 3

    @cached_property
    def _of_coded(self) -> Tensor:
        """What to add to scores (4, V): in a text, within codes, and at their end if fields follow or none."""
        assert self.coded is not None
        codes = self.coded.codes
        table = torch.full((4, codes.stop), -math.inf)
        table[0, : codes.start] = 0
        table[1, codes.start :] = 0
        if self.fields is not None:
            table[2, self.fields.id] = 0
        table[3, self.eot_id] = 0
        return table

    def ends_field(self, token: int) -> bool:
        """Whether a token ends a field that is not the last."""
        return self.fields is not None and token == self.fields.id

    def since_field(self, ids: Sequence[int]) -> int:
        """The number of tokens after the last end of a field."""
        return next((length for length, token in enumerate(reversed(ids)) if self.ends_field(token)), len(ids))

    def after(self, state: int, token: int) -> int:
        """The position within a character after one more token."""
        return BETWEEN if self.characters is None else self.characters.after(state, token)
