"""An exponential moving average of a network's weights, for evaluation and sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from aigc_cli.engine.learner import HalfLife


class EMA:
    """θ̄ ← d·θ̄ + (1 − d)·θ after every step, with d = min(0.5^(1/half_life), (1 + step) / (10 + step)) and the half-life in
    steps. The second term makes d smaller at first, so that the initialisation is forgotten. Buffers are copied."""

    def __init__(self, network: nn.Module, half_life: HalfLife) -> None:
        self.network, self.half_life = network, half_life
        self.weights: dict[str, Tensor] = {name: t.detach().clone() for name, t in network.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        half_life = self.half_life(step) if callable(self.half_life) else self.half_life
        decay = min(0.5 ** (1 / half_life), (1 + step) / (10 + step))
        averaged = dict(self.network.named_parameters(remove_duplicate=False))
        for name, tensor in self.network.state_dict().items():
            if name in averaged and tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - decay)
            else:
                self.weights[name].copy_(tensor)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the averaged weights within the context."""
        own = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(self.weights)
        try:
            yield
        finally:
            self.network.load_state_dict(own)


@contextmanager
def applied(ema: Mapping[str, EMA]) -> Iterator[None]:
    """Apply all averages within the context."""
    with ExitStack() as stack:
        for average in ema.values():
            stack.enter_context(average.applied())
        yield
