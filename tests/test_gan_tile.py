"""Textures: generators whose pictures wrap, in any size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Shell
from networks import SMALL_GAN, disturbed
from PIL import Image
from torch import Tensor

from aigc_cli.backends.gan.model import (
    Discriminator,
    GANConfig,
    Generator,
    TileGenerator,
    load_pretrained,
    new_generator,
    save_pretrained,
)
from aigc_cli.backends.gan.tile import check_window, latents, rolled
from aigc_cli.errors import RequestError

TILE = replace(SMALL_GAN, height=16, width=24, tile=True)


def generator(config: GANConfig = TILE) -> Generator:
    return disturbed(new_generator(config), spread=0.2)


@torch.no_grad()
def test_a_shifted_map_gives_the_shifted_texture() -> None:
    made = generator()
    z = latents(TILE, 2, generator=torch.Generator().manual_seed(1))
    assert z.shape == (2, 6, 4, 6)
    x = made(z)
    assert x.shape == (2, 3, 16, 24)
    torch.testing.assert_close(made(z.roll((1, 2), (2, 3))), x.roll((4, 8), (2, 3)))


@torch.no_grad()
def test_a_larger_map_gives_a_larger_texture() -> None:
    made, z = generator(), latents(TILE, 1, (40, 32))
    x = made(z)
    assert x.shape == (1, 3, 40, 32)
    torch.testing.assert_close(made(z.tile(1, 1, 2, 1)), x.tile(1, 1, 2, 1))  # and a repeated one a repeated texture


def test_half_of_the_latents_are_the_same_everywhere() -> None:
    z = latents(TILE, 3)
    assert (z[:, :3].flatten(2).std(2) == 0).all() and (z[:, 3:].flatten(2).std(2) > 0).all()
    assert z[:, :3].std() > 0.1


def seam(x: Tensor, cell: int) -> tuple[Tensor, Tensor]:
    """The mean absolute difference (n,) across the wrap from the last column to the first, and across the borders of cells."""
    across = (x - x.roll(1, 3)).abs().mean((1, 2))  # (n, width): from the column before
    return across[:, 0], across[:, cell::cell].mean(1)


@torch.no_grad()
def test_there_is_no_seam() -> None:
    """What holds for a generator that wraps, and not for the other one."""
    torch.manual_seed(0)
    wrapped, inside = seam(generator()(latents(TILE, 500)), TILE.cell)
    difference = wrapped - inside
    assert float(difference.mean().abs()) < 3 * float(difference.std()) / 500**0.5
    plain = replace(TILE, tile=False)
    wrapped, inside = seam(generator(plain)(latents(plain, 500)), plain.cell)
    assert float(wrapped.mean()) > 1.5 * float(inside.mean())


def test_rolling_moves_every_texture_around_and_loses_nothing() -> None:
    torch.manual_seed(0)
    x = torch.arange(2 * 50, dtype=torch.float32).reshape(50, 2, 1, 1) * 1000 + torch.arange(30.0).reshape(1, 1, 5, 6)
    moved = rolled(x)
    shifts = set()
    for before, after in zip(x, moved, strict=True):
        down, right = divmod(int((after[0] == before[0, 0, 0]).flatten().nonzero()), 6)
        assert torch.equal(after, before.roll((down, right), (1, 2)))
        shifts.add((down, right))
    assert len(shifts) > 20


def test_gradients_reach_all_weights_through_the_rolls() -> None:
    made, judge = generator(replace(TILE, n_classes=2)), disturbed(Discriminator(replace(TILE, n_classes=2)))
    labels = torch.tensor([0, 1, -1])
    judge(rolled(made(latents(TILE, 3), labels)), labels).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in made.parameters())


def test_files_say_tile_only_where_it_is_one(tmp_path: Path) -> None:
    for config in (TILE, SMALL_GAN):
        save_pretrained(generator(config), tmp_path / str(config.tile))
        loaded = load_pretrained(tmp_path / str(config.tile))
        assert loaded.config == config and isinstance(loaded, TileGenerator) == config.tile
    assert "tile" not in json.loads((tmp_path / "False" / "config.json").read_text())


@pytest.mark.parametrize(("size", "near"), [((80, 80), "--size 64"), ((100, 64), "--size 64x96"), ((4, 3), "--size 4")])
def test_windows_are_whole_cells(size: tuple[int, int], near: str) -> None:
    with pytest.raises(RequestError, match=near):
        check_window(size)
    for fine in ((64, 64), (128, 64), (48, 48), (96, 96), (256, 256), (16, 16)):
        check_window(fine)


@pytest.fixture(scope="module")
def trained(module_shell: Shell) -> Shell:
    """A run of two textures that are told apart by their brightness."""
    draw = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 200)):
        (module_shell.cwd / "textures" / name).mkdir(parents=True)
        for number in range(2):
            pixels = np.clip(level + draw.normal(0, 25, (72, 100, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(module_shell.cwd / "textures" / name / f"{number}.png")
    module_shell.ok(
        "train", "gan", "--tile", "--data", "textures", "--size", "16", "--conditional", "--preset", "nano", "--batch-size",
        "16", "--threads", "1", "--steps", "60", "--run", "textures", "-q",
    )  # fmt: skip
    return module_shell


def sampled(shell: Shell, *arguments: object) -> np.ndarray:
    shell.ok("sample", "gan", "--run", "textures", *arguments, "--out", "x.npz", "--force", "-q")
    with np.load(shell.cwd / "x.npz") as arrays:
        return np.asarray(arrays["pictures"])


def test_textures_are_sampled_in_any_size(trained: Shell) -> None:
    assert sampled(trained, "-n", 3).shape == (3, 16, 16, 3)
    large = sampled(trained, "-n", 3, "--size", "48x32", "--seed", 1)
    assert large.shape == (3, 32, 48, 3)
    alone = sampled(trained, "-n", 3, "--size", "48x32", "--seed", 1, "--batch-size", 1)
    assert np.abs(large.astype(int) - alone).max() <= 1
    way = sampled(trained, "--size", "32", "--interpolate", 1, 3, "-n", 3)
    ends = sampled(trained, "--size", "32", "--seeds", "1,3")  # of the same class
    assert np.abs(way[0].astype(int) - ends[0]).max() <= 1 and np.abs(way[2].astype(int) - ends[1]).max() <= 1
    dark, light = (sampled(trained, "--label", name, "-n", 64, "--seed", 1).mean() for name in ("dark", "light"))
    assert dark < light


def test_samples_have_no_seam(trained: Shell) -> None:
    """The mean gradient across the wrap is no larger than inside, within three standard errors; and samples aren't even."""
    samples = sampled(trained, "-n", 300, "--size", "32", "--seed", 5).astype(float)
    for axis in (1, 2):
        across = np.abs(samples - np.roll(samples, 1, axis)).mean(tuple({1, 2, 3} - {axis}))  # (n, side); the first: the wrap
        more = across[:, 0] - across[:, 1:].mean(1)
        assert across.mean() > 1
        assert more.mean() < 3 * more.std() / len(more) ** 0.5


