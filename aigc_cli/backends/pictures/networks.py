"""The shape of a network for pictures, as all picture backends describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from aigc_cli.errors import RequestError

#: Of a picture. A network may come from a stranger, and allocates tables for every pixel.
MAX_PIXELS, MAX_CHANNELS = 1 << 26, 64


@dataclass(frozen=True, kw_only=True)
class PictureNetworkConfig:
    """Each level halves a picture of any height and width, rounding up; the last level becomes one vector.

    Raises `RequestError` for an invalid shape.
    """

    model_type: ClassVar[str]
    #: Lower limits.
    least: ClassVar[Mapping[str, int]] = {
        "height": 1, "width": 1, "channels": 1, "latent": 1, "vector_width": 1, "n_classes": 0,
    }  # fmt: skip

    #: Fields that JSON has as lists.
    sequences: ClassVar[tuple[str, ...]] = ("widths", "blocks")

    height: int
    width: int
    channels: int
    latent: int
    widths: tuple[int, ...]
    """Channels at each level; the first level has half the picture's height and width, the next a quarter, and so on."""
    blocks: tuple[int, ...]
    """Blocks at each level, in each of the two networks."""
    vector_width: int
    n_classes: int | tuple[int, ...] = 0
    """The number of classes that the networks are conditioned on, 0 for none; of several labels, the number of each."""

    def __post_init__(self) -> None:
        for name, minimum in self.least.items():
            value = getattr(self, name)
            several = name == "n_classes" and isinstance(value, tuple) and bool(value)
            if not _at_least(minimum, *(value if several else (value,))):
                raise RequestError(f"{name} is {getattr(self, name)!r}; it must be an integer of at least {minimum}")
        if self.height * self.width > MAX_PIXELS or self.channels > MAX_CHANNELS:
            raise RequestError(
                f"pictures of {self.width}×{self.height} with {self.channels} channels are too large; {MAX_PIXELS:,} pixels "
                f"and {MAX_CHANNELS} channels are the most"
            )
        if not self.widths or len(self.widths) != len(self.blocks):
            raise RequestError(f"widths {self.widths} and blocks {self.blocks} must have one number for each level")
        if not _at_least(1, *self.widths) or not _at_least(0, *self.blocks):
            raise RequestError(f"widths {self.widths} must be integers of at least 1 and blocks {self.blocks} of at least 0")

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each level."""
        divisors = [2 ** (level + 1) for level in range(len(self.widths))]
        return [(-(-self.height // d), -(-self.width // d)) for d in divisors]

    def describe(self) -> str:
        """ "channels 32 at 14×14, 64 at 7×7"."""
        return "channels " + ", ".join(f"{width} at {w}×{h}" for width, (h, w) in zip(self.widths, self.sizes, strict=True))

    def to_json(self) -> dict[str, Any]:
        return {"model_type": self.model_type, **asdict(self)}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The inverse of `to_json`. Raises `RequestError` for anything else."""
        fields: dict[str, Any] = dict(values) if isinstance(values, dict) else {}
        model_type = fields.pop("model_type", None)
        if model_type != cls.model_type:
            raise RequestError(f"the model type is {model_type!r}; only {cls.model_type!r} can be opened")
        try:
            several = ("n_classes",) if isinstance(fields.get("n_classes"), list) else ()
            return cls(**fields | {name: tuple(fields[name]) for name in (*cls.sequences, *several) if name in fields})
        except TypeError as error:
            raise RequestError(f"config.json has a missing or invalid value: {error}") from error


def _at_least(minimum: int, *values: object) -> bool:
    return all(isinstance(value, int) and value >= minimum for value in values)


def levels_for(height: int, width: int, smallest: int) -> int:
    """The number of halvings until the longer side is at most `smallest`; at least one."""
    levels, longest = 1, -(-max(height, width) // 2)
    while longest > smallest:
        levels, longest = levels + 1, -(-longest // 2)
    return levels
