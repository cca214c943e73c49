"""Finite scalar quantisation (Mentzer et al. 2024, "Finite scalar quantization: VQ-VAE made simple"): each latent is squashed
into [−1, 1] and rounded to one of a few levels, and the latents of a place together are its code.

There is no codebook that could collapse, and no loss but the reconstruction's. Levels are spread evenly from −1 to 1 for odd
and even numbers alike (Parker et al. 2024, "Scaling transformers for low-bitrate high-quality speech coding", section 3.2).

Latents are maps (B, d, …) float32 with a channel for each of d levels, codes (B, …) int64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from aigc_cli.errors import RequestError

#: The most codes: what a Transformer's vocabulary can hold beside a tokenizer's.
MOST_CODES = 1 << 16


def check_levels(levels: Sequence[int]) -> None:
    """Raise `RequestError` unless these are numbers of levels, of at most `MOST_CODES` codes."""
    shown = ",".join(map(str, levels))
    if not levels or any(not isinstance(n, int) or isinstance(n, bool) or n < 2 for n in levels):
        raise RequestError(f"levels are {shown or 'none'}; give whole numbers of at least 2, such as 8,5,5,5")
    if len(levels) > math.log2(MOST_CODES) or math.prod(levels) > MOST_CODES:
        raise RequestError(f"levels {shown} make more than {MOST_CODES:,} codes; give fewer")


def quantise(h: Tensor, levels: Sequence[int]) -> Tensor:
    """The nearest levels of tanh(h), (B, d, …) within [−1, 1]. The gradient is that of tanh, as if nothing were rounded
    (straight-through, Bengio et al. 2013)."""
    z = h.float().tanh()
    quantised = _from_digits(_digits(z, levels), levels)
    return quantised + (z - z.detach())  # the difference is exactly 0


def codes_of(z: Tensor, levels: Sequence[int]) -> Tensor:
    """The codes of quantised latents, 0 … Π levels − 1: their digits in a mixed radix, the first one the least significant."""
    digits = _digits(z, levels).long()
    return sum((digits[:, i] * radix for i, radix in enumerate(_radices(levels))), start=torch.zeros_like(digits[:, 0]))


def of_codes(codes: Tensor, levels: Sequence[int]) -> Tensor:
    """The quantised latents of codes, the inverse of `codes_of`."""
    digits = [codes // radix % n for n, radix in zip(levels, _radices(levels), strict=True)]
    return _from_digits(torch.stack(digits, dim=1).float(), levels)


def _digits(z: Tensor, levels: Sequence[int]) -> Tensor:
    """The number of the nearest level, 0 … L − 1, as float32."""
    return (0.5 * (z + 1) * _steps(z, levels)).round()


def _from_digits(digits: Tensor, levels: Sequence[int]) -> Tensor:
    return 2 * digits / _steps(digits, levels) - 1


def _steps(like: Tensor, levels: Sequence[int]) -> Tensor:
    """L − 1 for each channel of a map (B, d, …)."""
    # Filled on the device: a GPU would be waited for to copy them there.
    steps = torch.stack([torch.full((), n - 1, dtype=torch.float32, device=like.device) for n in levels])
    return steps.view(-1, *(1 for _ in like.shape[2:]))


def _radices(levels: Sequence[int]) -> list[int]:
    return [math.prod(levels[:i]) for i in range(len(levels))]
