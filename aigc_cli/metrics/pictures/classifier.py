"""A small, quickly trained classifier of pictures, for features rather than accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.metrics.pictures.pooling import BoxMeans

CPU = torch.device("cpu")
PICTURES = 120_000  # that it sees in training at most: 20 seconds on a core
EPOCHS = 30
BATCH = 128
FEATURES = 64
_PEAK_LR = 3e-3
_WARMUP = 0.2


class Classifier(nn.Module):
    """Strided convolutions down to about 4 × 4, a layer of 64 features, and a linear head."""

    def __init__(self, height: int, width: int, channels: int, n_classes: int) -> None:
        super().__init__()
        halvings = max(2, round(math.log2(min(height, width) / 7)))
        widths = [32] + [64] * (halvings - 1)
        layers: list[nn.Module] = []
        for before, after in zip([channels, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.Conv2d(widths[-1], 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        self.body = nn.Sequential(*layers, BoxMeans((4, 4)), nn.Flatten(), nn.Linear(64 * 16, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, n_classes)

    def features(self, x: Tensor) -> Tensor:
        """Pictures (n, channels, height, width) from −1 to 1 -> (n, 64)."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, n_classes)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def train_classifier(
    pictures: Callable[[Tensor], Tensor],
    labels: Tensor,
    n_classes: int,
    *,
    seed: int = 0,
    device: torch.device = CPU,
) -> Classifier:
    """A classifier trained on `device`, in evaluation mode.

    `pictures(index)` are those with these numbers, (n, channels, height, width) from −1 to 1, on the CPU; labels: (N,). It sees
    120,000 pictures, or each 30 times where that is less. The random state that others draw from is left alone.
    """
    on_gpu = [device] if device.type == "cuda" else []
    plain = torch.autocast(device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), plain, torch.random.fork_rng(on_gpu):
        torch.manual_seed(seed)
        _, channels, height, width = pictures(torch.zeros(1, dtype=torch.int64)).shape
        network = Classifier(height, width, channels, n_classes).to(device)
        steps = max(1, min(PICTURES, EPOCHS * len(labels)) // min(BATCH, len(labels)))
        optimizer = torch.optim.AdamW(network.parameters(), lr=_PEAK_LR, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK_LR, steps + 1, pct_start=_WARMUP)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            if len(order) < min(BATCH, len(labels)):
                order = torch.cat([order, torch.randperm(len(labels))])
            index, order = order[:BATCH], order[BATCH:]
            loss = F.cross_entropy(network(pictures(index).to(device)), labels[index].to(device))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()
