"""The networks: shapes, conditioning, gradients, initialisation, and files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import SMALL_GAN, disturbed
from torch import Tensor, nn

from aigc_cli.backends.gan.loss import OBJECTIVES
from aigc_cli.backends.gan.model import Discriminator, GANConfig, Generator, load_pretrained, save_pretrained
from aigc_cli.backends.pictures.adversarial import gradient_penalty

CONFIG = SMALL_GAN


def pictures(config: GANConfig, n: int = 3) -> Tensor:
    return torch.rand(n, config.channels, config.height, config.width) * 2 - 1


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (64, 48), (20, 33), (12, 12), (5, 1), (1, 1), (16, 256)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("levels", [1, 3])
def test_pictures_of_any_size_are_made_and_scored(size: tuple[int, int], channels: int, levels: int) -> None:
    height, width = size
    shape: dict[str, Any] = {"widths": (8, 12, 16)[:levels], "blocks": (1, 0, 1)[:levels]}
    config = replace(CONFIG, height=height, width=width, channels=channels, **shape)
    x = disturbed(Generator(config))(torch.randn(3, 6))
    assert x.shape == (3, channels, height, width)
    scores = disturbed(Discriminator(config))(x)
    assert scores.shape == (3,)
    assert torch.isfinite(scores).all() and len(scores.unique()) == 3


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("n_classes", "n_clusters"), [(0, 0), (2, 0), (0, 3), (2, 3)])
def test_every_weight_is_trained(objective: Any, n_classes: int, n_clusters: int) -> None:
    config = replace(CONFIG, n_classes=n_classes, n_clusters=n_clusters)
    generator, discriminator = disturbed(Generator(config)), disturbed(Discriminator(config))
    labels = torch.tensor([0, 1, -1]) if n_classes else None
    clusters = torch.tensor([0, 1, 2]) if n_clusters else None
    x = pictures(config).requires_grad_()
    fake, real = generator(generator.with_clusters(torch.randn(3, 6), clusters), labels), discriminator(x, labels, clusters)
    expect_gradients(OBJECTIVES[objective].generator(real, discriminator(fake, labels, clusters)), generator)
    loss = OBJECTIVES[objective].discriminator(real, discriminator(fake.detach(), labels, clusters))
    expect_gradients(loss + gradient_penalty(real, x), discriminator)


def expect_gradients(loss: Tensor, network: nn.Module) -> None:
    names, parameters = zip(*network.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
        # The bias of a score cancels in a difference of scores.
        assert name == "out.bias" or gradient.abs().max() > 0, name


@torch.no_grad()
@pytest.mark.parametrize("blocks", [1, 8])
def test_depth_does_not_matter_at_first(blocks: int) -> None:
    """A block is the identity, so that any number of them makes the same pictures, of about unit size, and scores."""
    for height, width in ((28, 28), (64, 48)):
        shape: dict[str, Any] = {"height": height, "width": width, "widths": (16, 32, 64), "vector_width": 64}
        config = replace(CONFIG, blocks=(blocks,) * 3, **shape)
        torch.manual_seed(0)
        generator, discriminator = Generator(config), Discriminator(config)
        x = generator(torch.randn(64, 6))
        assert 0.3 < x.std() < 2
        assert 0.1 < discriminator(pictures(config, 64)).std() + discriminator(x).std() < 4
        for network in (generator, discriminator):
            assert all(not weight.any() for name, weight in network.named_parameters() if ".last." in name)


@torch.no_grad()
def test_a_new_generator_s_pictures_have_no_grain() -> None:
    """Their power falls towards high frequencies without the peaks that the grids of a half, a quarter, … of the pixels would
    leave: rearranged or repeated pixels have peaks of twice the power and more."""
    torch.manual_seed(0)
    config = replace(CONFIG, height=32, width=32, widths=(8, 12, 16), blocks=(1, 1, 1))
    with torch.no_grad():
        x = Generator(config)(torch.randn(256, config.latent))
    power = torch.fft.fft2(x).abs().square().mean((0, 1))
    for rows in (power, power.T):
        assert (rows[9:17].mean(1) < 1.2 * rows[8:16].mean(1)).all()


def test_an_untrained_discriminator_weights_all_pixels_equally() -> None:
    """The gradient has no pattern of the strides: its size is about the same at even and odd places."""
    config = replace(CONFIG, height=32, width=32, widths=(16, 32, 64), blocks=(1, 1, 1), vector_width=64)
    torch.manual_seed(0)
    x = pictures(config, 64).requires_grad_()
    (gradient,) = torch.autograd.grad(Discriminator(config)(x).sum(), x)
    energy = gradient[:, :, 2:-2, 2:-2].square().mean((0, 1))
    phases = torch.stack([energy[i::2, j::2].mean() for i in (0, 1) for j in (0, 1)])
    assert phases.max() < 1.5 * phases.min()


@torch.no_grad()
def test_a_picture_does_not_depend_on_its_batch() -> None:
    generator, discriminator = disturbed(Generator(CONFIG)), disturbed(Discriminator(CONFIG))
    z = torch.randn(5, 6)
    torch.testing.assert_close(generator(z)[2:3], generator(z[2:3]), atol=1e-5, rtol=1e-4)
    x = pictures(CONFIG, 5)
    torch.testing.assert_close(discriminator(x)[2:3], discriminator(x[2:3]), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_labels_reach_both_networks() -> None:
    config = replace(CONFIG, n_classes=3)
    generator, discriminator = disturbed(Generator(config)), disturbed(Discriminator(config))
    labels = torch.tensor([-1, 0, 1, 2])
    z, x = torch.randn(1, 6).expand(4, -1), pictures(config, 1).expand(4, -1, -1, -1)
    for values in (generator(z, labels).flatten(1), discriminator(x, labels)[:, None]):
        assert len({tuple(row.tolist()) for row in values}) == 4
    for network, given in ((generator, z), (discriminator, x)):
        with pytest.raises(AssertionError, match="needs labels"):
            network(given)


@torch.no_grad()
def test_the_score_of_a_label_is_a_projection() -> None:
    """D(x, a) − D(x, b) is linear in the difference of the classes' vectors (Miyato and Koyama 2018, eq. 4)."""
    discriminator = disturbed(Discriminator(replace(CONFIG, n_classes=2)))
    x = pictures(CONFIG)
    assert discriminator.classes is not None

    def difference() -> Tensor:
        score, other = (discriminator(x, torch.full((3,), label)) for label in (0, 1))
        return torch.sub(score, other)

    before = difference()
    discriminator.classes[0] += discriminator.classes[0] - discriminator.classes[1]
    torch.testing.assert_close(difference(), 2 * before)


@pytest.mark.parametrize("change", [{}, {"n_classes": 4}, {"channels": 1, "height": 28}])
def test_a_saved_generator_comes_back_exactly(tmp_path: Path, change: dict[str, Any]) -> None:
    config = replace(CONFIG, **change)
    generator = disturbed(Generator(config))
    save_pretrained(generator, tmp_path)
    loaded = load_pretrained(tmp_path)
    assert loaded.config == config
    assert not loaded.training
    assert loaded.state_dict().keys() == generator.state_dict().keys()
    for name, weight in generator.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])
    z, labels = torch.randn(3, 6), torch.tensor([0, 1, -1]) if config.n_classes else None
    with torch.no_grad():
        assert torch.equal(generator(z, labels), loaded(z, labels))
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "aigc-gan"
