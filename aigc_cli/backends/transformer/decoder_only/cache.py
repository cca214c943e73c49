"""The key-value cache of incremental decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

Joined: TypeAlias = tuple[Tensor, Tensor] | None


class KVCache:
    """The keys and values of every layer, in buffers of fixed size that are filled column by column.

    The columns are a ring buffer: when all `width` are filled, the next token overwrites the oldest. The order of keys doesn't
    matter to attention, because rotary positions have already been applied to them.
    """

    def __init__(self, *, n_layers: int, batch: int, n_kv_heads: int, width: int, head_dim: int, like: Tensor) -> None:
        """`like` determines the device and data type."""
        shape = (batch, n_kv_heads, width, head_dim)
        self.keys = [like.new_zeros(shape) for _ in range(n_layers)]
        self.values = [like.new_zeros(shape) for _ in range(n_layers)]
        self.joined: dict[int, Joined] = {}
        self.width = width
        self.column = 0  # where the next token goes
        self.filled = 0  # the number of columns with a token

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's keys and values (B, H_kv, T, D). Returns all filled columns (B, H_kv, S, D).

        The T tokens must fit before the end of the ring. All layers of a step write to the same columns, until `advance`.
        """
        n_tokens = keys.shape[2]
        self.keys[layer].narrow(2, self.column, n_tokens).copy_(keys)
        self.values[layer].narrow(2, self.column, n_tokens).copy_(values)
        filled = max(self.filled, self.column + n_tokens)
        return self.keys[layer].narrow(2, 0, filled), self.values[layer].narrow(2, 0, filled)

    def advance(self, n_tokens: int) -> None:
        """Mark `n_tokens` columns as filled, after all layers have written them."""
        self.filled = max(self.filled, self.column + n_tokens)
        self.column = (self.column + n_tokens) % self.width

    def once(self, layer: int, joined: Callable[[], Joined]) -> Joined:
        """A layer's joined weights, made once: as long as the cache is good, the weights are the same."""
        if layer not in self.joined:
            self.joined[layer] = joined()
        return self.joined[layer]

    def select(self, rows: Tensor) -> None:
        """Replace row i by row `rows[i]`, to drop rows or to repeat one for several samples of a prompt."""
        self.keys = [keys.index_select(0, rows) for keys in self.keys]
        self.values = [values.index_select(0, rows) for values in self.values]

    def replace(self, rows: Tensor, columns: Tensor, other: KVCache) -> None:
        """Copy the filled columns of `other`, in order, into these columns of these rows."""
        for mine, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            # Advanced indices on both sides of a slice put their dimensions first: (rows, columns, heads, D).
            mine[rows[:, None], :, columns] = theirs.narrow(2, 0, other.filled).transpose(1, 2)
