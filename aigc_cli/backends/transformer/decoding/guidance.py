"""Classifier-free guidance (Ho and Salimans 2021) for sequences: log p(next | given) is moved away from log p(next)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_cli.backends.transformer.decoding.language_model import IncrementalState, LanguageModel


@dataclass(frozen=True)
class Guided:
    """A model whose next tokens depend more on what is given than the `model` was trained to: with w the `scale`, u the logits
    given `nothing` in place of the prompt, and c those given the prompt, u + w (c − u). Each row takes the work of two."""

    model: LanguageModel
    nothing: Callable[[Sequence[int]], Sequence[int]]  # a prompt with nothing in place of what it says
    scale: float

    @property
    def continues(self) -> bool:
        return self.model.continues

    @property
    def longest(self) -> int:
        return self.model.longest

    @property
    def longest_prompt(self) -> int | None:
        return self.model.longest_prompt

    @property
    def begins_id(self) -> int:
        return self.model.begins_id

    def prefill(self, prompts: Sequence[Sequence[int]], *, room: int) -> GuidedState:
        both = [*prompts, *map(self.nothing, prompts)]
        return GuidedState(self.model.prefill(both, room=room), self.scale)


class GuidedState:
    """B rows during decoding, of 2 B rows of a model: those with what is given, then those without."""

    logits: Tensor

    def __init__(self, both: IncrementalState, scale: float) -> None:
        self.both, self.scale = both, scale
        self._combine()

    def _combine(self) -> None:
        given, nothing = self.both.logits.chunk(2)
        self.logits = torch.lerp(nothing, given, self.scale)

    def step(self, ids: Tensor) -> None:
        self.both.step(torch.cat((ids, ids)))
        self._combine()

    def select(self, rows: list[int]) -> None:
        n = len(self.logits)
        self.both.select([*rows, *(n + row for row in rows)])
        self._combine()
