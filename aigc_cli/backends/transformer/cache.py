"""The key-value cache: what attention needs of the tokens already read, so that they are read once."""

from __future__ import annotations

from torch import Tensor


class KVCache:
    """The keys and values of every layer, in buffers of fixed size that are filled column by column.

    The columns are a ring: when all `width` of them are filled, the next token takes the place of the oldest.
    Attention does not mind the order of its keys, for each was turned by its position before it came here.
    """

    def __init__(self, *, n_layers: int, batch: int, n_kv_heads: int, width: int, head_dim: int, like: Tensor) -> None:
        """`like` gives the device and the data type."""
        self.keys = like.new_zeros(n_layers, batch, n_kv_heads, width, head_dim)
        self.values = like.new_zeros(n_layers, batch, n_kv_heads, width, head_dim)
        self.width = width
        self.column = 0  # where the next token goes
        self.filled = 0  # how many columns hold a token

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Writes one layer's keys and values (B, H_kv, T, D); returns all filled columns (B, H_kv, S, D).

        The T tokens must fit before the end of the ring. Every layer of a step writes to the same columns;
        `advance` moves on.
        """
        stop = self.column + keys.shape[2]
        self.keys[layer, :, :, self.column : stop] = keys
        self.values[layer, :, :, self.column : stop] = values
        filled = max(self.filled, stop)
        return self.keys[layer, :, :, :filled], self.values[layer, :, :, :filled]

    def advance(self, n_tokens: int) -> None:
        """Counts `n_tokens` columns as filled, once all layers have written them."""
        self.filled = max(self.filled, self.column + n_tokens)
        self.column = (self.column + n_tokens) % self.width

    def select(self, rows: Tensor) -> None:
        """Makes row i what row `rows[i]` was: drops rows, or repeats one for several samples of a prompt."""
        self.keys = self.keys.index_select(1, rows)
        self.values = self.values.index_select(1, rows)

    def replace(self, rows: Tensor, columns: Tensor, other: KVCache) -> None:
        """Writes the filled columns of `other` into these columns of these rows, both in order."""
        place = (slice(None), rows[:, None], slice(None), columns[None, :])
        # Indices on both sides of a slice put their own dimensions first: (rows, columns, layers, heads, D).
        self.keys[place] = other.keys[:, :, :, : other.filled].permute(1, 3, 0, 2, 4)
        self.values[place] = other.values[:, :, :, : other.filled].permute(1, 3, 0, 2, 4)
