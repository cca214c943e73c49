"""How much of a batch fits in memory at once."""

from __future__ import annotations

from collections.abc import Callable

from aigc_cli.files import bytes_of


def micro_batch(
    batch_size: int, needed: Callable[[int], float], memory: int | None, asked: int | None = None
) -> tuple[int, list[str]]:
    """How many examples of a batch to compute at once, and a reason if memory limits it. A training step takes `needed(n)`
    bytes for n examples, of the `memory` available on the device.

    A step may use half of that: `needed` is an estimate, and weights and evaluations take memory too.
    """
    if asked is not None or memory is None or needed(batch_size) <= memory / 2:
        return asked or batch_size, []
    sizes = (-(-batch_size // parts) for parts in range(2, batch_size))
    size = next((size for size in sizes if needed(size) <= memory / 2), 1)
    told, left = bytes_of(round(needed(batch_size))), bytes_of(memory)
    return size, [f"micro-batches of {size}: a batch of {batch_size} would take about {told} of the {left} of memory left"]
