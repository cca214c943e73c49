"""Clusters of pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import settled
from test_gan_sizes import dataset

from aigc_cli.backends.gan.clusters import k_means, nearest, some_thumbnails, thumbnails
from aigc_cli.backends.gan.config import Train
from aigc_cli.backends.gan.presets import decide, model_config


def test_separate_groups_are_found() -> None:
    draw = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    points = (middles[:, None] + torch.randn(4, 50, 2, generator=draw)).flatten(0, 1)
    centres = k_means(points, 4, seed=0)
    numbers = nearest(points, centres).view(4, 50)
    assert all(len(group.unique()) == 1 for group in numbers) and len(numbers.unique()) == 4
    for group in range(4):
        assert torch.allclose(centres[numbers[group, 0]], points[50 * group : 50 * (group + 1)].mean(0), atol=1e-5)
    assert torch.equal(centres, k_means(points, 4, seed=0))


def test_more_clusters_than_different_points() -> None:
    points = torch.tensor([[0.0], [1.0]]).repeat(5, 1)
    numbers = nearest(points, k_means(points, 4, seed=0))
    assert len(numbers.unique()) == 2 and torch.equal(numbers[:2].repeat(5), numbers)


@pytest.mark.parametrize("size", [(5, 40), (32, 48)])
def test_a_thumbnail_has_the_colours_of_the_picture_s_parts(size: tuple[int, int]) -> None:
    x = torch.zeros(1, 3, *size)
    x[:, 0, : size[0] // 2] = 1.0
    small = thumbnails(x).view(3, 16, 16)
    assert small[0, :4].min() == 1 and small[0, -4:].max() == 0 and not small[1:].any()


def test_training_pictures_are_seen_as_the_networks_see_them() -> None:
    data = dataset(9, 7, n=30)
    data.train.pixels[:] = np.arange(30, dtype=np.uint8)[:, None, None, None]
    levels = some_thumbnails(data.train, seed=0).mean(1)
    assert torch.allclose((levels.sort().values + 1) * 127.5, torch.arange(30.0), atol=1e-3)


@pytest.mark.parametrize(("n", "clusters"), [(300, 0), (400, 8), (3000, 60), (50_000, 64)])
def test_the_number_of_clusters_follows_that_of_the_pictures(n: int, clusters: int) -> None:
    plan, _ = decide(settled(Train()), dataset(n=n), 1e12)
    assert plan.clusters == clusters == model_config(plan, dataset(n=n)).n_clusters
    assert decide(settled(Train(conditional=True)), dataset(n=n), 1e12)[0].clusters == 0
    assert decide(settled(Train(clusters=3, conditional=True)), dataset(n=n), 1e12)[0].clusters == 3
