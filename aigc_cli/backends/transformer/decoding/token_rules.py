"""Which tokens may be written next: whole characters only, fields and documents that end in their order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer

#: Well-formed UTF-8 (The Unicode Standard, table 3-7) as an automaton. State 0 is between characters; of each other state, the
#: bytes that may follow, first and last, and the state that they lead to.
BETWEEN = 0
ONE, TWO, THREE, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4 = range(1, 8)
FOLLOWING = {
    ONE: (0x80, 0xBF, BETWEEN), TWO: (0x80, 0xBF, ONE), THREE: (0x80, 0xBF, TWO), AFTER_E0: (0xA0, 0xBF, ONE),
    AFTER_ED: (0x80, 0x9F, ONE), AFTER_F0: (0x90, 0xBF, TWO), AFTER_F4: (0x80, 0x8F, TWO),
}  # fmt: skip
#: The bytes that begin a character, first and last, and the state that they lead to.
LEADING = (
    (0x00, 0x7F, BETWEEN), (0xC2, 0xDF, ONE), (0xE0, 0xE0, AFTER_E0), (0xE1, 0xEC, TWO), (0xED, 0xED, AFTER_ED),
    (0xEE, 0xEF, TWO), (0xF0, 0xF0, AFTER_F0), (0xF1, 0xF3, THREE), (0xF4, 0xF4, AFTER_F4),
)  # fmt: skip
WRONG = -1


def after(state: int, content: bytes) -> int:
    """The state after some bytes; WRONG where no well-formed text has them there."""
    for byte in content:
        ways = LEADING if state == BETWEEN else (FOLLOWING[state],)
        state = next((to for first, last, to in ways if first <= byte <= last), WRONG)
        if state == WRONG:
            return WRONG
    return state


class Characters:
    """The tokens of a vocabulary by what they do in the middle of a character."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """`pieces` are the bytes of each token; one that is not of the text has none."""
        parts = {token: piece for token, piece in enumerate(pieces) if not _whole(piece)}
        self.broken = [token for token, piece in parts.items() if after(BETWEEN, piece) == WRONG]
        self.inside = torch.full((1 + len(FOLLOWING), len(pieces)), -math.inf)  # 0 where a token may go on from a state
        self._next: dict[tuple[int, int], int] = {}
        for token, piece in parts.items():  # the only ones that a character may have in it
            for state in (BETWEEN, *FOLLOWING):
                to = after(state, piece)
                if to != WRONG:
                    self.inside[state, token] = 0.0
                    self._next[state, token] = to

    def after(self, state: int, token: int) -> int:
        """The state after a token that may stand there."""
        return self._next.get((state, token), BETWEEN)


def _whole(content: bytes) -> bool:
    """Whether it is UTF-8 by itself."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=4)
def characters_of(tokenizer: Tokenizer) -> Characters:
    """Those of a tokenizer's vocabulary."""
    return Characters([tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size)])


@dataclass(frozen=True)
class FieldEnds:
    """Texts of `count` fields: token `id` ends each but the last, which ends with the document."""

    id: int
    count: int


@dataclass(frozen=True)
class TokenRules:
    """What may come next. The tokens `never` are not written, and with `characters` none that would break one. With
    `fields`, every text has as many, less those that its prompt ends."""

    eot_id: int
    fields: FieldEnds | None = None
    never: Sequence[int] = ()
    characters: Characters | None = None

    def to_come(self, prompt: Sequence[int]) -> int:
        """How many fields come after the one that continues a prompt."""
        return self.fields.count - 1 - prompt.count(self.fields.id) if self.fields else 0

    @cached_property
    def excluded(self) -> Tensor:
        """The tokens that come nowhere between characters."""
        return torch.tensor([*self.never, *(self.characters.broken if self.characters else ())], dtype=torch.long)

    def exclude(self, scores: Tensor, to_come: Sequence[int], states: Sequence[int]) -> None:
        """Makes impossible, in place, the tokens that no text has in scores (B, V), and the ends that come too early or too
        late: each field ends as it must, a document only after the last. `to_come` are the fields after the present one of
        each row, `states` where in a character each is."""
        inside = [row for row, state in enumerate(states) if state != BETWEEN]
        if self.characters is not None and inside:
            going_on = scores[inside] + self.characters.inside[[states[row] for row in inside]].to(scores)
        if len(self.excluded):
            scores.index_fill_(1, self.excluded.to(scores.device), -math.inf)
        if self.fields is not None:
            wrong = torch.tensor([self.eot_id if left else self.fields.id for left in to_come], device=scores.device)
            scores.scatter_(1, wrong[:, None], -math.inf)
        if self.characters is not None and inside:
            scores[inside] = going_on

    def ends_field(self, token: int) -> bool:
        """Whether it ends a field that is not the last."""
        return self.fields is not None and token == self.fields.id

    def after(self, state: int, token: int) -> int:
        """Where in a character a text is after one more token."""
        return BETWEEN if self.characters is None else self.characters.after(state, token)
