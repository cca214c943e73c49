"""Sharing the updates of parameters: each process sums the gradient of some of them, updates these, and keeps their state
(Rajbhandari et al. 2020, ZeRO, stage 1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from aigc_cli.engine.processes.group import Processes, contact
from aigc_cli.engine.processes.shards import Node, joined, share, sum_of, whole_nodes


class OwnSums(NamedTuple):
    """Sums over the nodes of `shards` that are a process's own: gradients of `parameters`, one after the other, and values."""

    shards: int
    parameters: list[Parameter]
    of_nodes: dict[Node, Tensor]


class Summed(NamedTuple):
    """The gradient of a batch: the parameters that have one (in any process), its norm, and the values summed with it (n,)."""

    parameters: list[Parameter]
    norm: Tensor
    values: Tensor


class Updates:
    """The updates of an optimiser, which `processes` share. One process alone does all of it, and sends nothing."""

    def __init__(self, optimizer: Optimizer, processes: Processes) -> None:
        self.optimizer, self.processes = optimizer, processes
        self.parameters: list[Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
        self.owner = owners(self.parameters, processes.count)

    def _mine(self, parameters: Iterable[Parameter]) -> list[Parameter]:
        return [p for p in parameters if self.owner[p] == self.processes.rank]

    # Gradients

    def own_sums(self, shards: int, of_shard: Callable[[int], Tensor]) -> OwnSums:
        """Sum the gradients of this process's shards. `of_shard` leaves the gradient of a shard in the optimiser's parameters,
        and returns scalars (n,) that are summed too."""
        if shards == 1:
            return OwnSums(shards, [], {(0, 1): of_shard(0)})
        by_owner = sorted(self.parameters, key=self.owner.__getitem__)
        parameters: list[Parameter] = []

        def flat(shard: int) -> Tensor:
            values = of_shard(shard)
            parameters[:] = [p for p in by_owner if p.grad is not None]
            return torch.cat([*(p.grad.flatten() for p in parameters if p.grad is not None), values])

        nodes = whole_nodes((0, shards), share(shards, self.processes.rank, self.processes.count))
        return OwnSums(shards, parameters, {node: sum_of(node, flat) for node in nodes})

    def summed(self, own: OwnSums) -> Summed:
        """Sum over all shards. Afterwards only the parameters that this process updates have a gradient, that of the batch."""
        if own.shards == 1:  # the gradient is where it belongs
            parameters = [p for p in self.parameters if p.grad is not None]
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            return Summed(parameters, norm, own.of_nodes[0, 1])
        total = self._scattered(own)
        mine, having = self._mine(own.parameters), set(own.parameters)
        lengths = [p.numel() for p in mine]
        *gradients, values = total.split_with_sizes([*lengths, len(total) - sum(lengths)])
        for parameter in own.parameters:
            if self.owner[parameter] != self.processes.rank:
                parameter.grad = None
        for parameter, gradient in zip(mine, gradients, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(gradient.view(parameter.shape))
        parameters = [p for p in self.parameters if p in having]
        return Summed(parameters, self._norm(parameters, total.device), values)

    def _scattered(self, own: OwnSums) -> Tensor:
        """The sum over all shards of the gradient of what this process updates, followed by the values."""
        rank, count, root = self.processes.rank, self.processes.count, (0, own.shards)
        if count == 1:
            return joined(root, own.of_nodes)
        sizes = [sum(p.numel() for p in own.parameters if self.owner[p] == r) for r in range(count)]
        n_values = len(next(iter(own.of_nodes.values()))) - sum(sizes)
        pieces = [of_node.split_with_sizes([*sizes, n_values]) for of_node in own.of_nodes.values()]
        sent = torch.cat([part for r in range(count) for piece in pieces for part in (piece[r], piece[-1])])
        nodes = [whole_nodes(root, share(own.shards, r, count)) for r in range(count)]
        length = sizes[rank] + n_values
        coming = [length * len(of_one) for of_one in nodes]
        received = sent.new_empty(sum(coming))
        with contact("summing gradients"):
            dist.all_to_all_single(received, sent, coming, [len(pieces) * (size + n_values) for size in sizes])
        every_node = [node for of_one in nodes for node in of_one]
        return joined(root, dict(zip(every_node, received.split_with_sizes([length] * len(every_node)), strict=True)))

    def _norm(self, parameters: Sequence[Parameter], device: torch.device) -> Tensor:
        """The norm of the gradient of all parameters, each of which has its own in the process that updates it."""
        gradients = [p.grad for p in self._mine(parameters) if p.grad is not None]
        own, zero = iter(torch._foreach_norm(gradients) if gradients else ()), torch.zeros((), device=device)
        # Not by indices, which would be copied to the device and so wait for it.
        norms = torch.stack([next(own).float() if self.owner[p] == self.processes.rank else zero for p in parameters] or [zero])
        if self.processes.count > 1:
            with contact("summing gradients"):
                dist.all_reduce(norms)  # exact: all but one of the summands are 0
        norm: Tensor = torch.linalg.vector_norm(norms)
        return norm

    @torch.no_grad()
    def spread(self, parameters: Sequence[Parameter]) -> None:
        """Give every process the parameters that one of them has updated."""
        for owner in range(self.processes.count) if self.processes.count > 1 else ():
            some = [p for p in parameters if self.owner[p] == owner]
            if not some:
                continue
            flat = torch.cat([p.detach().flatten() for p in some])
            with contact("sending updated weights"):
                dist.broadcast(flat, owner)
            if owner != self.processes.rank:
                for parameter, new in zip(some, flat.split_with_sizes([p.numel() for p in some]), strict=True):
                    parameter.copy_(new.view(parameter.shape))

    # States

    @contextmanager
    def whole_state(self) -> Iterator[None]:
        """Within the block, the first process has the state of all parameters: those of others on the CPU, as the memory of one
        device may be too small for all of them."""
        for source in range(1, self.processes.count):
            self._send_state(source)
        yield
        self.drop_others()

    def drop_others(self) -> None:
        """Forget the state of parameters that another process updates."""
        for parameter, owner in self.owner.items():
            if owner != self.processes.rank:
                self.optimizer.state.pop(parameter, None)

    def _send_state(self, source: int) -> None:
        """Send the state that the process `source` has to the first one. Every entry is a tensor."""
        state = self.optimizer.state
        own = [i for i, p in enumerate(self.parameters) if self.owner[p] == source and p in state]
        found = [(i, key, list(t.shape), str(t.dtype)) for i in own for key, t in state[self.parameters[i]].items()]
        with contact("collecting the optimiser's state"):
            for i, key, shape, dtype in self.processes.agree(found, source):
                parameter = self.parameters[i]
                if self.processes.rank == source:
                    dist.send(state[parameter][key].cpu().contiguous(), 0)
                elif self.processes.leads:
                    entry = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
                    dist.recv(entry, source)
                    state[parameter][key] = entry


def owners(parameters: Iterable[Parameter], processes: int) -> dict[Parameter, int]:
    """Which process updates each parameter: the largest ones first, each goes to whoever has the least."""
    sizes = [0] * processes
    found: dict[Parameter, int] = {}
    for parameter in sorted(parameters, key=lambda p: -p.numel()):
        found[parameter] = min(range(processes), key=sizes.__getitem__)
        sizes[found[parameter]] += parameter.numel()
    return found
