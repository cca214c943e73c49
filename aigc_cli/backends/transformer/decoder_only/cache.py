"""The key-value cache: what attention needs of the tokens already read, so that they are read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

Joined: TypeAlias = tuple[Tensor, Tensor] | None


class KVCache:
    """The keys and values of every layer, in buffers of fixed size that are filled column by column.

    The columns are a ring: when all `width` of them are filled, the next token takes the place of the oldest.
    Attention does not mind the order of its keys, for each was turned by its position before it came here.
    """

    def __init__(self, *, n_layers: int, batch: int, n_kv_heads: int, width: int, head_dim: int, like: Tensor) -> None:
        """`like` gives the device and the data type."""
        shape = (batch, n_kv_heads, width, head_dim)
        self.keys = [like.new_zeros(shape) for _ in range(n_layers)]
        self.values = [like.new_zeros(shape) for _ in range(n_layers)]
        self.joined: dict[int, Joined] = {}
        self.width = width
        self.column = 0  # where the next token goes
        self.filled = 0  # how many columns hold a token

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes one layer's keys and values (B, H_kv, T, D); returns all filled columns (B, H_kv, S, D).

        The T tokens must fit before the end of the ring. Every layer of a step writes to the same columns;
        `advance` moves on.
        """
        n_tokens = keys.shape[2]
        self.keys[layer].narrow(2, self.column, n_tokens).copy_(keys)
        self.values[layer].narrow(2, self.column, n_tokens).copy_(values)
        filled = max(self.filled, self.column + n_tokens)
        return self.keys[layer].narrow(2, 0, filled), self.values[layer].narrow(2, 0, filled)

    def advance(self, n_tokens: int) -> None:
        """Counts `n_tokens` columns as filled, once all layers have written them."""
        self.filled = max(self.filled, self.column + n_tokens)
        self.column = (self.column + n_tokens) % self.width

    def once(self, layer: int, joined: Callable[[], Joined]) -> Joined:
        """A layer's joined weights, made once: as long as the cache is good, the weights are the same."""
        if layer not in self.joined:
            self.joined[layer] = joined()
        return self.joined[layer]

    def select(self, rows: Tensor) -> None:
        """Makes row i what row `rows[i]` was: drops rows, or repeats one for several samples of a prompt."""
        self.keys = [keys.index_select(0, rows) for keys in self.keys]
        self.values = [values.index_select(0, rows) for values in self.values]

    def replace(self, rows: Tensor, columns: Tensor, other: KVCache) -> None:
        """Writes the filled columns of `other` into these columns of these rows, both in order."""
        for mine, theirs in zip(self.keys + self.values, other.keys + other.values, strict=True):
            # Indices on both sides of a slice put their dimensions first: (rows, columns, heads, D).
            mine[rows[:, None], :, columns] = theirs.narrow(2, 0, other.filled).transpose(1, 2)
