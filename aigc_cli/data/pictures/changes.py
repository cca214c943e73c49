"""What may be changed about a picture without making another thing of it: what augmentation goes by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Changes:
    """The changes that training may make to the examples of a dataset. Levels are from −1, black, to 1, white."""

    down: float = 1 / 8
    """Moved up or down by up to this share of the height."""
    across: float = 1 / 8
    """Moved left or right by up to this share of the width."""
    beyond: float = 0.0
    """The level of what moves in from beyond an edge, and of what is covered."""
    brightness: float = 0.5
    """Brighter or darker by up to this much."""
    contrast: bool = True
    """Whether differences from the mean, and from grey, may be larger or smaller."""
    black_stays: bool = False
    """Whether black stays black when the rest becomes brighter, as silence does."""
    reconstructed: bool = False
    """Whether what learns to reconstruct is trained on moved and brightened examples too."""


PICTURES = Changes()
