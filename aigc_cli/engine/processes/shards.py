"""Sums over the shards of a batch, in an order that doesn't depend on who computed which shard.

Floating-point sums depend on their order. So shards are summed in one binary tree, which their number alone determines, and a
process that has some of them sums only what is a whole node of that tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

Node = tuple[int, int]
"""The shards `begin` … `end` − 1."""


def children(node: Node) -> tuple[Node, Node]:
    """The two halves of a node of several shards. The left one has a power of two."""
    begin, end = node
    middle = begin + (1 << ((end - begin - 1).bit_length() - 1))
    return (begin, middle), (middle, end)


def whole_nodes(node: Node, mine: Node) -> list[Node]:
    """The largest nodes of the tree below `node` that lie within the shards `mine`, in order."""
    begin, end = max(node[0], mine[0]), min(node[1], mine[1])
    if begin >= end:
        return []
    if (begin, end) == node:
        return [node]
    return [inner for child in children(node) for inner in whole_nodes(child, mine)]


def share(shards: int, part: int, parts: int) -> Node:
    """The shards of one of `parts` processes; their numbers differ by at most one."""
    return shards * part // parts, shards * (part + 1) // parts


def sum_of(node: Node, of_shard: Callable[[int], Tensor]) -> Tensor:
    """The sum over a node's shards. At most log2(n) + 1 tensors are kept at once."""
    if node[1] - node[0] == 1:
        return of_shard(node[0])
    left, right = children(node)
    return sum_of(left, of_shard).add_(sum_of(right, of_shard))


def joined(node: Node, sums: Mapping[Node, Tensor]) -> Tensor:
    """The sum over a node from those of nodes below it."""
    if node in sums:
        return sums[node]
    left, right = children(node)
    return joined(left, sums) + joined(right, sums)