def test_what_textures_cant_be_is_refused_in_one_line(trained: Shell) -> None:
    refused = trained("sample", "gan", "--run", "textures", "--size", "50")
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        2,
        "aigc: --size 50x50: the sides of a texture of this run are multiples of 4, such as --size 48",
    )
    for arguments, words in (
        (["--size", "80"], "--size 80x80: the sides of a texture are multiples of 32, such as --size 64"),
        (["--size", "64", "--fit", "pad"], "--fit pad has nothing to fit"),
        (["--size", "128"], "--tile cuts windows of 128×128 from pictures, and some are only 100×72"),
    ):
        refused = trained("train", "gan", "--tile", "--data", "textures", *arguments)
        assert refused.returncode == 2 and words in refused.stderr.splitlines()[-1]
    refused = trained("train", "gan", "--tile", "--steps", "1")
    assert refused.returncode == 2 and "give --data" in refused.stderr


def test_textures_are_evaluated_and_other_runs_have_one_size(trained: Shell) -> None:
    measures = json.loads(trained.ok("eval", "gan", "--run", "textures", "--json", "-q"))
    assert measures["kd_random"]["n"] % 9 == 0 and "margin" in measures
    trained.ok(
        "train",
        "gan",
        "--data",
        "demo:shapes?n=40",
        "--size",
        "12",
        "--preset",
        "nano",
        "--steps",
        "1",
        "--run",
        "shapes",
        "-q",
    )
    refused = trained("sample", "gan", "--run", "shapes", "--size", "24")
    assert refused.returncode == 2 and "this run was trained without --tile, so it draws only 12×12" in refused.stderr
