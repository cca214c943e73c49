"""Muon for the hidden matrices and AdamW for everything else, as one optimiser with one state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.adamw import adamw

# Coefficients of the quintic iteration (Jordan et al. 2024, "Muon"): they map singular values in (0, 1] to about 0.7 … 1.2.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Approximately the nearest semi-orthogonal matrices, U Vᵀ of G = U S Vᵀ; (…, rows, columns) in and out.

    Newton–Schulz iteration X ← aX + (bA + cA²)X with A = XXᵀ (Jordan et al. 2024), in the precision of the matrices: bfloat16
    would suffice on a GPU, but is a hundred times slower than float32 on most CPUs.
    """
    a, b, c = NEWTON_SCHULZ
    wide: Tensor = matrices.mT if matrices.shape[-2] > matrices.shape[-1] else matrices
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    result: Tensor = x.mT.contiguous() if matrices.shape[-2] > matrices.shape[-1] else x
    return result


class MuonAdamW(Optimizer):
    """Muon (Jordan et al. 2024) on `muon` parameters, AdamW (Loshchilov and Hutter 2019) on `adamw` parameter groups.

    A Muon update is scaled by √max(1, rows/columns), so that it changes a layer's output equally for all shapes. Matrices of
    the same shape are orthogonalised together. Weight decay is decoupled in both.

    Like PyTorch's fused optimisers, it honours `found_inf` (see torch.amp.GradScaler): a tensor on the device that is 1 if the
    step is to change nothing.
    """

    _step_supports_amp_scaling = True

    def __init__(
        self,
        muon: Iterable[Parameter],
        adamw: Iterable[dict[str, Any]],
        *,
        muon_lr: float,
        muon_momentum: float = 0.95,
        muon_weight_decay: float = 0.0,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {
                "params": list(muon),
                "kind": "muon",
                "lr": muon_lr,
                "momentum": muon_momentum,
                "weight_decay": muon_weight_decay,
            }
        ]
        for group in adamw:
            groups.append({"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0, **group, "kind": "adamw", "fused": True})
        super().__init__([group for group in groups if group["params"]], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None if closure is None else closure()
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["kind"] == "muon":
                self._muon(group, parameters, found_inf)
            elif parameters:
                self._adamw(group, parameters, found_inf)
        return loss

    def _muon(self, group: dict[str, Any], parameters: list[Parameter], found_inf: Tensor | None) -> None:
        by_shape: dict[torch.Size, list[Parameter]] = defaultdict(list)
        for p in parameters:
            by_shape[p.shape].append(p)
        for (rows, columns), same in by_shape.items():
            directions = []
            for p in same:
                assert p.grad is not None
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                # The mean of the momentum and itself leaves it unchanged.
                grad = p.grad if found_inf is None else torch.where(found_inf > 0, momentum, p.grad)
                momentum.lerp_(grad, 1 - group["momentum"])
                directions.append(grad.lerp(momentum, group["momentum"]))  # Nesterov
            updates = orthogonalise(torch.stack(directions))
            scale = max(1.0, rows / columns) ** 0.5
            matrices: list[Tensor] = list(same)
            if found_inf is None:
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(updates.unbind()), alpha=-group["lr"] * scale)
            else:
                lr = group["lr"] * (1 - found_inf)
                torch._foreach_mul_(matrices, 1 - lr * group["weight_decay"])
                torch._foreach_add_(matrices, list((updates * (-scale * lr)).unbind()))

    def _adamw(self, group: dict[str, Any], parameters: list[Parameter], found_inf: Tensor | None) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        states = [self.state[p] for p in parameters]
        adamw(
            list(parameters),
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            found_inf=found_inf,
        )
