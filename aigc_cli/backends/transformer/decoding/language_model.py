"""What texts are sampled from: a model that reads a batch of prompts and goes on token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Reader(Protocol):
    """A batch of rows that have been read."""

    logits: Tensor  # (B, V) of the next token, float32

    def step(self, ids: Tensor) -> None:
        """Adds a token (B,) to each row."""

    def select(self, rows: list[int]) -> None:
        """Makes row i what row `rows[i]` was."""


class LanguageModel(Protocol):
    """A model in evaluation mode."""

    @property
    def continues(self) -> bool:
        """Whether a text goes on from its prompt, so that the prompt's tokens are its first; else it answers the prompt."""

    @property
    def longest(self) -> int:
        """The tokens at which a text ends that does not end by itself."""

    @property
    def begins_id(self) -> int:
        """The token that stands for an empty prompt."""

    def read(self, prompts: Sequence[Sequence[int]], *, room: int) -> Reader:
        """Reads prompts (at least one token each), to be followed by at most `room` tokens."""
