"""The interface for generation: a model that reads a batch of prompts at once and continues each token by token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class IncrementalState(Protocol):
    """A batch of rows during decoding, with the model's cache of the tokens read so far."""

    logits: Tensor  # (B, V) of the next token, float32

    def step(self, ids: Tensor) -> None:
        """Append a token (B,) to each row and compute the logits after it."""

    def select(self, rows: list[int]) -> None:
        """Replace row i by row `rows[i]`, to drop or duplicate rows."""


class LanguageModel(Protocol):
    """A model in evaluation mode."""

    @property
    def continues(self) -> bool:
        """Whether texts continue the prompt; otherwise they answer it."""

    @property
    def longest(self) -> int:
        """The default token limit for texts that don't end by themselves."""

    @property
    def longest_prompt(self) -> int | None:
        """The longest prompt, in tokens, that the model was trained on; None if any length works."""

    @property
    def begins_id(self) -> int:
        """The token that replaces an empty prompt."""

    def prefill(self, prompts: Sequence[Sequence[int]], *, room: int) -> IncrementalState:
        """Read prompts (at least one token each), to be followed by at most `room` tokens."""
