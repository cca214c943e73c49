"""What passes between the processes that train one model together. Each of them takes the same steps on the same plan.

The first process (of rank 0) decides whatever depends on time, signals or files, and it alone writes. All others do as it says,
at the same step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from aigc_cli.engine.processes.launch import LOOK, LOST, WATCHED, launched, tell_launcher
from aigc_cli.engine.processes.messages import packed, unpacked
from aigc_cli.engine.shards import Node, joined, share, sum_of, whole_nodes
from aigc_cli.errors import AigcError, first_line

T = TypeVar("T")

#: Seconds after which a process that waits for others gives up, and the environment variable that sets them.
TIMEOUT, TIMEOUT_VARIABLE = 600.0, "AIGC_TIMEOUT"
#: Bytes of a short message, and of its length before it.
MESSAGE, LENGTH = 256, 8


class LostContact(AigcError):
    """Another process ended or hangs."""

    exit_code = LOST if WATCHED in os.environ else 1


class Processes:
    """`count` processes, of which this is the one of `rank`; `beside` of them, this one included, share its machine."""

    def __init__(self, rank: int = 0, count: int = 1, beside: int = 1) -> None:
        self.rank, self.count, self.beside = rank, count, beside
        self._turns = 0

    @property
    def leads(self) -> bool:
        """Whether this process decides, tells and writes."""
        return self.rank == 0

    # What is decided once

    def agree(self, value: T, source: int = 0) -> T:
        """The value that the first process (or `source`) has (see `packed` for what can be sent)."""
        if self.count == 1:
            return value
        with _contact("agreeing on what to do"):
            text = packed(value) if self.rank == source else b""
            message = torch.zeros(MESSAGE, dtype=torch.uint8)
            if self.rank == source:
                whole = len(text).to_bytes(LENGTH, "little") + text
                message[: len(whole)] = _bytes(whole[:MESSAGE])
            dist.broadcast(message, source)
            length = int.from_bytes(message[:LENGTH].numpy().tobytes(), "little")
            if length <= MESSAGE - LENGTH:
                read = message[LENGTH : LENGTH + length]
            else:
                read = _bytes(text) if self.rank == source else torch.empty(length, dtype=torch.uint8)
                dist.broadcast(read, source)
        agreed: T = unpacked(read.numpy().tobytes())
        return agreed

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of them."""
        if self.count == 1:
            return flag
        with _contact("asking whether memory was enough"):
            flags = torch.tensor(int(flag))
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    @contextmanager
    def first(self) -> Iterator[None]:
        """The first process does what is inside before all others do. Inside, each is on its own."""
        if self.count == 1:
            yield
            return
        store, key = dist.distributed_c10d._get_default_store(), f"aigc/turn/{self._turns}"
        self._turns += 1
        if not self.leads:
            with _contact("waiting for the first process to prepare"):
                while not store.check([key]):  # a wait in the store would hold up signals
                    time.sleep(LOOK)
        with alone():
            yield
        if self.leads:
            store.set(key, "done")

    # Gradients and updates

    def owners(self, optimizer: Optimizer) -> dict[Parameter, int]:
        """Which process updates each parameter, and keeps its state (Rajbhandari et al. 2020, ZeRO, stage 1): the largest ones
        first, each goes to whoever has the least."""
        sizes = [0] * self.count
        owners: dict[Parameter, int] = {}
        for parameter in sorted(_parameters(optimizer), key=lambda p: -p.numel()):
            owners[parameter] = min(range(self.count), key=sizes.__getitem__)
            sizes[owners[parameter]] += parameter.numel()
        return owners

    def own_sums(self, optimizer: Optimizer, shards: int, of_shard: Callable[[int], Tensor]) -> OwnSums:
        """Sum the gradients of this process's shards. `of_shard` leaves the gradient of a shard in the optimiser's parameters,
        and returns scalars (n,) that are summed too."""
        if shards == 1:
            return OwnSums(shards, [], {(0, 1): of_shard(0)})
        owners = self.owners(optimizer)
        everything = sorted(_parameters(optimizer), key=owners.__getitem__)
        parameters: list[Parameter] = []

        def flat(shard: int) -> Tensor:
            values = of_shard(shard)
            parameters[:] = [p for p in everything if p.grad is not None]
            return torch.cat([*(p.grad.flatten() for p in parameters if p.grad is not None), values])

        nodes = whole_nodes((0, shards), share(shards, self.rank, self.count))
        return OwnSums(shards, parameters, {node: sum_of(node, flat) for node in nodes})

    def summed(self, optimizer: Optimizer, own: OwnSums) -> Summed:
        """Sum over all shards. Afterwards only the parameters that this process updates have a gradient, that of the batch."""
        parameters = _parameters(optimizer)
        if own.shards == 1:  # the gradient is where it belongs
            parameters = [p for p in parameters if p.grad is not None]
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            return Summed(parameters, norm, own.of_nodes[0, 1])
        owners = self.owners(optimizer)
        sizes = [sum(p.numel() for p in own.parameters if owners[p] == rank) for rank in range(self.count)]
        total = self._scattered(own, sizes)
        mine = [p for p in own.parameters if owners[p] == self.rank]
        *gradients, values = _cut(total, [*(p.numel() for p in mine), len(total) - sizes[self.rank]])
        for parameter in own.parameters:
            if owners[parameter] != self.rank:
                parameter.grad = None
        for parameter, gradient in zip(mine, gradients, strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(gradient.view(parameter.shape))
        having = set(own.parameters)
        parameters = [p for p in parameters if p in having]
        return Summed(parameters, self._norm(parameters, owners, total.device), values)

    def _norm(self, parameters: Sequence[Parameter], owners: Mapping[Parameter, int], device: torch.device) -> Tensor:
        """The norm of the gradient of all parameters, each of which has its own in the process that updates it."""
        gradients = [p.grad for p in parameters if owners[p] == self.rank and p.grad is not None]
        own, zero = iter(torch._foreach_norm(gradients) if gradients else ()), torch.zeros((), device=device)
        # Not by indices, which would be copied to the device and so wait for it.
        norms = torch.stack([next(own).float() if owners[p] == self.rank else zero for p in parameters] or [zero])
        if self.count > 1:
            with _contact("summing gradients"):
                dist.all_reduce(norms)  # exact: all but one of the summands are 0
        norm: Tensor = torch.linalg.vector_norm(norms)
        return norm

    def _scattered(self, own: OwnSums, sizes: Sequence[int]) -> Tensor:
        """The sum over all shards of the gradient of what this process updates, and of the values. `sizes`: of what each
        process updates, in this order in the sums."""
        root = (0, own.shards)
        if self.count == 1:
            return joined(root, own.of_nodes)
        pieces = [_cut(of_node, [*sizes, len(of_node) - sum(sizes)]) for of_node in own.of_nodes.values()]
        n_values = len(pieces[0][-1])
        sent = torch.cat([part for r in range(self.count) for piece in pieces for part in (piece[r], piece[-1])])
        nodes = [whole_nodes(root, share(own.shards, r, self.count)) for r in range(self.count)]
        length = sizes[self.rank] + n_values
        coming = [len(of_one) * length for of_one in nodes]
        received = sent.new_empty(sum(coming))
        with _contact("summing gradients"):
            dist.all_to_all_single(received, sent, coming, [len(pieces) * (size + n_values) for size in sizes])
        return joined(
            root,
            dict(
                zip(
                    (node for of_one in nodes for node in of_one),
                    _cut(received, [length] * (len(received) // length)),
                    strict=True,
                )
            ),
        )

    @torch.no_grad()
    def spread(self, optimizer: Optimizer, parameters: Sequence[Parameter]) -> None:
        """Give every process the parameters that one of them has updated."""
        if self.count == 1:
            return
        owners = self.owners(optimizer)
        for owner in range(self.count):
            some = [p for p in parameters if owners[p] == owner]
            if not some:
                continue
            flat = torch.cat([p.detach().flatten() for p in some])
            with _contact("sending updated weights"):
                dist.broadcast(flat, owner)
            if owner != self.rank:
                for parameter, new in zip(some, _cut(flat, [p.numel() for p in some]), strict=True):
                    parameter.copy_(new.view(parameter.shape))

    # Optimiser states, of which each process keeps what it updates

    @contextmanager
    def whole_states(self, optimizers: Iterable[Optimizer]) -> Iterator[None]:
        """Within the block, the optimisers of the first process have the states of all parameters."""
        optimizers = list(optimizers)
        if self.count > 1:
            for optimizer in optimizers:
                self._gather_state(optimizer)
        yield
        self.drop_others(optimizers)

    def drop_others(self, optimizers: Iterable[Optimizer]) -> None:
        """Forget the states of parameters that another process updates."""
        for optimizer in optimizers if self.count > 1 else ():
            for parameter, owner in self.owners(optimizer).items():
                if owner != self.rank:
                    optimizer.state.pop(parameter, None)

    def _gather_state(self, optimizer: Optimizer) -> None:
        """Send the states of all other processes to the first one. Every entry is a tensor. There they are on the CPU, as the
        memory of one device may be too small for all of them."""
        owners, parameters = self.owners(optimizer), _parameters(optimizer)
        for source in range(1, self.count):
            own = [i for i, p in enumerate(parameters) if owners[p] == source and p in optimizer.state]
            found = [(i, key, list(t.shape), str(t.dtype)) for i in own for key, t in optimizer.state[parameters[i]].items()]
            with _contact("collecting the optimiser's state"):
                for i, key, shape, dtype in self.agree(found, source):
                    parameter = parameters[i]
                    if self.rank == source:
                        dist.send(optimizer.state[parameter][key].cpu().contiguous(), 0)
                    elif self.leads:
                        entry = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")))
                        dist.recv(entry, source)
                        optimizer.state[parameter][key] = entry


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


def _parameters(optimizer: Optimizer) -> list[Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


# Which processes there are

ALONE = Processes()
_current = ALONE


def current() -> Processes:
    """The processes that train together with this one."""
    return _current


def join() -> Processes:
    """Meet the other processes, if a launcher started several."""
    global _current
    if launched() and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        timeout = timedelta(seconds=float(os.environ.get(TIMEOUT_VARIABLE, TIMEOUT)))
        with _contact("meeting the others"):
            dist.init_process_group(backend, timeout=timeout)
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        _current = Processes(dist.get_rank(), dist.get_world_size(), beside)
    return _current


@contextmanager
def alone() -> Iterator[None]:
    """Within the block, this process works on its own."""
    global _current
    before, _current = _current, ALONE
    try:
        yield
    finally:
        _current = before


@contextmanager
def _contact(doing: str) -> Iterator[None]:
    """Raises `LostContact` where the others don't answer. Whoever watches the processes names the one that died; if none did,
    the line that is left for it says what went wrong, such as in NCCL."""
    try:
        yield
    except RuntimeError as error:
        line = f"lost contact with another process while {doing} ({first_line(error)})"
        if WATCHED in os.environ:
            tell_launcher(line)
            raise LostContact("") from error
        raise LostContact(f"{line}; the same command with --resume goes on") from error


def _bytes(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _cut(flat: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
    return flat.split_with_sizes(lengths)
