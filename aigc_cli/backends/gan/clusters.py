"""Clusters of similar training pictures, on which a GAN for varied pictures is conditioned like on classes.

Without them, a generator covers all kinds of pictures with one continuous map from latents, and a discriminator compares any
picture with any other. With them, both learn each kind apart (Liu et al. 2020, "Diverse Image Generation via Self-Conditioned
GANs"). That paper clusters the discriminator's features, again and again; these are clusters of thumbnails, found once, before
training.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from aigc_cli.data.pictures.dataset import PictureArrays
from aigc_cli.metrics.pictures.pooling import box_means

#: The height and width of a thumbnail.
SIDE = 16
#: The most pictures to find clusters with, and Lloyd's iterations.
MOST, ITERATIONS = 10_000, 30


def thumbnails(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) as vectors (B, C · SIDE²)."""
    return box_means(x, (SIDE, SIDE)).flatten(1)


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """The number (n,) of the centre (k, d) nearest to each point (n, d)."""
    return torch.cdist(points, centres).argmin(1)


def some_thumbnails(train: PictureArrays, seed: int) -> Tensor:
    """Thumbnails (n, C · SIDE²) of random training pictures with pixels in [-1, 1], at most MOST."""
    index = np.random.default_rng((seed, 3)).permutation(len(train))[:MOST]
    parts = np.array_split(index, -(-len(index) // 500))
    return torch.cat([thumbnails(torch.from_numpy(train.take(part)).permute(0, 3, 1, 2).float() / 127.5 - 1) for part in parts])


def k_means(points: Tensor, k: int, seed: int) -> Tensor:
    """Centres (k, d) of clusters of points (n, d): Lloyd's iterations from k-means++ (Arthur and Vassilvitskii 2007). With
    fewer than k different points, some centres coincide, and only the first of these is ever nearest."""
    random = np.random.default_rng((seed, 4))
    centres = points[random.integers(len(points), size=1)]
    distances = (points - centres).square().sum(1)
    for _ in range(k - 1):
        shares = distances.cpu().double().numpy()
        total = shares.sum()
        chosen = random.choice(len(points), size=1, p=shares / total if total > 0 else None)
        centres = torch.cat((centres, points[chosen]))
        distances = torch.minimum(distances, (points - points[chosen]).square().sum(1))
    for _ in range(ITERATIONS):
        numbers = nearest(points, centres)
        sums = torch.zeros_like(centres).index_add_(0, numbers, points)
        counts = torch.bincount(numbers, minlength=k)[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
    return centres
